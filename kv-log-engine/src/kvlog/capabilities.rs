//! What the store can do beyond the contract, as a program sees it that does not know which store it is.

use super::KVLog;
use super::records::Records;
use kv_trait::key::Key;
use kv_trait::{
    Batches, Changes, Closing, Codec, Items, KeyRange, Query, Result, Runtime, Scans, Update,
    Updates, Version, Versioned, Versions, Written, async_trait,
};
use std::ops::Bound;

#[async_trait]
impl<K, V, R, C> Closing for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn close(&self) -> Result<()> {
        Self::close(self).await
    }
}

#[async_trait]
impl<K, V, R, C> Batches<K, V> for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn write(&self, changes: Changes<K, V>) -> Result<Written<V>> {
        let mut batch = self.batch();
        for condition in changes.conditions() {
            batch.expect(&condition.key, condition.version);
        }
        let wants_priors = changes.wants_priors();
        for change in changes.changes() {
            match (change.value(), wants_priors) {
                (Some(value), true) => batch.set(change.key(), value),
                (Some(value), false) => batch.put(change.key(), value),
                (None, true) => batch.delete(change.key()),
                (None, false) => batch.remove(change.key()),
            };
        }
        batch.commit().await
    }
}

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    fn within(&self, range: &KeyRange) -> Records<K, V, R, C> {
        let bounds = (range.from(), range.to());
        let owned = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        self.records(Ok((owned(bounds.0), owned(bounds.1))))
    }
}

/// As a query asks for them: in its direction, so many at most.
fn asked<K, V, R, C, T>(records: Records<K, V, R, C, T>, query: &Query) -> Records<K, V, R, C, T>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
    T: Send + 'static,
{
    let records = records.limit(query.limited_to().unwrap_or(u64::MAX));
    if query.is_reversed() {
        return records.reversed();
    }
    records
}

#[async_trait]
impl<K, V, R, C> Scans<K, V> for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    fn scan(&self, query: &Query) -> Items<(K, V)> {
        Items::new(asked(self.within(query.range()), query).stream())
    }

    fn scan_keys(&self, query: &Query) -> Items<K> {
        Items::new(asked(self.within(query.range()).keys(), query).stream())
    }

    async fn count(&self, range: &KeyRange) -> Result<u64> {
        self.within(range).count().await
    }

    async fn first(&self, range: &KeyRange) -> Result<Option<(K, V)>> {
        self.within(range).first().await
    }

    async fn last(&self, range: &KeyRange) -> Result<Option<(K, V)>> {
        self.within(range).last().await
    }
}

#[async_trait]
impl<K, V, R, C> Versions<K, V> for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn get_versioned(&self, key: &K) -> Result<Option<Versioned<V>>> {
        Self::get_versioned(self, key).await
    }

    async fn set_if(&self, key: &K, value: &V, expected: Option<Version>) -> Result<Version> {
        Self::set_if(self, key, value, expected).await
    }

    async fn delete_if(&self, key: &K, expected: Version) -> Result<()> {
        Self::delete_if(self, key, expected).await
    }
}

#[async_trait]
impl<K, V, R, C> Updates<K, V> for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn update(&self, key: &K, update: Update<V>) -> Result<Option<V>> {
        Self::update(self, key, update).await
    }
}
