//! A durable key-value store as a segment log.
#![forbid(unsafe_code)]

mod format;
mod ids;
pub mod storage;
mod sync;

pub use ids::{SegmentId, Seqno};
