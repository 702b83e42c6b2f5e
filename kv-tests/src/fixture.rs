//! What the conformance suite needs to know of a store: how to open it, how to run futures, and what it can be put
//! through.

use crate::executor::Task;
use kv_trait::{ByteKey, Changes, KVStore, Query, Result};
use std::future::Future;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// The suite's keys: any bytes.
pub type Key = ByteKey;
/// The suite's values: any bytes.
pub type Value = Vec<u8>;

/// What a store or its fixture can do beyond set, get and delete. A property that needs more is skipped, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Capability {
    /// What is written is there after all handles were dropped and the store was opened again.
    Reopen,
    /// [`Fixture::close`].
    Close,
    /// [`Fixture::scan`].
    Scan,
    /// [`Fixture::write_batch`].
    Batch,
    /// A second open is refused while a handle is alive.
    OneOwner,
    /// [`Fixture::open_within`].
    LockTimeout,
    /// [`Fixture::open_as_other_types`].
    OtherTypes,
    /// [`Fixture::read_files`].
    ReadFiles,
    /// [`Fixture::path`] and [`Fixture::create_at`]: another process can open the same store.
    Processes,
    /// [`Fixture::spawn_thread`].
    Threads,
    /// [`Fixture::abandon`].
    Abandon,
    /// [`Fixture::hold_syncs`].
    HoldSyncs,
    /// [`Fixture::after_power_cut`].
    PowerCut,
    /// [`Fixture::inject`].
    Faults,
    /// A write that the device broke off is taken back: it is refused with effect *nothing*, and the store goes on.
    Undo,
    /// [`KVStore::closing`].
    Closing,
    /// [`KVStore::batches`].
    Batches,
    /// [`KVStore::scans`].
    Scans,
    /// [`KVStore::range_deletes`].
    RangeDeletes,
    /// [`KVStore::versions`].
    Versions,
    /// [`KVStore::updates`].
    Updates,
    /// [`KVStore::snapshots`].
    Snapshots,
    /// [`KVStore::transactions`].
    Transactions,
    /// [`KVStore::expiry`].
    Expiry,
    /// [`KVStore::watches`].
    Watches,
    /// [`KVStore::keyspaces`].
    Keyspaces,
    /// [`Fixture::pass`].
    Clock,
}

impl Capability {
    /// What a store must say of itself where this is named.
    #[must_use]
    pub const fn of_the_store(self) -> Option<kv_trait::Capability> {
        use kv_trait::Capability as Of;
        Some(match self {
            Self::Closing => Of::Closing,
            Self::Batches => Of::Batches,
            Self::Scans => Of::Scans,
            Self::RangeDeletes => Of::RangeDeletes,
            Self::Versions => Of::Versions,
            Self::Updates => Of::Updates,
            Self::Snapshots => Of::Snapshots,
            Self::Transactions => Of::Transactions,
            Self::Expiry => Of::Expiry,
            Self::Watches => Of::Watches,
            Self::Keyspaces => Of::Keyspaces,
            _ => return None,
        })
    }
}

/// What a power cut leaves of the writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PowerCut {
    /// Nothing.
    LosingAll,
    /// Everything.
    KeepingAll,
    /// Some, in pieces, as this seed says.
    Some(u64),
}

/// A misfortune of the device, met by the next operation of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misfortune {
    /// The next sync fails; the pages stay readable and are never written.
    SyncFails,
    /// The next sync fails for want of space, as on a thin device.
    SyncFindsNoSpace,
    /// The next write of data is cut off after 200 bytes, and fails.
    WriteFails,
    /// The read of data after so many good ones fails.
    ReadFails(u64),
    /// From now on there is no space left, until [`Misfortune::None`].
    DiskFull,
    /// No more misfortune.
    None,
}

/// Syncs that wait. Dropping it lets them through.
pub trait SyncGate: Send {
    /// How many wait now.
    fn held(&self) -> usize;
    /// Lets them through, and all later ones.
    fn open(&self);
}

