//! What readers see: a tree and the segments it points into, changed by whole groups.
//!
//! The leader builds the next tree aside, after the group's sync, and exchanges it under a lock that is held for one
//! assignment. A reader holds that lock for the cloning of one `Arc`, and looks up without any. So a group becomes
//! visible in one step, also to two successive point reads; nobody waits while it is built, however large it is; and
//! a panic half way leaves what there was. Whoever changes the view replaces only its own part of the one that is
//! current at the exchange.

use super::retired::Retired;
use super::{Range, Tree};
use crate::format::ids::{Entry, SegmentId, Seqno};
use crate::log::files::Segment;
use crate::sync::lock_std as lock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Replaced nodes that the leader lets go of behind an exchange, besides some for each record: a few milliseconds.
const RELEASED_AT_ONCE: usize = 32 * 1024;
const RELEASED_A_RECORD: usize = 256;

/// Freeing an index with more keys takes a millisecond or more: not on an executor's thread.
const LARGE_KEYS: usize = 16 * 1024;

type Segments = BTreeMap<SegmentId, Arc<Segment>>;

/// One consistent point.
#[derive(Debug)]
struct Point {
    tree: Tree,
    /// Holds every segment that the tree points into.
    segments: Arc<Segments>,
    /// The tree is empty because the store was closed, not because it holds nothing.
    closed: bool,
    live_keys: usize,
}

impl Point {
    /// The segment that an entry of this point points into.
    fn segment(&self, entry: &Entry) -> Arc<Segment> {
        let segment = self.segments.get(&entry.location.segment);
        Arc::clone(segment.expect("a view holds every segment its tree points into"))
    }
}

/// One consistent point, and a pin on every segment that may be read from it.
#[derive(Debug)]
pub(crate) struct View {
    /// `None` only while this is being dropped.
    point: Option<Arc<Point>>,
    retired: Arc<Retired>,
}

impl View {
    fn point(&self) -> &Point {
        self.point
            .as_ref()
            .expect("a view has its point until it is dropped")
    }

    /// What lies between two bounds. To be dropped before the view, which knows where to leave nodes.
    pub(crate) fn range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Range {
        self.point().tree.range(lower, upper)
    }

    /// The segment that an entry of this view points into.
    pub(crate) fn segment(&self, entry: &Entry) -> Arc<Segment> {
        self.point().segment(entry)
    }

    /// Whether it was taken after the store was closed: it holds no entries then.
    pub(crate) fn is_closed(&self) -> bool {
        self.point().closed
    }

    pub(crate) fn len(&self) -> usize {
        self.point().live_keys
    }

    pub(crate) fn approximate_bytes(&self) -> usize {
        self.point().tree.approximate_bytes()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(point) = self.point.take() {
            let_go(&self.retired, point);
        }
    }
}

/// Drops a reader's hold on a point. The last one to go does not free the tree, but leaves it.
fn let_go(retired: &Retired, point: Arc<Point>) {
    match Arc::into_inner(point) {
        Some(last) => retired.retire(last.tree.into_root()),
        None => retired.slice(),
    }
}

/// One record's effect on the index.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    Put(&'a [u8], Entry),
    Remove(&'a [u8]),
}

/// The view that readers look at.
#[derive(Debug)]
pub(crate) struct Published {
    /// Held for a clone or an exchange of the `Arc`; alone.
    current: RwLock<Arc<Point>>,
    /// Bytes of live records in each segment: statistics, a moment behind the view. Taken alone.
    live_bytes: Mutex<BTreeMap<SegmentId, u64>>,
    retired: Arc<Retired>,
}

impl Published {
    pub(crate) fn new(
        tree: Tree,
        segments: Segments,
        live_bytes: BTreeMap<SegmentId, u64>,
    ) -> Self {
        let point = Point {
            live_keys: tree.len(),
            tree,
            segments: Arc::new(segments),
            closed: false,
        };
        Self {
            current: RwLock::new(Arc::new(point)),
            live_bytes: Mutex::new(live_bytes),
            retired: Arc::default(),
        }
    }

