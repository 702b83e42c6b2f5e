//! What an open found, for people and for programs.

use crate::format::ids::SegmentId;
use std::path::PathBuf;

/// What opening a store found, cut, kept and rewrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The store did not exist before.
    pub created: bool,
    /// Live segments, the active one included.
    pub segments: u64,
    /// Batches replayed.
    pub frames: u64,
    /// Records replayed, tombstones included.
    pub records: u64,
    /// Keys that hold a value.
    pub live_keys: u64,
    /// Bytes of accepted frames that nothing proved to be durable: written again and synced before the first read.
    pub rewritten_bytes: u64,
    /// The never-acknowledged end of the active segment, if there was one.
    pub torn_tail: Option<TornTail>,
    /// Why one of the manifest's two copies could not be used. The open's first change replaces both.
    pub damaged_manifest_copy: Option<String>,
    /// Files of ours that nothing refers to any more: deleted with the open's first change.
    pub debris: Vec<String>,
    /// Names in the directory that are, or may be, somebody's: left alone.
    pub foreign: Vec<String>,
    /// Why the open could not do what has to be done before the store is changed: no room, no permission, or features that
    /// only a later version may write with. Reading works. The first write tries again, and is refused while it fails.
    pub read_only: Option<String>,
    /// The directory that holds the store's own name, if this process may not read it: whether that name is durable is not
    /// known to this open. A store that was made where it stands, and not moved or copied there, has a durable name.
    pub unsynced_parent: Option<PathBuf>,
}

/// Bytes at the end of the active segment that do not verify, and that nothing proves to have been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment it stood in.
    pub segment: SegmentId,
    /// The file it stood in.
    pub path: PathBuf,
    /// Where it began: the end of the accepted frames, in bytes from the start of the file.
    pub offset: u64,
    /// From there to its last byte that is not zero.
    pub bytes: u64,
    /// Why the first frame of it was not accepted.
    pub cause: String,
    /// Where it is kept; `None` before the open has cut it, and for a tail so short that [`TornTail::head`] holds it.
    pub quarantine: Option<PathBuf>,
    /// How many of its bytes are kept there: the first 64 MiB.
    pub quarantined_bytes: u64,
    /// Its first bytes, at most 88.
    pub head: Vec<u8>,
}
