//! What a store counts, and how it is doing.

use crate::format::ids::{SegmentId, Seqno};
use crate::sync::lock_std;
use kv_trait::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// Causes of damage that are kept to be told.
pub(crate) const DAMAGES_MAX: usize = 100;

/// A store's counters and sizes at one moment. Counters begin at the open. Sizes are in bytes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that hold a value: exact while the store has no run, which is while [`Stats::levels`] is empty, and no range was
    /// erased. Then an estimate, because a write looks nothing up: a key that was overwritten or deleted counts until a merge meets both
    /// its versions. A scan counts exactly.
    pub live_keys: u64,
    /// The place of the last durable record.
    pub last_seqno: Seqno,
    /// Live segments with their sizes, the active one last.
    pub segments: Vec<SegmentStats>,
    /// Ranges that are erased and that merges have not come to: at most 1,024 ([`crate::Engine::delete_range`]).
    pub erased_ranges: u64,
    /// Levels of runs, the newest first.
    pub levels: Vec<LevelStats>,
    /// What the store's files take together: segments, runs and the manifest.
    pub disk_bytes: u64,
    /// What of it merges could give back, by an estimate: of segments, what no run and no memtable points at; of runs,
    /// what stands above the oldest level.
    pub garbage_bytes: u64,
    /// An estimate of the memory that the index takes.
    pub index_bytes: u64,
    /// The memory that the store may take: [`crate::Options::memory_bytes`].
    pub memory_budget: u64,
    /// The memtable that takes writes.
    pub memtable_bytes: u64,
    /// The memtable that a checkpoint is writing.
    pub frozen_bytes: u64,
    /// Blocks, fences and filters in memory.
    pub cache_bytes: u64,
    /// The place of the last record that runs cover; what lies behind it is replayed by the next open after a crash.
    pub checkpoint_seqno: Seqno,
    /// Log written since: what is replayed.
    pub log_bytes_since_checkpoint: u64,
    /// Why writers wait, if they do.
    pub pressure: Option<Pressure>,
    /// The chore that is under way.
    pub chore: Option<ChoreKind>,
    /// Why the last chore failed; `None` after one that went well.
    pub last_chore_error: Option<Error>,
    /// The oldest scan or snapshot, if there is one.
    pub oldest_view: Option<ViewStats>,
    /// The watch that is furthest behind, if there is one.
    pub slowest_watch: Option<WatchStats>,
    /// Bytes written, by whom.
    pub written: Written,
    /// What merges and lookups could not read so far, and went around: keys that are lost, filters that are of no use. A
    /// hundred of them at most; `verify` counts all.
    pub damages: Vec<String>,
    /// Steps of chores that failed; each is tried again.
    pub failed_chores: u64,
    /// Entries that checkpoints wrote, and that merges did: what a write costs in entries.
    pub entries_written: u64,
    /// Checkpoints made durable.
    pub checkpoints: u64,
    /// Units of merges made durable.
    pub merge_units: u64,
    /// Values that merges dropped because their time had passed.
    pub values_expired: u64,
    /// Segments let go.
    pub segments_released: u64,
    /// Groups made durable.
    pub groups: u64,
    /// Batches made durable.
    pub batches: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes of frames made durable.
    pub frame_bytes: u64,
    /// Groups refused or lost because of an error.
    pub failed_groups: u64,
    /// Segments sealed.
    pub rotations: u64,
    /// Segment files open for readers.
    pub open_segment_files: u64,
    /// Whether an earlier failure forbids writes until the store is opened again.
    pub poisoned: bool,
    /// Why the store takes no writes although nothing failed since the open.
    pub read_only: Option<String>,
}

/// One segment's sizes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Which segment.
    pub id: SegmentId,
    /// Who wrote it.
    pub kind: SegmentKind,
    /// From the start of the file to the end of its last frame, or of its last value.
    pub bytes: u64,
    /// Records that the index points at.
    pub live_bytes: u64,
    /// Whether it still takes frames.
    pub active: bool,
}

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegmentKind {
    /// Writers: it is part of the log.
    Log,
    /// A merge: copies of long values that it took out of segments with much garbage.
    Values,
}

