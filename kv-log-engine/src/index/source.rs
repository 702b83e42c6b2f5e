//! What scans, merges and checks read from: anything that yields the entries of an interval in order.
//!
//! A source is made for one interval and one direction. What it cannot read it yields as a [`Hole`], and goes on behind
//! it; only an error that may pass (the operating system refused a read) is an `Err`, and the next call tries again.

use crate::fault;
use crate::format::run::block::Version;
use crate::format::run::footer::Hole;
use crate::format::run::{KEYS_END, full_key, name_range, successor};
use kv_trait::{Error, ErrorKind, Result};
use std::cmp::Ordering;
use std::ops::{Bound, RangeBounds};
use std::path::Path;

pub(crate) use super::chunk::{Chunk, Direction};
pub(crate) use super::shared::Shared;

/// A key, as runs order them, and what one source says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) version: Version<Shared>,
}

impl Entry {
    /// An entry of a chunk, independent of it.
    pub(crate) fn of(chunk: &Chunk, at: usize) -> Self {
        Self {
            key: chunk.key(at).to_vec(),
            version: chunk.shared(at),
        }
    }
}

/// What a source yields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Entry(Entry),
    /// A range of keys of which the source may say something that cannot be read. In its place in the order: forwards
    /// before everything at or above its lower bound, backwards before everything below its upper bound.
    Hole(Hole),
}

impl Direction {
    /// Whether a hole comes before the entry of a key: forwards also if that is its first key. The key that is its upper
    /// bound it does not have.
    pub(crate) fn hole_is_first(self, hole: &Hole, key: &[u8]) -> bool {
        match self {
            Self::Forward => *hole.from <= *key,
            Self::Backward => *hole.to > *key,
        }
    }

    /// How two holes follow each other: `Less` comes first.
    pub(crate) fn order_holes(self, a: &Hole, b: &Hole) -> Ordering {
        match self {
            Self::Forward => a.from.cmp(&b.from),
            Self::Backward => b.to.cmp(&a.to),
        }
    }

    /// How two items of sources that go this way follow each other: `Less` comes first.
    #[cfg(test)]
    pub(crate) fn order(self, a: &Item, b: &Item) -> Ordering {
        match self {
            Self::Forward => {
                let (a, b) = (a.lower(), b.lower());
                a.0.cmp(b.0).then(a.1.cmp(&b.1))
            }
            Self::Backward => {
                let (a, b) = (a.upper(), b.upper());
                b.0.cmp(a.0).then(b.1.cmp(&a.1))
            }
        }
    }
}

#[cfg(test)]
impl Item {
    /// A hole comes before an entry that has its first key.
    fn lower(&self) -> (&[u8], bool) {
        match self {
            Self::Entry(entry) => (&entry.key, true),
            Self::Hole(hole) => (&hole.from, false),
        }
    }

    /// A hole does not have the key that is its upper bound: an entry that does comes before it.
    fn upper(&self) -> (&[u8], bool) {
        match self {
            Self::Entry(entry) => (&entry.key, true),
            Self::Hole(hole) => (&hole.to, false),
        }
    }
}

/// What a source gave.
#[derive(Debug, PartialEq)]
pub(crate) enum Filled {
    /// At least one entry.
    Entries,
    /// The hole that comes next, and no entries.
    Hole(Hole),
    End,
}

/// Something that yields entries in the order of one direction.
pub(crate) trait Source: Send {
    /// Puts what comes next into a chunk, which is empty: about `enough` entries, or fewer where more would have to be read.
    ///
    /// # Errors
    /// `Io`: a read failed. The source stands where it stood, and the chunk is empty.
    fn fill(&mut self, chunk: &mut Chunk, enough: usize) -> Result<Filled>;

    /// The next item by itself; `None` at the end.
    ///
    /// # Errors
    /// As [`Source::fill`].
    fn next(&mut self) -> Result<Option<Item>> {
        let mut chunk = Chunk::default();
        Ok(match self.fill(&mut chunk, 1)? {
            Filled::Entries => Some(Item::Entry(Entry::of(&chunk, 0))),
            Filled::Hole(hole) => Some(Item::Hole(hole)),
            Filled::End => None,
        })
    }
}

/// An interval of full keys.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    pub(crate) lower: Bound<Vec<u8>>,
    pub(crate) upper: Bound<Vec<u8>>,
}

impl Interval {
    pub(crate) const ALL: Self = Self {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    };

    /// From the first key up to the second, which it does not have.
    pub(crate) fn between(from: &[u8], to: &[u8]) -> Self {
        Self {
            lower: Bound::Included(from.to_vec()),
            upper: Bound::Excluded(to.to_vec()),
        }
    }

