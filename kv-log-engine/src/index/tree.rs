//! A copy-on-write B+tree: cloning the root is a snapshot.
//!
//! Nodes are shared by `Arc`. A node that no snapshot holds is changed in place; one that a snapshot holds is copied
//! first (path copying, as in LMDB and in Rodeh's "B-trees, shadowing, and clones", 2008). A compact block layout can
//! replace the inside of the leaves without touching this interface.

use super::range::Range;
use crate::format::ids::Entry;
use std::ops::Bound;
use std::sync::Arc;

/// Entries of a leaf, children of an inner node.
pub(super) const FANOUT_MAX: usize = 64;
/// A node with fewer looks for a sibling to merge with.
const FANOUT_MIN: usize = FANOUT_MAX / 4;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Vec<(Box<[u8]>, Entry)>),
    /// Each child with a lower bound of its keys; the first child's bound is not used.
    Inner(Vec<(Box<[u8]>, Arc<Self>)>),
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }
}

/// The child that a key belongs to.
pub(super) fn child_of(children: &[(Box<[u8]>, Arc<Node>)], key: &[u8]) -> usize {
    children
        .partition_point(|(low, _)| **low <= *key)
        .saturating_sub(1)
}

/// An ordered map from keys to entries. Cloning it costs one reference count, whatever its size.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: Arc<Node>,
    len: usize,
    key_bytes: usize,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            root: Arc::new(Node::Leaf(Vec::new())),
            len: 0,
            key_bytes: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// An estimate of the heap bytes in use: entries, keys with their allocation, half-filled nodes.
    pub(crate) const fn approximate_bytes(&self) -> usize {
        let slot = size_of::<(Box<[u8]>, Entry)>();
        self.key_bytes + self.len * (slot * 4 / 3 + 16)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Entry> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => node = &*children[child_of(children, key)].1,
                Node::Leaf(entries) => {
                    let found = entries.binary_search_by(|(known, _)| (**known).cmp(key));
                    return found.ok().map(|at| entries[at].1);
                }
            }
        }
    }

    /// Sets the entry of a key; returns the one it replaces.
    pub(crate) fn insert(&mut self, key: &[u8], entry: Entry) -> Option<Entry> {
        let (replaced, split) = insert(&mut self.root, key, entry);
        if let Some(right) = split {
            let left = Arc::clone(&self.root);
            self.root = Arc::new(Node::Inner(vec![(Box::default(), left), right]));
        }
        if replaced.is_none() {
            self.len += 1;
            self.key_bytes += key.len();
        }
        replaced
    }

    /// Takes a key out; returns its entry.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        // Looked up first, so that a key that is not there copies no node.
        let removed = self.get(key)?;
        remove(&mut self.root, key);
        while let Node::Inner(children) = &*self.root {
            let [(_, only)] = children.as_slice() else {
                break;
            };
            self.root = Arc::clone(only);
        }
        self.len -= 1;
        self.key_bytes -= key.len();
        Some(removed)
    }

    /// The entries between two bounds, in order of their keys. The iterator owns its view of the tree.
    pub(crate) fn range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Range {
        Range::new(&self.root, lower, upper)
    }
}

type Split = Option<(Box<[u8]>, Arc<Node>)>;

fn insert(node: &mut Arc<Node>, key: &[u8], entry: Entry) -> (Option<Entry>, Split) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            match entries.binary_search_by(|(known, _)| (**known).cmp(key)) {
                Ok(at) => return (Some(std::mem::replace(&mut entries[at].1, entry)), None),
                Err(at) => entries.insert(at, (key.into(), entry)),
            }
            let split = (entries.len() > FANOUT_MAX).then(|| {
                let right = entries.split_off(split_point(entries.len(), entries.last(), key));
                (right[0].0.clone(), Arc::new(Node::Leaf(right)))
            });
            (None, split)
        }
        Node::Inner(children) => {
            let at = child_of(children, key);
            let (replaced, split) = insert(&mut children[at].1, key, entry);
            if let Some(right) = split {
                children.insert(at + 1, right);
            }
            let split = (children.len() > FANOUT_MAX).then(|| {
                let mut right = children.split_off(FANOUT_MAX / 2);
                let low = std::mem::take(&mut right[0].0);
                (low, Arc::new(Node::Inner(right)))
            });
            (replaced, split)
        }
    }
}

/// Keys that arrive in order leave full leaves behind; others split in the middle.
fn split_point(len: usize, last: Option<&(Box<[u8]>, Entry)>, key: &[u8]) -> usize {
    if last.is_some_and(|(last, _)| **last == *key) {
        len - 1
    } else {
        len / 2
    }
}

fn remove(node: &mut Arc<Node>, key: &[u8]) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            if let Ok(at) = entries.binary_search_by(|(known, _)| (**known).cmp(key)) {
                entries.remove(at);
            }
        }
        Node::Inner(children) => {
            let at = child_of(children, key);
            remove(&mut children[at].1, key);
            if children[at].1.len() < FANOUT_MIN {
                merge_with_sibling(children, at);
            }
        }
    }
}

/// Merges a small child with a neighbour where the two fit into one node; an empty child goes in any case.
fn merge_with_sibling(children: &mut Vec<(Box<[u8]>, Arc<Node>)>, at: usize) {
    if children.len() == 1 {
        return;
    }
    let left = at.saturating_sub(1);
    let right = left + 1;
    if children[left].1.len() + children[right].1.len() > FANOUT_MAX {
        return;
    }
    let (low, moved) = children.remove(right);
    match (
        Arc::make_mut(&mut children[left].1),
        Arc::unwrap_or_clone(moved),
    ) {
        (Node::Leaf(entries), Node::Leaf(more)) => entries.extend(more),
        (Node::Inner(inner), Node::Inner(mut more)) => {
            // The first child's bound was not used; among others it is.
            if let Some(first) = more.first_mut() {
                first.0 = low;
            }
            inner.extend(more);
        }
        _ => unreachable!("all leaves of a tree have the same depth"),
    }
}

#[cfg(test)]
impl Tree {
    /// Asserts order, fill, depth and length.
    pub(super) fn check(&self) {
        fn walk(
            node: &Node,
            root: bool,
            low: Option<&[u8]>,
            high: Option<&[u8]>,
        ) -> (usize, usize) {
            match node {
                Node::Leaf(entries) => {
                    assert!(root || !entries.is_empty(), "empty leaf");
                    assert!(entries.len() <= FANOUT_MAX);
                    assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
                    assert!(entries.iter().all(|(key, _)| {
                        low.is_none_or(|low| low <= &**key) && high.is_none_or(|high| &**key < high)
                    }));
                    (entries.len(), 0)
                }
                Node::Inner(children) => {
                    assert!(children.len() <= FANOUT_MAX && !children.is_empty());
                    assert!(!root || children.len() >= 2);
                    let mut total = 0;
                    let mut depths = Vec::new();
                    for (at, (own_low, child)) in children.iter().enumerate() {
                        let low = if at == 0 { low } else { Some(&**own_low) };
                        let high = children.get(at + 1).map_or(high, |(next, _)| Some(&**next));
                        let (count, depth) = walk(child, false, low, high);
                        total += count;
                        depths.push(depth);
                    }
                    assert!(
                        depths.windows(2).all(|pair| pair[0] == pair[1]),
                        "uneven depth"
                    );
                    (total, depths[0] + 1)
                }
            }
        }
        let (count, _) = walk(&self.root, true, None, None);
        assert_eq!(count, self.len);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
