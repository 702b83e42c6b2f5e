//! All chores that there are to do, in one call: `Engine::compact`.

use crate::engine::Engine;
use kv_trait::{Error, ErrorKind, Result};
use std::ops::ControlFlow;

/// How far a compaction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactProgress {
    /// Units that are done and kept: checkpoints, and pieces of merges.
    pub units: u64,
    /// Bytes written so far, of units under way too.
    pub bytes_written: u64,
    /// Levels now; it ends with one, or none.
    pub levels: u64,
    /// What the store's files take now. It rises before it falls: a unit is written before what it replaces is removed.
    pub disk_bytes: u64,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Whether nothing is left to do. `false`: it was told to stop; what was done by then is kept.
    pub finished: bool,
    /// What the store's files took when it began, in bytes.
    pub disk_bytes_before: u64,
    /// What they take now. Files that a scan or a snapshot may still read are counted, and go after it.
    pub disk_bytes_after: u64,
    /// Levels when it began.
    pub levels_before: u64,
    /// Levels now.
    pub levels_after: u64,
    /// Units done: checkpoints, and pieces of merges.
    pub units: u64,
    /// Bytes that it wrote: runs, copied values and the manifest.
    pub bytes_written: u64,
    /// Segments let go.
    pub segments_released: u64,
}

impl Engine {
    /// Does all chores that there are to do: writes what is in memory as a run, merges all runs into one level, copies what
    /// still lives out of segments with garbage, and removes the files that nothing refers to any more.
    ///
    /// Nothing depends on it: the store keeps within its bounds by itself. It is for the moment before a backup, or after
    /// most of a store was deleted. Others read and write meanwhile; what they write is not waited for. Blocks.
    ///
    /// Asks `progress` before each slice of work, about every 10 ms, whether to go on. [`ControlFlow::Break`] ends it there:
    /// what was done is kept, the unit under way is given up, and the report says that it did not finish.
    ///
    /// # Errors
    /// `StorageFull`, `Io`: a unit could not be written; those before it are kept. `Corrupt`: what would have to be read
    /// cannot be. `Poisoned`, `Closed`. Effect *nothing*: no record is lost or changed in any case.
    pub fn compact(
        &self,
        progress: impl FnMut(&CompactProgress) -> ControlFlow<()>,
    ) -> Result<CompactReport> {
        not_wired_yet(progress)
    }
}

// TEMPORARY: goes as soon as the engine has its chores; nothing else depends on it.
fn not_wired_yet(
    _progress: impl FnMut(&CompactProgress) -> ControlFlow<()>,
) -> Result<CompactReport> {
    let message = "this version cannot compact a store yet";
    Err(Error::new(ErrorKind::Unavailable, message))
}
