//! Freeing what was replaced. Nodes that nobody reads any more are freed by those who may take the time.
//!
//! A tree that is dropped frees every node that only it held: of a large batch, hundreds of thousands of keys. Whoever
//! reads may be the last to hold a root, and may be a task on an executor's thread. It frees a few nodes and leaves the
//! rest here, for the leader behind its next exchange, for `close`, and in slices for later readers.

use super::node::{FANOUT, Node};
use crate::sync::lock_std as lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

type Shared = Arc<Node<FANOUT>>;

/// Nodes that a reader lets go of at a time: a few microseconds.
const SLICE_NODES: usize = 64;

/// Nodes to be let go of.
#[derive(Debug, Default)]
pub(super) struct Retired {
    /// Held for moving a few pointers, never while a node is freed.
    nodes: Mutex<Vec<Shared>>,
    /// Whether there may be any: asked by each reader.
    some: AtomicBool,
}

impl Retired {
    /// Lets go of a root, for somebody who must not take long.
    pub(super) fn retire(&self, root: Shared) {
        let mut nodes = vec![root];
        release(&mut nodes, SLICE_NODES);
        self.leave(nodes);
    }

    fn leave(&self, mut nodes: Vec<Shared>) {
        if !nodes.is_empty() {
            lock(&self.nodes).append(&mut nodes);
            self.some.store(true, Ordering::Relaxed);
        }
    }

    /// Lets go of a few nodes that somebody has left.
    pub(super) fn slice(&self) {
        if !self.some.load(Ordering::Relaxed) {
            return;
        }
        // Somebody else is at it: not worth waiting for.
        let Ok(mut left) = self.nodes.try_lock() else {
            return;
        };
        let from = left.len().saturating_sub(SLICE_NODES);
        let mut nodes = left.split_off(from);
        self.some.store(from > 0, Ordering::Relaxed);
        drop(left);
        release(&mut nodes, SLICE_NODES);
        self.leave(nodes);
    }

    /// Lets go of so many nodes, or of all there are. Takes as long as that takes.
    pub(super) fn release(&self, nodes_max: usize) {
        if !self.some.load(Ordering::Relaxed) {
            return;
        }
        // In this order: what is left from here on is said again, and not unsaid.
        self.some.store(false, Ordering::Relaxed);
        let mut nodes = std::mem::take(&mut *lock(&self.nodes));
        release(&mut nodes, nodes_max);
        self.leave(nodes);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.nodes).is_empty()
    }
}

/// Drops at most so many nodes, those that others hold included. What is left of an inner node are its children.
fn release(nodes: &mut Vec<Shared>, nodes_max: usize) {
    for _ in 0..nodes_max {
        let Some(node) = nodes.pop() else {
            return;
        };
        if let Some(Node::Inner(inner)) = Arc::into_inner(node) {
            nodes.extend(inner.children);
        }
    }
}
