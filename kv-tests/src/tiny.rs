//! Sizes so small that a history of a hundred steps sees checkpoints, merges, victims and unlinking several times.

use kv_log_engine::{Options, Tuning};

/// How small the parts of a store are, and who does its chores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a plain set of numbers, meant to be written out"
)]
pub struct Sizes {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Values of this length stay in segments.
    pub separation_bytes: u32,
    /// Bytes at which a memtable is frozen.
    pub memtable_bytes: u64,
    /// Bytes of log between two checkpoints.
    pub log_bytes: u64,
    /// Bytes of a block of a run.
    pub block_bytes: u32,
    /// Bytes of a run.
    pub run_bytes: u64,
    /// Bytes of a unit's output.
    pub unit_bytes: u64,
    /// Bytes of a slice's output.
    pub slice_bytes: u64,
    /// Levels that lookups may meet.
    pub levels_max: usize,
    /// Whether blocks are compressed.
    pub compress: bool,
    /// Chores are done by slices that are asked for, and where writers would have to wait.
    pub by_hand: bool,
}

impl Default for Sizes {
    /// Memtables of some 20 entries, runs of three blocks of 100 bytes, units of a few entries, slices of one or two.
    fn default() -> Self {
        Self {
            segment_bytes: 2048,
            separation_bytes: 8,
            memtable_bytes: 1500,
            log_bytes: 4000,
            block_bytes: 100,
            run_bytes: 300,
            unit_bytes: 500,
            slice_bytes: 200,
            levels_max: 4,
            compress: false,
            by_hand: false,
        }
    }
}

impl Sizes {
    /// The same, with chores by hand.
    #[must_use]
    pub const fn by_hand(self) -> Self {
        Self {
            by_hand: true,
            ..self
        }
    }

    /// A store of these sizes.
    pub const fn apply(&self, options: Options) -> Options {
        options
            .segment_bytes(self.segment_bytes)
            .separation_bytes(self.separation_bytes)
            .tuning(Tuning {
                memtable_bytes: Some(self.memtable_bytes),
                log_bytes: Some(self.log_bytes),
                block_bytes: Some(self.block_bytes),
                run_bytes: Some(self.run_bytes),
                unit_bytes: Some(self.unit_bytes),
                slice_bytes: Some(self.slice_bytes),
                compress: Some(self.compress),
                levels_max: Some(self.levels_max),
                by_hand: self.by_hand,
            })
    }
}
