//! Fixtures and stores with their types erased: the suite is compiled once, not once for each fixture.

use crate::executor::Task;
use crate::fixture::{Capability, Fixture, Key, Misfortune, PowerCut, SyncGate, Value};
use crate::oneshot::oneshot;
use crate::watch::{Doing, Watch, Watched};
use kv_trait::{
    Batches, Closing, Expiry, KVStore, Keyspaces, RangeDeletes, Result, Scans, Snapshots,
    Transactions, Updates, Versions, Watches,
};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What [`Fixture::Store`] is, whatever it is.
trait ErasedStore: KVStore<Key, Value> {
    fn clone_box(&self) -> Box<dyn ErasedStore>;
    fn as_any(&self) -> &dyn Any;
}

impl<S: KVStore<Key, Value> + Clone + 'static> ErasedStore for S {
    fn clone_box(&self) -> Box<dyn ErasedStore> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A handle of some fixture's store. A clone is a clone of that handle.
pub struct AnyStore {
    store: Box<dyn ErasedStore>,
    watch: Watch,
    place: Arc<str>,
}

impl Clone for AnyStore {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone_box(),
            watch: self.watch.clone(),
            place: Arc::clone(&self.place),
        }
    }
}

impl AnyStore {
    fn watched<'f, T: 'f>(
        &self,
        method: &'static str,
        key: &Key,
        value: Option<&Value>,
        answer: Answer<'f, T>,
    ) -> Answer<'f, T> {
        let doing = Doing::Operation(method, key.clone(), value.map(Vec::len));
        Box::pin(self.watch.watch(doing, &self.place, answer))
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyStore").finish_non_exhaustive()
    }
}

type Answer<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;

// By hand what the attribute would write: the inner call is made at once, so that a store which acts before its first
// poll is seen to do so.
impl KVStore<Key, Value> for AnyStore {
    fn get<'s, 'k, 'f>(&'s self, key: &'k Key) -> Answer<'f, Option<Value>>
    where
        's: 'f,
        'k: 'f,
    {
        let answer = (*self.store).get(key);
        self.watched("get", key, None, answer)
    }

    fn set<'s, 'k, 'v, 'f>(&'s self, key: &'k Key, value: &'v Value) -> Answer<'f, Option<Value>>
    where
        's: 'f,
        'k: 'f,
        'v: 'f,
    {
        let answer = (*self.store).set(key, value);
        self.watched("set", key, Some(value), answer)
    }

    fn delete<'s, 'k, 'f>(&'s self, key: &'k Key) -> Answer<'f, Option<Value>>
    where
        's: 'f,
        'k: 'f,
    {
        let answer = (*self.store).delete(key);
        self.watched("delete", key, None, answer)
    }

    fn put<'s, 'k, 'v, 'f>(&'s self, key: &'k Key, value: &'v Value) -> Answer<'f, ()>
    where
        's: 'f,
        'k: 'f,
        'v: 'f,
    {
        let answer = (*self.store).put(key, value);
        self.watched("put", key, Some(value), answer)
    }

    fn remove<'s, 'k, 'f>(&'s self, key: &'k Key) -> Answer<'f, ()>
    where
        's: 'f,
        'k: 'f,
    {
        let answer = (*self.store).remove(key);
        self.watched("remove", key, None, answer)
    }

    fn closing(&self) -> Option<&dyn Closing> {
        (*self.store).closing()
    }

    fn batches(&self) -> Option<&dyn Batches<Key, Value>> {
        (*self.store).batches()
    }

    fn scans(&self) -> Option<&dyn Scans<Key, Value>> {
        (*self.store).scans()
    }

    fn range_deletes(&self) -> Option<&dyn RangeDeletes> {
        (*self.store).range_deletes()
    }

    fn versions(&self) -> Option<&dyn Versions<Key, Value>> {
        (*self.store).versions()
    }

    fn updates(&self) -> Option<&dyn Updates<Key, Value>> {
        (*self.store).updates()
    }

    fn snapshots(&self) -> Option<&dyn Snapshots<Key, Value>> {
        (*self.store).snapshots()
    }

    fn transactions(&self) -> Option<&dyn Transactions<Key, Value>> {
        (*self.store).transactions()
    }

    fn expiry(&self) -> Option<&dyn Expiry<Key, Value>> {
        (*self.store).expiry()
    }

    fn watches(&self) -> Option<&dyn Watches<Key, Value>> {
        (*self.store).watches()
    }

    fn keyspaces(&self) -> Option<&dyn Keyspaces<Key, Value>> {
        (*self.store).keyspaces()
    }
}

/// The places that the suite makes of one kind of fixture.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Place {
    /// What can be asked of them.
    pub capabilities: &'static [Capability],
    /// [`Fixture::LARGE_VALUE_BYTES`].
    pub large_value_bytes: usize,
    /// [`Fixture::KEY_BYTES_MAX`].
    pub key_bytes_max: usize,
    /// [`Fixture::MANY_WRITES`].
    pub many_writes: u64,
    create: fn() -> Box<dyn ErasedFixture>,
    create_at: fn(&Path) -> Box<dyn ErasedFixture>,
    /// Of all that is done at them.
    pub(crate) watch: Watch,
}

impl Place {
    /// Those of this fixture.
    #[must_use]
    pub fn of<F: Fixture>() -> Self {
        Self {
            capabilities: F::CAPABILITIES,
            large_value_bytes: F::LARGE_VALUE_BYTES,
            key_bytes_max: F::KEY_BYTES_MAX,
            many_writes: F::MANY_WRITES,
            create: || Box::new(F::create()),
            create_at: |path| Box::new(F::create_at(path)),
            watch: Watch::default(),
        }
    }

