//! A store that stands before the good one and lies.

use async_trait::async_trait;
use kv_tests::executor::{Executor, Task};
use kv_tests::fixture::{Capability, Fixture, Key, Misfortune, PowerCut, SyncGate, Value};
use kv_tests::kvlog::{OnSimDisk, Store};
use kv_trait::{Error, ErrorKind, KVStore, Result};
use std::cell::Cell;
use std::marker::PhantomData;
use std::pin::Pin;
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What a lie changes; everything else is the truth. `State` belongs to one handle and its clones.
pub(crate) trait Lie: Send + Sync + 'static {
    type State: Clone + Default + Send + Sync + 'static;

    fn get<'a, E: Executor>(
        inner: &'a Store<E>,
        _state: &'a Self::State,
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(inner.get(key))
    }

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        _state: &'a Self::State,
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(inner.set(key, value))
    }

    fn put<'a, E: Executor>(
        inner: &'a Store<E>,
        _state: &'a Self::State,
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, ()> {
        Box::pin(inner.put(key, value))
    }

    fn delete<'a, E: Executor>(
        inner: &'a Store<E>,
        _state: &'a Self::State,
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(inner.delete(key))
    }

    fn remove<'a, E: Executor>(
        inner: &'a Store<E>,
        _state: &'a Self::State,
        key: &'a Key,
    ) -> Answer<'a, ()> {
        Box::pin(inner.remove(key))
    }

    /// The batches that one is made of.
    fn split(changes: Vec<Change>) -> Vec<Vec<Change>> {
        vec![changes]
    }

    /// `scan` begins an honest one each time.
    fn scan(scan: &dyn Fn() -> Task<Scanned>) -> Task<Scanned> {
        scan()
    }

    /// How often a place can be opened.
    const OPENS: u32 = u32::MAX;
}

/// A lie about some methods, each with its body; the others tell the truth.
macro_rules! lie {
    ($(
        $(#[$doc:meta])*
        $lie:ident($state:ty) {
            $($method:ident($inner:ident, $own:pat, $key:ident $(, $value:ident)?) -> $of:ty $body:block)+
        }
    )+) => {$(
        $(#[$doc])*
        pub(crate) struct $lie;

        impl Lie for $lie {
            type State = $state;

            $(fn $method<'a, E: Executor>(
                $inner: &'a Store<E>,
                $own: &'a $state,
                $key: &'a Key,
                $($value: &'a Value,)?
            ) -> Answer<'a, $of> {
                Box::pin(async move $body)
            })+
        }
    )+};
}

/// A lie about scans, batches or opens.
macro_rules! lie_beside {
    ($($(#[$doc:meta])* $lie:ident { $($item:tt)+ })+) => {$(
        $(#[$doc])*
        pub(crate) struct $lie;

        impl Lie for $lie {
            type State = ();

            $($item)+
        }
    )+};
}

pub(crate) use {lie, lie_beside};

pub(crate) type Change = (Key, Option<Value>);
pub(crate) type Scanned = Result<Vec<(Key, Value)>>;

/// Not a lie.
pub(crate) struct Truth;

impl Lie for Truth {
    type State = ();
}

pub(crate) struct LyingStore<E: Executor, L: Lie> {
    pub(crate) inner: Store<E>,
    state: L::State,
}

impl<E: Executor, L: Lie> Clone for LyingStore<E, L> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
        }
    }
}

impl<E: Executor, L: Lie> LyingStore<E, L> {
    fn new(inner: Store<E>) -> Self {
        Self {
            inner,
            state: L::State::default(),
        }
    }
}

// By hand what the attribute would write: a lie may act before the first poll.
#[async_trait]
impl<E: Executor, L: Lie> KVStore<Key, Value> for LyingStore<E, L> {
    async fn get(&self, key: &Key) -> Result<Option<Value>> {
        L::get::<E>(&self.inner, &self.state, key).await
    }

    fn set<'a, 'b, 'c, 'f>(&'a self, key: &'b Key, value: &'c Value) -> Answer<'f, Option<Value>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
    {
        L::set::<E>(&self.inner, &self.state, key, value)
    }

    async fn delete(&self, key: &Key) -> Result<Option<Value>> {
        L::delete::<E>(&self.inner, &self.state, key).await
    }

    async fn put(&self, key: &Key, value: &Value) -> Result<()> {
        L::put::<E>(&self.inner, &self.state, key, value).await
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        L::remove::<E>(&self.inner, &self.state, key).await
    }
}

/// The good fixture, with a liar before its store.
pub(crate) struct Lying<E, L> {
    inner: OnSimDisk<E>,
    opens: Cell<u32>,
    lie: PhantomData<L>,
}

impl<E: Executor, L: Lie> Lying<E, L> {
    fn around(inner: OnSimDisk<E>) -> Self {
        Self {
            inner,
            opens: Cell::new(0),
            lie: PhantomData,
        }
    }
}

impl<E: Executor, L: Lie> Fixture for Lying<E, L> {
    type Store = LyingStore<E, L>;
    const CAPABILITIES: &'static [Capability] = <OnSimDisk<E> as Fixture>::CAPABILITIES;
    const LARGE_VALUE_BYTES: usize = <OnSimDisk<E> as Fixture>::LARGE_VALUE_BYTES;

    fn create() -> Self {
        Self::around(OnSimDisk::create())
    }

    async fn open(&self) -> Result<Self::Store> {
        let opens = self.opens.get() + 1;
        self.opens.set(opens);
        if opens > L::OPENS {
            return Err(Error::new(ErrorKind::Io, "a lie"));
        }
        self.inner.open().await.map(LyingStore::new)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.inner.block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.inner.spawn(future)
    }

    fn close(&self, store: &Self::Store) -> impl Future<Output = Result<()>> + Send + 'static {
        self.inner.close(&store.inner)
    }

    fn scan(
        &self,
        store: &Self::Store,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send + 'static {
        L::scan(&|| Box::pin(self.inner.scan(&store.inner)))
    }

    fn write_batch(
        &self,
        store: &Self::Store,
        changes: Vec<(Key, Option<Value>)>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let writes: Vec<_> = L::split(changes)
            .into_iter()
            .map(|part| self.inner.write_batch(&store.inner, part))
            .collect();
        async {
            for write in writes {
                write.await?;
            }
            Ok(())
        }
    }

    async fn open_within(&self, timeout: Duration) -> Result<Self::Store> {
        self.inner.open_within(timeout).await.map(LyingStore::new)
    }

    async fn open_as_other_types(&self) -> Result<()> {
        self.inner.open_as_other_types().await
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.inner.spawn_thread(future)
    }

    fn abandon(&self, futures: Vec<Task<()>>) {
        self.inner.abandon(futures);
    }

    fn hold_syncs(&self) -> Box<dyn SyncGate> {
        self.inner.hold_syncs()
    }

    fn after_power_cut(&self, cut: PowerCut) -> Self {
        Self::around(self.inner.after_power_cut(cut))
    }

    fn inject(&self, misfortune: Misfortune) {
        self.inner.inject(misfortune);
    }
}
