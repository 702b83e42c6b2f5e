//! The view of an open store, as chores see and change it.

use super::ground::{Frozen, Layers};
use crate::commit::upkeep::LogTail;
use crate::format::ids::{SegmentId, Seqno};
use crate::format::manifest::Checkpoint;
use crate::format::tables::Tables;
use crate::index::levels::Levels;
use crate::index::source::Source;
use crate::index::{Frozen as FrozenMemtable, Published};
use crate::log::files::Segment;
use crate::log::followers::Followers;
use std::sync::Arc;

/// What readers see, and how much log runs do not have.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) published: Arc<Published>,
    pub(crate) tail: Arc<LogTail>,
    pub(crate) followers: Arc<Followers>,
}

impl Frozen for FrozenMemtable {
    fn is_empty(&self) -> bool {
        self.memtable.len() == 0
    }

    fn source(&self) -> Box<dyn Source> {
        Box::new(self.memtable.all())
    }

    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }
}

impl Layers for Visible {
    fn memtable_bytes(&self) -> u64 {
        self.published.memtable_bytes()
    }

    fn erased(&self) -> (usize, bool) {
        self.published.erased()
    }

    fn log_bytes(&self) -> u64 {
        self.tail.bytes()
    }

    fn frozen(&self) -> Option<Arc<dyn Frozen>> {
        let frozen = self.published.unwritten()?;
        Some(frozen)
    }

    fn levels(&self) -> Levels {
        Levels::clone(self.published.view().levels())
    }

    fn segment(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.published.view().segments().get(&id).map(Arc::clone)
    }

    fn install(&self, levels: Levels) {
        // Behind the exchange the next one may be frozen.
        let covered = self.tail.frozen();
        self.published.install(levels);
        self.tail.cover(covered);
    }

    fn forget(&self, from: &[u8], to: Option<&[u8]>, seqno: Seqno) {
        self.published.forget(from, to, seqno);
    }

    fn replace(&self, levels: Levels, added: Vec<Arc<Segment>>) {
        self.published.replace(Some(levels), &added, &[]);
    }

    fn release(&self, ids: &[SegmentId]) -> Vec<Arc<Segment>> {
        let released = self.published.replace(None, &[], ids);
        self.followers.release(ids);
        released
    }

    fn watched_bytes(&self) -> u64 {
        self.followers.kept_bytes()
    }

    fn limit_watched(&self, bytes: u64) -> bool {
        self.followers.limit(bytes)
    }
}
