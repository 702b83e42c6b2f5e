//! The engine: a store of byte keys and byte values, synchronous, usable from any number of threads.
//!
//! Wires the parts together and decides nothing itself: `open` and `recovery` say what is there, `commit` owns the order
//! of writing, `index` what readers see.

use crate::batch::{Answer, Batch, Condition, Looked, RangeCondition, Receipt, check_length};
use crate::commit::Ticket;
use crate::commit::group::LogWriter;
use crate::fault;
use crate::format::ids::Seqno;
use crate::format::record::KEYSPACE_DEFAULT;
use crate::format::run::full_key;
use crate::handle::Handle;
use crate::index::source::Interval;
use crate::index::{Changed, Lookup, Published, Remembered, View};
use crate::open;
use crate::options::Options;
use crate::overview;
use crate::recovery::RecoveryReport;
use crate::scan::Scan;
use crate::stats::Stats;
use kv_trait::{Effect, Error, ErrorKind, Fingerprint, KEY_BYTES_MAX, Result};
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

/// A handle to an open store. Clones share it; any number of threads may use it.
///
/// Every method that writes returns only after the write is durable and visible, and many callers share one sync. Every
/// method may block: in async code use [`crate::KVLog`].
///
/// ```
/// use kv_log_engine::{Engine, Options, storage::sim::{OpKind, SimDisk}};
/// # fn main() -> kv_trait::Result<()> {
/// let disk = SimDisk::new(); // without it: the operating system's files
/// let store = Engine::open("/db", Options::new().storage(disk.storage()))?;
/// std::thread::scope(|threads| {
///     for number in 0..4_u8 {
///         let store = &store;
///         threads.spawn(move || store.put(&[number], b"value").expect("the disk is good"));
///     }
/// });
/// assert_eq!(store.stats().live_keys, 4);
///
/// let reads = || disk.calls().get(&OpKind::Read).copied().unwrap_or_default();
/// let before = reads();
/// store.put(&[0], b"another")?;
/// assert_eq!(reads() - before, 0);
/// assert_eq!(store.set(&[0], b"third")?.as_deref(), Some(&b"another"[..]));
/// assert_eq!(reads() - before, 0); // what was written lately is in memory
/// # store.close() }
/// ```
///
/// # Drop
/// Dropping the last handle waits for nothing: a group in flight is finished, batches that nobody waits for are
/// discarded, nothing is written. It frees the index on the dropping thread, unless a leader or a scan still holds it: a
/// few milliseconds for a million keys. The next open recovers. [`Engine::close`] leaves nothing to recover, reports
/// errors, and frees the index on the closing thread.
#[derive(Clone, Debug)]
pub struct Engine {
    handle: Arc<Handle>,
    keyspace: u32,
    /// That of a keyspace with a name.
    fingerprint: Option<Arc<Fingerprint>>,
}

/// So many conditions are asked of memory by whoever submits them.
const CONDITIONS_HERE_MAX: usize = 64;

