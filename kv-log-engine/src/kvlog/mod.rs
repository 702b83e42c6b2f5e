//! The typed async store: a thin skin over [`Engine`], generic over the runtime seam.
//!
//! It encodes keys and values, submits, and waits as a future. It owns no ordering: a write's place is fixed by
//! [`Engine`]'s queue at the future's first poll. Blocking work, reads of the disk included, goes through the runtime's
//! blocking threads.
//!
//! Here: the type, its opening and closing, and how a batch is written and a value read. What a caller does with keys is in
//! the files below, each of one subject.

mod batch;
mod capabilities;
mod conditional;
mod erase;
mod expiry;
mod keyspace;
mod many;
mod piece;
mod point;
mod records;
mod scan;
mod snapshot;
mod store;
mod stream;
mod transaction;
mod update;
mod watch;

pub use batch::{KVBatch, KVBatchOf};
pub use records::Records;
pub use snapshot::KVSnapshot;
pub use stream::{RecordIter, RecordStream};
#[cfg(test)]
pub(crate) use transaction::ATTEMPTS_MAX;
pub use transaction::KVTransaction;
pub use watch::WatchStream;

use crate::batch::{Answer, Batch, Committed};
use crate::engine::{Engine, LOOKS_MAX, looked_too_often};
use crate::format::ids::Seqno;
use crate::hop::{caught, hop};
use crate::index::{Lookup, Published};
use crate::options::Options;
use crate::recovery::RecoveryReport;
use crate::stats::Stats;
use kv_trait::codec::Probed;
use kv_trait::key::Key;
use kv_trait::{Codec, Effect, Fingerprint, Postcard, Result, Runtime, Version, Versioned};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

/// A durable store of keys `K` and values `V` on the runtime `R`, values encoded by the codec `C`.
///
/// Adapters give it a runtime and this name: `kv_runtime_tokio::KVLog`, `kv_runtime_smol::KVLog`. Clones share the store.
/// `durable`, `visible`, `effect` and `cancel safe` are defined in [`kv_trait`]. The examples below run on a runtime of the
/// documentation's own; with an adapter there is nothing else to it.
///
/// # Cancel safety
/// All methods are cancel safe. Writes take their place in the order when they are first polled.
///
/// # Blocking
/// No method waits on the thread that polls it: append, sync, checksums of large values, reads from the disk and decoding
/// run on the runtime's blocking threads. What memory knows of a key, small values and absence, is ready at once. What is left
/// is work in proportion to the arguments: a write encodes its value at its first poll, because it only borrows it and has its place
/// in the order from then on. For values of many megabytes that is tens of milliseconds; [`KVLog::put_owned`] takes such a
/// value and encodes it on a blocking thread.
///
/// So a blocking thread is what a call needs, and code that runs on one must not wait for a call there, with `block_on`:
/// when every thread of the pool does, no call of them is ever answered. Such code has [`KVLog::engine`], whose methods
/// block and do the work in place.
///
/// # Drop
/// Dropping the last handle neither waits nor writes; what was acknowledged is safe. A large index is freed on a blocking
/// thread of the runtime, or here if that takes no work any more. [`KVLog::close`] also reports errors.
pub struct KVLog<K, V, R, C = Postcard> {
    /// `None` only while this is being dropped.
    engine: Option<Engine>,
    runtime: R,
    /// Frees a large index on the runtime: what drops a handle knows no bounds of `R`.
    free: fn(&R, Published),
    /// Whether values must be read back before they are taken.
    probed: Probed,
    updates: Arc<crate::combine::Updates<V>>,
    types: PhantomData<fn(K, V, C)>,
}

impl<K, V, R: Clone, C> Clone for KVLog<K, V, R, C> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            runtime: self.runtime.clone(),
            free: self.free,
            probed: self.probed,
            updates: Arc::clone(&self.updates),
            types: PhantomData,
        }
    }
}

impl<K, V, R: fmt::Debug, C> fmt::Debug for KVLog<K, V, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KVLog")
            .field("path", &self.handle().path())
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

