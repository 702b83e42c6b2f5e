//! A node of the tree: a block of keys, and above the leaves a child on each side of each key.

use super::block::{Block, common};
use std::ops::Bound;
use std::sync::Arc;

/// Keys of a leaf, separators of an inner node: at most. Tests have trees with fewer.
pub(super) const FANOUT: usize = 64;

#[derive(Clone, Debug)]
pub(super) enum Node<const F: usize> {
    Leaf(Block<F>),
    Inner(Inner<F>),
}

/// Children in order, and between each two of them a *separator*: above all keys on its left, not above any on its
/// right, and as short as that allows.
#[derive(Clone, Debug)]
pub(super) struct Inner<const F: usize> {
    pub(super) separators: Block<F>,
    /// One more than separators, and at least two.
    pub(super) children: Vec<Arc<Node<F>>>,
}

/// A new right neighbour, and the separator before it.
pub(super) type Split<const F: usize> = Option<(Box<[u8]>, Arc<Node<F>>)>;

/// A node with fewer keys looks for a sibling to merge with.
#[cfg(any(test, feature = "internals"))]
const fn keys_min(fanout: usize) -> usize {
    fanout / 4
}

impl<const F: usize> Node<F> {
    pub(super) const fn empty() -> Self {
        Self::Leaf(Block::new())
    }

    #[cfg(any(test, feature = "internals"))]
    fn is_small(&self) -> bool {
        let keys = self.keys();
        let few = keys.len() < keys_min(F) && keys.used_bytes() < Block::<F>::BYTES_MAX / 4;
        few || keys.len() == 0
    }

    pub(super) const fn keys(&self) -> &Block<F> {
        match self {
            Self::Leaf(keys) => keys,
            Self::Inner(inner) => &inner.separators,
        }
    }

    fn raise(&mut self, stamp: u64) {
        match self {
            Self::Leaf(keys) => keys.raise(stamp),
            Self::Inner(inner) => inner.separators.raise(stamp),
        }
    }

    /// Nothing in here has a higher stamp.
    pub(super) const fn newest(&self) -> u64 {
        self.keys().newest()
    }

    /// The first key between two bounds with a stamp above this one, and its stamp. What has none is passed over.
    pub(super) fn first_above(
        &self,
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        stamp: u64,
        stamp_of: &dyn Fn(&[u8]) -> u64,
    ) -> Option<(Box<[u8]>, u64)> {
        if self.newest() <= stamp {
            return None;
        }
        match self {
            Self::Leaf(leaf) => {
                let place = |key: &[u8], behind: bool| match leaf.search(key) {
                    Ok(at) => at + usize::from(behind),
                    Err(at) => at,
                };
                let first = match lower {
                    Bound::Unbounded => 0,
                    Bound::Included(key) => place(key, false),
                    Bound::Excluded(key) => place(key, true),
                };
                let end = match upper {
                    Bound::Unbounded => leaf.len(),
                    Bound::Included(key) => place(key, true),
                    Bound::Excluded(key) => place(key, false),
                };
                (first..end).find_map(|at| {
                    let found = stamp_of(leaf.payload(at));
                    (found > stamp).then(|| (leaf.key(at), found))
                })
            }
            Self::Inner(inner) => {
                let first = match lower {
                    Bound::Unbounded => 0,
                    Bound::Included(key) | Bound::Excluded(key) => inner.child_of(key),
                };
                let last = match upper {
                    Bound::Unbounded => inner.children.len() - 1,
                    Bound::Included(key) | Bound::Excluded(key) => inner.child_of(key),
                };
                let children = inner.children.iter().take(last + 1).skip(first);
                children
                    .filter(|child| child.newest() > stamp)
                    .find_map(|child| child.first_above((lower, upper), stamp, stamp_of))
            }
        }
    }

    /// Sets the payload of a key; `before` is told the one it replaces. A node that somebody else holds is copied first.
    pub(super) fn insert(
        this: &mut Arc<Self>,
        key: &[u8],
        (payload, stamp): (&[u8], u64),
        before: &mut dyn FnMut(&[u8]),
    ) -> Split<F> {
        let this = Arc::make_mut(this);
        this.raise(stamp);
        match this {
            Self::Leaf(leaf) => match leaf.search(key) {
                Ok(at) => {
                    before(leaf.payload(at));
                    if leaf.takes(at, payload) {
                        leaf.set_payload(at, payload);
                        return None;
                    }
                    leaf.remove(at);
                    insert_into_leaf(leaf, at, key, payload)
                }
                Err(at) => insert_into_leaf(leaf, at, key, payload),
            },
            Self::Inner(inner) => {
                let at = inner.child_of(key);
                let split = Self::insert(&mut inner.children[at], key, (payload, stamp), before);
                split.and_then(|(separator, right)| inner.insert(at, &separator, right))
            }
        }
    }