impl Engine {
    /// Opens the store in the directory `path`, or creates it there. Recovers what a crash left behind. Blocks.
    ///
    /// # Errors
    /// `NotFound`: there is no store, or something else. `Locked`: the message names the owner. `Corrupt`,
    /// `UnsupportedFormat`: file, offset and cause. `StorageFull`, `Io`: the disk refused. A refused open changes no store.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let opened = open::open(path.as_ref(), &options)?;
        let handle = Handle::serve(opened, options)?;
        Ok(Self {
            handle,
            keyspace: KEYSPACE_DEFAULT,
            fingerprint: None,
        })
    }

    /// The number of the keyspace that this handle reads and writes: 0 is that of the store itself.
    #[must_use]
    pub const fn keyspace_id(&self) -> u32 {
        self.keyspace
    }

    /// A batch whose records and conditions go to this handle's keyspace, until another one is selected.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        batch.select_id(self.keyspace);
        batch
    }

    /// The value of `key`, or `None`. Never a value that a power cut at this instant could take back.
    ///
    /// # Errors
    /// `TooLarge`, `Closed`, `Io`, `Corrupt`; `NotFound`: this keyspace was dropped.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.lookup(key)?.read()
    }

    /// The value of `key` with its version, the place of its record in the order of writes: what [`Batch::expect`] takes.
    ///
    /// ```
    /// # use kv_log_engine::{Batch, Engine, Options, storage::sim::SimDisk};
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// store.put(b"visits", b"1")?;
    /// let (version, value) = store.get_versioned(b"visits")?.expect("it was put");
    /// assert_eq!(value, b"1");
    /// let mut batch = Batch::new();
    /// batch.expect(b"visits", Some(version))?; // nobody wrote it since
    /// batch.put(b"visits", b"2")?;
    /// store.write(batch)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`Engine::get`].
    pub fn get_versioned(&self, key: &[u8]) -> Result<Option<(Seqno, Vec<u8>)>> {
        self.lookup(key)?.read_versioned()
    }

    /// What memory says of `key`, with a pin on what is to be read for the rest. Never blocks.
    pub(crate) fn lookup(&self, key: &[u8]) -> Result<Lookup> {
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        self.handle.check_open()?;
        let full_key = full_key(self.keyspace, key);
        self.handle.published.lookup(&full_key)
    }

    /// What memory says of each key at one point, with pins on what is to be read for the rest. Never blocks.
    pub(crate) fn lookups<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Lookup>> {
        let view = self.view_of_keyspace()?;
        let lookups = keys.into_iter().map(|key| {
            check_length("key", key.len(), KEY_BYTES_MAX)?;
            Ok(view.lookup(&full_key(self.keyspace, key)))
        });
        lookups.collect()
    }

    /// A consistent point of the store.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn view(&self) -> Result<View> {
        self.handle.check_open()?;
        let view = self.handle.published.view();
        if view.is_closed() {
            return Err(fault::closed());
        }
        Ok(view)
    }

    /// The same, of a store that has this handle's keyspace.
    ///
    /// # Errors
    /// `Closed`, `NotFound`.
    pub(crate) fn view_of_keyspace(&self) -> Result<View> {
        let view = self.view()?;
        if view.tables().keyspaces.has(self.keyspace) {
            Ok(view)
        } else {
            Err(fault::dropped_keyspace(self.keyspace))
        }
    }

    /// A handle to another keyspace of the same store.
    pub(crate) fn with_keyspace(&self, id: u32, fingerprint: Fingerprint) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
            keyspace: id,
            fingerprint: Some(Arc::new(fingerprint)),
        }
    }

    /// Stores `value` under `key`; returns the value that was there before.
    ///
    /// # Errors
    /// `TooLarge`, `StorageFull`, `Poisoned`, `Closed`, `Io`: see [`Error::effect`]. With effect *applied* the value is
    /// stored, and only the one before could not be read.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut batch = self.batch().with_priors();
        batch.put(key, value)?;
        first_prior(self.write(batch)?)
    }

    /// Stores `value` under `key`, without reading the value that was there before.
    ///
    /// # Errors
    /// As for [`Engine::set`], never *applied*.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut batch = self.batch();
        batch.put(key, value)?;
        self.write(batch).map(drop)
    }

    /// Removes `key`; returns the value that was there.
    ///
    /// # Errors
    /// As for [`Engine::set`].
    pub fn delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut batch = self.batch().with_priors();
        batch.delete(key)?;
        first_prior(self.write(batch)?)
    }

    /// Removes `key`, without reading the value that was there.
    ///
    /// # Errors
    /// As for [`Engine::set`], never *applied*.
    pub fn remove(&self, key: &[u8]) -> Result<()> {
        let mut batch = self.batch();
        batch.delete(key)?;
        self.write(batch).map(drop)
    }

    /// Writes a batch, whole or not at all. Blocks until it is durable and visible.
    ///
    /// # Errors
    /// `StorageFull`, `Poisoned`, `Closed`, `Io`: see [`Error::effect`]. `Conflict`: a condition does not hold; `NotFound`: a
    /// keyspace of the batch was dropped: effect *nothing*.
    pub fn write(&self, batch: Batch) -> Result<Receipt> {
        self.handle.queue.refuse_if_leading()?;
        self.submit(batch)?.wait()
    }

    /// Fixes the batch's place in the order of writes, without waiting for any; for a batch with conditions the store is read
    /// first. Several batches that are submitted before one of
    /// them is waited for share a sync.
    ///
    /// ```
    /// use kv_log_engine::{Batch, Engine, Options, storage::sim::{OpKind, SimDisk}};
    /// # fn main() -> kv_trait::Result<()> {
    /// let disk = SimDisk::new();
    /// let store = Engine::open("/db", Options::new().storage(disk.storage()))?;
    /// let syncs = disk.calls()[&OpKind::Sync];
    /// let mut submitted = Vec::new();
    /// for number in 0..100_u8 {
    ///     let mut batch = Batch::new();
    ///     batch.put(&[number], b"value")?;
    ///     submitted.push(store.submit(batch)?);
    /// }
    /// for one in submitted {
    ///     one.wait()?;
    /// }
    /// // One for all of them; and one where what is kept for a full disk grows.
    /// assert!(disk.calls()[&OpKind::Sync] - syncs <= 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Poisoned`, `Closed`. Effect *nothing*.
    pub fn submit(&self, mut batch: Batch) -> Result<Submitted> {
        if batch.wants_look() {
            self.look(&mut batch)?;
        }
        let ticket = self.ticket(batch)?;
        Ok(Submitted {
            ticket,
            engine: self.clone(),
        })
    }

    pub(crate) fn ticket(&self, batch: Batch) -> Result<Ticket<LogWriter>> {
        self.handle.queue.submit(batch)
    }

    /// Whether a batch's conditions ask for what memory does not know, or for so much that it is better asked on a blocking
    /// thread. Where nobody looked, the leader judges by what memory knows then.
    pub(crate) fn has_to_look(&self, batch: &Batch) -> bool {
        if !batch.wants_look() {
            return false;
        }
        let published = &self.handle.published;
        let known = |condition: &Condition| {
            let key = full_key(condition.keyspace, &condition.key);
            matches!(published.remembered(&key, 0), Remembered::Version(_))
        };
        let goes_back = |range: &RangeCondition| {
            let changed = published.changed_above(&range.interval(), range.at);
            changed != Changed::Unknown
        };
        batch.conditions.len() + batch.ranges.len() > CONDITIONS_HERE_MAX
            || !batch.conditions.iter().all(known)
            || !batch.ranges.iter().all(goes_back)
    }

    /// Finds the versions that a batch's conditions ask about, and whether its ranges have changed so far, for the leader reads
    /// no disk. Blocks.
    ///
    /// # Errors
    /// `Conflict`: a range has changed, and it will not be as it was again. `TooOld`, `Io`, `Corrupt`, `Closed`. Effect
    /// *nothing*.
    pub(crate) fn look(&self, batch: &mut Batch) -> Result<()> {
        let view = self.view()?;
        for range in &batch.ranges {
            if let Some(key) = view.changed_above(&range.interval(), range.at)? {
                return Err(range.conflict(&key));
            }
        }
        let versions = batch.conditions.iter();
        let versions = versions.map(|condition| {
            let key = full_key(condition.keyspace, &condition.key);
            view.version(&key)
        });
        batch.looked = Some(Looked {
            at: view.last(),
            versions: versions.collect::<Result<_>>()?,
        });
        Ok(())
    }

    /// The keys and values in a range, in order of the keys, as they are at this one point: later writes do not show.
    /// Owns what it reads from; blocks when it is iterated.
    ///
    /// ```
    /// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// store.put(b"lib", b"1")?;
    /// store.put(b"libc", b"2")?;
    /// let from_lib = store.scan((std::ops::Bound::Included(&b"lib"[..]), std::ops::Bound::Unbounded))?;
    /// store.put(b"libm", b"3")?; // later: does not show
    /// let found = from_lib.collect::<kv_trait::Result<Vec<_>>>()?;
    /// assert_eq!(found, [(b"lib".to_vec(), b"1".to_vec()), (b"libc".to_vec(), b"2".to_vec())]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Closed`; `NotFound`: this keyspace was dropped. A scan that was begun before goes on.
    pub fn scan(&self, range: impl RangeBounds<[u8]>) -> Result<Scan> {
        let view = self.view_of_keyspace()?;
        let interval = Interval::of_keyspace(self.keyspace, &range);
        let handle = &*self.handle;
        let (now, until) = handle.view_terms();
        let path = handle.path.clone();
        Ok(Scan::new(view, interval, path, (&handle.views, now), until))
    }

    /// Counters and sizes now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        overview::stats(&self.handle)
    }

    /// What the open found, cut and kept.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.handle.report
    }

    /// The codecs that the store records for this handle's keyspace.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        let own = self.fingerprint.as_deref();
        own.unwrap_or(&self.handle.fingerprint)
    }

    /// The store's directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.handle.path
    }

    /// Closes the store for all handles: accepted batches are finished, waiting ones get `Closed`, the end is marked so
    /// that the next open finds no unproven byte, and the lock is free when this returns. Blocks.
    ///
    /// # Errors
    /// `Closed`: somebody else closed it. `Poisoned`: nothing was written, and the lock is free. `Io`: the end could not
    /// be marked, and the lock is free. Everything acknowledged is safe in each case: effect *nothing*.
    pub fn close(&self) -> Result<()> {
        self.handle.close()
    }

    /// Does one slice of the store's chores, for tests that do them by hand: whether there was anything to do.
    #[doc(hidden)]
    pub fn run_slice(&self) -> Result<bool> {
        self.handle.check_open()?;
        self.handle.background.chores().slice_by_hand()
    }

    /// Freezes the memtable, for tests that do chores by hand.
    #[doc(hidden)]
    pub fn freeze(&self) -> Result<()> {
        self.handle.freeze()
    }

    /// Whether both are handles of one open store.
    pub(crate) fn is_same_store(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }

    pub(crate) const fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Drops this handle. If it was the last, and what the index takes is worth a word, returns it, to be dropped where
    /// that holds up nobody. A leader that is still at work frees it itself.
    pub(crate) fn into_large_index(self) -> Option<Published> {
        let handle = Arc::into_inner(self.handle)?;
        let published = Arc::clone(&handle.published);
        drop(handle);
        Arc::into_inner(published).filter(Published::is_large)
    }
}

