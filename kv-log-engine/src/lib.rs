//! A durable key-value store as a segment log: synchronous, runtime-agnostic, one `fdatasync` for many writers.
//!
//! [`Engine`] is the store on bytes, for any number of threads. [`KVLog`] is the typed async skin, generic over the
//! runtime seam of [`kv_trait`]; adapter crates give it a runtime. This crate names no executor, and starts no thread unless
//! [`Options::chore_thread`] asks for one.
//!
//! ```
//! use kv_log_engine::{Batch, Engine, Options};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("store");
//! let store = Engine::open(path, Options::new())?;
//! assert_eq!(store.set(b"key", b"value")?, None); // durable when it returns
//! let mut batch = Batch::new();
//! batch.put(b"a", b"1")?;
//! batch.delete(b"key")?;
//! store.write(batch)?; // whole or not at all
//! assert_eq!(store.scan(..)?.count(), 1);
//! store.close()?;
//! # Ok(()) }
//! ```
//!
//! What a write goes through, and why it survives, is in `docs/ARCHITECTURE.md` and `docs/DURABILITY.md`; the files are
//! described in `docs/FORMAT.md`. [`storage::sim`] is a disk that loses power, for your own tests.
#![forbid(unsafe_code)]

/// Whether this fault is planted: `false` in every build but the tests of the tests.
macro_rules! planted {
    ($fault:ident) => {{
        #[cfg(feature = "planted-faults")]
        let planted = crate::planted::is(crate::planted::PlantedFault::$fault);
        #[cfg(not(feature = "planted-faults"))]
        let planted = false;
        planted
    }};
}

#[cfg(test)]
mod bounds_tests;

mod background;
mod batch;
mod budgets;
mod chore;
mod clock;
mod combine;
mod commit;
mod compact;
mod engine;
mod expiry;
mod fault;
mod format;
mod handle;
mod hop;
mod host;
mod index;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod keyspaces;
mod kvlog;
mod log;
mod open;
mod options;
mod overview;
#[cfg(feature = "planted-faults")]
pub mod planted;
mod recovery;
mod scan;
mod snapshot;
mod stats;
pub mod storage;
mod store;
mod sync;
mod transaction;
mod turns;
mod verify;
mod watch;

pub use batch::{Batch, Receipt};
#[doc(hidden)]
pub use budgets::Tuning;
pub use budgets::{
    CHORE_BYTES_PER_SECOND_MIN, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN, SEPARATION_BYTES_DEFAULT,
    SEPARATION_BYTES_MAX, WATCH_BYTES_MAX_DEFAULT,
};
pub use compact::{CompactProgress, CompactReport};
pub use engine::{Engine, Submitted};
pub use format::ids::{SegmentId, Seqno};
pub use host::{Host, OsHost, SimHost};
pub use keyspaces::KeyspaceInfo;
pub use kvlog::{
    KVBatch, KVBatchOf, KVLog, KVSnapshot, KVTransaction, RecordIter, RecordStream, Records,
    WatchStream,
};
pub use options::{Create, Options, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use recovery::{RecoveryReport, TornTail};
pub use scan::Scan;
pub use snapshot::Snapshot;
pub use stats::{
    ChoreKind, LevelStats, Pressure, SegmentKind, SegmentStats, Stats, ViewStats, WatchStats,
    Written,
};
pub use transaction::{Transaction, TransactionScan};
pub use verify::{Damage, VerifyReport, verify};
pub use watch::{Change, Missed, Watch};
