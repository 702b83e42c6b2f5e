//! A durable key-value store as a segment log.
#![forbid(unsafe_code)]

mod batch;
mod commit;
mod fault;
mod format;
mod host;
mod ids;
mod index;
mod layout;
mod lock;
mod manifest;
mod poison;
mod recovery;
mod segment;
mod stats;
pub mod storage;
mod sync;

pub use batch::{Batch, Receipt};
pub use host::{Host, OsHost, SimHost};
pub use ids::{SegmentId, Seqno};
pub use recovery::{RecoveryReport, TornTail};
pub use stats::{SegmentStats, Stats};
