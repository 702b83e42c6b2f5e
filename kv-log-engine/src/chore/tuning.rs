//! The thresholds that chores keep to.

use crate::budgets::WATCH_BYTES_MAX_DEFAULT;
use crate::index::run::writer::RunLayout;
use crate::log::values::ValueLayout;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Runs of a small store, where nobody asks for shorter ones.
const RUN_BYTES_MIN: u64 = MIB;

/// What scans may keep in a small store.
const PINNED_BYTES_MIN: u64 = 1024 * MIB;

/// How much is written before and between what. Options set it, and tests make it tiny.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// A memtable that takes this much is written.
    pub(crate) memtable_bytes: u64,
    /// Bytes of log behind the manifest's checkpoint that make the next one due; `None`: what is live decides.
    pub(crate) log_bytes: Option<u64>,
    /// At least and at most, where what is live decides.
    pub(crate) log_bytes_range: (u64, u64),
    /// Runs are about this long at most.
    pub(crate) run_bytes: u64,
    /// A unit ends where its output is this long.
    pub(crate) unit_bytes: u64,
    /// Levels that lookups may meet; `None`: they follow the store's size.
    pub(crate) levels_max: Option<usize>,
    /// A slice ends behind this much output, or so many entries.
    pub(crate) slice_bytes: u64,
    pub(crate) slice_entries: u64,
    pub(crate) layout: RunLayout,
    pub(crate) values: ValueLayout,
    /// All files of the store take no more than this.
    pub(crate) disk_bytes_max: Option<u64>,
    /// A test does them slice by slice.
    pub(crate) by_hand: bool,
    /// A scan that is open for longer is ended.
    pub(crate) view_age_max: Option<Duration>,
    /// What scans may keep on disk that nobody else needs; `None`: what is live decides.
    pub(crate) pinned_bytes_max: Option<u64>,
    /// What watches may keep of the log that nobody else needs.
    pub(crate) watch_bytes_max: u64,
    /// Chores write no more than this where nobody waits for them.
    pub(crate) bytes_per_second: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            memtable_bytes: 32 * MIB,
            log_bytes: None,
            log_bytes_range: (MIB, 64 * MIB),
            run_bytes: 16 * MIB,
            unit_bytes: 32 * MIB,
            levels_max: None,
            slice_bytes: MIB,
            slice_entries: 16 * 1024,
            layout: RunLayout::default(),
            values: ValueLayout::default(),
            disk_bytes_max: None,
            by_hand: false,
            view_age_max: None,
            pinned_bytes_max: None,
            watch_bytes_max: WATCH_BYTES_MAX_DEFAULT,
            bytes_per_second: None,
        }
    }
}

impl Tuning {
    /// What the options come to.
    pub(crate) fn of(budgets: &crate::budgets::Budgets) -> Self {
        let block_bytes = budgets.block_bytes as usize;
        let log = budgets.log_bytes_range();
        Self {
            memtable_bytes: budgets.memtable_bytes,
            log_bytes: budgets.log_bytes_set(),
            log_bytes_range: (*log.start(), *log.end()),
            run_bytes: budgets.run_bytes,
            unit_bytes: budgets.unit_bytes,
            levels_max: budgets.levels_max,
            slice_bytes: budgets.slice_bytes,
            slice_entries: budgets.slice_entries,
            layout: RunLayout {
                block_bytes,
                fence_bytes: block_bytes,
                filter_bytes: block_bytes,
                compress: budgets.compress,
                ..RunLayout::default()
            },
            values: ValueLayout::default(),
            disk_bytes_max: budgets.disk_bytes_max,
            by_hand: budgets.by_hand,
            view_age_max: budgets.view_age_max,
            pinned_bytes_max: budgets.pinned_bytes_set(),
            watch_bytes_max: budgets.watch_bytes_max,
            bytes_per_second: budgets.chore_bytes_per_second,
        }
    }

    /// What scans may keep on disk that nobody else needs, in a store of which so much is live: as much again, so that one
    /// scan of a store that is wholly rewritten meanwhile still ends.
    pub(crate) fn pinned_bytes_max(&self, live_bytes: u64) -> u64 {
        self.pinned_bytes_max
            .unwrap_or_else(|| live_bytes.max(PINNED_BYTES_MIN))
    }

    /// How long a run gets, in a store of which so much is live. A prefix that merges have cut off a run gives nothing back
    /// before the run's last key is merged, and what that may come to is kept for a full disk: in a small store that must not
    /// be as much as all it holds.
    pub(crate) fn run_bytes(&self, live_bytes: u64) -> u64 {
        (live_bytes / 32).max(RUN_BYTES_MIN).min(self.run_bytes)
    }

    /// The log that may grow before a checkpoint, in a store of which so much is live: a small one must not take many times
    /// what it holds.
    pub(crate) fn log_bytes(&self, live_bytes: u64) -> u64 {
        let (least, most) = self.log_bytes_range;
        let by_size = (live_bytes / 4).clamp(least, most);
        self.log_bytes.unwrap_or(by_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_between_checkpoints_follows_what_is_live() {
        let usual = Tuning::default();
        assert_eq!(usual.log_bytes(0), MIB);
        assert_eq!(usual.log_bytes(20 * MIB), 5 * MIB);
        assert_eq!(usual.log_bytes(1 << 40), 64 * MIB);
        let set = Tuning {
            log_bytes: Some(7),
            ..usual
        };
        assert_eq!(set.log_bytes(1 << 40), 7);
    }
}
