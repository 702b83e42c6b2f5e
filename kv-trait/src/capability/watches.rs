//! Following what is written.

use super::{Items, KeyRange};
use crate::{Result, Version};
use async_trait::async_trait;
use std::time::SystemTime;

/// One write, as a watcher is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores make it")]
pub struct Event<K, V> {
    /// What was written.
    pub kind: EventKind<K, V>,
    /// The write's place in the order.
    pub version: Version,
    /// It is the last of its batch, among those that this watcher is told: whoever applies everything up to here in one step
    /// shows each batch whole or not at all.
    pub ends_batch: bool,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a copy that leaves one out is wrong"
)]
pub enum EventKind<K, V> {
    /// The key holds this value from there on.
    Put {
        /// Which.
        key: K,
        /// The new value.
        value: V,
        /// From this moment on the key is absent. Nothing else tells that it is: that a value expires is no write.
        expires_at: Option<SystemTime>,
    },
    /// The key is absent from there on.
    Remove {
        /// Which.
        key: K,
    },
    /// All keys of an interval are absent from there on, of which some may be watched.
    Erase {
        /// Which; not only those that are watched.
        keys: KeyRange,
    },
    /// The keyspace is no more, and nothing of what was in it. The last one.
    Drop,
}

impl<K, V> EventKind<K, V> {
    /// A value that stays.
    pub const fn put(key: K, value: V) -> Self {
        Self::Put {
            key,
            value,
            expires_at: None,
        }
    }

    /// The key that was written, if it is one.
    pub const fn key(&self) -> Option<&K> {
        match self {
            Self::Put { key, .. } | Self::Remove { key } => Some(key),
            Self::Erase { .. } | Self::Drop => None,
        }
    }

    /// What the key holds from there on, if it was put.
    pub const fn value(&self) -> Option<&V> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Remove { .. } | Self::Erase { .. } | Self::Drop => None,
        }
    }
}

impl<K, V> Event<K, V> {
    /// The key that was written, if it is one.
    pub const fn key(&self) -> Option<&K> {
        self.kind.key()
    }

    /// What the key holds from there on, if it was put.
    pub const fn value(&self) -> Option<&V> {
        self.kind.value()
    }
}

/// A store that tells what is written to it, in order.
#[async_trait]
pub trait Watches<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Every write to a key within, each once, in the order of writes, and only when it is durable and visible. The stream
    /// waits for the next write, until it is dropped; it ends once the store is closed and everything was told.
    ///
    /// With `after` it begins behind that version, else behind the point between the first poll and the answer: a write
    /// that begins later is told.
    ///
    /// A watcher holds no writer back. One that is too slow misses nothing silently: an item is `TooOld`, the last one, and
    /// whoever wants to go on reads the state anew.
    ///
    /// # Errors
    /// `InvalidInput`: that version was not written yet. `TooOld`, here or as an item: the store does not know any more what was
    /// written after that version.
    async fn watch(&self, range: &KeyRange, after: Option<Version>) -> Result<Items<Event<K, V>>>;
}
