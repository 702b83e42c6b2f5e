//! Keyspaces: several maps of types of their own in one store.

use super::KVLog;
use crate::KeyspaceInfo;
use crate::hop::hop;
use kv_trait::key::Key;
use kv_trait::{Codec, Fingerprint, Result, Runtime};
use std::marker::PhantomData;
use std::sync::Arc;

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// A map of this name in the same store, with keys and values of its own types, made if it is not there. Everything works
    /// in it as in the store itself; [batches](KVLog::batch) and snapshots go over all of them.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// let names = store.keyspace::<u64, String>("names").await?;
    /// let mut batch = store.batch();
    /// batch.put("ann", &7);
    /// batch.of(&names).put(&7, &"ann".to_owned());
    /// batch.commit().await?; // both or neither
    /// assert_eq!(names.get(&7).await?.as_deref(), Some("ann"));
    /// assert_eq!(store.count().await?, 1);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropped before its first poll: nothing happened. Dropped later: it may have been made.
    ///
    /// # Errors
    /// `UnsupportedFormat`: it is there with other types, which the message names. `InvalidInput`: a name has 1 to 255 bytes, a
    /// store at most 1,024 keyspaces, or the types cannot be keys or values. Otherwise as for [`KVLog::put`].
    pub async fn keyspace<K2, V2>(&self, name: &str) -> Result<KVLog<K2, V2, R, C>>
    where
        K2: Key,
        V2: Send + Sync + 'static,
        C: Codec<V2>,
    {
        self.keyspace_in::<K2, V2, C>(name).await
    }

    /// Like [`KVLog::keyspace`], with another codec for its values.
    ///
    /// # Cancel safety
    /// As for [`KVLog::keyspace`].
    ///
    /// # Errors
    /// As for [`KVLog::keyspace`].
    pub async fn keyspace_in<K2, V2, C2>(&self, name: &str) -> Result<KVLog<K2, V2, R, C2>>
    where
        K2: Key,
        V2: Send + Sync + 'static,
        C2: Codec<V2>,
    {
        self.runtime.pool()?;
        let (engine, name) = (self.handle().clone(), name.to_owned());
        let open = move || {
            let probed = C2::probe()?;
            let fingerprint = Fingerprint::of::<K2, V2, C2>(None)?;
            let engine = engine.keyspace(&name, &fingerprint)?;
            Ok((engine, probed))
        };
        let (engine, probed) = hop(&self.runtime, open).await?;
        Ok(KVLog {
            engine: Some(engine),
            runtime: self.runtime.clone(),
            free: self.free,
            probed,
            updates: Arc::default(),
            types: PhantomData,
        })
    }

    /// Drops the keyspace of this name, with all that is in it, whatever its types: whether there was one. One record, however
    /// much it is. Handles of it answer `NotFound` from then on; one that is made under this name later is another one.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// let names = store.keyspace::<u64, String>("names").await?;
    /// names.put(&7, &"ann".to_owned()).await?;
    /// assert!(store.drop_keyspace("names").await?);
    /// let refused = names.get(&7).await.unwrap_err();
    /// assert_eq!(refused.kind(), kv_trait::ErrorKind::NotFound);
    /// assert!(!store.drop_keyspace("names").await?);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropped before its first poll: nothing happened. Dropped later: it may be dropped.
    ///
    /// # Errors
    /// As for [`KVLog::put`].
    pub async fn drop_keyspace(&self, name: &str) -> Result<bool> {
        let (engine, name) = (self.handle().clone(), name.to_owned());
        hop(&self.runtime, move || engine.drop_keyspace(&name)).await
    }

    /// Removes all keys of this map, and of no other in the store, whole or not at all: one record, however many there are.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put("visits", &1).await?;
    /// store.clear().await?;
    /// assert_eq!(store.get("visits").await?, None);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::put`].
    ///
    /// # Errors
    /// As for [`KVLog::put`].
    pub async fn clear(&self) -> Result<()> {
        let mut batch = self.handle().batch();
        batch.delete_range(..)?;
        self.write(batch).await.map(drop)
    }

    /// The keyspaces that have a name, in the order in which they were made. In memory; does not block.
    ///
    /// # Errors
    /// `Closed`; `UnsupportedFormat`: one was made by a later version.
    pub fn keyspaces(&self) -> Result<Vec<KeyspaceInfo>> {
        self.handle().keyspaces()
    }
}
