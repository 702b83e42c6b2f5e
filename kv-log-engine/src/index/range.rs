//! Walking a tree in order, over one consistent view of it.

use super::tree::{Node, child_of};
use crate::format::ids::Entry;
use std::ops::Bound;
use std::sync::Arc;

/// The entries between two bounds. Owns the root it was made from, so later writes do not change what it yields.
#[derive(Debug)]
pub(crate) struct Range {
    /// From the root down: a node and the position in it that comes next.
    path: Vec<(Arc<Node>, usize)>,
    upper: Bound<Box<[u8]>>,
}

impl Range {
    pub(super) fn new(root: &Arc<Node>, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Self {
        let mut range = Self {
            path: Vec::new(),
            upper: upper.map(Box::from),
        };
        range.descend(Arc::clone(root), lower);
        range
    }

    fn descend(&mut self, mut node: Arc<Node>, lower: Bound<&[u8]>) {
        loop {
            let (at, next) = match &*node {
                Node::Inner(children) => {
                    let at = match lower {
                        Bound::Unbounded => 0,
                        Bound::Included(key) | Bound::Excluded(key) => child_of(children, key),
                    };
                    (at + 1, Some(Arc::clone(&children[at].1)))
                }
                Node::Leaf(entries) => {
                    let at = match lower {
                        Bound::Unbounded => 0,
                        Bound::Included(key) => {
                            entries.partition_point(|(known, _)| **known < *key)
                        }
                        Bound::Excluded(key) => {
                            entries.partition_point(|(known, _)| **known <= *key)
                        }
                    };
                    (at, None)
                }
            };
            self.path.push((node, at));
            match next {
                Some(child) => node = child,
                None => return,
            }
        }
    }

    fn within(&self, key: &[u8]) -> bool {
        match &self.upper {
            Bound::Unbounded => true,
            Bound::Included(upper) => key <= &**upper,
            Bound::Excluded(upper) => key < &**upper,
        }
    }
}

impl Iterator for Range {
    type Item = (Box<[u8]>, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, at) = self.path.last_mut()?;
            let position = *at;
            *at += 1;
            match &**node {
                Node::Leaf(entries) => {
                    if let Some((key, entry)) = entries.get(position) {
                        let found = (key.clone(), *entry);
                        if self.within(&found.0) {
                            return Some(found);
                        }
                        self.path.clear();
                        return None;
                    }
                }
                Node::Inner(children) => {
                    if let Some((_, child)) = children.get(position) {
                        let child = Arc::clone(child);
                        self.descend(child, Bound::Unbounded);
                        continue;
                    }
                }
            }
            self.path.pop();
        }
    }
}
