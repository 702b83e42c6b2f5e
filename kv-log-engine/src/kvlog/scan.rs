//! Ranges of keys: which records there are, in order of the keys.

use super::KVLog;
use super::records::Records;
use kv_trait::key::{EncodedBounds, Key, KeyBounds, PrefixOf, encode_prefix, prefix_end};
use kv_trait::{Codec, Result, Runtime};
use std::ops::Bound;

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// The records of a range of keys, in order of the keys: `..`, `a..b`, `a..`, `..=b`, of keys or of what [encodes as
    /// one](kv_trait::KeyOf). A start above its end is an empty range. What is read of it, and how, says [`Records`].
    ///
    /// The order is that of the keys' encodings, which is that of the keys wherever their `Ord` is derived or structural
    /// ([`kv_trait::key`]).
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put_many([("ann", &1), ("bob", &2), ("eve", &3)]).await?;
    /// let some = store.range("b"..="eve").collect().await?;
    /// assert_eq!(some, [("bob".to_owned(), 2), ("eve".to_owned(), 3)]);
    /// # Ok(()) });
    /// ```
    pub fn range(&self, range: impl KeyBounds<K>) -> Records<K, V, R, C> {
        self.records(range.encode_bounds())
    }

    /// The records whose keys begin with `prefix`: a text or bytes that are the whole key with their first letters, a tuple
    /// with its first fields, as `("ann",)` for a key `(String, u64)`, a struct where it [says which](PrefixOf).
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # use kv_log_engine::{KVLog, Options, storage::sim::SimDisk};
    /// # my::block_on(async {
    /// # let options = Options::new().storage(SimDisk::new().storage());
    /// let store: KVLog<(String, u32), String, my::Threads> = KVLog::load_with("/db", options).await?;
    /// store.put(&("ann".to_owned(), 7), &"hello".to_owned()).await?;
    /// store.put(&("anna".to_owned(), 1), &"another".to_owned()).await?;
    /// assert_eq!(store.prefix(&("ann",)).count().await?, 1);
    /// # Ok::<(), kv_trait::Error>(()) }).expect("the example works");
    /// ```
    pub fn prefix<P>(&self, prefix: &P) -> Records<K, V, R, C>
    where
        P: PrefixOf<K> + ?Sized,
    {
        self.records(prefix_bounds::<K, P>(prefix))
    }

    /// The record with the first key of the store.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// `Codec`, `Corrupt`, `Io`, `Closed`, `Unavailable`.
    pub async fn first(&self) -> Result<Option<(K, V)>> {
        self.range(..).first().await
    }

    /// The record with the last key of the store.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// assert_eq!(store.last().await?, None);
    /// store.put_many([("a", &1), ("b", &2)]).await?;
    /// assert_eq!(store.last().await?, Some(("b".to_owned(), 2)));
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// As for [`KVLog::first`].
    pub async fn last(&self) -> Result<Option<(K, V)>> {
        self.range(..).last().await
    }

    /// Whether the store holds no key.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// `Corrupt`, `Io`, `Closed`, `Unavailable`.
    pub async fn is_empty(&self) -> Result<bool> {
        self.range(..).is_empty().await
    }

    /// How many keys the store holds, by a walk over them, which takes a blocking thread as long as it takes.
    /// [`Stats::live_keys`](crate::Stats::live_keys) costs nothing, and is exact only while the store has no run.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store, and the walk ends soon.
    ///
    /// # Errors
    /// As for [`KVLog::is_empty`].
    pub async fn count(&self) -> Result<u64> {
        self.range(..).count().await
    }

    pub(super) fn records(&self, bounds: Result<EncodedBounds>) -> Records<K, V, R, C> {
        let store = self.clone();
        Records::new(self.runtime.clone(), bounds, move |bounds| {
            let (lower, upper) = &bounds;
            let bounds = (
                lower.as_ref().map(Vec::as_slice),
                upper.as_ref().map(Vec::as_slice),
            );
            Ok(Box::new(store.handle().scan(bounds)?))
        })
    }
}

/// The keys that begin with a prefix.
pub(super) fn prefix_bounds<K: Key, P: PrefixOf<K> + ?Sized>(prefix: &P) -> Result<EncodedBounds> {
    let prefix = encode_prefix::<K, P>(prefix)?;
    let end = prefix_end(&prefix);
    let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
    Ok((Bound::Included(prefix), upper))
}
