//! The store as a program sees it that does not know which one it is.

use super::KVLog;
use kv_trait::key::Key;
use kv_trait::{
    Batches, Closing, Codec, Expiry, KVStore, RangeDeletes, Result, Runtime, Scans, Updates,
    Versions, Watches, async_trait,
};

#[async_trait]
impl<K, V, R, C> KVStore<K, V> for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn get(&self, key: &K) -> Result<Option<V>> {
        Self::get(self, key).await
    }

    async fn set(&self, key: &K, value: &V) -> Result<Option<V>> {
        Self::set(self, key, value).await
    }

    async fn delete(&self, key: &K) -> Result<Option<V>> {
        Self::delete(self, key).await
    }

    async fn put(&self, key: &K, value: &V) -> Result<()> {
        Self::put(self, key, value).await
    }

    async fn remove(&self, key: &K) -> Result<()> {
        Self::remove(self, key).await
    }

    fn closing(&self) -> Option<&dyn Closing> {
        Some(self)
    }

    fn batches(&self) -> Option<&dyn Batches<K, V>> {
        Some(self)
    }

    fn scans(&self) -> Option<&dyn Scans<K, V>> {
        Some(self)
    }

    fn range_deletes(&self) -> Option<&dyn RangeDeletes> {
        Some(self)
    }

    fn versions(&self) -> Option<&dyn Versions<K, V>> {
        Some(self)
    }

    fn updates(&self) -> Option<&dyn Updates<K, V>> {
        Some(self)
    }

    fn expiry(&self) -> Option<&dyn Expiry<K, V>> {
        Some(self)
    }

    fn watches(&self) -> Option<&dyn Watches<K, V>> {
        Some(self)
    }
}