    /// Takes out a key that is there.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn remove(this: &mut Arc<Self>, key: &[u8]) {
        match Arc::make_mut(this) {
            Self::Leaf(leaf) => {
                if let Ok(at) = leaf.search(key) {
                    leaf.remove(at);
                }
            }
            Self::Inner(inner) => {
                let at = inner.child_of(key);
                Self::remove(&mut inner.children[at], key);
                if inner.children[at].is_small() {
                    inner.merge_or_share(at.saturating_sub(1));
                }
            }
        }
    }
}

fn insert_into_leaf<const F: usize>(
    leaf: &mut Block<F>,
    at: usize,
    key: &[u8],
    payload: &[u8],
) -> Split<F> {
    if leaf.has_room(key, payload, 1) {
        leaf.insert(at, key, payload);
        return None;
    }
    let natural = leaf.natural_cut(at, key);
    let cut = natural.unwrap_or_else(|| {
        if leaf.len() == 1 {
            at
        } else {
            leaf.middle_cut()
        }
    });
    let newest = leaf.newest();
    let mut right = leaf.split_off(cut);
    right.raise(newest);
    leaf.raise(newest);
    if at > cut || right.len() == 0 {
        right.insert(at - cut, key, payload);
    } else {
        leaf.insert(at, key, payload);
    }
    Some((separator(leaf, &right), Arc::new(Node::Leaf(right))))
}

/// The shortest key that is above the left block and not above the right one.
fn separator<const F: usize>(left: &Block<F>, right: &Block<F>) -> Box<[u8]> {
    let below = left.key(left.len() - 1);
    let above = right.key(0);
    above[..=common(&below, &above)].into()
}

impl<const F: usize> Inner<F> {
    /// Two children.
    pub(super) fn of(left: Arc<Node<F>>, separator: &[u8], right: Arc<Node<F>>) -> Self {
        let mut separators = Block::new();
        separators.insert(0, separator, &[]);
        separators.raise(left.newest().max(right.newest()));
        Self {
            separators,
            children: vec![left, right],
        }
    }

    /// The child that a key belongs to.
    #[inline]
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        match self.separators.search(key) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    /// Puts a child in behind the one at `at`, with the separator between the two.
    fn insert(&mut self, at: usize, separator: &[u8], child: Arc<Node<F>>) -> Split<F> {
        if self.separators.has_room(separator, &[], 3) {
            self.separators.insert(at, separator, &[]);
            self.children.insert(at + 1, child);
            return None;
        }
        let len = self.separators.len();
        let cut = match self.separators.natural_cut(at, separator) {
            Some(0) => 0,
            Some(end) if end == len => len - 1,
            _ => len / 2,
        };
        let up = self.separators.key(cut);
        let newest = self.separators.newest();
        let mut right = Self {
            separators: self.separators.split_off(cut + 1),
            children: self.children.split_off(cut + 1),
        };
        self.separators.remove(cut);
        right.separators.raise(newest);
        self.separators.raise(newest);
        let (side, at) = if at <= cut {
            (self, at)
        } else {
            (&mut right, at - cut - 1)
        };
        side.separators.insert(at, separator, &[]);
        side.children.insert(at + 1, child);
        Some((up, Arc::new(Node::Inner(right))))
    }

    /// Makes one of the child at `left` and the next, or lets them share their keys where one node would be too small.
    #[cfg(any(test, feature = "internals"))]
    fn merge_or_share(&mut self, left: usize) {
        let right = left + 1;
        let between = self.separators.key(left);
        let shared = match (&*self.children[left], &*self.children[right]) {
            (Node::Leaf(one), Node::Leaf(other)) => join_leaves(one, other),
            (Node::Inner(one), Node::Inner(other)) => join_inner(one, &between, other),
            _ => unreachable!("all leaves of a tree have the same depth"),
        };
        let (low, high) = match shared {
            Joined::Unchanged => return,
            Joined::One(node) => (node, None),
            Joined::Two(low, separator, high) => (low, Some((separator, high))),
        };
        self.children[left] = Arc::new(low);
        self.separators.remove(left);
        match high {
            None => drop(self.children.remove(right)),
            Some((separator, high)) => {
                self.separators.insert(left, &separator, &[]);
                self.children[right] = Arc::new(high);
            }
        }
    }
}

/// What becomes of two neighbours of which one is small.
#[cfg(any(test, feature = "internals"))]
enum Joined<const F: usize> {
    Unchanged,
    One(Node<F>),
    Two(Node<F>, Box<[u8]>, Node<F>),
}

