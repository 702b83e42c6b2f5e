//! What chores stand on: the files, the manifest, what is visible; and whether they may go on at all.

use super::tuning::Tuning;
use crate::clock::Clock;
use crate::commit::poison::Poison;
use crate::fault;
use crate::format::ids::{SegmentId, Seqno};
use crate::format::manifest::Checkpoint;
use crate::format::tables::Tables;
use crate::host::Host;
use crate::index::levels::Levels;
use crate::index::source::Source;
use crate::index::views::Views;
use crate::log::files::{Segment, SegmentFiles};
use crate::stats::ChoreCounters;
use crate::store::catalog::{Catalog, EditError};
use crate::store::lock::StoreLock;
use crate::store::reserve::Reserve;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::fmt::Debug;
use std::sync::{Arc, Weak};

/// A memtable that nothing changes any more, with the place in the log that it reaches to.
pub(crate) trait Frozen: Debug + Send + Sync {
    /// Whether it holds nothing, tombstones included.
    fn is_empty(&self) -> bool;
    /// All that it holds, in order.
    fn source(&self) -> Box<dyn Source>;
    /// The end of the group up to which it has everything.
    fn checkpoint(&self) -> Checkpoint;
    /// Keyspaces and erasures as they are there.
    fn tables(&self) -> &Tables;
}

/// What is visible, as far as chores change it. Each change is one step for every reader, and replaces these parts of the
/// view that is current then, and no other.
pub(crate) trait Layers: Debug + Send + Sync {
    /// Estimated bytes of the memtable that fills now.
    fn memtable_bytes(&self) -> u64;
    /// Pieces of what is erased, and whether a checkpoint would let many of them go.
    fn erased(&self) -> (usize, bool);
    /// Bytes of log behind the checkpoint that the manifest names.
    fn log_bytes(&self) -> u64;
    /// What the next checkpoint writes; nobody else takes it away.
    fn frozen(&self) -> Option<Arc<dyn Frozen>>;
    /// The levels, which only chores change.
    fn levels(&self) -> Levels;
    /// A segment that the manifest names.
    fn segment(&self, id: SegmentId) -> Option<Arc<Segment>>;
    /// A checkpoint ended: these levels are in, the frozen memtable is out.
    fn install(&self, levels: Levels);
    /// A unit is about to end that drops the last traces of changes of these keys, up to this seqno.
    fn forget(&self, from: &[u8], to: Option<&[u8]>, seqno: Seqno);
    /// A unit ended: these levels are in place of those before, and these segments are there as well.
    fn replace(&self, levels: Levels, added: Vec<Arc<Segment>>);
    /// The manifest has let these segments go; they are handed out of the view.
    fn release(&self, ids: &[SegmentId]) -> Vec<Arc<Segment>>;
    /// Bytes of segments that were let go, and that only watches keep.
    fn watched_bytes(&self) -> u64 {
        0
    }
    /// Lets watches keep no more than this. Whether any had to let go.
    fn limit_watched(&self, _bytes: u64) -> bool {
        false
    }
}

/// All that a step needs.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) files: Arc<SegmentFiles>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) layers: Arc<dyn Layers>,
    pub(crate) views: Arc<Views>,
    /// What a full disk leaves for a checkpoint, a unit, an edit.
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) poison: Poison,
    /// The owner's, who frees it: a slice holds it as long as it takes.
    pub(crate) lock: Weak<StoreLock>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) tuning: Tuning,
    /// The process that opened the store.
    pub(crate) process_id: u32,
    pub(crate) counters: Arc<ChoreCounters>,
}

impl Ground {
    /// Whether a step may change anything: not in a forked child, not once it is poisoned, not in a directory that is
    /// somebody else's by now.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_forked() {
            let message = "this process is a fork of the one that opened the store; open it here";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        if let Some(refusal) = self.poison.refusal() {
            return Err(refusal);
        }
        let lock = self.lock.upgrade().ok_or_else(fault::closed)?;
        if lock.is_ours(self.files.storage())? {
            return Ok(());
        }
        let directory = self.files.directory().display();
        let message = format!("the store in {directory} was removed or replaced while it was open");
        let error = Error::new(ErrorKind::Locked, message).with_effect(Effect::Unknown);
        self.poison.set(&error);
        Err(error)
    }

    /// Whether this is a child of the process that opened the store.
    pub(super) fn is_forked(&self) -> bool {
        self.host.process_id() != self.process_id
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// What the failure of a change of the manifest means: in doubt, it poisons.
    pub(super) fn known<T>(&self, changed: std::result::Result<T, EditError>) -> Result<T> {
        changed.map_err(|failed| match failed {
            EditError::Nothing(error) => error,
            EditError::InDoubt(error) => {
                let error = error.with_effect(Effect::Unknown);
                self.poison.set(&error);
                error
            }
        })
    }

    /// The levels that the manifest names now; what is known of their runs is kept.
    pub(super) fn levels_as_named(&self) -> Levels {
        let runs = self.catalog.read(|manifest| manifest.runs.clone());
        self.layers.levels().after(&runs)
    }
}
