//! Fixtures for kvlog itself, on any executor: on a simulated disk, and on files.

use crate::executor::{Executor, Task, thread, yield_now};
use crate::fixture::{Capability, Fixture, Key, Misfortune, PowerCut, SyncGate, Value};
use crate::oneshot::oneshot;
use crate::reader;
use crate::tiny::Sizes;
use crate::workload::STORE;
use kv_log_engine::storage::Storage;
use kv_log_engine::storage::sim::{EIO, ENOSPC, Fault, FaultKind, Gate, OpKind, SimDisk};
use kv_log_engine::{Batch, Engine, Host, KVLog, Options, OsHost};
use kv_trait::{Codec, Error, ErrorKind, Postcard, Result, Runtime, key};
use std::future::Future;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The store that the fixtures open.
pub type Store<E> = KVLog<Key, Value, <E as Executor>::Runtime>;

/// Small, so that a test of some hundred writes sees rotations.
const SEGMENT_BYTES: u64 = 16 * 1024;
/// Dozens of segments' worth, and beyond what is summed on the caller's thread.
const LARGE_VALUE_BYTES: usize = 1024 * 1024 + 1;

/// Where a store of values that are no [`Value`]s would be.
type OtherValue = (u64, Option<String>);

fn options<E: Executor>() -> Options {
    let options = Options::new().segment_bytes(SEGMENT_BYTES);
    if E::HAS_THREADS {
        options
    } else {
        // Small groups, so that a burst of tasks is more than one term of a leader.
        options.linger(Duration::ZERO).group_bytes(512)
    }
}

/// Runs blocking work on the store's runtime.
async fn blocking<T: Send + 'static>(
    runtime: impl Runtime,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot();
    runtime.spawn_blocking(Box::new(move || sender.send(work())))?;
    let gone = || Err(Error::new(ErrorKind::Unavailable, "the runtime is gone"));
    receiver.await.unwrap_or_else(gone)
}

fn scan<E: Executor>(
    executor: &E,
    store: &Store<E>,
) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send + 'static {
    let engine = store.engine().clone();
    blocking(executor.runtime(), move || {
        engine
            .scan(..)?
            .map(|found| {
                let (key, value) = found?;
                Ok((key::decode(&key)?, Postcard::decode(&value)?))
            })
            .collect()
    })
}

fn write_batch<E: Executor>(
    executor: &E,
    store: &Store<E>,
    changes: Vec<(Key, Option<Value>)>,
) -> impl Future<Output = Result<()>> + Send + 'static {
    let engine: Engine = store.engine().clone();
    blocking(executor.runtime(), move || {
        let mut batch = Batch::new();
        for (key, value) in changes {
            let key = key::encode(&key)?;
            match value {
                Some(value) => {
                    let mut bytes = Vec::new();
                    Postcard::encode(&value, &mut bytes)?;
                    batch.put(&key, &bytes)?;
                }
                None => batch.delete(&key)?,
            }
        }
        engine.write(batch).map(drop)
    })
}

/// All but the last, [`Capability::Abandon`], of an executor that cannot be dropped.
const fn without_abandon<E: Executor>(all: &'static [Capability]) -> &'static [Capability] {
    match all.split_last() {
        Some((Capability::Abandon, others)) if !E::CAN_BE_DROPPED => others,
        _ => all,
    }
}

/// Runs the futures on an executor that is dropped under them. On a thread of its own: some executors refuse to run
/// inside another.
fn abandon<E: Executor>(futures: Vec<Task<()>>) {
    let abandoned = thread(|| {
        let (other, all) = (E::start(), futures.len());
        let begun = Arc::new(AtomicUsize::new(0));
        for future in futures {
            let begun = Arc::clone(&begun);
            drop(other.spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                future.await;
            }));
        }
        other.block_on(async {
            // Threads of the executor's own may not even have started by then.
            while begun.load(Ordering::SeqCst) < all {
                yield_now().await;
            }
        });
    });
    abandoned.join().expect("an executor can be dropped");
}

/// What an [`OnSimDisk`] skips where blocking work has threads of its own. Each list is written out, so that a property
/// which is no longer run is noticed.
pub const SKIPPED_ON_SIM_DISK: &[&str] = &[
    "persistence_verification",
    "a_killed_process_loses_nothing_it_acknowledged",
    "a_snapshot_keeps_the_time_of_its_beginning",
];