impl<K, V, R, C> KVLog<K, V, R, C> {
    const fn handle(&self) -> &Engine {
        self.engine
            .as_ref()
            .expect("a handle has its engine until it is dropped")
    }
}

impl<K, V, R, C> Drop for KVLog<K, V, R, C> {
    fn drop(&mut self) {
        let index = self.engine.take().and_then(Engine::into_large_index);
        if let Some(index) = index {
            (self.free)(&self.runtime, index);
        }
    }
}

/// Frees an index on a blocking thread. A runtime that takes no work drops it here and now.
fn free_on<R: Runtime>(runtime: &R, index: Published) {
    match runtime.spawn_blocking(Box::new(move || drop(index))) {
        Ok(()) | Err(_) => {}
    }
}

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime + Default,
    C: Codec<V>,
{
    /// Opens the store in the directory `path`, or creates it there, and recovers what a crash left behind.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # type KVLog<K, V> = kv_log_engine::KVLog<K, V, my::Threads>;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("counters.kv");
    /// # my::block_on(async {
    /// // With the adapter's `KVLog`, which knows its runtime.
    /// let store: KVLog<String, u64> = KVLog::load(&path).await?;
    /// store.put("visits", &1).await?;
    /// drop(store);
    ///
    /// let store: KVLog<String, u64> = KVLog::load(&path).await?;
    /// assert_eq!(store.get("visits").await?, Some(1));
    /// # Ok::<(), kv_trait::Error>(()) })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// Dropped before its first poll: nothing happened. Dropped later: the open goes on, and the store is dropped as soon
    /// as it is open; it may have been created.
    ///
    /// # Errors
    /// `Locked`, `Corrupt`, `UnsupportedFormat` (other types included), `StorageFull`, `Io`; `InvalidInput`: `K` cannot be a
    /// key, or `V` cannot be a value in this codec ([`Codec::probe`]); `Unavailable`: this is not polled inside the runtime.
    pub async fn load(path: impl AsRef<Path> + Send) -> Result<Self> {
        Self::load_with(path, Options::new()).await
    }

    /// Like [`KVLog::load`], with options.
    ///
    /// # Cancel safety
    /// As for [`KVLog::load`].
    ///
    /// # Errors
    /// As for [`KVLog::load`].
    pub async fn load_with(path: impl AsRef<Path> + Send, options: Options) -> Result<Self> {
        Self::load_on(R::default(), path, options).await
    }
}

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Opens a store on a runtime that is a value.
    ///
    /// # Cancel safety
    /// As for [`KVLog::load`].
    ///
    /// # Errors
    /// As for [`KVLog::load`].
    pub async fn load_on(
        runtime: R,
        path: impl AsRef<Path> + Send,
        options: Options,
    ) -> Result<Self> {
        runtime.pool()?;
        let path = path.as_ref().to_path_buf();
        let open = move || {
            let probed = C::probe()?;
            let fingerprint = Fingerprint::of::<K, V, C>(options.tag.as_deref())?;
            let engine = Engine::open(path, options.fingerprint(fingerprint))?;
            Ok((engine, probed))
        };
        let (engine, probed) = hop(&runtime, open).await?;
        Ok(Self {
            engine: Some(engine),
            runtime,
            free: free_on,
            probed,
            updates: Arc::default(),
            types: PhantomData,
        })
    }

    /// The same store for tasks of another runtime. One order of writes holds for all of them.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// let other = store.on(my::Threads); // with adapters: `kv_runtime_tokio::Tokio::default()`, say
    /// store.put("visits", &1).await?;
    /// assert_eq!(other.get("visits").await?, Some(1));
    /// # Ok(()) });
    /// ```
    pub fn on<S: Runtime>(&self, runtime: S) -> KVLog<K, V, S, C> {
        KVLog {
            engine: self.engine.clone(),
            runtime,
            free: free_on,
            probed: self.probed,
            updates: Arc::clone(&self.updates),
            types: PhantomData,
        }
    }

    /// Closes the store for all handles: what was accepted is finished, the end is marked, the lock is free.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// let other = store.clone();
    /// store.close().await?;
    /// let refused = other.get("visits").await.unwrap_err();
    /// assert_eq!(refused.kind(), kv_trait::ErrorKind::Closed);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropped before its first poll: nothing happened. Dropped later: the close goes on.
    ///
    /// # Errors
    /// As for [`Engine::close`]; `Unavailable`: the runtime shut down first.
    pub async fn close(&self) -> Result<()> {
        let engine = self.handle().clone();
        hop(&self.runtime, move || engine.close()).await
    }

    /// Counters and sizes now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle().stats()
    }

    /// What the open found, cut and kept.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        self.handle().recovery_report()
    }

    /// The synchronous store of bytes below. Its methods block: not for async code, but for code on blocking threads, which
    /// must not wait for the methods here. [`kv_trait::key`] and the codec say which bytes keys and values are.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        self.handle()
    }

    async fn proceed(&self) {
        proceed_on(&self.runtime).await;
    }

    /// A batch for this store's keyspace.
    fn new_batch(&self) -> Batch {
        self.handle().batch()
    }

    async fn write(&self, mut batch: Batch) -> Result<Committed> {
        self.runtime.pool()?;
        for _ in 0..LOOKS_MAX {
            if self.handle().has_to_look(&batch) {
                let engine = self.handle().clone();
                let look = move || engine.look(&mut batch).map(|()| batch);
                batch = hop(&self.runtime, look).await?;
            }
            match self.handle().ticket(batch)?.on(&self.runtime).await? {
                Answer::Committed(committed) => {
                    self.handle().handle().background.after_task(&self.runtime);
                    return Ok(committed);
                }
                Answer::LookAgain(again) => batch = again,
            }
        }
        Err(looked_too_often())
    }

    async fn prior(&self, mut committed: Committed) -> Result<Option<V>> {
        match committed.priors.pop() {
            None => Ok(None),
            Some(prior) => {
                let read = self.read(prior).await;
                read.map_err(|error| error.with_effect(Effect::Applied))
            }
        }
    }

    async fn read(&self, found: Lookup) -> Result<Option<V>> {
        let found = self.read_versioned(found).await?;
        Ok(found.map(|found| found.value))
    }

    async fn read_versioned(&self, found: Lookup) -> Result<Option<Versioned<V>>> {
        read_versioned_on::<V, C>(&self.runtime, found).await
    }
}