    pub(crate) fn create(&self) -> AnyFixture {
        self.watched((self.create)())
    }

    pub(crate) fn create_at(&self, path: &Path) -> AnyFixture {
        self.watched((self.create_at)(path))
    }

    fn watched(&self, fixture: Box<dyn ErasedFixture>) -> AnyFixture {
        AnyFixture {
            fixture,
            watch: self.watch.clone(),
            place: "".into(),
        }
    }
}

/// A fixture, whatever it is. The methods are those of [`Fixture`].
pub(crate) struct AnyFixture {
    fixture: Box<dyn ErasedFixture>,
    watch: Watch,
    /// How it came to be, for messages.
    place: Arc<str>,
}

trait ErasedFixture {
    fn open(&self) -> Local<'_, Result<Box<dyn ErasedStore>>>;
    fn block_on(&self, future: Local<'_, ()>);
    fn spawn(&self, future: Task<()>) -> Task<()>;
    fn close(&self, store: &AnyStore) -> Task<Result<()>>;
    fn scan(&self, store: &AnyStore) -> Task<Result<Vec<(Key, Value)>>>;
    fn write_batch(&self, store: &AnyStore, changes: Vec<(Key, Option<Value>)>)
    -> Task<Result<()>>;
    fn open_within(&self, timeout: Duration) -> Local<'_, Result<Box<dyn ErasedStore>>>;
    fn open_as_other_types(&self) -> Local<'_, Result<()>>;
    fn read_files(&self) -> std::result::Result<Vec<(Key, Value)>, String>;
    fn path(&self) -> &Path;
    fn spawn_thread(&self, future: Task<()>) -> JoinHandle<()>;
    fn abandon(&self, futures: Vec<Task<()>>);
    fn hold_syncs(&self) -> Box<dyn SyncGate>;
    fn after_power_cut(&self, cut: PowerCut) -> Box<dyn ErasedFixture>;
    fn inject(&self, misfortune: Misfortune);
    fn pass(&self, store: &AnyStore, time: Duration);
}

fn inner<F: Fixture>(store: &AnyStore) -> &F::Store {
    let store = store.store.as_any().downcast_ref();
    store.expect("a fixture is given its own stores only")
}

fn erased<S: KVStore<Key, Value> + Clone + 'static>(
    opened: Result<S>,
) -> Result<Box<dyn ErasedStore>> {
    opened.map(|store| Box::new(store) as Box<dyn ErasedStore>)
}

impl<F: Fixture> ErasedFixture for F {
    fn open(&self) -> Local<'_, Result<Box<dyn ErasedStore>>> {
        Box::pin(async { erased(Fixture::open(self).await) })
    }

    fn block_on(&self, future: Local<'_, ()>) {
        Fixture::block_on(self, future);
    }

    fn spawn(&self, future: Task<()>) -> Task<()> {
        Fixture::spawn(self, future)
    }

    fn close(&self, store: &AnyStore) -> Task<Result<()>> {
        Box::pin(Fixture::close(self, inner::<F>(store)))
    }

    fn scan(&self, store: &AnyStore) -> Task<Result<Vec<(Key, Value)>>> {
        Box::pin(Fixture::scan(self, inner::<F>(store)))
    }

    fn write_batch(
        &self,
        store: &AnyStore,
        changes: Vec<(Key, Option<Value>)>,
    ) -> Task<Result<()>> {
        Box::pin(Fixture::write_batch(self, inner::<F>(store), changes))
    }

    fn open_within(&self, timeout: Duration) -> Local<'_, Result<Box<dyn ErasedStore>>> {
        Box::pin(async move { erased(Fixture::open_within(self, timeout).await) })
    }

    fn open_as_other_types(&self) -> Local<'_, Result<()>> {
        Box::pin(Fixture::open_as_other_types(self))
    }

    fn read_files(&self) -> std::result::Result<Vec<(Key, Value)>, String> {
        Fixture::read_files(self)
    }

    fn path(&self) -> &Path {
        Fixture::path(self)
    }

    fn spawn_thread(&self, future: Task<()>) -> JoinHandle<()> {
        Fixture::spawn_thread(self, future)
    }

    fn abandon(&self, futures: Vec<Task<()>>) {
        Fixture::abandon(self, futures);
    }

    fn hold_syncs(&self) -> Box<dyn SyncGate> {
        Fixture::hold_syncs(self)
    }

    fn after_power_cut(&self, cut: PowerCut) -> Box<dyn ErasedFixture> {
        Box::new(Fixture::after_power_cut(self, cut))
    }

    fn inject(&self, misfortune: Misfortune) {
        Fixture::inject(self, misfortune);
    }

    fn pass(&self, store: &AnyStore, time: Duration) {
        Fixture::pass(self, inner::<F>(store), time);
    }
}

