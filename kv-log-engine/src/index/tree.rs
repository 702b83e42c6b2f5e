//! A copy-on-write B+tree: cloning the root is a snapshot.
//!
//! Keys and what stands behind them are bytes; what those mean is the memtable's business. Nodes are shared by `Arc`. A
//! node that no snapshot holds is changed in place; one that a snapshot holds is copied first (path copying, as in LMDB
//! and in Rodeh's "B-trees, shadowing, and clones", 2008). What a node looks like inside is [`super::block`]'s business.

use super::node::{FANOUT, Inner, Node};
use super::range::RangeOf;
use std::ops::Bound;
use std::sync::Arc;

/// The tree that a memtable is made of.
pub(crate) type Tree = TreeOf<FANOUT>;

/// What a key takes beside its bytes and its payload's, in nodes that are two thirds full: an estimate.
const ENTRY_BYTES: usize = 24;

/// An ordered map from keys to payloads. Cloning it costs one reference count, whatever its size.
#[derive(Clone, Debug)]
pub(crate) struct TreeOf<const F: usize> {
    root: Arc<Node<F>>,
    len: usize,
    content_bytes: usize,
}

impl<const F: usize> Default for TreeOf<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const F: usize> TreeOf<F> {
    pub(crate) fn new() -> Self {
        Self {
            root: Arc::new(Node::empty()),
            len: 0,
            content_bytes: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// An estimate of the heap bytes in use: keys, payloads, nodes that are two thirds full.
    pub(crate) const fn approximate_bytes(&self) -> usize {
        self.content_bytes + self.len * ENTRY_BYTES
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(inner) => node = &*inner.children[inner.child_of(key)],
                Node::Leaf(leaf) => {
                    let found = leaf.search(key).ok()?;
                    return Some(leaf.payload(found));
                }
            }
        }
    }

    /// Sets the payload of a key; `before` is told the one it replaces. `stamp`: what [`TreeOf::first_above`] knows it by.
    pub(crate) fn insert(
        &mut self,
        key: &[u8],
        payload: &[u8],
        stamp: u64,
        mut before: impl FnMut(&[u8]),
    ) {
        let mut replaced = None;
        let split = Node::insert(&mut self.root, key, (payload, stamp), &mut |old| {
            replaced = Some(old.len());
            before(old);
        });
        if let Some((separator, right)) = split {
            let left = Arc::clone(&self.root);
            self.root = Arc::new(Node::Inner(Inner::of(left, &separator, right)));
        }
        self.content_bytes += payload.len();
        match replaced {
            Some(old_bytes) => self.content_bytes -= old_bytes,
            None => {
                self.len += 1;
                self.content_bytes += key.len();
            }
        }
    }

    /// Takes a key out; returns whether it was there. A memtable never does: it keeps a tombstone.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        // Looked up first, so that a key that is not there copies no node.
        let Some(payload) = self.get(key) else {
            return false;
        };
        self.content_bytes -= key.len() + payload.len();
        Node::remove(&mut self.root, key);
        while let Node::Inner(inner) = &*self.root {
            let [only] = inner.children.as_slice() else {
                break;
            };
            self.root = Arc::clone(only);
        }
        self.len -= 1;
        true
    }

    /// The first key between two bounds that was put in with a stamp above this one, and its stamp, as `stamp_of` finds it
    /// in the payload. Each node knows the highest below it, so what has not changed costs nothing, however much it is.
    pub(crate) fn first_above(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        stamp: u64,
        stamp_of: impl Fn(&[u8]) -> u64,
    ) -> Option<(Box<[u8]>, u64)> {
        self.root.first_above(bounds, stamp, &stamp_of)
    }

    /// What lies between two bounds, in order of the keys. The range owns its view of the tree.
    pub(crate) fn range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> RangeOf<F> {
        RangeOf::new(&self.root, lower, upper)
    }

    /// The nodes, to be freed by somebody who may take the time.
    pub(super) fn into_root(self) -> Arc<Node<F>> {
        self.root
    }
}

#[cfg(test)]
impl<const F: usize> TreeOf<F> {
    /// Asserts order, fill, depth and length.
    pub(super) fn check(&self) {
        let (len, _) = self.root.check(None, None);
        assert_eq!(len, self.len);
    }

    pub(super) fn depth(&self) -> usize {
        self.root.check(None, None).1
    }

    fn nodes(&self) -> Vec<Arc<Node<F>>> {
        let mut nodes = vec![Arc::clone(&self.root)];
        let mut at = 0;
        while let Some(node) = nodes.get(at).map(Arc::clone) {
            if let Node::Inner(inner) = &*node {
                nodes.extend(inner.children.iter().map(Arc::clone));
            }
            at += 1;
        }
        nodes
    }

    pub(super) fn leaves(&self) -> usize {
        let nodes = self.nodes();
        let leaves = nodes
            .iter()
            .filter(|node| matches!(&***node, Node::Leaf(_)));
        leaves.count()
    }

    /// How many nodes are not the other tree's, and how many are.
    pub(super) fn nodes_unlike(&self, other: &Self) -> (usize, usize) {
        let theirs: Vec<_> = other.nodes().iter().map(Arc::as_ptr).collect();
        let theirs = std::collections::HashSet::<_>::from_iter(theirs);
        let own = self.nodes();
        let shared = own
            .iter()
            .filter(|node| theirs.contains(&Arc::as_ptr(node)));
        let shared = shared.count();
        (own.len() - shared, shared)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let of_node = |node: &Node<F>| {
            let children = match node {
                Node::Leaf(_) => 0,
                Node::Inner(inner) => inner.children.capacity() * size_of::<usize>(),
            };
            2 * size_of::<usize>() + size_of::<Node<F>>() + node.keys().heap_bytes() + children
        };
        self.nodes().iter().map(|node| of_node(node)).sum()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
