//! Entries in a row, on their way from a source to whoever asked for them: keys together in one buffer, values where they
//! lie already.
//!
//! One is filled again and again, so that an entry costs no allocation, and no reference count of its own: what its value
//! lies in is held once for the chunk. It pins memory, never a file.

use super::node::{FANOUT, Node};
use super::shared::Shared;
use super::slot;
use crate::format::run::block::{Slice, Stored, Version};
use crate::format::run::table::Table;
use std::ops::Range;
use std::sync::Arc;

/// Which way a source goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// What values are ranges of.
#[derive(Clone, Debug)]
enum Content {
    Block(Arc<[u8]>),
    Leaf(Arc<Node<FANOUT>>),
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Block(content) => content,
            Self::Leaf(leaf) => leaf.keys().bytes(),
        }
    }
}

/// One entry.
#[derive(Clone, Debug)]
struct Place {
    key: Range<usize>,
    /// Which of the contents.
    content: usize,
    version: Version<Slice>,
}

/// Entries in the order of one direction.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    keys: Vec<u8>,
    contents: Vec<Content>,
    places: Vec<Place>,
}

impl Chunk {
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.contents.clear();
        self.places.clear();
    }

    pub(crate) const fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The key of an entry that is there.
    #[inline]
    pub(crate) fn key(&self, at: usize) -> &[u8] {
        &self.keys[self.places[at].key.clone()]
    }

    /// What is said of that key.
    #[inline]
    pub(crate) fn version(&self, at: usize) -> Version<&[u8]> {
        let place = &self.places[at];
        let bytes = self.contents[place.content].bytes();
        place.version.map(|value| &bytes[value.range()])
    }

    /// The same, independent of this chunk.
    pub(crate) fn shared(&self, at: usize) -> Version<Shared> {
        let place = &self.places[at];
        let content = &self.contents[place.content];
        place.version.map(|value| match content {
            Content::Block(content) => Shared::new(Arc::clone(content), value.range()),
            Content::Leaf(leaf) => Shared::copied(&leaf.keys().bytes()[value.range()]),
        })
    }

    /// Adds entries of a block; the last of them first, if that is the direction.
    pub(crate) fn push_block(
        &mut self,
        block: &Table<Stored>,
        ordinals: Range<usize>,
        direction: Direction,
    ) {
        let content = self.contents.len();
        self.contents
            .push(Content::Block(Arc::clone(block.content())));
        let first = self.places.len();
        let places = &mut self.places;
        block.visit(ordinals, &mut self.keys, |key, version| {
            places.push(Place {
                key,
                content,
                version,
            });
        });
        self.turn(first, direction);
    }

    /// Adds entries of a leaf of a memtable, in the same way.
    pub(super) fn push_leaf(
        &mut self,
        leaf: &Arc<Node<FANOUT>>,
        entries: Range<usize>,
        direction: Direction,
    ) {
        let content = self.contents.len();
        self.contents.push(Content::Leaf(Arc::clone(leaf)));
        let first = self.places.len();
        let block = leaf.keys();
        for at in entries {
            let start = self.keys.len();
            let payload = block.push_key(at, &mut self.keys);
            let found = slot::found(&block.bytes()[payload.clone()]);
            // A value is the end of what stands behind a key.
            let value = |value: &[u8]| Slice::new(payload.end - value.len()..payload.end);
            self.places.push(Place {
                key: start..self.keys.len(),
                content,
                version: found.version.map(value),
            });
        }
        self.turn(first, direction);
    }

    fn turn(&mut self, first: usize, direction: Direction) {
        if direction == Direction::Backward {
            self.places[first..].reverse();
        }
    }

    /// Adds a copy of an entry.
    #[cfg(test)]
    pub(crate) fn push_copy(&mut self, key: &[u8], version: &Version<&[u8]>) {
        use crate::format::run::block::Held;
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        let value = match version.held {
            Held::Here(value) => value,
            Held::Tombstone | Held::Separated(_) => &[],
        };
        self.places.push(Place {
            key: start..self.keys.len(),
            content: self.contents.len(),
            version: version.map(|value| Slice::new(0..value.len())),
        });
        self.contents.push(Content::Block(Arc::from(value)));
    }

    /// Keeps the first entries.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.places.truncate(len);
    }

    /// How many entries, from the first on, `is_first` is true of.
    pub(crate) fn count_first(&self, is_first: impl Fn(&[u8]) -> bool) -> usize {
        let keys = &self.keys;
        self.places
            .partition_point(|place| is_first(&keys[place.key.clone()]))
    }
}