/// Gives way once if the runtime asks for it, and then goes on: a budget that only comes back when the task is polled
/// anew never comes back inside a `block_on` of somebody else's.
async fn proceed_on(runtime: &impl Runtime) {
    let mut gave_way = false;
    poll_fn(|cx| {
        if gave_way {
            return Poll::Ready(());
        }
        gave_way = true;
        runtime.poll_proceed(cx)
    })
    .await;
}

/// Reads, checks and decodes: here what is small and in memory, and on a blocking thread all else.
async fn read_versioned_on<V, C>(
    runtime: &impl Runtime,
    found: Lookup,
) -> Result<Option<Versioned<V>>>
where
    V: Send + Sync + 'static,
    C: Codec<V>,
{
    let (seqno, value) = match found {
        Lookup::Absent => return Ok(None),
        Lookup::Value(seqno, value) => (seqno, C::decode(&value)?),
        found => {
            let decode = |bytes: &[u8]| caught(|| C::decode(bytes));
            let read = move || found.read_versioned_with(decode);
            match hop(runtime, read).await? {
                None => return Ok(None),
                Some((seqno, decoded)) => (seqno, resumed(decoded)?),
            }
        }
    };
    Ok(Some(Versioned {
        value,
        version: version_of(seqno),
    }))
}

/// The place of a write in the order, as callers have it.
const fn version_of(seqno: Seqno) -> Version {
    Version::from_u64(seqno.get())
}

/// A panic in it is for the caller who brought the value or asked for it.
fn resumed<T>(outcome: std::thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
