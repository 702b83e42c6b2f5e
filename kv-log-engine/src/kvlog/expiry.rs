//! Values that expire.

use super::KVLog;
use crate::batch::Batch;
use crate::hop::hop;
use kv_trait::codec::encode_checked;
use kv_trait::key::{self, Key, KeyOf};
use kv_trait::{Codec, Error, ErrorKind, Expiry, Result, Runtime, async_trait};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Stores `value` under `key` for so long from now, in whole milliseconds; then the key is absent, as if it had been
    /// removed. A later write of the key ends that: after [`KVLog::put`] the value stays.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # use std::time::Duration;
    /// # my::with_store(async |store| {
    /// store.put_with_ttl("visits", &1, Duration::from_secs(3600)).await?;
    /// assert!(store.expires_at("visits").await?.is_some());
    /// store.put_with_ttl("visits", &2, Duration::ZERO).await?; // gone as soon as it is there
    /// assert_eq!(store.get("visits").await?, None);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::put`]; `InvalidInput`: that moment is beyond what can be said, effect *nothing*.
    pub async fn put_with_ttl<Q>(&self, key: &Q, value: &V, ttl: Duration) -> Result<()>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.expiring(key, value, ttl)?;
        self.write(batch).await.map(drop)
    }

    /// The same; resolves with the value that was there before, once the new one is durable and visible.
    ///
    /// # Cancel safety
    /// As for [`KVLog::set`].
    ///
    /// # Errors
    /// As for [`KVLog::set`] and [`KVLog::put_with_ttl`].
    pub async fn set_with_ttl<Q>(&self, key: &Q, value: &V, ttl: Duration) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let batch = self.expiring(key, value, ttl)?.with_priors();
        let committed = self.write(batch).await?;
        self.prior(committed).await
    }

    fn expiring<Q>(&self, key: &Q, value: &V, ttl: Duration) -> Result<Batch>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key)?;
        let mut batch = self.new_batch();
        let expiry_ms = self.handle().expiry_after(ttl)?;
        batch.put_until_with(&key, expiry_ms, |out| {
            encode_checked::<V, C>(value, self.probed, out)
        })?;
        Ok(batch)
    }

    /// When the value of `key` expires; `None`: it stays, or there is none.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// `TooLarge`, `Corrupt`, `Io`, `Closed`, `Unavailable`; `InvalidInput`: that moment is beyond what this system can say.
    pub async fn expires_at<Q>(&self, key: &Q) -> Result<Option<SystemTime>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        self.runtime.pool()?;
        self.proceed().await;
        let key = key::encode_borrowed::<K, Q>(key)?;
        let (view, full_key) = self.handle().view_of(&key)?;
        let known = match view.remembered(&full_key) {
            Some(known) => known,
            None => hop(&self.runtime, move || view.version(&full_key)).await?,
        };
        let expiry_ms = known.and_then(|known| known.expiry_ms);
        expiry_ms.map(instant).transpose()
    }
}

#[async_trait]
impl<K, V, R, C> Expiry<K, V> for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn put_with_ttl(&self, key: &K, value: &V, ttl: Duration) -> Result<()> {
        Self::put_with_ttl(self, key, value, ttl).await
    }

    async fn expires_at(&self, key: &K) -> Result<Option<SystemTime>> {
        Self::expires_at(self, key).await
    }
}

fn instant(expiry_ms: u64) -> Result<SystemTime> {
    let instant = UNIX_EPOCH.checked_add(Duration::from_millis(expiry_ms));
    instant.ok_or_else(|| {
        let message = format!("this system cannot say a time {expiry_ms} ms behind 1970");
        Error::new(ErrorKind::InvalidInput, message)
    })
}
