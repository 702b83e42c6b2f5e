//! How to open a store.

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

    pub(crate) fn check(&self) -> Result<()> {
        match self.segment_bytes {
            Some(bytes) if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) => {
                let message = format!(
                    "a segment has {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes, not {bytes}"
                );
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            _ => Ok(()),
        }
    }
}