/// One place for one store, and an executor to use it on.
///
/// The first five methods are needed always. Each of the others belongs to a [`Capability`], and is called only if
/// [`Fixture::CAPABILITIES`] names it. [`crate::conformance!`] makes the tests. The page of the [`crate`] shows a
/// fixture in full; this is what the suite does with one:
///
/// ```
/// use kv_tests::fixture::{Fixture, Key, PowerCut};
/// use kv_tests::{kvlog::OnSimDisk, stepped::Stepped};
/// # fn main() -> kv_trait::Result<()> {
/// let fixture = OnSimDisk::<Stepped>::create();
/// fixture.block_on(async {
///     let (key, value) = (Key::from(*b"key"), b"value".to_vec());
///     let store = fixture.open().await?;
///     store.put(&key, &value).await?;
///     let after = fixture.after_power_cut(PowerCut::LosingAll);
///     assert_eq!(after.open().await?.get(&key).await?, Some(value));
///     fixture.close(&store).await
/// })
/// # }
/// ```
pub trait Fixture: Sized + 'static {
    /// A handle of the store: clones share it.
    type Store: KVStore<Key, Value> + Clone + 'static;

    /// What can be asked of this fixture.
    const CAPABILITIES: &'static [Capability];

    /// The longest value that the suite tries, in bytes: beyond whatever unit the store has.
    const LARGE_VALUE_BYTES: usize = 8 * 1024 * 1024 + 1;

    /// How many writes one store gets where the suite tries many: more than whatever the store counts to before it does
    /// something out of turn. With [`Capability::PowerCut`] the store is opened as often.
    const MANY_WRITES: u64 = 2_200;

    /// The longest key, in bytes; one byte more is refused as `TooLarge`.
    const KEY_BYTES_MAX: usize = kv_trait::KEY_BYTES_MAX;

    /// A fresh, empty place.
    fn create() -> Self;

    /// Opens the store there, or creates it.
    fn open(&self) -> impl Future<Output = Result<Self::Store>>;

    /// Drives a future to its end.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    /// Starts a task. It runs at least while [`Fixture::block_on`] does.
    fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static)
    -> Task<T>;

    /// Closes the store for all handles: through [`KVStore::closing`], if nothing else is said.
    fn close(&self, store: &Self::Store) -> impl Future<Output = Result<()>> + Send + 'static {
        let store = store.clone();
        async move {
            match store.closing() {
                Some(closing) => closing.close().await,
                None => unsupported(Capability::Close),
            }
        }
    }

    /// Everything in the store, at one point, in the order of the keys: through [`KVStore::scans`], if nothing else is
    /// said.
    fn scan(
        &self,
        store: &Self::Store,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send + 'static {
        let store = store.clone();
        async move {
            match store.scans() {
                Some(scans) => scans.scan(&Query::all()).all().await,
                None => unsupported(Capability::Scan),
            }
        }
    }

    /// Applies all changes or none; `None` removes a key. Through [`KVStore::batches`], if nothing else is said.
    fn write_batch(
        &self,
        store: &Self::Store,
        changes: Vec<(Key, Option<Value>)>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let store = store.clone();
        async move {
            let mut all = Changes::new();
            for (key, value) in changes {
                match value {
                    Some(value) => all.put(key, value),
                    None => all.delete(key),
                };
            }
            match store.batches() {
                Some(batches) => batches.write(all).await.map(drop),
                None => unsupported(Capability::Batch),
            }
        }
    }

    /// Opens the store, waiting this long for another owner.
    fn open_within(&self, timeout: Duration) -> impl Future<Output = Result<Self::Store>> {
        let _ = timeout;
        async { unsupported(Capability::LockTimeout) }
    }

    /// Tries to open the store as one of values that are not [`Value`]s.
    fn open_as_other_types(&self) -> impl Future<Output = Result<()>> {
        async { unsupported(Capability::OtherTypes) }
    }

    /// Everything in the files of the store, read by other code than the store's. No handle is alive.
    ///
    /// # Errors
    /// Why they cannot be read; the suite shows it.
    fn read_files(&self) -> std::result::Result<Vec<(Key, Value)>, String> {
        unsupported(Capability::ReadFiles)
    }

    /// Where the store is, for another process.
    fn path(&self) -> &Path {
        unsupported(Capability::Processes)
    }

    /// The place that another process named with [`Fixture::path`].
    fn create_at(path: &Path) -> Self {
        let _ = path;
        unsupported(Capability::Processes)
    }

    /// Drives a future to its end on a thread of its own.
    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        drop(future);
        unsupported(Capability::Threads)
    }

    /// Polls these futures on an executor of their own, at least once each, and then drops that executor with all that
    /// is not finished.
    fn abandon(&self, futures: Vec<Task<()>>) {
        drop(futures);
        unsupported(Capability::Abandon)
    }

    /// Holds every sync from now on, before it happens.
    fn hold_syncs(&self) -> Box<dyn SyncGate> {
        unsupported(Capability::HoldSyncs)
    }

    /// A second place, as this one would be after a power cut now. This one goes on. Both may be used side by side,
    /// on the same executor.
    #[must_use]
    fn after_power_cut(&self, cut: PowerCut) -> Self {
        let _ = cut;
        unsupported(Capability::PowerCut)
    }

    /// Lets so much time pass for the store, and for no one else.
    fn pass(&self, store: &Self::Store, time: Duration) {
        let _ = (store, time);
        unsupported(Capability::Clock)
    }

    /// Makes the device misbehave.
    fn inject(&self, misfortune: Misfortune) {
        let _ = misfortune;
        unsupported(Capability::Faults)
    }
}

fn unsupported(capability: Capability) -> ! {
    panic!("the fixture names {capability:?} and does not implement it")
}
