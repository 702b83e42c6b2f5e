//! One iterator over many sources, which scans, merges and checks share.
//!
//! Age decides between versions: for a key the newest source that has it is right, whatever its seqno says; in debug
//! builds the seqnos of a key are asserted to fall from source to source. A hole hides what *older* sources say of its
//! keys, for what is lost may have been newer; what newer sources say holds.

use crate::format::ids::Seqno;
use crate::format::run::footer::Hole;
use crate::index::source::{Direction, Entry, Item, Source};
use kv_trait::Result;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// What a merge yields of a key that has several versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yield {
    /// The newest version, unless it is a tombstone, hidden, or expired at this reading of the store's clock: what a scan
    /// shows.
    Live(u64),
    /// The newest version, tombstones included: what a merge above the bottom keeps.
    Newest,
    /// Every version of every source, the newest first, hidden ones too: for checks.
    All,
}

/// What a merge yields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    /// Which source it is from: 0 is the newest.
    pub(crate) age: usize,
    pub(crate) item: Item,
}

/// The next item of a source.
struct Head {
    direction: Direction,
    age: usize,
    item: Item,
    source: Box<dyn Source>,
}

impl Ord for Head {
    /// The greatest is taken out of the heap first: the first in the order, then the newest.
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.direction.order(&other.item, &self.item);
        order.then(other.age.cmp(&self.age))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// Sources as one, in the order of their keys.
pub(crate) struct Merge {
    direction: Direction,
    wanted: Yield,
    heads: BinaryHeap<Head>,
    /// Not looked at yet, with their ages; a source that failed is here again, and tried again by the next call.
    waiting: Vec<(usize, Box<dyn Source>)>,
    /// Holes that the walk is in.
    open: Vec<(usize, Hole)>,
    /// The key that was yielded or passed over last, and the seqno of its version that was met last; `None` at the start.
    last_key: Vec<u8>,
    last_seqno: Option<Seqno>,
    /// Entries that were met of each source, by its age.
    passed: Vec<u64>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge")
            .field("direction", &self.direction)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Merge {
    /// Sources, the newest first, that all go the same way.
    pub(crate) fn new(
        sources: impl IntoIterator<Item = Box<dyn Source>>,
        direction: Direction,
        wanted: Yield,
    ) -> Self {
        let waiting: Vec<_> = sources.into_iter().enumerate().collect();
        Self {
            direction,
            wanted,
            heads: BinaryHeap::new(),
            passed: vec![0; waiting.len()],
            waiting,
            open: Vec::new(),
            last_key: Vec::new(),
            last_seqno: None,
        }
    }

    /// How many entries of a source are behind the walk, yielded or not, with the one that was yielded last.
    pub(crate) fn passed(&self, age: usize) -> u64 {
        self.passed.get(age).copied().unwrap_or_default()
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// `Io`: a source could not be read. Nothing is lost: the next call tries again.
    pub(crate) fn next(&mut self) -> Result<Option<Merged>> {
        loop {
            self.refill()?;
            let Some((age, item)) = self.take() else {
                return Ok(None);
            };
            match item {
                Item::Hole(hole) => {
                    self.open.push((age, hole.clone()));
                    let item = Item::Hole(hole);
                    return Ok(Some(Merged { age, item }));
                }
                Item::Entry(entry) => {
                    if let Some(passed) = self.passed.get_mut(age) {
                        *passed += 1;
                    }
                    if self.shows(age, &entry) {
                        let item = Item::Entry(entry);
                        return Ok(Some(Merged { age, item }));
                    }
                }
            }
        }
    }

    /// Gives every source that was moved its next item. One that fails keeps its place in the line.
    fn refill(&mut self) -> Result<()> {
        while let Some((age, mut source)) = self.waiting.pop() {
            match source.next() {
                Ok(Some(item)) => self.heads.push(Head {
                    direction: self.direction,
                    age,
                    item,
                    source,
                }),
                Ok(None) => {}
                Err(error) => {
                    self.waiting.push((age, source));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes the first item, and moves its source.
    fn take(&mut self) -> Option<(usize, Item)> {
        let mut first = self.heads.peek_mut()?;
        let age = first.age;
        if let Ok(Some(next)) = first.source.next() {
            return Some((age, std::mem::replace(&mut first.item, next)));
        }
        // At its end, or failed: the next call asks it again, and tells.
        let head = PeekMut::pop(first);
        self.waiting.push((age, head.source));
        Some((age, head.item))
    }

    /// Whether this version is one that was asked for.
    fn shows(&mut self, age: usize, entry: &Entry) -> bool {
        let seqno = entry.version.seqno;
        let repeated = self.last_seqno.is_some() && self.last_key == entry.key;
        if repeated {
            debug_assert!(
                self.last_seqno > Some(seqno),
                "an older layer has a newer version: {:?} above {seqno}",
                self.last_seqno
            );
        } else {
            self.last_key.clear();
            self.last_key.extend_from_slice(&entry.key);
        }
        self.last_seqno = Some(seqno);
        if self.wanted == Yield::All {
            return true;
        }
        if repeated || self.hidden(age, &entry.key) {
            return false;
        }
        match self.wanted {
            Yield::Live(now_ms) => entry.version.is_visible(now_ms),
            Yield::Newest | Yield::All => true,
        }
    }

    /// Whether a hole of a newer source covers the key. Holes that the walk has left are forgotten.
    fn hidden(&mut self, age: usize, key: &[u8]) -> bool {
        if self.open.is_empty() {
            return false;
        }
        let direction = self.direction;
        self.open.retain(|(_, hole)| match direction {
            Direction::Forward => *key < *hole.to,
            Direction::Backward => *hole.from <= *key,
        });
        self.open
            .iter()
            .any(|(hole_age, hole)| *hole_age < age && hole.covers(key))
    }
}
