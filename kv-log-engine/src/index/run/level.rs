//! Runs whose intervals are disjoint, as one: the run that has a key, or all of them in a row.

use super::named::Run;
use super::range::RunRange;
use super::reader::{RunReader, hides};
use crate::format::erasures::{Covered, Erasures};
use crate::format::ids::{LevelId, Seqno};
use crate::format::run::KEYS_END;
use crate::format::run::block::Version;
use crate::format::run::filter::KeyHash;
use crate::index::source::{Chunk, Direction, Filled, Interval, Shared, Source, hole_of};
use kv_trait::Result;
use std::ops::{Bound, Range};
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

    /// The run as far as erasures are concerned.
    pub(crate) fn covered(&self) -> Covered<'_> {
        let entry = self.run.entry();
        Covered {
            from: &self.from,
            to: self.to.as_deref(),
            lowest: entry.lowest,
            erased_to: entry.erased_to,
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
    /// Shared with the walks over them.
    runs: Arc<[LiveRun]>,
}

impl Level {
    /// The runs must be in order and disjoint.
    pub(crate) fn new(id: LevelId, runs: Vec<LiveRun>) -> Self {
        let ordered = |pair: &[LiveRun]| pair[0].ends_at_or_before(&pair[1].from);
        debug_assert!(runs.windows(2).all(ordered), "runs of a level are disjoint");
        Self {
            id,
            runs: runs.into(),
        }
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

    /// What this level says of a key, of which what has this seqno or a lower one is erased: a run that has nothing newer
    /// is not read.
    ///
    /// # Errors
    /// As [`RunReader::get`]; what cannot be opened says which keys it hides.
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: KeyHash,
        floor: Seqno,
    ) -> Result<Option<Version<Shared>>> {
        let is_erased = |live: &&LiveRun| floor > Seqno::ZERO && live.run.entry().highest <= floor;
        match self.run_of(key).filter(|live| !is_erased(live)) {
            Some(live) => live.reader()?.get(key, hash),
            None => Ok(None),
        }
    }

    /// The entries of an interval in one direction. A run is first read when the walk comes to it.
    pub(crate) fn range(&self, interval: &Interval, direction: Direction) -> LevelRange {
        // Disjoint and in order: those that the interval meets lie together.
        let begin = self.runs.partition_point(|live| {
            let to = live.to.as_ref();
            to.is_some_and(|to| interval.begins_at_or_above(to))
        });
        let end = self
            .runs
            .partition_point(|live| !interval.is_below(&live.from));
        LevelRange {
            runs: Arc::clone(&self.runs),
            left: begin..end,
            interval: interval.clone(),
            direction,
            erasures: Erasures::default(),
            current: None,
        }
    }
}

/// A walk over a level.
#[derive(Debug)]
pub(crate) struct LevelRange {
    runs: Arc<[LiveRun]>,
    /// Those that the walk has not come to.
    left: Range<usize>,
    interval: Interval,
    direction: Direction,
    /// What need not be read.
    erasures: Erasures,
    current: Option<(Interval, RunRange)>,
}

impl LevelRange {
    /// The same around what these erasures cover of whole runs, and of the beginnings of runs.
    pub(crate) fn around(mut self, erasures: Erasures) -> Self {
        self.erasures = erasures;
        self
    }

    /// Where what is left of a run begins, if that is not where it did. `None`: nothing is left.
    fn behind_erased(&self, live: &LiveRun, mut wanted: Interval) -> Option<Interval> {
        let from = match &wanted.lower {
            Bound::Included(from) | Bound::Excluded(from) => from,
            Bound::Unbounded => return Some(wanted),
        };
        let highest = live.run.entry().highest;
        if let Some(behind) = self.erasures.erased_front(from, highest) {
            if wanted.is_below(behind) || live.ends_at_or_before(behind) {
                return None;
            }
            wanted.lower = Bound::Included(behind.to_vec());
        }
        Some(wanted)
    }

    /// Goes on to the next run. `Some`: there is none, or it cannot be opened, which is a hole of all keys that are wanted of
    /// it.
    fn enter(&mut self) -> Result<Option<Filled>> {
        let (at, behind) = match self.direction {
            _ if self.left.is_empty() => return Ok(Some(Filled::End)),
            Direction::Forward => (self.left.start, self.left.start + 1..self.left.end),
            Direction::Backward => (self.left.end - 1, self.left.start..self.left.end - 1),
        };
        let next = &self.runs[at];
        let live = next.interval();
        let wanted = self.interval.within(&live);
        let wanted = match self.erasures.is_empty() {
            true => Some(wanted),
            false => self.behind_erased(next, wanted),
        };
        let Some(wanted) = wanted else {
            self.left = behind;
            return Ok(None);
        };
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
        self.left = behind;
        Ok(hole.map(Filled::Hole))
    }
}

impl Source for LevelRange {
    fn fill(&mut self, chunk: &mut Chunk, enough: usize) -> Result<Filled> {
        loop {
            if let Some((live, range)) = &mut self.current {
                match range.fill(chunk, enough)? {
                    Filled::Entries => return Ok(Filled::Entries),
                    Filled::Hole(hole) => {
                        // What a hole hides outside of the live interval is another run's to answer.
                        if let Some(hole) = live.clip(hole) {
                            return Ok(Filled::Hole(hole));
                        }
                        continue;
                    }
                    Filled::End => self.current = None,
                }
            }
            if let Some(filled) = self.enter()? {
                return Ok(filled);
            }
        }
    }
}
