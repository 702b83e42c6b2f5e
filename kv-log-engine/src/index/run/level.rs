//! Runs whose intervals are disjoint, as one: the run that has a key, or all of them in a row.

use super::named::Run;
use super::range::RunRange;
use super::reader::{RunReader, hides};
use crate::format::ids::LevelId;
use crate::format::run::KEYS_END;
use crate::format::run::block::Version;
use crate::format::run::filter::KeyHash;
use crate::index::source::{Direction, Interval, Item, Shared, Source, hole_of};
use kv_trait::Result;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

/// A run, and the interval of keys that is still its own: merges cut prefixes off.
#[derive(Clone, Debug)]
pub(crate) struct LiveRun {
    pub(crate) run: Arc<Run>,
    /// The first key that it may answer for; what lies below was merged away.
    pub(crate) from: Arc<[u8]>,
    /// The first key above that it may not answer for; `None`: all.
    pub(crate) to: Option<Arc<[u8]>>,
    /// Entries that merges have cut off.
    pub(crate) taken: u64,
}

impl LiveRun {
    /// What is left of a number that stands for the whole run, about.
    pub(crate) fn share(&self, of: u64) -> u64 {
        let entries = self.run.entry().entries;
        let left = entries.saturating_sub(self.taken);
        let share = u128::from(of) * u128::from(left) / u128::from(entries.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    pub(crate) fn interval(&self) -> Interval {
        let to = self.to.as_ref().map(|to| to.to_vec());
        Interval {
            lower: Bound::Included(self.from.to_vec()),
            upper: to.map_or(Bound::Unbounded, Bound::Excluded),
        }
    }

    fn ends_at_or_before(&self, key: &[u8]) -> bool {
        self.to.as_ref().is_some_and(|to| **to <= *key)
    }

    /// Its keys, from the first up to the second, which it does not have.
    pub(crate) fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let to = self.to.as_deref().unwrap_or(&KEYS_END);
        (self.from.to_vec(), to.to_vec())
    }

    /// The run, ready to be read. What keeps it from that says which keys it hides.
    ///
    /// # Errors
    /// As [`Run::reader`].
    pub(crate) fn reader(&self) -> Result<&Arc<RunReader>> {
        self.run.reader().map_err(|error| {
            let (from, to) = self.bounds();
            hides(error, &from, &to)
        })
    }
}

/// Disjoint runs in the order of their keys.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    id: LevelId,
    runs: Vec<LiveRun>,
}

impl Level {
    /// The runs must be in order and disjoint.
    pub(crate) fn new(id: LevelId, runs: Vec<LiveRun>) -> Self {
        let ordered = |pair: &[LiveRun]| pair[0].ends_at_or_before(&pair[1].from);
        debug_assert!(runs.windows(2).all(ordered), "runs of a level are disjoint");
        Self { id, runs }
    }

    pub(crate) const fn id(&self) -> LevelId {
        self.id
    }

    pub(crate) fn runs(&self) -> &[LiveRun] {
        &self.runs
    }

    /// The run that answers for a key.
    fn run_of(&self, key: &[u8]) -> Option<&LiveRun> {
        let above = self.runs.partition_point(|live| *live.from <= *key);
        let candidate = self.runs.get(above.checked_sub(1)?)?;
        (!candidate.ends_at_or_before(key)).then_some(candidate)
    }

    /// What this level says of a key.
    ///
    /// # Errors
    /// As [`RunReader::get`]; what cannot be opened says which keys it hides.
    pub(crate) fn get(&self, key: &[u8], hash: KeyHash) -> Result<Option<Version<Shared>>> {
        match self.run_of(key) {
            Some(live) => live.reader()?.get(key, hash),
            None => Ok(None),
        }
    }

    /// The entries of an interval in one direction. A run is first read when the walk comes to it.
    pub(crate) fn range(&self, interval: &Interval, direction: Direction) -> LevelRange {
        let meets = |live: &&LiveRun| {
            let ends = |to: &Arc<[u8]>| !interval.meets(&live.from, to);
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
    /// Those that the walk has not come to.
    runs: VecDeque<LiveRun>,
    interval: Interval,
    direction: Direction,
    current: Option<(Interval, RunRange)>,
}

impl LevelRange {
    /// Goes on to the next run. One that cannot be opened is a hole of all keys that are wanted of it.
    fn enter(&mut self) -> Result<Option<Item>> {
        let Some(next) = self.runs.front() else {
            return Ok(None);
        };
        let live = next.interval();
        let wanted = self.interval.within(&live);
        let hole = match next.reader() {
            Ok(reader) => {
                self.current = Some((live, reader.range(wanted, self.direction)));
                None
            }
            Err(error) => {
                let (from, to) = next.bounds();
                wanted.clip(hole_of(error, from, to)?)
            }
        };
        self.runs.pop_front();
        Ok(hole.map(Item::Hole))
    }
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
            if self.runs.is_empty() {
                return Ok(None);
            }
            if let Some(hole) = self.enter()? {
                return Ok(Some(hole));
            }
        }
    }
}
