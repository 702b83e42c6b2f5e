//! The suite on a `KVStore` that is not kvlog: a map behind a lock, which promises no durability and says so by not
//! naming the capabilities that are about it. What needs them is skipped, by name.

use async_trait::async_trait;
use kv_tests::executor::{Task, thread};
use kv_tests::fixture::{Capability, Fixture, Key, Value};
use kv_trait::{Error, ErrorKind, KEY_BYTES_MAX, KVStore, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

#[derive(Clone, Default)]
struct Map(Arc<Mutex<BTreeMap<Key, Value>>>);

impl Map {
    fn locked<T>(&self, key: &Key, work: impl FnOnce(&mut BTreeMap<Key, Value>) -> T) -> Result<T> {
        if key.as_ref().len() > KEY_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "the key is too long"));
        }
        Ok(work(
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

#[async_trait]
impl KVStore<Key, Value> for Map {
    async fn get(&self, key: &Key) -> Result<Option<Value>> {
        self.locked(key, |map| map.get(key).cloned())
    }

    async fn set(&self, key: &Key, value: &Value) -> Result<Option<Value>> {
        self.locked(key, |map| map.insert(key.clone(), value.clone()))
    }

    async fn delete(&self, key: &Key) -> Result<Option<Value>> {
        self.locked(key, |map| map.remove(key))
    }
}

struct InMemory;

impl Fixture for InMemory {
    type Store = Map;
    const CAPABILITIES: &'static [Capability] =
        &[Capability::Scan, Capability::Batch, Capability::Threads];

    fn create() -> Self {
        Self
    }

    async fn open(&self) -> Result<Map> {
        Ok(Map::default())
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        Box::pin(smol::spawn(future))
    }

    fn scan(
        &self,
        store: &Map,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>>> + Send + 'static {
        let map = store.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = map.clone().into_iter().collect();
        async { Ok(found) }
    }

    fn write_batch(
        &self,
        store: &Map,
        changes: Vec<(Key, Option<Value>)>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let store = store.clone();
        async move {
            let mut map = store.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in changes {
                match value {
                    Some(value) => map.insert(key, value),
                    None => map.remove(&key),
                };
            }
            Ok(())
        }
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        thread(|| smol::block_on(future))
    }
}

kv_tests::conformance!(InMemory);

/// And on a map that has every capability, though it is not durable: what needs neither a disk nor another process.
mod with_every_capability {
    use kv_tests::reference::InMemory;
    use kv_tests::stepped::Stepped;

    kv_tests::conformance!(InMemory<Stepped>);
}
