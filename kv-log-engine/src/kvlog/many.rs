//! Many keys with one call.

use super::{KVLog, resumed};
use crate::batch::Batch;
use crate::hop::caught;
use crate::hop::hop;
use crate::index::Lookup;
use kv_trait::codec::encode_checked;
use kv_trait::key::{self, Key, KeyOf};
use kv_trait::{Codec, Result, Runtime};

/// So many keys are looked up on the thread that polls; more of them on a blocking thread.
const HERE_MAX: usize = 64;

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// The values of many keys, in their order, all of one point of the order of writes; with one hop to a blocking thread at
    /// most.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put_many([("ann", &1), ("bob", &2)]).await?;
    /// assert_eq!(store.get_many(["bob", "carl", "ann"]).await?, [Some(2), None, Some(1)]);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// As for [`KVLog::get`]: of the first key that has one.
    pub async fn get_many<'a, Q, I>(&self, keys: I) -> Result<Vec<Option<V>>>
    where
        Q: KeyOf<K> + Sync + ?Sized + 'a,
        I: IntoIterator<Item = &'a Q> + Send,
    {
        self.runtime.pool()?;
        let keys = encoded::<K, Q>(keys)?;
        self.proceed().await;
        if keys.len() <= HERE_MAX {
            let found = self.handle().lookups(keys.iter().map(Vec::as_slice))?;
            return self.read_all(found).await;
        }
        let engine = self.handle().clone();
        let read = move || {
            let found = engine.lookups(keys.iter().map(Vec::as_slice))?;
            Ok(caught(|| decode_all::<V, C>(&found)))
        };
        resumed(hop(&self.runtime, read).await?)
    }

    pub(super) async fn read_all(&self, found: Vec<Lookup>) -> Result<Vec<Option<V>>> {
        read_all_on::<V, C>(&self.runtime, found).await
    }

    /// Stores many values, as one [batch](KVLog::batch): all of them or none. Of two values for one key the later counts.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put_many([("ann", &1), ("bob", &2)]).await?;
    /// let scores = vec![("carl".to_owned(), 3), ("dora".to_owned(), 4)];
    /// store.put_many(scores.iter().map(|(name, score)| (name, score))).await?;
    /// assert_eq!(store.count().await?, 4);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::put`]; `TooLarge` also: all of them together are longer than a batch may be. Effect *nothing*.
    pub async fn put_many<'a, Q, I>(&self, records: I) -> Result<()>
    where
        Q: KeyOf<K> + Sync + ?Sized + 'a,
        I: IntoIterator<Item = (&'a Q, &'a V)> + Send,
    {
        let batch = self.put_all(records)?;
        self.write(batch).await.map(drop)
    }

    fn put_all<'a, Q: KeyOf<K> + ?Sized + 'a>(
        &self,
        records: impl IntoIterator<Item = (&'a Q, &'a V)>,
    ) -> Result<Batch> {
        let mut batch = self.new_batch();
        for (key, value) in records {
            let key = key::encode_borrowed::<K, Q>(key)?;
            batch.put_with(&key, |out| encode_checked::<V, C>(value, self.probed, out))?;
        }
        Ok(batch)
    }
}

/// Reads, checks and decodes: here what is small, in memory and not much, and otherwise all of it on one blocking thread.
pub(super) async fn read_all_on<V, C>(
    runtime: &impl Runtime,
    found: Vec<Lookup>,
) -> Result<Vec<Option<V>>>
where
    V: Send + Sync + 'static,
    C: Codec<V>,
{
    if found.len() <= HERE_MAX && found.iter().all(Lookup::is_here) {
        return decode_all::<V, C>(&found);
    }
    let read = move || Ok(caught(|| decode_all::<V, C>(&found)));
    resumed(hop(runtime, read).await?)
}

pub(super) fn encoded<'a, K: Key, Q: KeyOf<K> + ?Sized + 'a>(
    keys: impl IntoIterator<Item = &'a Q>,
) -> Result<Vec<Vec<u8>>> {
    let keys = keys.into_iter();
    keys.map(|key| key::encode_borrowed::<K, Q>(key)).collect()
}

fn decode_all<V, C: Codec<V>>(found: &[Lookup]) -> Result<Vec<Option<V>>> {
    let decoded = |found: &Lookup| found.read_with(C::decode)?.transpose();
    found.iter().map(decoded).collect()
}
