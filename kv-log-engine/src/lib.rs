//! A durable key-value store as a segment log.
#![forbid(unsafe_code)]

mod fault;
mod format;
mod host;
mod ids;
mod index;
mod layout;
mod lock;
mod manifest;
mod recovery;
mod segment;
pub mod storage;
mod sync;

pub use host::{Host, OsHost, SimHost};
pub use ids::{SegmentId, Seqno};
pub use recovery::{RecoveryReport, TornTail};
