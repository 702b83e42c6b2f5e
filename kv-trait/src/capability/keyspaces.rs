//! Several maps in one store.

use crate::{KVStore, Result};
use async_trait::async_trait;
use std::sync::Arc;

/// A store of several maps by name, here of the same types as this one. What they share is the order of writes; no key
/// of one is a key of another.
#[async_trait]
pub trait Keyspaces<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The keyspace of this name, created if it is not there.
    ///
    /// # Errors
    /// `UnsupportedFormat`: it holds other types. `InvalidInput`: this cannot be a name.
    async fn keyspace(&self, name: &str) -> Result<Arc<dyn KVStore<K, V>>>;

    /// The names, in their order. The store that is there without a name is not among them.
    ///
    /// # Errors
    /// Those of any read.
    async fn keyspaces(&self) -> Result<Vec<String>>;

    /// Removes the keyspace of this name and all that is in it, at one point of the order. Its handles answer
    /// `NotFound` from then on, also if one of the same name is created later.
    ///
    /// # Errors
    /// `NotFound`, effect *nothing*: there is none.
    async fn drop_keyspace(&self, name: &str) -> Result<()>;

    /// Removes every key of this keyspace, at one point of the order.
    ///
    /// # Errors
    /// Those of any write.
    async fn clear(&self) -> Result<()>;
}
