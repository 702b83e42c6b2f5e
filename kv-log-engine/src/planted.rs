//! Faults that can be switched on in the engine's own code, so that tests can be tested: a suite that passes a store
//! with one of these is worth nothing. Only with the feature `planted-faults`, which no program turns on.
//!
//! One fault at a time, for the whole process: sites ask [`planted!`](crate::planted), which is `false` without the
//! feature.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

macro_rules! faults {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What can be wrong with the engine. Each breaks one rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum PlantedFault {
            $($(#[$doc])+ $name,)+
        }

        impl PlantedFault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

faults! {
    /// Groups, marks and footers are not synced.
    NoSync,
    /// New segments and manifests are not followed by a sync of their directory.
    NoDirectorySync,
    /// Neither the sum of a record nor the digest of a frame is compared.
    NoChecksumCheck,
    /// An open leaves the torn tail where it is.
    TailNotCut,
    /// A failed sync is tried again, and believed.
    SyncRetried,
    /// An open syncs what no proof covers, without writing it again.
    RewriteSkipped,
    /// An open believes the names that it reads, without a sync of their directories.
    NamesBelieved,
    /// An open takes zeros behind the end for durable because it reads them.
    ZerosTrusted,
    /// A sync that fails for want of space counts as "nothing happened".
    EffectByErrno,
    /// Every try at a place has the same attempt number.
    NoAttempt,
    /// The sum of a record covers neither salt nor offset nor seqno.
    RecordUnbound,
    /// Recovery takes the good records of a torn frame.
    HalfBatch,
    /// A prior value is what was there before the group, not before the write.
    WrongPrior,
    /// Recovery ignores tombstones.
    ResurrectedDelete,
    /// Recovery lets the older of two writes win.
    SwappedOrder,
    /// The last ticket of a group is forgotten.
    WaiterLeftHanging,
    /// A leader whose term is over goes without offering the lead.
    LeadNeverHandedOver,
    /// An error while scanning reads as zeros.
    ReadErrorAsTorn,
    /// Recovery does not ask whether what it cuts was ever durable.
    ProofIgnored,
    /// A write that failed half way is not undone, and still counts as "nothing happened".
    UndoSkipped,
    /// A failed sync does not poison the store.
    NotPoisoned,
    /// A change of the manifest is written to its first copy only.
    OneCopyOnly,
    /// The numbers of the manifest's edits are not compared.
    EditNumberIgnored,
    /// The mark of a close is believed, whichever edit it names.
    CleanMarkBelieved,
    /// An open removes debris before its new manifest is durable.
    UnlinkedInDoubt,
    /// No edit raises the bound of ids before a file is made.
    IdsNotRaised,
    /// A lookup takes the block before the right one where its key is the separator.
    FenceOffByOne,
    /// The filter of a part of a run forgets a key.
    FilterForgetsKey,
    /// The last sync of a run, that of its footer and trailers, is left out.
    RunNotSynced,
    /// The directory is not synced before an edit names a run or copied values.
    RunNameNotSynced,
    /// A file is named although a sync of its directory failed since it was made.
    NameEpochIgnored,
    /// The frozen memtable leaves the view before the run that it becomes is in.
    FrozenOutEarly,
    /// A checkpoint's edit raises C and leaves the replay start where it was.
    ReplayStartNotMoved,
    /// Replay begins at the start of the replay start's segment.
    CoveredReplayed,
    /// A segment is let go although a run refers to it.
    ReleasedWhileReferred,
    /// A segment is let go although the replay start is in it.
    ReplayStartReleased,
    /// The inputs of a unit are unlinked before the edit that lets them go.
    UnlinkedBeforeEdit,
    /// Files that an edit in doubt may name are removed.
    GivenUpInDoubt,
    /// Chores change a store before the open is paid for.
    ChoreBeforeSettled,
    /// Nobody is told why a checkpoint fails.
    FailedCheckpointSilent,
    /// A merge leaves out a level between its newest and its oldest one.
    LevelLeftOut,
    /// The output of a unit is taken for newer than what was written after its inputs.
    OutputTooNew,
    /// Tombstones go in every merge.
    TombstoneDroppedEarly,
    /// Tombstones never go.
    TombstoneKept,
    /// A tombstone over a hole goes, and its key stays in the hole.
    TombstoneOverHoleLost,
    /// A unit that ends inside an input takes all of it away.
    InputCutWhole,
    /// A merge forgets when values expire.
    ExpiryForgotten,
    /// What has expired goes in every merge.
    ExpiredDroppedEarly,
    /// The clock that a merge dropped values by is not recorded.
    ClockNotRecorded,
    /// The store's clock goes back with the system's.
    ClockGoesBack,
    /// What a write replaced is told although it had expired.
    ExpiredPrior,
    /// Copied values are not synced before an edit names them.
    ValuesNotSynced,
    /// What a merge cannot read is left out.
    HoleDropped,
    /// A segment with a value that cannot be copied stays a victim.
    SpoiledStaysVictim,
    /// Files are unlinked that a view may read.
    ViewNotPinned,
    /// What was unlinked stays open.
    DescriptorKept,
    /// What a caller found holds, whatever was forgotten since.
    LookBelieved,
    /// A snapshot shows what is there when it is read.
    SnapshotMoves,
    /// Nobody looks whether a range has changed.
    PhantomAllowed,
    /// A transaction does not look whether what it has read and writes was changed.
    LostUpdateAllowed,
    /// A transaction does not look whether what it has read and does not write was changed.
    WriteSkewAllowed,
    /// What merges have dropped counts as unchanged.
    DroppedIsUnchanged,
    /// A merge keeps what is erased, and says that it did not.
    ErasureIgnoredByMerge,
    /// An erasure is let go while runs have what it covers.
    ErasureDroppedEarly,
    /// Replay passes over what was erased.
    ErasureNotReplayed,
    /// A condition does not notice that a key was erased.
    ErasureUnnoticed,
    /// Watches show a group that is written and not synced.
    WatchedBeforeSync,
    /// A watch that comes to the end of a segment leaves out the next one.
    RotationSkipped,
    /// A watch goes on behind what it has missed without a word.
    MissedUntold,
}

/// 0: none; otherwise one above the fault.
static PLANTED: AtomicU8 = AtomicU8::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Keeps a fault planted until it is dropped.
#[must_use]
pub struct Planted {
    _alone: MutexGuard<'static, ()>,
}

impl fmt::Debug for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planted").finish_non_exhaustive()
    }
}

/// Plants a fault, or none; waits until nobody else has one planted. Blocks.
pub fn plant(fault: Option<PlantedFault>) -> Planted {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    PLANTED.store(fault.map_or(0, |fault| fault as u8 + 1), Ordering::SeqCst);
    Planted { _alone: alone }
}

impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.store(0, Ordering::SeqCst);
    }
}

pub(crate) fn is(fault: PlantedFault) -> bool {
    PLANTED.load(Ordering::SeqCst) == fault as u8 + 1
}
