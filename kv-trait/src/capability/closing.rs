//! Ending a store on purpose.

use crate::Result;
use async_trait::async_trait;

/// A store that can be closed, and says whether that went well.
#[async_trait]
pub trait Closing: Send + Sync {
    /// Closes the store for all handles: what was accepted is finished, and then everything is refused as `Closed`.
    ///
    /// Closing a closed store is no error. A store that is dropped instead has lost nothing that was acknowledged.
    ///
    /// # Cancel safety
    /// Dropped before its first poll: nothing happened. Dropped later: the close goes on.
    ///
    /// # Errors
    /// `Io`, `StorageFull`, `Poisoned`: the end could not be written; what was acknowledged is there all the same.
    async fn close(&self) -> Result<()>;
}
