//! Writes that happen only if a key is still what the caller takes it for.

use super::{KVLog, version_of};
use crate::fault::shown_key;
use kv_trait::codec::encode_checked;
use kv_trait::key::{self, Key, KeyOf};
use kv_trait::{Codec, Error, ErrorKind, Result, Runtime, Version};

/// A value that is compared is read first. Where others write in between, and it is equal again, this is tried so often.
const TRIES_MAX: u32 = 8;

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Stores `value` if `key` has exactly this version, or is absent for `None`; resolves with the new version.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// let first = store.insert("visits", &1).await?;
    /// let second = store.set_if("visits", &2, Some(first)).await?;
    /// let refused = store.set_if("visits", &2, Some(first)).await.unwrap_err();
    /// assert_eq!(refused.kind(), kv_trait::ErrorKind::Conflict);
    /// store.delete_if("visits", second).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: it has another version. Otherwise as for [`KVLog::put`].
    pub async fn set_if<Q>(&self, key: &Q, value: &V, expected: Option<Version>) -> Result<Version>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key)?;
        let mut batch = self.new_batch();
        batch.expect(&key, expected.map(|version| version.to_u64().into()))?;
        batch.put_with(&key, |out| encode_checked::<V, C>(value, self.probed, out))?;
        let committed = self.write(batch).await?;
        Ok(version_of(committed.first_seqno))
    }

    /// Stores `value` if `key` is absent; resolves with its version.
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: it is there. Otherwise as for [`KVLog::put`].
    pub async fn insert<Q>(&self, key: &Q, value: &V) -> Result<Version>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        self.set_if(key, value, None).await
    }

    /// Removes `key` if it has exactly this version.
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::set_if`].
    pub async fn delete_if<Q>(&self, key: &Q, expected: Version) -> Result<()>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key)?;
        let mut batch = self.new_batch();
        batch.expect(&key, Some(expected.to_u64().into()))?;
        batch.delete(&key)?;
        self.write(batch).await.map(drop)
    }

    /// Stores `value` if `key` holds a value equal to `expected`; resolves with the new version. Reads the value first.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put("visits", &1).await?;
    /// store.set_if_value("visits", &2, &1).await?;
    /// assert!(store.set_if_value("visits", &2, &1).await.is_err());
    /// store.delete_if_value("visits", &2).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`]; its place in the order is fixed behind the read.
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: it holds another value, or none. Otherwise as for [`KVLog::set`].
    pub async fn set_if_value<Q>(&self, key: &Q, value: &V, expected: &V) -> Result<Version>
    where
        Q: KeyOf<K> + Sync + ?Sized,
        V: PartialEq,
    {
        let mut tries = 1;
        loop {
            let seen = self.version_of_value(key, expected).await?;
            match self.set_if(key, value, Some(seen)).await {
                Err(error) if was_overtaken(&error, tries) => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Removes `key` if it holds a value equal to `expected`. Reads the value first.
    ///
    /// # Cancel safety
    /// As for [`KVLog::set_if_value`].
    ///
    /// # Errors
    /// As for [`KVLog::set_if_value`].
    pub async fn delete_if_value<Q>(&self, key: &Q, expected: &V) -> Result<()>
    where
        Q: KeyOf<K> + Sync + ?Sized,
        V: PartialEq,
    {
        let mut tries = 1;
        loop {
            let seen = self.version_of_value(key, expected).await?;
            match self.delete_if(key, seen).await {
                Err(error) if was_overtaken(&error, tries) => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// # Errors
    /// `Conflict`: the key holds another value, or none. Those of a read.
    async fn version_of_value<Q>(&self, key: &Q, expected: &V) -> Result<Version>
    where
        Q: KeyOf<K> + Sync + ?Sized,
        V: PartialEq,
    {
        let holds = match self.get_versioned(key).await? {
            Some(found) if found.value == *expected => return Ok(found.version),
            Some(_) => "holds another value",
            None => "is absent",
        };
        let key = key::encode_borrowed::<K, Q>(key)?;
        let message = format!(
            "the key {} {holds}, where the write expects a certain one",
            shown_key(&key)
        );
        Err(Error::new(ErrorKind::Conflict, message))
    }
}

fn was_overtaken(error: &Error, tries: u32) -> bool {
    error.kind() == ErrorKind::Conflict && tries < TRIES_MAX
}