    fn point(&self) -> Arc<Point> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The exchange: `next` makes the new point of the current one, in a moment. What was there is let go of behind the
    /// lock; if no reader holds it, it is freed here.
    fn exchange(&self, next: impl FnOnce(&Point) -> Point) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(next(&current));
        let replaced = std::mem::replace(&mut *current, next);
        drop(current);
        drop(replaced);
    }

    /// The entry of a key, with a pin on its segment taken at the same point; `Err`: the store was closed. Neither waits
    /// nor frees more than a few nodes.
    pub(crate) fn lookup(&self, key: &[u8]) -> Result<Option<(Entry, Arc<Segment>)>, Closed> {
        let point = self.point();
        let found = point.tree.get(key);
        let found = found.map(|entry| (entry, point.segment(&entry)));
        let closed = point.closed;
        let_go(&self.retired, point);
        if closed { Err(Closed) } else { Ok(found) }
    }

    /// The place of a key's record in the order of writes: for the leader, which is not there any more after a close.
    pub(crate) fn version(&self, key: &[u8]) -> Option<Seqno> {
        let point = self.point();
        let version = point.tree.get(key).map(|entry| entry.seqno);
        let_go(&self.retired, point);
        version
    }

    /// A consistent point.
    pub(crate) fn view(&self) -> View {
        View {
            point: Some(self.point()),
            retired: Arc::clone(&self.retired),
        }
    }

    /// The live segments in order, each with the bytes it was sealed at and the bytes of its live records.
    pub(crate) fn segments(&self) -> Vec<(SegmentId, u64, u64)> {
        let view = self.view();
        let live_bytes = lock(&self.live_bytes);
        let live = |id| live_bytes.get(id).copied().unwrap_or_default();
        let segments = view.point().segments.iter();
        segments
            .map(|(id, segment)| (*id, segment.sealed_bytes(), live(id)))
            .collect()
    }

    /// Lets readers find records in a new segment. Called before the first record of it is published, by the leader.
    pub(crate) fn add_segment(&self, segment: &Arc<Segment>) {
        let view = self.view();
        let mut segments = Segments::clone(&view.point().segments);
        segments.insert(segment.id, Arc::clone(segment));
        let segments = Arc::new(segments);
        self.exchange(|current| Point {
            tree: current.tree.clone(),
            segments,
            ..*current
        });
    }

    /// Makes the records of a group visible, in one step for every reader; by the leader. `replaced` is told, for each
    /// change in order, what was there before, with a pin on its segment. If it or `changes` panics, nothing is visible.
    pub(crate) fn publish<'a>(
        &self,
        changes: impl Iterator<Item = Change<'a>>,
        mut replaced: impl FnMut(Option<(Entry, Arc<Segment>)>),
    ) {
        let view = self.view();
        let before_group = view.point();
        let mut tree = before_group.tree.clone();
        let mut live = Live::default();
        let mut records = 0;
        for change in changes {
            records += 1;
            let before = match change {
                Change::Put(key, entry) => {
                    live.add(&entry);
                    tree.insert(key, entry)
                }
                Change::Remove(key) => tree.remove(key),
            };
            if let Some(before) = before {
                live.subtract(&before);
            }
            let before = match change {
                Change::Put(key, _) | Change::Remove(key) if planted!(WrongPrior) => {
                    before_group.tree.get(key)
                }
                _ => before,
            };
            replaced(before.map(|entry| (entry, before_group.segment(&entry))));
        }
        if records == 0 {
            return;
        }
        let live_keys = tree.len();
        self.exchange(|current| Point {
            tree,
            segments: Arc::clone(&current.segments),
            live_keys,
            ..*current
        });
        live.apply(&mut lock(&self.live_bytes));
        drop(view);
        self.retired
            .release(RELEASED_AT_ONCE + RELEASED_A_RECORD * records);
    }

    /// The store is closed: nothing is found any more, and the index is freed here, but for what readers still hold.
    pub(crate) fn close(&self) {
        self.exchange(|current| Point {
            tree: Tree::new(),
            segments: Arc::clone(&current.segments),
            closed: true,
            ..*current
        });
        self.retired.release(usize::MAX);
    }

    /// Whether dropping this takes so long that no executor's thread should do it.
    pub(crate) fn is_large(&self) -> bool {
        self.point().tree.len() > LARGE_KEYS
    }
}

/// The store was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// How a group changes the bytes of live records: counted aside, like the tree.
#[derive(Debug, Default)]
struct Live {
    added: BTreeMap<SegmentId, u64>,
    subtracted: BTreeMap<SegmentId, u64>,
}

impl Live {
    fn add(&mut self, entry: &Entry) {
        *self.added.entry(entry.location.segment).or_default() +=
            u64::from(entry.location.record_bytes);
    }

    fn subtract(&mut self, entry: &Entry) {
        *self.subtracted.entry(entry.location.segment).or_default() +=
            u64::from(entry.location.record_bytes);
    }

    fn apply(self, live_bytes: &mut BTreeMap<SegmentId, u64>) {
        for (segment, bytes) in self.added {
            *live_bytes.entry(segment).or_default() += bytes;
        }
        for (segment, bytes) in self.subtracted {
            let live = live_bytes.entry(segment).or_default();
            *live = live.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;