/// What an [`OnFiles`] skips: real files neither lose power nor fail on demand.
pub const SKIPPED_ON_FILES: &[&str] = &[
    "a_future_dropped_while_its_sync_is_held_finishes",
    "a_future_dropped_behind_a_long_sync_needs_no_other_call",
    "the_executor_is_never_blocked",
    "reads_go_on_while_a_sync_is_held",
    "a_batch_is_whole_at_each_of_its_syncs",
    "each_of_many_writes_is_durable_by_itself",
    "many_writes_survive_a_power_cut",
    "acknowledged_is_durable",
    "visible_is_durable",
    "an_answer_is_durable",
    "nothing_is_visible_before_it_is_durable",
    "what_recovery_showed_stays",
    "a_power_cut_in_a_burst_leaves_whole_writes_in_order",
    "a_power_cut_at_creation_leaves_a_store_that_opens",
    "a_batch_is_whole_after_a_power_cut",
    "a_history_of_single_calls_is_linearizable_across_power_cuts",
    "a_history_of_all_calls_is_serializable_across_power_cuts",
    "a_deleted_key_stays_deleted_after_a_power_cut",
    "a_failed_sync_is_told_and_stops_writes",
    "a_failed_sync_is_never_believed_later",
    "a_sync_without_space_is_unknown_too",
    "a_failed_write_leaves_nothing",
    "a_failed_write_is_taken_back",
    "a_full_disk_refuses_and_recovers",
    "a_read_error_is_no_absence",
    "a_prior_value_that_cannot_be_read_is_no_refusal",
    "a_read_error_while_opening_loses_nothing",
    "a_snapshot_keeps_the_time_of_its_beginning",
];

/// What both skip besides on an executor that cannot be dropped.
pub const SKIPPED_UNDROPPED: &[&str] = &["an_abandoned_executor_harms_nobody"];

/// What stands between the store and the simulated disk.
pub trait Between: 'static {
    /// The storage that the store gets in place of this one.
    fn wrap(storage: Arc<dyn Storage>) -> Arc<dyn Storage>;

    /// How the store is opened: of these options, what is to be otherwise.
    fn options(options: Options) -> Options {
        options
    }
}

/// The machine, with a clock that tests can put forward.
#[derive(Debug)]
struct Ahead {
    host: OsHost,
    by_ms: AtomicU64,
}

impl Ahead {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            host: OsHost::new(),
            by_ms: AtomicU64::new(0),
        })
    }

    fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).expect("a test lets no ages pass");
        self.by_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Host for Ahead {
    fn now(&self) -> Duration {
        self.host.now()
    }

    fn unix_ms(&self) -> u64 {
        self.host.unix_ms() + self.by_ms.load(Ordering::SeqCst)
    }

    fn process_id(&self) -> u32 {
        self.host.process_id()
    }

    fn process_key(&self) -> u64 {
        self.host.process_key()
    }

    fn random(&self) -> std::io::Result<[u8; 16]> {
        self.host.random()
    }
}

/// Nothing stands between.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a type that has no values")]
pub enum Direct {}

impl Between for Direct {
    fn wrap(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        storage
    }
}

/// Nothing stands between, and the store is so small that its chores never end.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a type that has no values")]
pub enum Tiny {}

impl Between for Tiny {
    fn wrap(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        storage
    }

    fn options(options: Options) -> Options {
        Sizes::default().apply(options)
    }
}

/// A store on a disk that can lose power, fill up and fail.
#[derive(Debug)]
pub struct OnSimDisk<E, B = Direct> {
    executor: Rc<E>,
    disk: SimDisk,
    host: Arc<Ahead>,
    between: PhantomData<fn() -> B>,
}

impl<E, B> OnSimDisk<E, B> {
    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The executor.
    #[must_use]
    pub fn executor(&self) -> &E {
        &self.executor
    }
}

impl<E: Executor, B: Between> OnSimDisk<E, B> {
    fn options(&self) -> Options {
        // Values are read from the disk, so that it has a word in it; on files small ones come from memory.
        let options = options::<E>()
            .storage(B::wrap(self.disk.storage()))
            .separation_bytes(1)
            .host(Arc::clone(&self.host) as Arc<dyn Host>);
        B::options(options)
    }
}