#[cfg(any(test, feature = "internals"))]
fn join_leaves<const F: usize>(left: &Block<F>, right: &Block<F>) -> Joined<F> {
    let len = left.len() + right.len();
    let bytes = Block::bytes_together(left, right);
    let one_is_empty = left.len() == 0 || right.len() == 0;
    if one_is_empty || len <= F && bytes <= Block::<F>::BYTES_MAX {
        return Joined::One(Node::Leaf(Block::of(
            &[(left, 0..left.len()), (right, 0..right.len())],
            0,
        )));
    }
    let cut = len / 2;
    // The larger one gives; with few large keys there may be nothing to give.
    let (low, high) = if cut < left.len() && left.used_bytes() > right.used_bytes() {
        (
            Block::of(&[(left, 0..cut)], 0),
            Block::of(&[(left, cut..left.len()), (right, 0..right.len())], 0),
        )
    } else if cut > left.len() && left.used_bytes() < right.used_bytes() {
        let given = cut - left.len();
        (
            Block::of(&[(left, 0..left.len()), (right, 0..given)], 0),
            Block::of(&[(right, given..right.len())], 0),
        )
    } else {
        return Joined::Unchanged;
    };
    let separator = separator(&low, &high);
    Joined::Two(Node::Leaf(low), separator, Node::Leaf(high))
}

#[cfg(any(test, feature = "internals"))]
fn join_inner<const F: usize>(left: &Inner<F>, between: &[u8], right: &Inner<F>) -> Joined<F> {
    let separators_of = |inner: &Inner<F>| {
        let keys = (0..inner.separators.len()).map(|at| inner.separators.key(at));
        keys.collect::<Vec<_>>()
    };
    let mut separators = separators_of(left);
    separators.push(between.into());
    separators.extend(separators_of(right));
    let mut children: Vec<_> = left
        .children
        .iter()
        .chain(&right.children)
        .map(Arc::clone)
        .collect();
    let bytes = Block::bytes_together(&left.separators, &right.separators) + between.len();
    if separators.len() <= F && (bytes <= Block::<F>::BYTES_MAX || separators.len() < 3) {
        return Joined::One(Node::Inner(inner(&separators, children)));
    }
    let cut = separators.len() / 2;
    let high = inner(&separators[cut + 1..], children.split_off(cut + 1));
    let low = inner(&separators[..cut], children);
    Joined::Two(Node::Inner(low), separators[cut].clone(), Node::Inner(high))
}

#[cfg(any(test, feature = "internals"))]
fn inner<const F: usize>(separators: &[Box<[u8]>], children: Vec<Arc<Node<F>>>) -> Inner<F> {
    let mut block = Block::new();
    for (at, separator) in separators.iter().enumerate() {
        block.insert(at, separator, &[]);
    }
    let len = block.len();
    let mut separators = Block::of(&[(&block, 0..len)], 0);
    separators.raise(
        children
            .iter()
            .map(|child| child.newest())
            .max()
            .unwrap_or_default(),
    );
    Inner {
        separators,
        children,
    }
}

#[cfg(test)]
impl<const F: usize> Node<F> {
    /// Asserts order, fill and depth; returns the number of keys and the depth.
    pub(super) fn check(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> (usize, usize) {
        self.keys().check();
        let keys: Vec<_> = (0..self.keys().len())
            .map(|at| self.keys().key(at))
            .collect();
        for key in &keys {
            assert!(low.is_none_or(|low| low <= &**key));
            assert!(high.is_none_or(|high| &**key < high));
        }
        let below = match self {
            Self::Leaf(_) => 0,
            Self::Inner(inner) => inner
                .children
                .iter()
                .map(|child| child.newest())
                .max()
                .unwrap_or(0),
        };
        assert!(below <= self.newest(), "a stamp below is not known above");
        let Self::Inner(inner) = self else {
            assert!(
                low.is_none() && high.is_none() || !keys.is_empty(),
                "empty leaf"
            );
            return (keys.len(), 0);
        };
        assert_eq!(inner.children.len(), keys.len() + 1);
        assert!(!keys.is_empty(), "an only child");
        let mut len = 0;
        let mut depths = Vec::new();
        for (at, child) in inner.children.iter().enumerate() {
            let low = at.checked_sub(1).map(|at| &*keys[at]).or(low);
            let high = keys.get(at).map(|high| &**high).or(high);
            let (below, depth) = child.check(low, high);
            len += below;
            depths.push(depth);
        }
        assert!(
            depths.windows(2).all(|pair| pair[0] == pair[1]),
            "uneven depth"
        );
        (len, depths[0] + 1)
    }
}
