//! Walking a tree in order, from both ends, over one consistent view of it.

use super::node::{FANOUT, Node};
use std::ops::{self, Bound};
use std::sync::Arc;

/// What a tree holds between two bounds.
pub(crate) type Range = RangeOf<FANOUT>;

/// What a tree holds between two bounds. Owns the nodes that it walks, so later writes do not change what it yields.
#[derive(Debug)]
pub(crate) struct RangeOf<const F: usize> {
    front: Gap<F>,
    back: Gap<F>,
}

/// Entries of a leaf, one behind the other.
pub(super) type Part<'r, const F: usize> = (&'r Arc<Node<F>>, ops::Range<usize>);

/// A place between two entries of a tree.
#[derive(Debug)]
struct Gap<const F: usize> {
    /// From the root down: inner nodes, and in each the child that the place is in.
    path: Vec<(Arc<Node<F>>, usize)>,
    leaf: Arc<Node<F>>,
    /// How many entries of the leaf are before it.
    at: usize,
}

/// An end of a leaf.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl<const F: usize> Gap<F> {
    /// Before all keys that `key` is not above: before the key itself, or, if `behind`, behind it.
    fn at_key(root: &Arc<Node<F>>, key: &[u8], behind: bool) -> Self {
        let mut gap = Self::at_root(root);
        while let Node::Inner(inner) = &*Arc::clone(&gap.leaf) {
            gap.enter(inner.child_of(key));
        }
        gap.at = match gap.leaf.keys().search(key) {
            Ok(at) => at + usize::from(behind),
            Err(at) => at,
        };
        gap
    }

    fn at_end(root: &Arc<Node<F>>, end: End) -> Self {
        let mut gap = Self::at_root(root);
        gap.descend(end);
        gap
    }

    fn at_root(root: &Arc<Node<F>>) -> Self {
        Self {
            path: Vec::new(),
            leaf: Arc::clone(root),
            at: 0,
        }
    }

    fn enter(&mut self, child: usize) {
        if let Node::Inner(inner) = &*self.leaf {
            let below = Arc::clone(&inner.children[child]);
            let above = std::mem::replace(&mut self.leaf, below);
            self.path.push((above, child));
        }
    }

    /// Down to a leaf along one edge.
    fn descend(&mut self, end: End) {
        while let Node::Inner(inner) = &*self.leaf {
            let child = match end {
                End::First => 0,
                End::Last => inner.children.len() - 1,
            };
            self.enter(child);
        }
        self.at = match end {
            End::First => 0,
            End::Last => self.leaf.keys().len(),
        };
    }

    /// To the nearest end of the next leaf, or of the one before. `None`: there is none.
    fn step(&mut self, to: End) -> Option<()> {
        loop {
            let (above, child) = self.path.pop()?;
            let Node::Inner(inner) = &*above else {
                return None;
            };
            let next = match to {
                End::First => child + 1,
                End::Last => child.wrapping_sub(1),
            };
            if next < inner.children.len() {
                self.leaf = above;
                self.enter(next);
                self.descend(to);
                return Some(());
            }
        }
    }

    fn is_behind(&self, other: &Self) -> bool {
        let places = |gap: &Self| gap.path.iter().map(|(_, child)| *child).collect::<Vec<_>>();
        (places(self), self.at) > (places(other), other.at)
    }

    fn entry(&self, at: usize) -> (Box<[u8]>, &[u8]) {
        let keys = self.leaf.keys();
        (keys.key(at), keys.payload(at))
    }
}

impl<const F: usize> RangeOf<F> {
    pub(super) fn new(root: &Arc<Node<F>>, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Self {
        let front = match lower {
            Bound::Unbounded => Gap::at_end(root, End::First),
            Bound::Included(key) => Gap::at_key(root, key, false),
            Bound::Excluded(key) => Gap::at_key(root, key, true),
        };
        let back = match upper {
            Bound::Unbounded => Gap::at_end(root, End::Last),
            Bound::Included(key) => Gap::at_key(root, key, true),
            Bound::Excluded(key) => Gap::at_key(root, key, false),
        };
        if front.is_behind(&back) {
            // Bounds the wrong way round: nothing lies between them.
            let back = Gap::at_end(root, End::First);
            let front = Gap::at_end(root, End::First);
            return Self { front, back };
        }
        Self { front, back }
    }

    /// The front is never behind the back, so they have met where they are in one leaf and at one place.
    fn have_met(&self) -> bool {
        Arc::ptr_eq(&self.front.leaf, &self.back.leaf) && self.front.at >= self.back.at
    }
}

impl<const F: usize> RangeOf<F> {
    /// The next entries, at most so many: a part of a leaf.
    pub(super) fn next_part(&mut self, most: usize) -> Option<Part<'_, F>> {
        loop {
            if self.have_met() {
                return None;
            }
            let start = self.front.at;
            let end = if Arc::ptr_eq(&self.front.leaf, &self.back.leaf) {
                self.back.at
            } else {
                self.front.leaf.keys().len()
            };
            if start < end {
                let end = end.min(start.saturating_add(most));
                self.front.at = end;
                break Some((&self.front.leaf, start..end));
            }
            self.front.step(End::First)?;
        }
    }

    /// The last entries that are left, at most so many: a part of a leaf.
    pub(super) fn next_back_part(&mut self, most: usize) -> Option<Part<'_, F>> {
        loop {
            if self.have_met() {
                return None;
            }
            let end = self.back.at;
            let start = if Arc::ptr_eq(&self.front.leaf, &self.back.leaf) {
                self.front.at
            } else {
                0
            };
            if start < end {
                let start = start.max(end.saturating_sub(most));
                self.back.at = start;
                break Some((&self.back.leaf, start..end));
            }
            self.back.step(End::Last)?;
        }
    }
}

impl<const F: usize> RangeOf<F> {
    /// The next key with its payload.
    pub(crate) fn next(&mut self) -> Option<(Box<[u8]>, &[u8])> {
        loop {
            if self.have_met() {
                return None;
            }
            let at = self.front.at;
            if at < self.front.leaf.keys().len() {
                self.front.at += 1;
                break Some(self.front.entry(at));
            }
            self.front.step(End::First)?;
        }
    }

    /// The last key that is left, with its payload.
    pub(crate) fn next_back(&mut self) -> Option<(Box<[u8]>, &[u8])> {
        loop {
            if self.have_met() {
                return None;
            }
            if let Some(at) = self.back.at.checked_sub(1) {
                self.back.at = at;
                break Some(self.back.entry(at));
            }
            self.back.step(End::Last)?;
        }
    }
}