impl SegmentKind {
    /// The word used in JSON: `log` or `values`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Values => "values",
        }
    }
}

/// One level: sorted runs whose keys do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelStats {
    /// How many runs.
    pub runs: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Their entries, tombstones included.
    pub entries: u64,
    /// Entries that say that a key was deleted.
    pub tombstones: u64,
}

/// Why writers wait. Each goes away by itself as chores go on, but for a disk that is full of what is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pressure {
    /// Both memtables are full: a checkpoint has to write one.
    Memory,
    /// There are as many levels as reads should meet: a merge has to make fewer.
    Levels,
    /// The store takes as much of the disk as it may: merges have to give some back.
    Disk,
}

impl Pressure {
    /// The word used in JSON: `memory`, `levels` or `disk`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Levels => "levels",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the store does in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChoreKind {
    /// Writes a full memtable as a run.
    Checkpoint,
    /// Makes fewer runs of many, and leaves out what is superseded.
    Merge,
    /// Removes files that nothing refers to.
    Unlink,
}

impl ChoreKind {
    const ALL: [Self; 3] = [Self::Checkpoint, Self::Merge, Self::Unlink];

    /// The word used in JSON: `checkpoint`, `merge` or `unlink`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Merge => "merge",
            Self::Unlink => "unlink",
        }
    }
}

impl fmt::Display for ChoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The oldest scan or snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewStats {
    /// Since it was made.
    pub age: Duration,
    /// Bytes of files that are kept only because it, or a younger one, may read them.
    pub pinned_bytes: u64,
}

/// The watch that is furthest behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchStats {
    /// Since it was made.
    pub age: Duration,
    /// The version that it reads next.
    pub next: Seqno,
    /// Records that it has not read yet, whatever their keys are.
    pub behind: u64,
    /// Bytes of log that are kept only because it, or another one, has not read them.
    pub kept_bytes: u64,
    /// How many watches there are.
    pub watches: u64,
}

/// Bytes written since the open, by whom. Space that is filled with zeros ahead of the log counts for nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Frames of the log: what writers wrote.
    pub log: u64,
    /// Runs of checkpoints.
    pub checkpoint: u64,
    /// Runs of merges.
    pub merge: u64,
    /// Long values that merges copied.
    pub values: u64,
    /// Edits and images of the manifest, in both copies.
    pub manifest: u64,
}

impl Written {
    /// All of it. Divided by [`Written::log`] it is the write amplification.
    #[must_use]
    pub fn total(&self) -> u64 {
        let parts = [
            self.log,
            self.checkpoint,
            self.merge,
            self.values,
            self.manifest,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

/// What the leader and the chores count. Each number is only ever added to, by one thread at a time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) frame_bytes: AtomicU64,
    pub(crate) failed_groups: AtomicU64,
    pub(crate) rotations: AtomicU64,
    /// The last durable seqno, and the end of the active segment: information, not used to decide anything.
    pub(crate) last_seqno: AtomicU64,
    pub(crate) active_bytes: AtomicU64,
    pub(crate) chores: Arc<ChoreCounters>,
}

/// What chores count, raised when it is durable; bytes are raised as they are written.
#[derive(Debug, Default)]
pub(crate) struct ChoreCounters {
    pub(crate) checkpoints: AtomicU64,
    pub(crate) units: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) merge_bytes: AtomicU64,
    pub(crate) value_bytes: AtomicU64,
    pub(crate) checkpoint_entries: AtomicU64,
    pub(crate) merge_entries: AtomicU64,
    /// Values that units ended because their time had passed.
    pub(crate) expired: AtomicU64,
    pub(crate) unlinked: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// The position in [`ChoreKind::ALL`] and one more; 0: none.
    under_way: AtomicU8,
    last_error: std::sync::Mutex<Option<Error>>,
}

impl ChoreCounters {
    /// Bytes that chores have written.
    pub(crate) fn bytes(&self) -> u64 {
        let parts = [&self.checkpoint_bytes, &self.merge_bytes, &self.value_bytes];
        parts.into_iter().map(read).sum()
    }

