//! Many reads of one point.

use super::Scans;
use crate::{Result, Version};
use async_trait::async_trait;

/// A store that keeps one of its states readable while it goes on.
#[async_trait]
pub trait Snapshots<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The store as it is at one point between the first poll and the answer. It keeps what it may read on the disk
    /// until it is dropped.
    ///
    /// # Errors
    /// Those of any read.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot<K, V>>>;
}

/// One state of a store. Whatever is written later, it does not move, clocks included.
#[async_trait]
pub trait Snapshot<K, V>: Scans<K, V>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The value that `key` had.
    ///
    /// # Errors
    /// `TooOld`: the snapshot was ended, because it kept too much or was open for too long.
    async fn get(&self, key: &K) -> Result<Option<V>>;

    /// The last write that it shows, where the store has versions and any write was made.
    fn version(&self) -> Option<Version>;
}