impl SyncGate for Gate {
    fn held(&self) -> usize {
        Self::held(self)
    }

    fn open(&self) {
        Self::open(self);
    }
}

impl<E: Executor, B: Between> Fixture for OnSimDisk<E, B> {
    type Store = Store<E>;

    const CAPABILITIES: &'static [Capability] = if E::HAS_THREADS {
        without_abandon::<E>(&[
            Capability::Reopen,
            Capability::Close,
            Capability::Scan,
            Capability::Batch,
            Capability::OneOwner,
            Capability::LockTimeout,
            Capability::OtherTypes,
            Capability::Closing,
            Capability::Batches,
            Capability::Versions,
            Capability::Updates,
            Capability::Scans,
            Capability::RangeDeletes,
            Capability::Expiry,
            Capability::Clock,
            Capability::PowerCut,
            Capability::Faults,
            Capability::Undo,
            Capability::Threads,
            Capability::HoldSyncs,
            Capability::Abandon,
        ])
    } else {
        // On one thread neither a held sync nor a wait for the lock would ever end.
        &[
            Capability::Reopen,
            Capability::Close,
            Capability::Scan,
            Capability::Batch,
            Capability::OneOwner,
            Capability::OtherTypes,
            Capability::Closing,
            Capability::Batches,
            Capability::Versions,
            Capability::Updates,
            Capability::Scans,
            Capability::RangeDeletes,
            Capability::Expiry,
            Capability::Clock,
            Capability::PowerCut,
            Capability::Faults,
            Capability::Undo,
        ]
    };
    const LARGE_VALUE_BYTES: usize = LARGE_VALUE_BYTES;

    fn create() -> Self {
        Self {
            executor: Rc::new(E::start()),
            disk: SimDisk::new(),
            host: Ahead::new(),
            between: PhantomData,
        }
    }

    async fn open(&self) -> Result<Self::Store> {
        Store::<E>::load_on(self.executor.runtime(), STORE, self.options()).await
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.executor.block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.executor.spawn(future)
    }

    fn close(&self, store: &Self::Store) -> impl Future<Output = Result<()>> + Send + 'static {
        let store = store.clone();
        async move { store.close().await }
    }

    fn scan(
        &self,
        store: &Self::Store,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send + 'static {
        scan(&*self.executor, store)
    }

    fn write_batch(
        &self,
        store: &Self::Store,
        changes: Vec<(Key, Option<Value>)>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        write_batch(&*self.executor, store, changes)
    }

    async fn open_within(&self, timeout: Duration) -> Result<Self::Store> {
        let options = self.options().lock_timeout(timeout);
        Store::<E>::load_on(self.executor.runtime(), STORE, options).await
    }

    async fn open_as_other_types(&self) -> Result<()> {
        let runtime = self.executor.runtime();
        KVLog::<Key, OtherValue, E::Runtime>::load_on(runtime, STORE, self.options())
            .await
            .map(drop)
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.executor.spawn_thread(future)
    }

    fn abandon(&self, futures: Vec<Task<()>>) {
        abandon::<E>(futures);
    }

    fn pass(&self, _store: &Self::Store, time: Duration) {
        self.host.pass(time);
    }

    fn hold_syncs(&self) -> Box<dyn SyncGate> {
        Box::new(self.disk.hold(OpKind::Sync))
    }

    fn after_power_cut(&self, cut: PowerCut) -> Self {
        let disk = self.disk.fork();
        match cut {
            PowerCut::LosingAll => disk.power_cut_losing_all(),
            PowerCut::KeepingAll => disk.power_cut_keeping_all(),
            PowerCut::Some(seed) => disk.power_cut(seed),
        }
        Self {
            executor: Rc::clone(&self.executor),
            disk,
            host: Arc::clone(&self.host),
            between: PhantomData,
        }
    }

    fn inject(&self, misfortune: Misfortune) {
        let fault = |kind, on| {
            let fault = Fault::new(kind).on(on).path_contains(".seg");
            self.disk.inject(fault);
        };
        let read_error = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
        match misfortune {
            Misfortune::SyncFails => fault(FaultKind::Errno(EIO), OpKind::Sync),
            Misfortune::SyncFindsNoSpace => fault(FaultKind::Errno(ENOSPC), OpKind::Sync),
            Misfortune::WriteFails => fault(FaultKind::PartThenErrno(200, EIO), OpKind::Write),
            Misfortune::ReadFails(good) => self
                .disk
                .inject(read_error.path_contains(".seg").skip(good)),
            Misfortune::DiskFull => self.disk.set_capacity(Some(self.disk.used_bytes())),
            Misfortune::None => {
                self.disk.set_capacity(None);
                self.disk.clear_faults();
            }
        }
    }
}

