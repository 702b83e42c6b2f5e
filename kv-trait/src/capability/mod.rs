//! What only some stores can do: one small trait each, and how to ask for it.
//!
//! [`KVStore`](crate::KVStore) is what every store offers. Beyond it each capability is a dyn-compatible trait, reached
//! through a method of `KVStore` that answers `None` where the store lacks it. So code that holds an
//! `Arc<dyn KVStore<K, V>>` finds out at run time, and says what is missing in its own words.
//!
//! *Durable*, *visible*, *effect*, *cancel safe* and *point* are those of the crate documentation. For every method of
//! every capability holds, and is not repeated:
//!
//! - Writes resolve once they are durable and visible, are whole or absent, and take their place in the one order of
//!   writes between their first poll and their answer. Reads show what is durable, and fail with effect *nothing*.
//! - All are cancel safe: dropped before its first poll, or while it waits in line for room, nothing happened; later, a
//!   write finishes or fails as if it had been awaited, and a read is given up. None blocks the thread that polls it.
//! - Errors are those of [`KVStore::get`](crate::KVStore::get) for reads and of
//!   [`KVStore::set`](crate::KVStore::set) for writes; a method names only what comes on top.

pub(crate) mod batches;
pub(crate) mod closing;
pub(crate) mod expiry;
mod items;
pub(crate) mod keyspaces;
mod range;
pub(crate) mod range_deletes;
pub(crate) mod scans;
pub(crate) mod snapshots;
pub(crate) mod transactions;
pub(crate) mod updates;
pub(crate) mod versions;
pub(crate) mod watches;

pub use batches::{Batches, Change, Changes, Condition, Written};
pub use closing::Closing;
pub use expiry::Expiry;
pub use items::Items;
pub use keyspaces::Keyspaces;
pub use range::KeyRange;
pub use range_deletes::RangeDeletes;
pub use scans::{Query, Scans};
pub use snapshots::{Snapshot, Snapshots};
pub use transactions::{Transaction, Transactions};
pub use updates::{Update, Updates};
pub use versions::Versions;
pub use watches::{Event, EventKind, Watches};

use std::fmt;

/// A capability by name: what [`KVStore::capabilities`](crate::KVStore::capabilities) lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// [`Closing`].
    Closing,
    /// [`Batches`].
    Batches,
    /// [`Scans`].
    Scans,
    /// [`RangeDeletes`].
    RangeDeletes,
    /// [`Versions`].
    Versions,
    /// [`Updates`].
    Updates,
    /// [`Snapshots`].
    Snapshots,
    /// [`Transactions`].
    Transactions,
    /// [`Expiry`].
    Expiry,
    /// [`Watches`].
    Watches,
    /// [`Keyspaces`].
    Keyspaces,
}

impl Capability {
    /// A stable word for logs and JSON, for example `transactions`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Batches => "batches",
            Self::Scans => "scans",
            Self::RangeDeletes => "range-deletes",
            Self::Versions => "versions",
            Self::Updates => "updates",
            Self::Snapshots => "snapshots",
            Self::Transactions => "transactions",
            Self::Expiry => "expiry",
            Self::Watches => "watches",
            Self::Keyspaces => "keyspaces",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
