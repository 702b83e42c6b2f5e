//! Removing many keys as one write.

use super::KeyRange;
use crate::Result;
use async_trait::async_trait;

/// A store that removes an interval of keys without being told each.
#[async_trait]
pub trait RangeDeletes: Send + Sync {
    /// Removes all keys within, at one point of the order of writes, whatever their number. Nobody sees some of them
    /// gone: no reader, no scan, nobody after a crash. A condition on a key or an interval notices it as it does a
    /// removal of each key.
    ///
    /// An interval without keys is no error. [`KeyRange::prefix`] makes it the removal of a prefix.
    ///
    /// # Errors
    /// Those of any write.
    async fn delete_range(&self, range: &KeyRange) -> Result<()>;
}
