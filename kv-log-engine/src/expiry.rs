//! Values that expire, as callers of the engine write them and ask about them.

use crate::batch::check_length;
use crate::engine::Engine;
use crate::format::run::full_key;
use crate::index::View;
use kv_trait::{KEY_BYTES_MAX, Result};
use std::time::Duration;

impl Engine {
    /// Stores `value` under `key` until this moment, in milliseconds since 1970: see [`crate::Batch::put_until`].
    ///
    /// # Errors
    /// As for [`Engine::put`]; `InvalidInput`: 2^64 - 1, effect *nothing*.
    pub fn put_until(&self, key: &[u8], value: &[u8], expiry_ms: u64) -> Result<()> {
        let mut batch = self.batch();
        batch.put_until(key, value, expiry_ms)?;
        self.write(batch).map(drop)
    }

    /// Stores `value` under `key` for so long from now, in whole milliseconds.
    ///
    /// ```
    /// # use kv_log_engine::{Engine, Options, SimHost, storage::sim::SimDisk};
    /// # use std::{sync::Arc, time::Duration};
    /// # fn main() -> kv_trait::Result<()> {
    /// # let host = Arc::new(SimHost::new(1));
    /// # let options = Options::new().storage(SimDisk::new().storage());
    /// # let store = Engine::open("/db", options.host(host.clone()))?;
    /// # host.set_unix_ms(50_000);
    /// store.put_with_ttl(b"session", b"alive", Duration::from_secs(5))?;
    /// assert_eq!(store.expires_at(b"session")?, Some(55_000));
    /// # host.set_unix_ms(55_000);
    /// // Five seconds later:
    /// assert_eq!(store.get(b"session")?, None);
    /// # store.close() }
    /// ```
    ///
    /// # Errors
    /// As for [`Engine::put`]; `InvalidInput`: that moment is beyond what can be said, effect *nothing*.
    pub fn put_with_ttl(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        self.put_until(key, value, self.expiry_after(ttl)?)
    }

    /// The moment so long from now by the store's clock, which does not go back: for [`crate::Batch::put_until`].
    ///
    /// # Errors
    /// `InvalidInput`: it is beyond what can be said.
    pub fn expiry_after(&self, ttl: Duration) -> Result<u64> {
        self.handle().clock.after(ttl)
    }

    /// When the value of `key` expires, in milliseconds since 1970; `None`: it stays, or there is none. Blocks where memory
    /// does not know the key.
    ///
    /// # Errors
    /// `TooLarge`, `Closed`, `Io`, `Corrupt`.
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<u64>> {
        let (view, full_key) = self.view_of(key)?;
        let known = view.version(&full_key)?;
        Ok(known.and_then(|known| known.expiry_ms))
    }

    /// What is there now, and the full key.
    pub(crate) fn view_of(&self, key: &[u8]) -> Result<(View, Vec<u8>)> {
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        let view = self.view_of_keyspace()?;
        Ok((view, full_key(self.keyspace_id(), key)))
    }
}
