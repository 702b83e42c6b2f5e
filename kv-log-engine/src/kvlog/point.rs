//! Single keys: get, set, put, delete and remove.

use super::{KVLog, resumed};
use crate::batch::Batch;
use crate::hop::caught;
use crate::hop::hop;
use kv_trait::codec::{Probed, encode_checked};
use kv_trait::key::{self, Key, KeyOf};
use kv_trait::{Codec, Result, Runtime, Versioned};

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// The value of `key`; `None` if it has none. Never a value that a power cut at this instant could take back.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// assert_eq!(store.get("visits").await?, None);
    /// store.put("visits", &1).await?;
    /// assert_eq!(store.get("visits").await?, Some(1)); // borrowed: the keys are `String`s
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// `TooLarge`, `Codec`, `Corrupt`, `Io`, `Closed`, `Unavailable`.
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        self.runtime.pool()?;
        self.proceed().await;
        let key = key::encode_borrowed::<K, Q>(key)?;
        self.read(self.handle().lookup(&key)?).await
    }

    /// The value of `key` with its version, which says what write it comes from: what conditional writes expect.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put("visits", &1).await?;
    /// let first = store.get_versioned("visits").await?.expect("it was put");
    /// assert_eq!(first.value, 1);
    /// store.put("visits", &1).await?; // the same value, another write
    /// let second = store.get_versioned("visits").await?.expect("it was put");
    /// assert!(second.version > first.version);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// As for [`KVLog::get`].
    pub async fn get_versioned<Q>(&self, key: &Q) -> Result<Option<Versioned<V>>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        self.runtime.pool()?;
        self.proceed().await;
        let key = key::encode_borrowed::<K, Q>(key)?;
        self.read_versioned(self.handle().lookup(&key)?).await
    }

    /// Stores `value` under `key`; resolves with the value that was there before, once the new one is durable and visible.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// assert_eq!(store.set("visits", &1).await?, None);
    /// assert_eq!(store.set("visits", &2).await?, Some(1));
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropped before its first poll, or while it waits in line for room: nothing happened. Dropped later: it finishes or
    /// fails whole, as if awaited.
    ///
    /// # Errors
    /// `TooLarge`, `Codec`, `StorageFull`, `Poisoned`, `Io`, `Closed`, `Unavailable`. [`kv_trait::Error::effect`] says what
    /// became of the write; *applied*: the value is stored, only the one before could not be produced.
    pub async fn set<Q>(&self, key: &Q, value: &V) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.put_batch(key, value)?.with_priors();
        let committed = self.write(batch).await?;
        self.prior(committed).await
    }

    /// Stores `value` under `key`, without producing the value before, which spares a read.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put("visits", &1).await?;
    /// assert_eq!(store.get("visits").await?, Some(1));
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::set`], never *applied*.
    pub async fn put<Q>(&self, key: &Q, value: &V) -> Result<()>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.put_batch(key, value)?;
        self.write(batch).await.map(drop)
    }

    /// Like [`KVLog::put`], for large values: the value is encoded on a blocking thread, and dropped there.
    ///
    /// It takes its place in the order when that is done, not when it is first polled. So of two writes of one task that
    /// is polled before the other was awaited, either may come first; whoever awaits one before the next notices nothing.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put_owned("visits", 1).await?;
    /// assert_eq!(store.set_owned("visits", 2).await?, Some(1));
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropped before the value is encoded: nothing happened. Dropped later: as for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::put`].
    pub async fn put_owned<Q>(&self, key: &Q, value: V) -> Result<()>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.put_batch_elsewhere(key, value).await?;
        self.write(batch).await.map(drop)
    }

    /// Like [`KVLog::set`], with the order and the encoding of [`KVLog::put_owned`].
    ///
    /// # Cancel safety
    /// As for [`KVLog::put_owned`].
    ///
    /// # Errors
    /// As for [`KVLog::set`].
    pub async fn set_owned<Q>(&self, key: &Q, value: V) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.put_batch_elsewhere(key, value).await?.with_priors();
        let committed = self.write(batch).await?;
        self.prior(committed).await
    }

    /// Removes `key`; resolves with the value that was there, once its removal is durable and visible.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put("visits", &1).await?;
    /// assert_eq!(store.delete("visits").await?, Some(1));
    /// assert_eq!(store.delete("visits").await?, None); // no error
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::set`].
    pub async fn delete<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.delete_batch(key)?.with_priors();
        let committed = self.write(batch).await?;
        self.prior(committed).await
    }

    /// Removes `key`, without producing the value that was there, which spares a read.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put("visits", &1).await?;
    /// store.remove("visits").await?;
    /// assert_eq!(store.get("visits").await?, None);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::set`], never *applied*.
    pub async fn remove<Q>(&self, key: &Q) -> Result<()>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.delete_batch(key)?;
        self.write(batch).await.map(drop)
    }

    /// Whether `key` has a value. None is read.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// assert!(!store.contains_key("visits").await?);
    /// store.put("visits", &1).await?;
    /// assert!(store.contains_key("visits").await?);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// `TooLarge`, `Codec` (of the key), `Corrupt`, `Io`, `Closed`, `Unavailable`.
    pub async fn contains_key<Q>(&self, key: &Q) -> Result<bool>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        self.runtime.pool()?;
        self.proceed().await;
        let key = key::encode_borrowed::<K, Q>(key)?;
        let found = self.handle().lookup(&key)?;
        match found.exists_here() {
            Some(exists) => Ok(exists),
            None => hop(&self.runtime, move || found.exists()).await,
        }
    }

    fn put_batch<Q: KeyOf<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<Batch> {
        let key = key::encode_borrowed::<K, Q>(key)?;
        put_batch::<V, C>(self.new_batch(), &key, value, self.probed)
    }

    /// The same on a blocking thread.
    async fn put_batch_elsewhere<Q: KeyOf<K> + Sync + ?Sized>(
        &self,
        key: &Q,
        value: V,
    ) -> Result<Batch> {
        self.runtime.pool()?;
        let key = key::encode_borrowed::<K, Q>(key)?;
        let (batch, probed) = (self.new_batch(), self.probed);
        let encode = move || Ok(caught(|| put_batch::<V, C>(batch, &key, &value, probed)));
        resumed(hop(&self.runtime, encode).await?)
    }

    fn delete_batch<Q: KeyOf<K> + ?Sized>(&self, key: &Q) -> Result<Batch> {
        let mut batch = self.new_batch();
        batch.delete(&key::encode_borrowed::<K, Q>(key)?)?;
        Ok(batch)
    }
}

fn put_batch<V, C: Codec<V>>(
    mut batch: Batch,
    key: &[u8],
    value: &V,
    probed: Probed,
) -> Result<Batch> {
    batch.put_with(key, |out| encode_checked::<V, C>(value, probed, out))?;
    Ok(batch)
}
