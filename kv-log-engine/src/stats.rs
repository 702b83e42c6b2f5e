//! What a store counts.

use crate::format::ids::{SegmentId, Seqno};
use std::sync::atomic::{AtomicU64, Ordering};

/// A store's counters and sizes at one moment. Counters begin at the open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that hold a value.
    pub live_keys: u64,
    /// The place of the last durable record.
    pub last_seqno: Seqno,
    /// Live segments with their sizes, the active one last.
    pub segments: Vec<SegmentStats>,
    /// An estimate of the memory that the index takes, in bytes.
    pub index_bytes: u64,
    /// Groups made durable.
    pub groups: u64,
    /// Batches made durable.
    pub batches: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes of frames made durable.
    pub frame_bytes: u64,
    /// Groups refused or lost because of an error.
    pub failed_groups: u64,
    /// Segments sealed.
    pub rotations: u64,
    /// Segment files open for readers.
    pub open_segment_files: u64,
    /// Whether an earlier failure forbids writes until the store is opened again.
    pub poisoned: bool,
}

/// One segment's sizes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Which segment.
    pub id: SegmentId,
    /// From the start of the file to the end of its last frame.
    pub bytes: u64,
    /// Records that the index points at.
    pub live_bytes: u64,
    /// Whether it still takes frames.
    pub active: bool,
}

/// The counters that the leader raises. Each is only ever added to, by one thread at a time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) frame_bytes: AtomicU64,
    pub(crate) failed_groups: AtomicU64,
    pub(crate) rotations: AtomicU64,
    /// The last durable seqno, and the end of the active segment: information, not used to decide anything.
    pub(crate) last_seqno: AtomicU64,
    pub(crate) active_bytes: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
