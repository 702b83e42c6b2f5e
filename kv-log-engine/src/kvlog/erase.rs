//! Removing many keys as one write.

use super::KVLog;
use super::scan::prefix_bounds;
use crate::batch::Batch;
use kv_trait::key::{EncodedBounds, Key, KeyBounds, PrefixOf};
use kv_trait::{Codec, KeyRange, RangeDeletes, Result, Runtime, async_trait};
use std::ops::Bound;

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Removes all keys of a range, whole or not at all: one record, however many there are. A start above its end is an empty
    /// range.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put_many([("ann", &1), ("bob", &2), ("eve", &3)]).await?;
    /// store.delete_range(.."eve").await?;
    /// assert_eq!(store.range(..).keys().collect().await?, ["eve"]);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::put`]. The future owns the range.
    ///
    /// # Errors
    /// As for [`KVLog::put`]; `StorageFull`, effect *nothing*: very many ranges that lie apart were removed lately, and merges
    /// have not come to them yet.
    pub fn delete_range<B>(
        &self,
        range: B,
    ) -> impl Future<Output = Result<()>> + Send + use<'_, K, V, R, C, B>
    where
        B: KeyBounds<K>,
    {
        let batch = self.erasing(range.encode_bounds());
        async move { self.write(batch?).await.map(drop) }
    }

    /// Removes all keys that begin with `prefix`, as [`KVLog::prefix`] understands it, whole or not at all.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put_many([("ann/1", &1), ("ann/2", &2), ("bob/1", &3)]).await?;
    /// store.delete_prefix("ann/").await?;
    /// assert_eq!(store.count().await?, 1);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::put`].
    ///
    /// # Errors
    /// As for [`KVLog::delete_range`].
    pub async fn delete_prefix<P>(&self, prefix: &P) -> Result<()>
    where
        P: PrefixOf<K> + Sync + ?Sized,
    {
        let batch = self.erasing(prefix_bounds::<K, P>(prefix))?;
        self.write(batch).await.map(drop)
    }

    fn erasing(&self, bounds: Result<EncodedBounds>) -> Result<Batch> {
        let (lower, upper) = bounds?;
        let mut batch = self.handle().batch();
        batch.delete_range((
            lower.as_ref().map(Vec::as_slice),
            upper.as_ref().map(Vec::as_slice),
        ))?;
        Ok(batch)
    }
}

#[async_trait]
impl<K, V, R, C> RangeDeletes for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn delete_range(&self, range: &KeyRange) -> Result<()> {
        let owned = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        let bounds = (owned(range.from()), owned(range.to()));
        let batch = self.erasing(Ok(bounds))?;
        self.write(batch).await.map(drop)
    }
}
