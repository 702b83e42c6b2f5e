//! A durable key-value store as a segment log.
#![forbid(unsafe_code)]

mod format;
mod ids;
pub mod storage;

pub use ids::{SegmentId, Seqno};
