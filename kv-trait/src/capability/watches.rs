//! Following what is written.

use super::{Items, KeyRange};
use crate::{Result, Version};
use async_trait::async_trait;

/// One write, as a watcher is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores make it")]
pub struct Event<K, V> {
    /// The key that was written.
    pub key: K,
    /// What it holds from there on; `None`: it was removed.
    pub value: Option<V>,
    /// The write's place in the order.
    pub version: Version,
}

/// A store that tells what is written to it, in order.
#[async_trait]
pub trait Watches<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Every write to a key within, each once, in the order of writes, and only when it is durable. The stream has no
    /// end: it waits for the next write, until it is dropped or the store is closed.
    ///
    /// With `after` it begins behind that version, else behind the point between the first poll and the answer: a write
    /// that begins later is told.
    ///
    /// A watcher holds no writer back. One that is too slow misses nothing silently: an item is `TooOld`, the last one,
    /// and whoever wants to go on reads the state anew.
    ///
    /// # Errors
    /// `TooOld`: the store does not know any more what was written after that version.
    async fn watch(&self, range: &KeyRange, after: Option<Version>) -> Result<Items<Event<K, V>>>;
}
