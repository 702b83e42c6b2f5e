//! Values that go by themselves.

use crate::Result;
use async_trait::async_trait;
use std::time::{Duration, SystemTime};

/// A store that forgets values at a time that was said when they were written.
///
/// From that instant on the key is absent: to every read, to conditions and as prior value. A snapshot and a
/// transaction keep the time of their beginning. A write without a time to live takes it away again. The clock is the
/// store's own; it does not go back while the store is open.
#[async_trait]
pub trait Expiry<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Stores `value` under `key` for so long.
    ///
    /// # Errors
    /// `InvalidInput`, effect *nothing*: the instant is beyond what the store's clock can say.
    async fn put_with_ttl(&self, key: &K, value: &V, ttl: Duration) -> Result<()>;

    /// When the value of `key` goes; `None` if it stays, or there is none.
    ///
    /// # Errors
    /// Those of any read.
    async fn expires_at(&self, key: &K) -> Result<Option<SystemTime>>;
}