impl AnyFixture {
    /// Enters a call of the fixture's.
    fn call<F: Future + Unpin>(&self, what: impl Into<String>, future: F) -> Watched<F> {
        self.watch
            .watch(Doing::Call(what.into()), &self.place, future)
    }

    fn opening<'a>(
        &'a self,
        what: impl Into<String>,
        opened: Local<'a, Result<Box<dyn ErasedStore>>>,
    ) -> Local<'a, Result<AnyStore>> {
        let opened = self.call(what, opened);
        Box::pin(async move {
            let store = opened.await?;
            Ok(AnyStore {
                store,
                watch: self.watch.clone(),
                place: Arc::clone(&self.place),
            })
        })
    }

    pub(crate) fn open(&self) -> Local<'_, Result<AnyStore>> {
        self.opening("open", self.fixture.open())
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut answer = None;
        let property: Local<'_, ()> = Box::pin(async {
            answer = Some(future.await);
        });
        let property = self.watch.watch(Doing::Property, &self.place, property);
        self.fixture.block_on(Box::pin(property));
        answer.expect("block_on drives its future to the end")
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (sender, receiver) = oneshot();
        let task: Task<()> = Box::pin(async move { sender.send(future.await) });
        let task = self.watch.watch(Doing::Task, &self.place, task);
        let task = self.fixture.spawn(Box::pin(task));
        Box::pin(async move {
            task.await;
            receiver.await.expect("a task that ended has answered")
        })
    }

    pub(crate) fn close(&self, store: &AnyStore) -> Task<Result<()>> {
        Box::pin(self.call("close", self.fixture.close(store)))
    }

    pub(crate) fn scan(&self, store: &AnyStore) -> Task<Result<Vec<(Key, Value)>>> {
        Box::pin(self.call("scan", self.fixture.scan(store)))
    }

    pub(crate) fn write_batch(
        &self,
        store: &AnyStore,
        changes: Vec<(Key, Option<Value>)>,
    ) -> Task<Result<()>> {
        let what = format!("write_batch of {} changes", changes.len());
        Box::pin(self.call(what, self.fixture.write_batch(store, changes)))
    }

    pub(crate) fn open_within(&self, timeout: Duration) -> Local<'_, Result<AnyStore>> {
        self.opening(
            format!("open_within {timeout:?}"),
            self.fixture.open_within(timeout),
        )
    }

    pub(crate) fn open_as_other_types(&self) -> Local<'_, Result<()>> {
        Box::pin(self.call("open_as_other_types", self.fixture.open_as_other_types()))
    }

    pub(crate) fn read_files(&self) -> std::result::Result<Vec<(Key, Value)>, String> {
        self.fixture.read_files()
    }

    pub(crate) fn path(&self) -> &Path {
        self.fixture.path()
    }

    pub(crate) fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> AnyThread<T> {
        let answer = Arc::new(Mutex::new(None));
        let own = Arc::clone(&answer);
        let task: Task<()> = Box::pin(async move {
            let given = future.await;
            *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(given);
        });
        let task = self.watch.watch(Doing::Task, &self.place, task);
        let thread = self.fixture.spawn_thread(Box::pin(task));
        AnyThread { thread, answer }
    }

    pub(crate) fn abandon(&self, futures: Vec<Task<()>>) {
        self.fixture.abandon(futures);
    }

    pub(crate) fn hold_syncs(&self) -> Box<dyn SyncGate> {
        self.watch.gate(self.fixture.hold_syncs())
    }

    pub(crate) fn after_power_cut(&self, cut: PowerCut) -> Self {
        Self {
            fixture: self.fixture.after_power_cut(cut),
            watch: self.watch.clone(),
            place: format!("{}, after PowerCut::{cut:?}", self.place).into(),
        }
    }

    pub(crate) fn inject(&self, misfortune: Misfortune) {
        self.fixture.inject(misfortune);
    }

    pub(crate) fn pass(&self, store: &AnyStore, time: Duration) {
        self.fixture.pass(store, time);
    }

    /// Keeps a panic of a waker that the property made.
    pub(crate) const fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// A thread, and what its future returned.
pub(crate) struct AnyThread<T> {
    thread: JoinHandle<()>,
    answer: Arc<Mutex<Option<T>>>,
}

impl<T> AnyThread<T> {
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn join(self) -> T {
        self.thread.join().expect("a thread of the test");
        let answer = self
            .answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        answer.expect("a thread that ended has answered")
    }
}