    /// The first key that it may have, and the first one above that it may not have.
    pub(crate) fn ends(&self) -> (Vec<u8>, Vec<u8>) {
        let from = match &self.lower {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.clone(),
            Bound::Excluded(key) => successor(key),
        };
        let to = match &self.upper {
            Bound::Unbounded => KEYS_END.to_vec(),
            Bound::Included(key) => successor(key),
            Bound::Excluded(key) => key.clone(),
        };
        (from, to)
    }

    /// A range of the keys of a keyspace.
    pub(crate) fn of_keyspace(keyspace: u32, range: &impl RangeBounds<[u8]>) -> Self {
        let full = |bound: Bound<&[u8]>| bound.map(|key| full_key(keyspace, key));
        Self {
            lower: match full(range.start_bound()) {
                Bound::Unbounded => Bound::Included(full_key(keyspace, &[])),
                bound => bound,
            },
            upper: match full(range.end_bound()) {
                // No keyspace has the last number.
                Bound::Unbounded => Bound::Excluded(full_key(keyspace.saturating_add(1), &[])),
                bound => bound,
            },
        }
    }

    pub(crate) fn is_above(&self, key: &[u8]) -> bool {
        match &self.lower {
            Bound::Unbounded => false,
            Bound::Included(lower) => *key < **lower,
            Bound::Excluded(lower) => *key <= **lower,
        }
    }

    pub(crate) fn is_below(&self, key: &[u8]) -> bool {
        match &self.upper {
            Bound::Unbounded => false,
            Bound::Included(upper) => *key > **upper,
            Bound::Excluded(upper) => *key >= **upper,
        }
    }

    /// Whether it has no key below this one: that is where its bound is, or higher.
    pub(crate) fn begins_at_or_above(&self, key: &[u8]) -> bool {
        match &self.lower {
            Bound::Unbounded => false,
            Bound::Included(lower) | Bound::Excluded(lower) => *key <= **lower,
        }
    }

    /// What both intervals have.
    pub(crate) fn within(&self, other: &Self) -> Self {
        let lower = match (&self.lower, &other.lower) {
            (Bound::Unbounded, lower) | (lower, Bound::Unbounded) => lower.clone(),
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                match a.cmp(b) {
                    Ordering::Less => other.lower.clone(),
                    Ordering::Greater => self.lower.clone(),
                    Ordering::Equal if matches!(self.lower, Bound::Excluded(_)) => {
                        self.lower.clone()
                    }
                    Ordering::Equal => other.lower.clone(),
                }
            }
        };
        let upper = match (&self.upper, &other.upper) {
            (Bound::Unbounded, upper) | (upper, Bound::Unbounded) => upper.clone(),
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                match a.cmp(b) {
                    Ordering::Less => self.upper.clone(),
                    Ordering::Greater => other.upper.clone(),
                    Ordering::Equal if matches!(self.upper, Bound::Excluded(_)) => {
                        self.upper.clone()
                    }
                    Ordering::Equal => other.upper.clone(),
                }
            }
        };
        Self { lower, upper }
    }

    /// What a hole hides of this interval.
    pub(crate) fn clip(&self, mut hole: Hole) -> Option<Hole> {
        match &self.lower {
            Bound::Included(lower) if hole.from < *lower => hole.from.clone_from(lower),
            Bound::Excluded(lower) if hole.from <= *lower => hole.from = successor(lower),
            _ => {}
        }
        match &self.upper {
            Bound::Included(upper) if *upper < hole.to => hole.to = successor(upper),
            Bound::Excluded(upper) if *upper < hole.to => hole.to.clone_from(upper),
            _ => {}
        }
        (hole.from < hole.to).then_some(hole)
    }

    /// Whether it may have a key of `[from, to)`.
    pub(crate) fn meets(&self, from: &[u8], to: &[u8]) -> bool {
        !self.begins_at_or_above(to) && !self.is_below(from)
    }
}

/// What a hole says to whoever asks for a key in it.
pub(crate) fn hidden(path: &Path, hole: &Hole) -> Error {
    let range = name_range(&hole.from, &hole.to);
    fault::corrupt(path, format!("keys {range} are lost: {}", hole.cause))
}

/// The hole that an unreadable piece leaves; an error that may pass is handed back.
pub(crate) fn hole_of(error: Error, from: Vec<u8>, to: Vec<u8>) -> Result<Hole> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::UnsupportedFormat => Ok(Hole {
            from,
            to,
            cause: error.to_string(),
        }),
        _ => Err(error),
    }
}
