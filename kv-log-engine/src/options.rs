//! How to open a store.

use crate::budgets::{Asked, Budgets, Tuning};
use crate::commit::Limits;
use crate::format::manifest::SEGMENTS_MAX;
use crate::host::{Host, OsHost};
use crate::storage::{OsStorage, Storage};
use kv_trait::{Error, ErrorKind, Fingerprint, Result};
use std::sync::Arc;
use std::time::Duration;

/// The size at which a segment is sealed, unless the store was made with another one.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// The smallest size of a segment.
pub const SEGMENT_BYTES_MIN: u64 = 1024;
/// The largest size of a segment.
pub const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Whether an open may make a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Create {
    /// Open it or create it.
    #[default]
    IfMissing,
    /// It must exist; nothing is made.
    Never,
    /// It must not exist.
    New,
}

/// How to open a store. The defaults are right for most uses.
///
/// ```
/// use kv_log_engine::{Create, Engine, Options, storage::sim::SimDisk};
/// use kv_trait::ErrorKind;
/// # fn main() -> kv_trait::Result<()> {
/// let disk = SimDisk::new();
/// let options = Options::new().storage(disk.storage()).segment_bytes(1 << 20);
/// let refused = Engine::open("/db", options.clone().create(Create::Never)).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::NotFound);
///
/// let store = Engine::open("/db", options.clone())?;
/// let refused = Engine::open("/db", options).unwrap_err(); // `lock_timeout` would wait
/// assert_eq!(refused.kind(), ErrorKind::Locked);
/// # store.close() }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) create: Create,
    pub(crate) segment_bytes: Option<u64>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) lock_timeout: Duration,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) tag: Option<String>,
    pub(crate) adopt_types: bool,
    pub(crate) limits: Limits,
    pub(crate) segments_max: usize,
    pub(crate) asked: Asked,
    pub(crate) chore_thread: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// Opens or creates, on the operating system's files, without waiting for another owner.
    pub fn new() -> Self {
        Self {
            create: Create::default(),
            segment_bytes: None,
            storage: Arc::new(OsStorage),
            host: Arc::new(OsHost::new()),
            lock_timeout: Duration::ZERO,
            fingerprint: None,
            tag: None,
            adopt_types: false,
            limits: Limits::default(),
            segments_max: SEGMENTS_MAX,
            asked: Asked::default(),
            chore_thread: false,
        }
    }

    /// Whether the open may make a store.
    pub const fn create(mut self, create: Create) -> Self {
        self.create = create;
        self
    }

    /// The size in bytes at which a segment is sealed: [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`]. Recorded in the
    /// store when it is created; for an existing store the recorded size holds unless this is given.
    pub const fn segment_bytes(mut self, segment_bytes: u64) -> Self {
        self.segment_bytes = Some(segment_bytes);
        self
    }

    /// The file system; [`crate::storage::sim::SimDisk`] is one that can lose power.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// Time, randomness and identity.
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = host;
        self
    }

    /// How long to wait for another owner before the open is refused as `Locked`. Zero: not at all.
    pub const fn lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout = lock_timeout;
        self
    }

    /// The codecs of keys and values: recorded when the store is created, compared when it is opened. Without one a new
    /// store records raw bytes, and an existing one is opened whatever it records.
    pub fn fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// A name for the types in the store, for example `users`, recorded when it is created. Where the store and the
    /// caller both give one, equal names decide alone: types may then change their shapes as long as their codec still
    /// reads the old bytes. Only [`crate::KVLog`] looks at it: it makes the fingerprint from its types.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tag = Some(tag.to_owned());
        self
    }

    /// Takes the caller's types in place of the recorded ones where only their shapes or tags differ: the caller knows
    /// that the stored bytes are values of the new types too, as after a variant was added at the end of an enum. Other
    /// codecs are still refused.
    pub const fn adopt_types(mut self) -> Self {
        self.adopt_types = true;
        self
    }

    /// How long an idle leader stays on its blocking thread for the next write: 2 ms unless set. Zero: not at all,
    /// which makes a run on a simulated disk depend on nothing but its seed.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.limits.linger = linger;
        self
    }

    /// Batches wait in line while the queue holds this many bytes: 16 MiB unless set. One larger batch is admitted alone.
    pub const fn queue_bytes(mut self, queue_bytes: u64) -> Self {
        self.limits.queue_bytes = queue_bytes;
        self
    }

    /// A group ends at this many bytes: 4 MiB unless set. One larger batch is a group alone.
    pub const fn group_bytes(mut self, group_bytes: u64) -> Self {
        self.limits.group_bytes = group_bytes;
        self
    }

    /// The memory in bytes that the store takes: for what is not in runs yet, for blocks of runs, and for what finds them,
    /// all in one budget, which is half for writing and half for reading. [`crate::MEMORY_BYTES_DEFAULT`] unless set;
    /// [`crate::MEMORY_BYTES_MIN`] at least.
    ///
    /// Beside it come at most twice the largest batch in flight, the line of waiting batches ([`Options::queue_bytes`]),
    /// what scans and snapshots hold on to, and the buffers of one chore. More memory means rarer and larger checkpoints,
    /// and fewer blocks read twice. Where all that is for writing is full, writers wait for a checkpoint
    /// ([`crate::Pressure`]).
    ///
    /// # Errors
    /// Less than the minimum: the open is refused as `InvalidInput`, with the amount that would do.
    pub const fn memory_bytes(mut self, memory_bytes: u64) -> Self {
        self.asked.memory_bytes = memory_bytes;
        self
    }

    /// Values of at least this many bytes stay in the segment that they were written to; shorter ones move into runs.
    /// [`crate::SEPARATION_BYTES_DEFAULT`] unless set; 1 to [`crate::SEPARATION_BYTES_MAX`].
    ///
    /// A value that stays is written once and copied only when its segment has much garbage; one that moves lies beside
    /// its neighbours and is written anew by each merge. It holds for values that are moved from now on: an open may
    /// choose otherwise than the one before.
    ///
    /// # Errors
    /// Out of range: the open is refused as `InvalidInput`.
    pub const fn separation_bytes(mut self, separation_bytes: u32) -> Self {
        self.asked.separation_bytes = separation_bytes;
        self
    }

    /// The store's files take no more than this many bytes together: a write that would need more is refused as
    /// `StorageFull`, with effect *nothing*, as on a full disk. Without it only the disk bounds the store.
    ///
    /// The least is eight segments and 8 MiB: 520 MiB, or 16 MiB with segments of 1 MiB. A store keeps up to two and a half
    /// times what is live; whoever wants to fill it leaves it as much.
    ///
    /// # Errors
    /// Less than can work: the open is refused as `InvalidInput`, with the amount that would do.
    pub const fn disk_bytes_max(mut self, disk_bytes_max: u64) -> Self {
        self.asked.disk_bytes_max = Some(disk_bytes_max);
        self
    }

    /// The rate, in bytes a second, of what all chores write together. Without it they write as fast as the disk takes it.
    /// [`crate::CHORE_BYTES_PER_SECOND_MIN`] at least.
    ///
    /// A rate below what is written, times what merges make of it, lets checkpoints fall behind, and writers wait for
    /// them ([`crate::Pressure`]).
    ///
    /// # Errors
    /// Less than the minimum: the open is refused as `InvalidInput`, with the rate that would do.
    pub const fn chore_bytes_per_second(mut self, bytes: u64) -> Self {
        self.asked.chore_bytes_per_second = Some(bytes);
        self
    }

    /// Whether the store has a thread of its own, `kvlog-chores`, for checkpoints, merges and the removal of files. Off
    /// unless set: then they are done in slices by callers that wait, and on blocking threads of the runtime, and the
    /// store starts no thread. The thread ends before [`crate::Engine::close`] returns.
    pub const fn chore_thread(mut self, own: bool) -> Self {
        self.chore_thread = own;
        self
    }

    /// How old a scan or a snapshot may get. One that is older keeps nothing on disk any more, and its next read is
    /// refused: never with something wrong. Without it age alone ends none. Zero is refused.
    ///
    /// # Errors
    /// Zero: the open is refused as `InvalidInput`.
    pub const fn view_age_max(mut self, age: Duration) -> Self {
        self.asked.view_age_max = Some(age);
        self
    }

    /// How many bytes of files scans and snapshots may keep on disk that nobody else needs; beyond, the oldest ends as by
    /// [`Options::view_age_max`]. Unless set: as many as the store holds live, at least 1 GiB, so that one scan
    /// of a store that is wholly rewritten meanwhile still ends; with [`Options::disk_bytes_max`] at most a quarter of
    /// that. Zero: whatever a merge replaces goes at once.
    pub const fn pinned_bytes_max(mut self, bytes: u64) -> Self {
        self.asked.pinned_bytes_max = Some(bytes);
        self
    }

    /// How many bytes of log watches may keep on disk that the store itself does not need any more, all together, because
    /// they have not read it yet. Beyond, the oldest of it goes, and whoever has not read that is told what it missed; no
    /// writer waits. [`crate::WATCH_BYTES_MAX_DEFAULT`] unless set; with [`Options::disk_bytes_max`] at most a sixteenth of
    /// that. Zero: a watch sees what the store keeps for itself, which is the log since the last checkpoint. On a full disk it
    /// is as if it were zero.
    pub const fn watch_bytes_max(mut self, bytes: u64) -> Self {
        self.asked.watch_bytes_max = Some(bytes);
        self
    }

    /// Sizes for tests and benchmarks of this workspace. No promises.
    #[doc(hidden)]
    pub const fn tuning(mut self, tuning: Tuning) -> Self {
        self.asked.tuning = tuning;
        self
    }

    /// What can be said before the store is looked at. What its segments decide is judged when they are known.
    pub(crate) fn check(&self) -> Result<()> {
        match self.segment_bytes {
            Some(bytes) if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) => {
                let message = format!(
                    "a segment has {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes, not {bytes}"
                );
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            Some(bytes) => self.budgets(bytes).map(drop),
            None => {
                let unbounded = Asked {
                    disk_bytes_max: None,
                    ..self.asked
                };
                Budgets::new(&unbounded, SEGMENT_BYTES_DEFAULT).map(drop)
            }
        }
    }

    /// How much of everything a store with segments of that size may take.
    ///
    /// # Errors
    /// `InvalidInput`: it cannot work; the message says what would.
    pub(crate) fn budgets(&self, segment_bytes: u64) -> Result<Budgets> {
        Budgets::new(&self.asked, segment_bytes)
    }

    /// The same of a store that is about to be made.
    ///
    /// # Errors
    /// As for [`Options::budgets`].
    pub(crate) fn check_new(&self) -> Result<()> {
        let segment_bytes = self.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
        self.budgets(segment_bytes).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::storage::sim::SimDisk;
    use std::path::Path;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn an_open_that_asks_for_what_cannot_work_makes_nothing() {
        let disk = SimDisk::new();
        let options = || Options::new().storage(disk.storage());
        for refused in [
            options().memory_bytes(MIB - 1),
            options().separation_bytes(0),
            options().chore_bytes_per_second(1),
            options().view_age_max(Duration::ZERO),
            // Right for smaller segments, and not for those that a new store would get.
            options().disk_bytes_max(100 * MIB),
            options().disk_bytes_max(15 * MIB).segment_bytes(MIB),
        ] {
            let refused = Engine::open("/db", refused).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
            assert!(disk.storage().list(Path::new("/db")).is_err());
        }
        let options = options().disk_bytes_max(16 * MIB).segment_bytes(MIB);
        let store = Engine::open("/db", options).unwrap();
        store.close().unwrap();
    }

    #[test]
    fn a_bound_of_the_disk_is_judged_by_the_segments_that_the_store_records() {
        let disk = SimDisk::new();
        let options = || Options::new().storage(disk.storage());
        let open = |options| Engine::open("/db", options);
        open(options()).unwrap().close().unwrap();
        let refused = open(options().disk_bytes_max(100 * MIB)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.message().contains("67108864"), "{refused}");
        let smaller = options().disk_bytes_max(100 * MIB).segment_bytes(MIB);
        let store = open(smaller).unwrap();
        store.put(b"key", b"value").unwrap(); // the new size is recorded with the first write
        store.close().unwrap();
        let recorded = open(options().disk_bytes_max(100 * MIB));
        recorded.unwrap().close().unwrap();
    }
}
