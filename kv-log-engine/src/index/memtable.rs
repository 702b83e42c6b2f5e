//! The memtable: what was written since the last checkpoint, by full key. Tombstones stay: they hide what lies below.

use super::range::Range;
use super::slot::{self, Found, Slot};
use super::tree::Tree;
use crate::format::ids::{Location, SegmentId, Seqno};
use crate::format::run::block::{Held, Version};
use crate::format::run::write_full_key;
use crate::index::source::{Chunk, Direction, Entry, Filled, Interval, Item, Shared, Source};
use kv_trait::Result;
use std::collections::BTreeMap;
use std::ops::Bound;

/// One record's effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) keyspace: u32,
    pub(crate) key: &'a [u8],
    pub(crate) seqno: Seqno,
    /// Where its record lies.
    pub(crate) location: Location,
    /// From this moment on, in milliseconds since 1970, its key is absent.
    pub(crate) expiry_ms: Option<u64>,
    /// `None`: a tombstone. Of a value that stays where it is only the length is looked at.
    pub(crate) value: Option<Value<'a>>,
}

/// A value, of which the bytes need not be at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) len: usize,
}

/// Keys with their newest versions. Cloning it costs little, whatever its size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memtable {
    tree: Tree,
    /// Keys that hold a value.
    live: usize,
    /// Bytes of records whose values it shows, by segment.
    live_bytes: BTreeMap<SegmentId, u64>,
    /// One of them expires, or one that was replaced did.
    expires: bool,
    /// Values of at least so many bytes stay where they were written.
    separation_bytes: usize,
}

impl Memtable {
    pub(crate) fn new(separation_bytes: usize) -> Self {
        Self {
            separation_bytes,
            ..Self::default()
        }
    }

    /// An empty one of the same kind.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.separation_bytes)
    }

    /// The same without its keys, for a store that is closed: statistics stay.
    pub(crate) fn freed(&self) -> Self {
        Self {
            tree: Tree::new(),
            ..self.clone()
        }
    }

    /// Keys, tombstones included.
    pub(crate) const fn len(&self) -> usize {
        self.tree.len()
    }

    /// Keys that hold a value.
    pub(crate) const fn live(&self) -> usize {
        self.live
    }

    pub(crate) const fn tombstones(&self) -> usize {
        // A store that is closed has kept its numbers and no tree.
        self.tree.len().saturating_sub(self.live)
    }

    /// Whether something that was written to it expires.
    pub(crate) const fn expires(&self) -> bool {
        self.expires
    }

    pub(crate) const fn approximate_bytes(&self) -> usize {
        self.tree.approximate_bytes()
    }

    pub(crate) const fn live_bytes(&self) -> &BTreeMap<SegmentId, u64> {
        &self.live_bytes
    }

    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Found<'_>> {
        self.tree.get(key).map(slot::found)
    }

    /// The first key of an interval that was written behind a record, deletes included.
    pub(crate) fn changed_above(&self, interval: &Interval, above: Seqno) -> Option<Box<[u8]>> {
        let lower = interval.lower.as_ref().map(Vec::as_slice);
        let upper = interval.upper.as_ref().map(Vec::as_slice);
        let stamp_of = |payload: &[u8]| slot::found(payload).version.seqno.get();
        let found = self.tree.first_above((lower, upper), above.get(), stamp_of);
        found.map(|(key, _)| key)
    }

    /// The nodes, to be freed by somebody who may take the time.
    pub(super) fn into_tree(self) -> Tree {
        self.tree
    }

    /// What lies in an interval, one way.
    pub(crate) fn source(&self, interval: &Interval, direction: Direction) -> MemorySource {
        let lower = interval.lower.as_ref().map(Vec::as_slice);
        let upper = interval.upper.as_ref().map(Vec::as_slice);
        MemorySource {
            range: self.tree.range(lower, upper),
            direction,
        }
    }

    /// All there is, in order.
    pub(crate) fn all(&self) -> MemorySource {
        MemorySource {
            range: self.tree.range(Bound::Unbounded, Bound::Unbounded),
            direction: Direction::Forward,
        }
    }
}

/// Applies changes one after the other.
#[derive(Debug)]
pub(crate) struct Filler<'m> {
    memtable: &'m mut Memtable,
    slot: Slot,
    /// The full key of the last change.
    key: Vec<u8>,
}

impl<'m> Filler<'m> {
    pub(crate) fn new(memtable: &'m mut Memtable) -> Self {
        Self {
            memtable,
            slot: Slot::default(),
            key: Vec::new(),
        }
    }

    /// Applies a change; `before` is told what it replaces, with the full key, unless nothing was there. Returns the full key.
    pub(crate) fn apply(
        &mut self,
        change: &Change<'_>,
        mut before: impl FnMut(&[u8], &Found<'_>),
    ) -> &[u8] {
        write_full_key(&mut self.key, change.keyspace, change.key);
        let memtable = &mut *self.memtable;
        let held = match change.value {
            None => Held::Tombstone,
            Some(value) if value.len < memtable.separation_bytes => Held::Here(value.bytes),
            Some(_) => Held::Separated(change.location),
        };
        let found = Found {
            version: Version {
                seqno: change.seqno,
                expiry_ms: change.expiry_ms,
                held,
            },
            segment: change.location.segment,
        };
        let key_bytes = change.key.len();
        let Memtable {
            tree,
            live,
            live_bytes,
            expires,
            ..
        } = memtable;
        *expires |= found.version.expiry_ms.is_some();
        if !found.version.is_tombstone() {
            *live += 1;
            *live_bytes.entry(found.segment).or_default() += found.live_bytes(key_bytes);
        }
        let key = &*self.key;
        tree.insert(key, self.slot.fill(&found), change.seqno.get(), |old| {
            let old = slot::found(old);
            if !old.version.is_tombstone() {
                *live -= 1;
                let bytes = live_bytes.entry(old.segment).or_default();
                *bytes = bytes.saturating_sub(old.live_bytes(key_bytes));
            }
            before(key, &old);
        });
        key
    }

    /// Whether it has the key of a change.
    pub(crate) fn has(&mut self, change: &Change<'_>) -> bool {
        write_full_key(&mut self.key, change.keyspace, change.key);
        self.memtable.get(&self.key).is_some()
    }
}

/// A walk over a memtable. Owns its view of it.
#[derive(Debug)]
pub(crate) struct MemorySource {
    range: Range,
    direction: Direction,
}

impl MemorySource {
    /// The next entry; memory only.
    pub(crate) fn next_entry(&mut self) -> Option<Entry> {
        let next = match self.direction {
            Direction::Forward => self.range.next(),
            Direction::Backward => self.range.next_back(),
        };
        let (key, payload) = next?;
        let version = slot::found(payload).version;
        Some(Entry {
            key: key.into_vec(),
            version: version.map(Shared::copied),
        })
    }
}

impl Source for MemorySource {
    fn fill(&mut self, chunk: &mut Chunk, enough: usize) -> Result<Filled> {
        let part = match self.direction {
            Direction::Forward => self.range.next_part(enough),
            Direction::Backward => self.range.next_back_part(enough),
        };
        let Some((leaf, entries)) = part else {
            return Ok(Filled::End);
        };
        chunk.push_leaf(leaf, entries, self.direction);
        Ok(Filled::Entries)
    }
    fn next(&mut self) -> Result<Option<Item>> {
        Ok(self.next_entry().map(Item::Entry))
    }
}
