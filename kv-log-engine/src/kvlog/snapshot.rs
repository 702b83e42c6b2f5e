//! One point of a typed store, kept.

use super::many::{encoded, read_all_on};
use super::records::Records;
use super::scan::prefix_bounds;
use super::{KVLog, proceed_on, read_versioned_on, version_of};
use crate::snapshot::Snapshot;
use kv_trait::key::{self, EncodedBounds, Key, KeyBounds, KeyOf, PrefixOf};
use kv_trait::{Codec, Postcard, Result, Runtime, Version, Versioned};
use std::fmt;
use std::marker::PhantomData;

/// The store as it is at one point of the order of writes: later writes do not show. Made by [`KVLog::snapshot`].
///
/// Cheap to make and to clone, `Send`, `Sync` and `'static`; it may move between tasks and outlive the store's handles. All
/// keyspaces are of the same point ([`KVSnapshot::of`]). Its limits, and what ends it, are those of [`Snapshot`].
///
/// ```
/// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
/// # my::with_store(async |store| {
/// store.put("ann", &1).await?;
/// let before = store.snapshot()?;
/// store.put("ann", &2).await?;
/// store.put("bob", &3).await?;
/// assert_eq!(before.get("ann").await?, Some(1));
/// assert_eq!(before.range(..).count().await?, 1);
/// # Ok(()) });
/// ```
///
/// # Cancel safety
/// Dropping a future of it has no effect.
///
/// # Drop
/// With the last clone and the last stream of it, what it keeps on the disk is let go of.
pub struct KVSnapshot<K, V, R, C = Postcard> {
    snapshot: Snapshot,
    runtime: R,
    types: PhantomData<fn(K, V, C)>,
}

impl<K, V, R: Clone, C> Clone for KVSnapshot<K, V, R, C> {
    fn clone(&self) -> Self {
        Self {
            snapshot: self.snapshot.clone(),
            runtime: self.runtime.clone(),
            types: PhantomData,
        }
    }
}

impl<K, V, R: fmt::Debug, C> fmt::Debug for KVSnapshot<K, V, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KVSnapshot")
            .field("at", &self.snapshot.at())
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Everything there is, of all keyspaces, as it is now. Costs next to nothing, and does not block.
    ///
    /// # Errors
    /// `Closed`; `InvalidInput`: this keyspace was dropped.
    pub fn snapshot(&self) -> Result<KVSnapshot<K, V, R, C>> {
        Ok(KVSnapshot {
            snapshot: self.handle().snapshot()?,
            runtime: self.runtime.clone(),
            types: PhantomData,
        })
    }
}

impl<K, V, R, C> KVSnapshot<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// The same point, read in the keyspace of this handle.
    ///
    /// # Errors
    /// As for [`Snapshot::of`].
    pub fn of<K2, V2, R2, C2>(
        &self,
        keyspace: &KVLog<K2, V2, R2, C2>,
    ) -> Result<KVSnapshot<K2, V2, R2, C2>>
    where
        R2: Clone,
    {
        Ok(KVSnapshot {
            snapshot: self.snapshot.of(keyspace.handle())?,
            runtime: keyspace.runtime.clone(),
            types: PhantomData,
        })
    }

    /// The last write that it shows.
    #[must_use]
    pub fn version(&self) -> Version {
        version_of(self.snapshot.at())
    }

    /// The value that `key` had; `None` if it had none.
    ///
    /// # Errors
    /// As for [`KVLog::get`]; `TooOld`: the snapshot was ended.
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let found = self.get_versioned(key).await?;
        Ok(found.map(|found| found.value))
    }

    /// The value that `key` had, with its version.
    ///
    /// # Errors
    /// As for [`KVSnapshot::get`].
    pub async fn get_versioned<Q>(&self, key: &Q) -> Result<Option<Versioned<V>>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        self.runtime.pool()?;
        proceed_on(&self.runtime).await;
        let key = key::encode_borrowed::<K, Q>(key)?;
        let found = self.snapshot.lookup(&key)?;
        let read = read_versioned_on::<V, C>(&self.runtime, found).await;
        self.snapshot.settle(read)
    }

    /// The values of many keys, in their order, with one hop to a blocking thread at most.
    ///
    /// # Errors
    /// As for [`KVSnapshot::get`], of the first key that has one.
    pub async fn get_many<'a, Q, I>(&self, keys: I) -> Result<Vec<Option<V>>>
    where
        Q: KeyOf<K> + Sync + ?Sized + 'a,
        I: IntoIterator<Item = &'a Q> + Send,
    {
        self.runtime.pool()?;
        let keys = encoded::<K, Q>(keys)?;
        proceed_on(&self.runtime).await;
        let found = keys.iter().map(|key| self.snapshot.lookup(key));
        let found = found.collect::<Result<_>>()?;
        let read = read_all_on::<V, C>(&self.runtime, found).await;
        self.snapshot.settle(read)
    }

    /// The records of a range of keys, in order of the keys: see [`KVLog::range`].
    pub fn range(&self, range: impl KeyBounds<K>) -> Records<K, V, R, C> {
        self.records(range.encode_bounds())
    }

    /// The records whose keys begin with `prefix`: see [`KVLog::prefix`].
    pub fn prefix<P>(&self, prefix: &P) -> Records<K, V, R, C>
    where
        P: PrefixOf<K> + ?Sized,
    {
        self.records(prefix_bounds::<K, P>(prefix))
    }

    fn records(&self, bounds: Result<EncodedBounds>) -> Records<K, V, R, C> {
        let snapshot = self.snapshot.clone();
        Records::new(self.runtime.clone(), bounds, move |(lower, upper)| {
            let lower = lower.as_ref().map(Vec::as_slice);
            let upper = upper.as_ref().map(Vec::as_slice);
            Ok(Box::new(snapshot.scan((lower, upper))?))
        })
    }
}
