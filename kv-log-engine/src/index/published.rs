//! What readers see: a tree and the segments it points into, changed by whole groups.
//!
//! One lock guards both. The leader changes them under it, in memory only and after the group's sync; a reader holds it
//! for one lookup or for cloning the root. So a group becomes visible in one step, also to two successive point reads.

use super::{Range, Tree};
use crate::format::ids::{Entry, SegmentId};
use crate::log::files::Segment;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// One consistent point: cloning it takes a snapshot, and pins every segment it may read.
#[derive(Clone, Debug)]
pub(crate) struct View {
    tree: Tree,
    segments: Arc<BTreeMap<SegmentId, Arc<Segment>>>,
}

impl View {
    pub(crate) fn range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Range {
        self.tree.range(lower, upper)
    }

    /// The segment that an entry of this view points into.
    pub(crate) fn segment(&self, entry: &Entry) -> Arc<Segment> {
        let segment = self.segments.get(&entry.location.segment);
        Arc::clone(segment.expect("a view holds every segment its tree points into"))
    }

    pub(crate) const fn len(&self) -> usize {
        self.tree.len()
    }

    pub(crate) const fn approximate_bytes(&self) -> usize {
        self.tree.approximate_bytes()
    }
}

/// One record's effect on the index.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    Put(&'a [u8], Entry),
    Remove(&'a [u8]),
}

#[derive(Debug)]
struct State {
    view: View,
    live_bytes: BTreeMap<SegmentId, u64>,
}

/// The view that readers look at.
#[derive(Debug)]
pub(crate) struct Published {
    state: RwLock<State>,
}

impl Published {
    pub(crate) fn new(
        tree: Tree,
        segments: BTreeMap<SegmentId, Arc<Segment>>,
        live_bytes: BTreeMap<SegmentId, u64>,
    ) -> Self {
        let view = View {
            tree,
            segments: Arc::new(segments),
        };
        Self {
            state: RwLock::new(State { view, live_bytes }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a key, with a pin on its segment taken in the same step.
    pub(crate) fn lookup(&self, key: &[u8]) -> Option<(Entry, Arc<Segment>)> {
        let state = self.read();
        let entry = state.view.tree.get(key)?;
        let segment = state.view.segment(&entry);
        Some((entry, segment))
    }

    /// A consistent point.
    pub(crate) fn view(&self) -> View {
        self.read().view.clone()
    }

    /// The live segments in order, each with the bytes it was sealed at and the bytes of its live records.
    pub(crate) fn segments(&self) -> Vec<(SegmentId, u64, u64)> {
        let state = self.read();
        let live = |id| state.live_bytes.get(id).copied().unwrap_or_default();
        let segments = state.view.segments.iter();
        segments
            .map(|(id, segment)| (*id, segment.sealed_bytes(), live(id)))
            .collect()
    }

    /// Lets readers find records in a new segment. Called before the first record of it is published.
    pub(crate) fn add_segment(&self, segment: &Arc<Segment>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let segments = Arc::make_mut(&mut state.view.segments);
        segments.insert(segment.id, Arc::clone(segment));
    }

    /// Makes the records of a group visible, in one step for every reader. `replaced` is told, for each change in
    /// order, what was there before, with a pin on its segment.
    pub(crate) fn publish<'a>(
        &self,
        changes: impl Iterator<Item = Change<'a>>,
        mut replaced: impl FnMut(Option<(Entry, Arc<Segment>)>),
    ) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State { view, live_bytes } = &mut *state;
        let before_group = planted!(WrongPrior).then(|| view.tree.clone());
        for change in changes {
            let before = match change {
                Change::Put(key, entry) => {
                    let live = live_bytes.entry(entry.location.segment).or_default();
                    *live += u64::from(entry.location.record_bytes);
                    view.tree.insert(key, entry)
                }
                Change::Remove(key) => view.tree.remove(key),
            };
            if let Some(before) = before {
                let live = live_bytes.entry(before.location.segment).or_default();
                *live = live.saturating_sub(before.location.record_bytes.into());
            }
            let before = match (&before_group, change) {
                (Some(tree), Change::Put(key, _) | Change::Remove(key)) => tree.get(key),
                (None, _) => before,
            };
            replaced(before.map(|entry| (entry, view.segment(&entry))));
        }
    }
}