impl Batch {
    /// What is added from now on, records and conditions, goes to the keyspace of this handle, which has to be one of the
    /// same store.
    pub fn select(&mut self, keyspace: &Engine) -> &mut Self {
        self.select_id(keyspace.keyspace_id());
        self
    }
}

fn first_prior(receipt: Receipt) -> Result<Option<Vec<u8>>> {
    Ok(receipt.into_priors()?.into_iter().next().flatten())
}

/// A batch whose place in the order of writes is fixed. Keeps the store open.
///
/// Dropped while it waits in line for room: nothing happens. Dropped later: the batch finishes or fails as if awaited,
/// when the next caller waits.
#[derive(Debug)]
#[must_use = "a submitted batch is not durable before it was waited for"]
pub struct Submitted {
    ticket: Ticket<LogWriter>,
    engine: Engine,
}

/// A batch whose conditions cannot be judged by what memory has, because layers have changed since its submitter looked, is
/// handed back to look again as often as this.
pub(crate) const LOOKS_MAX: u32 = 8;

/// Layers changed each time.
pub(crate) fn looked_too_often() -> Error {
    let message = format!(
        "the conditions could not be judged: {LOOKS_MAX} times the store changed below what was found"
    );
    Error::new(ErrorKind::Conflict, message)
}

impl Submitted {
    /// Whether [`Submitted::wait`] would return at once.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ticket.is_done()
    }

    /// Waits until the batch is durable and visible, leading the group if nobody else does. Blocks.
    ///
    /// # Errors
    /// As for [`Engine::write`].
    pub fn wait(self) -> Result<Receipt> {
        let Self { mut ticket, engine } = self;
        if !ticket.is_done() {
            let refused = engine.handle.queue.refuse_if_leading();
            refused.map_err(|error| error.with_effect(Effect::Unknown))?;
        }
        let mut looks = 1;
        loop {
            match ticket.wait()? {
                Answer::Committed(committed) => {
                    engine.handle.background.after_write();
                    return Ok(committed.receipt());
                }
                Answer::LookAgain(_) if looks == LOOKS_MAX => return Err(looked_too_often()),
                Answer::LookAgain(mut batch) => {
                    looks += 1;
                    engine.look(&mut batch)?;
                    ticket = engine.ticket(batch)?;
                }
            }
        }
    }
}