/// A store in a directory of its own, removed at the end.
#[derive(Debug)]
pub struct OnFiles<E> {
    executor: Rc<E>,
    host: Arc<Ahead>,
    /// `None`: another process owns it.
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl<E: Executor> OnFiles<E> {
    fn options(&self) -> Options {
        options::<E>().host(Arc::clone(&self.host) as Arc<dyn Host>)
    }
}

impl<E: Executor> Fixture for OnFiles<E> {
    type Store = Store<E>;

    const CAPABILITIES: &'static [Capability] = without_abandon::<E>(&[
        Capability::Reopen,
        Capability::Close,
        Capability::Scan,
        Capability::Batch,
        Capability::OneOwner,
        Capability::LockTimeout,
        Capability::OtherTypes,
        Capability::Closing,
        Capability::Batches,
        Capability::Versions,
        Capability::Updates,
        Capability::Scans,
        Capability::RangeDeletes,
        Capability::Expiry,
        Capability::Clock,
        Capability::ReadFiles,
        Capability::Processes,
        Capability::Threads,
        Capability::Abandon,
    ]);
    const LARGE_VALUE_BYTES: usize = LARGE_VALUE_BYTES;

    fn create() -> Self {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        Self {
            executor: Rc::new(E::start()),
            host: Ahead::new(),
            path: directory.path().join("store"),
            directory: Some(directory),
        }
    }

    async fn open(&self) -> Result<Self::Store> {
        Store::<E>::load_on(self.executor.runtime(), &self.path, self.options()).await
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.executor.block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.executor.spawn(future)
    }

    fn close(&self, store: &Self::Store) -> impl Future<Output = Result<()>> + Send + 'static {
        let store = store.clone();
        async move { store.close().await }
    }

    fn scan(
        &self,
        store: &Self::Store,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send + 'static {
        scan(&*self.executor, store)
    }

    fn write_batch(
        &self,
        store: &Self::Store,
        changes: Vec<(Key, Option<Value>)>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        write_batch(&*self.executor, store, changes)
    }

    async fn open_within(&self, timeout: Duration) -> Result<Self::Store> {
        let options = self.options().lock_timeout(timeout);
        Store::<E>::load_on(self.executor.runtime(), &self.path, options).await
    }

    async fn open_as_other_types(&self) -> Result<()> {
        let runtime = self.executor.runtime();
        KVLog::<Key, OtherValue, E::Runtime>::load_on(runtime, &self.path, self.options())
            .await
            .map(drop)
    }

    fn read_files(&self) -> std::result::Result<Vec<(Key, Value)>, String> {
        let contents = reader::read(&self.path).map_err(|error| error.to_string())?;
        contents
            .live
            .into_iter()
            .map(|(key, value)| {
                let value = Postcard::decode(&value).map_err(|error| error.to_string())?;
                Ok((Key::from(key), value))
            })
            .collect()
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn create_at(path: &Path) -> Self {
        Self {
            executor: Rc::new(E::start()),
            host: Ahead::new(),
            directory: None,
            path: path.to_path_buf(),
        }
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.executor.spawn_thread(future)
    }

    fn abandon(&self, futures: Vec<Task<()>>) {
        abandon::<E>(futures);
    }

    fn pass(&self, _store: &Self::Store, time: Duration) {
        self.host.pass(time);
    }
}

impl<E> OnFiles<E> {
    /// Whether the directory is removed when this is dropped.
    #[must_use]
    pub const fn is_owner(&self) -> bool {
        self.directory.is_some()
    }
}
