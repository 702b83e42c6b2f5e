//! What scans, merges and checks read from: anything that yields the entries of an interval in order.
//!
//! A source is made for one interval and one direction. What it cannot read it yields as a [`Hole`], and goes on behind
//! it; only an error that may pass (the operating system refused a read) is an `Err`, and the next call tries again.

use crate::fault;
use crate::format::run::block::Version;
use crate::format::run::footer::Hole;
use crate::format::run::{full_key, name_range, successor};
use kv_trait::{Error, ErrorKind, Result};
use std::cmp::Ordering;
use std::ops::{Bound, Deref, Range, RangeBounds};
use std::path::Path;
use std::sync::Arc;

/// Bytes that share the block they were read with, or have none.
#[derive(Clone)]
pub(crate) enum Shared {
    Block(Arc<[u8]>, Range<usize>),
    Own(Box<[u8]>),
}

impl Shared {
    pub(crate) const fn new(content: Arc<[u8]>, range: Range<usize>) -> Self {
        Self::Block(content, range)
    }

    /// A copy of bytes that are in memory anyway.
    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Self::Own(bytes.into())
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Block(..) => self.to_vec(),
            Self::Own(bytes) => bytes.into_vec(),
        }
    }
}

impl From<Vec<u8>> for Shared {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes.into_boxed_slice())
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Block(content, range) => content.get(range.clone()).unwrap_or_default(),
            Self::Own(bytes) => bytes,
        }
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

/// A key, as runs order them, and what one source says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) version: Version<Shared>,
}

/// What a source yields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Entry(Entry),
    /// A range of keys of which the source may say something that cannot be read. In its place in the order: forwards
    /// before everything at or above its lower bound, backwards before everything below its upper bound.
    Hole(Hole),
}

/// Which way a source goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

impl Direction {
    /// How two items of sources that go this way follow each other: `Less` comes first.
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

/// Something that yields items in the order of one direction.
pub(crate) trait Source: Send {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// `Io`: a read failed. The source stands where it stood.
    fn next(&mut self) -> Result<Option<Item>>;
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
        let begins = match &self.lower {
            Bound::Unbounded => true,
            Bound::Included(lower) | Bound::Excluded(lower) => **lower < *to,
        };
        begins && !self.is_below(from)
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