    /// A slice of this begins. It is under way until the chore has ended, also between its slices.
    pub(crate) fn begin(&self, kind: ChoreKind) {
        let at = ChoreKind::ALL.iter().position(|one| *one == kind);
        let number = at.and_then(|at| u8::try_from(at + 1).ok());
        self.under_way.store(number.unwrap_or(0), Ordering::Relaxed);
    }

    /// The chore has ended, well or with an error that will have it tried again.
    pub(crate) fn end(&self, outcome: Result<(), &Error>) {
        self.under_way.store(0, Ordering::Relaxed);
        if outcome.is_err() {
            add(&self.failures, 1);
        }
        *lock_std(&self.last_error) = outcome.err().cloned();
    }

    fn under_way(&self) -> Option<ChoreKind> {
        let number = usize::from(self.under_way.load(Ordering::Relaxed));
        ChoreKind::ALL.get(number.checked_sub(1)?).copied()
    }
}

impl Counters {
    /// What is counted; sizes, and what else has to be looked at, are left out.
    pub(crate) fn stats(&self) -> Stats {
        let chores = &self.chores;
        Stats {
            last_seqno: Seqno::new(read(&self.last_seqno)),
            groups: read(&self.groups),
            batches: read(&self.batches),
            records: read(&self.records),
            frame_bytes: read(&self.frame_bytes),
            failed_groups: read(&self.failed_groups),
            rotations: read(&self.rotations),
            failed_chores: read(&chores.failures),
            entries_written: read(&chores.checkpoint_entries) + read(&chores.merge_entries),
            checkpoints: read(&chores.checkpoints),
            merge_units: read(&chores.units),
            values_expired: read(&chores.expired),
            segments_released: read(&chores.released),
            chore: chores.under_way(),
            last_chore_error: lock_std(&chores.last_error).clone(),
            written: Written {
                log: read(&self.frame_bytes),
                checkpoint: read(&chores.checkpoint_bytes),
                merge: read(&chores.merge_bytes),
                values: read(&chores.value_bytes),
                manifest: 0,
            },
            ..Stats::default()
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_trait::ErrorKind;

    #[test]
    fn a_chore_is_told_while_it_is_under_way_and_its_error_until_one_goes_well() {
        let counters = Counters::default();
        assert_eq!(counters.stats().chore, None);
        for kind in ChoreKind::ALL {
            counters.chores.begin(kind);
            assert_eq!(counters.stats().chore, Some(kind));
        }
        let full = Error::new(ErrorKind::StorageFull, "no space left on the device");
        counters.chores.end(Err(&full));
        assert_eq!(counters.stats().chore, None);
        counters.chores.begin(ChoreKind::Merge);
        let told = counters.stats().last_chore_error.unwrap();
        assert_eq!((told.kind(), told.message()), (full.kind(), full.message()));
        counters.chores.end(Ok(()));
        assert!(counters.stats().last_chore_error.is_none());
    }

    #[test]
    fn bytes_are_told_by_whom_they_were_written() {
        let counters = Counters::default();
        add(&counters.frame_bytes, 1);
        add(&counters.chores.checkpoint_bytes, 20);
        add(&counters.chores.merge_bytes, 300);
        add(&counters.chores.value_bytes, 4000);
        let written = counters.stats().written;
        let expected = Written {
            log: 1,
            checkpoint: 20,
            merge: 300,
            values: 4000,
            manifest: 0,
        };
        assert_eq!(written, expected);
        assert_eq!(written.total(), 4321);
    }
}
