//! Runs whose intervals are disjoint, as one: the run that has a key, or all of them in a row.

use super::range::RunRange;
use super::reader::Run;
use crate::format::run::block::Version;
use crate::format::run::filter::KeyHash;
use crate::index::source::{Direction, Interval, Item, Shared, Source};
use kv_trait::Result;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

/// A run, and the interval of keys that is still its own: merges cut prefixes off.
#[derive(Clone, Debug)]
pub(crate) struct LiveRun {
    pub(crate) run: Arc<Run>,
    /// The first key that it may answer for; what lies below was merged away.
    pub(crate) from: Vec<u8>,
    /// The first key above that it may not answer for; `None`: all.
    pub(crate) to: Option<Vec<u8>>,
}

impl LiveRun {
    fn interval(&self) -> Interval {
        let to = self.to.clone();
        Interval {
            lower: Bound::Included(self.from.clone()),
            upper: to.map_or(Bound::Unbounded, Bound::Excluded),
        }
    }
}

/// Disjoint runs in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    runs: Vec<LiveRun>,
}

impl Level {
    /// The runs must be in order and disjoint.
    pub(crate) fn new(runs: Vec<LiveRun>) -> Self {
        let ordered = |pair: &[LiveRun]| match &pair[0].to {
            Some(to) => *to <= pair[1].from,
            None => false,
        };
        debug_assert!(runs.windows(2).all(ordered), "runs of a level are disjoint");
        Self { runs }
    }

    /// What this level says of a key.
    ///
    /// # Errors
    /// As [`Run::get`].
    pub(crate) fn get(&self, key: &[u8], hash: KeyHash) -> Result<Option<Version<Shared>>> {
        let above = self.runs.partition_point(|live| *live.from <= *key);
        let candidate = above.checked_sub(1).and_then(|at| self.runs.get(at));
        match candidate {
            Some(live) if !live.interval().is_below(key) => live.run.get(key, hash),
            _ => Ok(None),
        }
    }

    /// The entries of an interval in one direction. A run is first read when the walk comes to it.
    pub(crate) fn range(&self, interval: &Interval, direction: Direction) -> LevelRange {
        let meets = |live: &&LiveRun| {
            let ends = |to: &Vec<u8>| !interval.meets(&live.from, to);
            !interval.is_below(&live.from) && !live.to.as_ref().is_some_and(ends)
        };
        let mut runs: VecDeque<LiveRun> = self.runs.iter().filter(meets).cloned().collect();
        if direction == Direction::Backward {
            runs.make_contiguous().reverse();
        }
        LevelRange {
            runs,
            interval: interval.clone(),
            direction,
            current: None,
        }
    }
}

/// A walk over a level.
#[derive(Debug)]
pub(crate) struct LevelRange {
    runs: VecDeque<LiveRun>,
    interval: Interval,
    direction: Direction,
    current: Option<(Interval, RunRange)>,
}

impl Source for LevelRange {
    fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some((live, range)) = &mut self.current {
                match range.next()? {
                    Some(Item::Hole(hole)) => {
                        // What a hole hides outside of the live interval is another run's to answer.
                        if let Some(hole) = live.clip(hole) {
                            return Ok(Some(Item::Hole(hole)));
                        }
                        continue;
                    }
                    Some(item) => return Ok(Some(item)),
                    None => self.current = None,
                }
            }
            let Some(next) = self.runs.pop_front() else {
                return Ok(None);
            };
            let live = next.interval();
            let wanted = self.interval.within(&live);
            self.current = Some((live, next.run.range(wanted, self.direction)));
        }
    }
}
