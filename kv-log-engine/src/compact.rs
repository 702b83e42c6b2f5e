//! All chores that there are to do, in one call: `Engine::compact`.

use crate::engine::Engine;
use crate::stats::Stats;
use kv_trait::Result;
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
        mut progress: impl FnMut(&CompactProgress) -> ControlFlow<()>,
    ) -> Result<CompactReport> {
        let handle = self.handle();
        handle.check_open()?;
        let chores = handle.background.chores();
        let now = || {
            let stats = self.stats();
            (stats.disk_bytes, stats.levels.len() as u64, stats)
        };
        let (disk_bytes_before, levels_before, before) = now();
        let written = |stats: &Stats| stats.written.total() - stats.written.log;
        let units = |stats: &Stats| stats.checkpoints + stats.merge_units;
        let mut stopped = false;
        let mut told = || {
            let (disk_bytes, levels, stats) = now();
            let asked = progress(&CompactProgress {
                units: units(&stats) - units(&before),
                bytes_written: written(&stats) - written(&before),
                levels,
                disk_bytes,
            });
            stopped = asked.is_break();
            asked
        };
        // A memtable that was frozen before goes first, or what was written behind it would be left out.
        if told().is_continue() && chores.write_frozen(&mut told)?.is_continue() {
            handle.freeze()?;
            chores.compact(&mut told)?;
        }
        let (disk_bytes_after, levels_after, after) = now();
        Ok(CompactReport {
            finished: !stopped,
            disk_bytes_before,
            disk_bytes_after,
            levels_before,
            levels_after,
            units: units(&after) - units(&before),
            bytes_written: written(&after) - written(&before),
            segments_released: after.segments_released - before.segments_released,
        })
    }
}
