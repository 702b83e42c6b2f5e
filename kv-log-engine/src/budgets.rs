//! What the options come to: how much of everything the parts of the store may take.
//!
//! Plain numbers, computed once at the open from the options and the size of the store's segments, and handed on to whoever
//! keeps to them. Nothing here is recorded in the store: each open decides anew.

use kv_trait::{Error, ErrorKind, Result};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The memory that a store takes, in bytes, unless another amount is chosen.
pub const MEMORY_BYTES_DEFAULT: u64 = 128 * MIB;
/// The least memory that a store works with, in bytes.
pub const MEMORY_BYTES_MIN: u64 = MIB;
/// The length in bytes from which values stay in segments, unless another one is chosen.
pub const SEPARATION_BYTES_DEFAULT: u32 = 1024;
/// The longest choice: a value of this length never moves into a run.
pub const SEPARATION_BYTES_MAX: u32 = 64 * 1024;
/// What watches keep of the log beyond the store's own need, in bytes, unless another amount is chosen.
pub const WATCH_BYTES_MAX_DEFAULT: u64 = 256 * MIB;
/// The lowest rate at which chores may be told to write, in bytes a second.
pub const CHORE_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

const MIB: u64 = 1024 * 1024;

/// The threshold of a checkpoint: log written since the last one, at least and at most.
const LOG_BYTES_MIN: u64 = MIB;
const LOG_BYTES_MAX: u64 = 64 * MIB;
/// Of the memory each of the two memtables gets this share; the cache of blocks, fences and filters has the rest.
const MEMTABLE_SHARE: u64 = 4;
const MEMTABLE_BYTES_MIN: u64 = MEMORY_BYTES_MIN / MEMTABLE_SHARE;
/// Of a disk that is bounded a memtable, a unit and the log between two checkpoints take no more than this share each.
const DISK_SHARE: u64 = 16;
/// What a unit of a merge writes.
const UNIT_BYTES_MIN: u64 = MIB;
const UNIT_BYTES_MAX: u64 = 32 * MIB;
/// What one slice of a chore writes, and how many entries it handles.
const SLICE_BYTES: u64 = MIB;
const SLICE_ENTRIES: u64 = 16 * 1024;
/// Segments that a bounded disk must have room for. Half of them are in use even where the store is empty: the active
/// one, its successor, and two that no checkpoint has covered yet.
const DISK_SEGMENTS_MIN: u64 = 8;
/// The manifest with both copies, old and new.
const MANIFEST_BYTES: u64 = MIB;

const BLOCK_BYTES: u32 = 4096;
const BLOCK_BYTES_TUNED: RangeInclusive<u32> = 64..=64 * 1024;
/// With two levels of which the upper is light nothing would be merged, and a checkpoint that may not add a third would wait
/// for ever.
const LEVELS_MAX_TUNED: RangeInclusive<usize> = 3..=64;

/// Sizes that tests and benchmarks choose, so that a small store does what a large one does. `None`: the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "named field by field by this workspace's tests and benchmarks alone"
)]
pub struct Tuning {
    /// Bytes at which a memtable is frozen.
    pub memtable_bytes: Option<u64>,
    /// Bytes of log since the last checkpoint at which the next is due.
    pub log_bytes: Option<u64>,
    /// Bytes of a block of a run, before compression.
    pub block_bytes: Option<u32>,
    /// Bytes at which a run ends and the next begins.
    pub run_bytes: Option<u64>,
    /// Bytes that a unit of a merge writes.
    pub unit_bytes: Option<u64>,
    /// Bytes that a slice of a chore writes.
    pub slice_bytes: Option<u64>,
    /// Whether blocks are compressed.
    pub compress: Option<bool>,
    /// Levels that lookups may meet.
    pub levels_max: Option<usize>,
    /// Chores are done by `Engine::run_slice` alone, and where writers would have to wait for them.
    pub by_hand: bool,
}

/// What was asked for, unchecked; `Options` fills it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) memory_bytes: u64,
    pub(crate) separation_bytes: u32,
    pub(crate) disk_bytes_max: Option<u64>,
    pub(crate) chore_bytes_per_second: Option<u64>,
    pub(crate) view_age_max: Option<Duration>,
    pub(crate) pinned_bytes_max: Option<u64>,
    pub(crate) watch_bytes_max: Option<u64>,
    pub(crate) tuning: Tuning,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            memory_bytes: MEMORY_BYTES_DEFAULT,
            separation_bytes: SEPARATION_BYTES_DEFAULT,
            disk_bytes_max: None,
            chore_bytes_per_second: None,
            view_age_max: None,
            pinned_bytes_max: None,
            watch_bytes_max: None,
            tuning: Tuning::default(),
        }
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    /// Everything that is kept in memory beside batches in flight and what views pin: two memtables and the cache.
    pub(crate) memory_bytes: u64,
    /// A memtable of so many bytes is frozen.
    pub(crate) memtable_bytes: u64,
    /// Blocks, fences and filters in memory.
    pub(crate) cache_bytes: u64,
    /// The sum of the store's files.
    pub(crate) disk_bytes_max: Option<u64>,
    /// What chores write, all together.
    pub(crate) chore_bytes_per_second: Option<u64>,
    /// A scan or snapshot that is older ends.
    pub(crate) view_age_max: Option<Duration>,
    /// What watches may keep of the log that nobody else needs.
    pub(crate) watch_bytes_max: u64,
    pub(crate) block_bytes: u32,
    pub(crate) compress: bool,
    /// A run that a merge writes ends at this length.
    pub(crate) run_bytes: u64,
    /// A unit of a merge ends when it has written this much.
    pub(crate) unit_bytes: u64,
    /// A slice of a chore ends when it has written this much,
    pub(crate) slice_bytes: u64,
    /// or handled so many entries.
    pub(crate) slice_entries: u64,
    /// Levels that lookups may meet, where they do not follow the store's size.
    pub(crate) levels_max: Option<usize>,
    /// Chores are done by a test alone.
    pub(crate) by_hand: bool,
    log_bytes: Option<u64>,
    pinned_bytes_max: Option<u64>,
}

impl Budgets {
    /// # Errors
    /// `InvalidInput`: it cannot work; the message says what would.
    pub(crate) fn new(asked: &Asked, segment_bytes: u64) -> Result<Self> {
        let tuning = &asked.tuning;
        least("memory_bytes", asked.memory_bytes, MEMORY_BYTES_MIN)?;
        within(
            "separation_bytes",
            asked.separation_bytes,
            &(1..=SEPARATION_BYTES_MAX),
        )?;
        if let Some(rate) = asked.chore_bytes_per_second {
            least("chore_bytes_per_second", rate, CHORE_BYTES_PER_SECOND_MIN)?;
        }
        if asked.view_age_max == Some(Duration::ZERO) {
            return Err(refused("view_age_max is 0: no view could be read from"));
        }
        tuning.check(asked.memory_bytes)?;
        if let Some(bytes) = asked.disk_bytes_max {
            let min = tuning.disk_bytes_min(segment_bytes);
            if bytes < min {
                return Err(refused(format!(
                    "disk_bytes_max is {bytes}: with segments of {segment_bytes} bytes a store needs at least {min}"
                )));
            }
        }
        let share = asked.disk_bytes_max.map_or(u64::MAX, |it| it / DISK_SHARE);
        let memtable = (asked.memory_bytes / MEMTABLE_SHARE).min(share.max(MEMTABLE_BYTES_MIN));
        let memtable_bytes = tuning.memtable_bytes.unwrap_or(memtable);
        let unit = UNIT_BYTES_MAX.min(share.max(UNIT_BYTES_MIN));
        let unit_bytes = tuning.unit_bytes.unwrap_or(unit);
        Ok(Self {
            memory_bytes: asked.memory_bytes,
            memtable_bytes,
            cache_bytes: asked.memory_bytes - 2 * memtable_bytes,
            disk_bytes_max: asked.disk_bytes_max,
            chore_bytes_per_second: asked.chore_bytes_per_second,
            view_age_max: asked.view_age_max,
            watch_bytes_max: asked
                .watch_bytes_max
                .unwrap_or(WATCH_BYTES_MAX_DEFAULT)
                .min(share),
            block_bytes: tuning.block_bytes.unwrap_or(BLOCK_BYTES),
            compress: tuning.compress.unwrap_or(true),
            run_bytes: tuning.run_bytes.unwrap_or(unit),
            unit_bytes,
            slice_bytes: tuning.slice_bytes.unwrap_or(SLICE_BYTES),
            slice_entries: SLICE_ENTRIES,
            levels_max: tuning.levels_max,
            by_hand: tuning.by_hand,
            log_bytes: tuning.log_bytes,
            pinned_bytes_max: asked.pinned_bytes_max,
        })
    }

    /// What views may keep, where it does not follow the store's size; a share of a disk that is bounded.
    pub(crate) fn pinned_bytes_set(&self) -> Option<u64> {
        let share = self.disk_bytes_max.map(|it| it / 4);
        self.pinned_bytes_max.or(share)
    }

    /// The log between two checkpoints, at least and at most: where the disk is bounded, a share of it.
    pub(crate) fn log_bytes_range(&self) -> RangeInclusive<u64> {
        let share = self.disk_bytes_max.map_or(u64::MAX, |it| it / DISK_SHARE);
        LOG_BYTES_MIN..=LOG_BYTES_MAX.min(share.max(LOG_BYTES_MIN))
    }

    /// The log between two checkpoints, where it does not follow the store's size.
    pub(crate) const fn log_bytes_set(&self) -> Option<u64> {
        self.log_bytes
    }
}

impl Tuning {
    fn check(&self, memory_bytes: u64) -> Result<()> {
        for (name, bytes) in [
            ("memtable_bytes", self.memtable_bytes),
            ("log_bytes", self.log_bytes),
            ("run_bytes", self.run_bytes),
            ("unit_bytes", self.unit_bytes),
            ("slice_bytes", self.slice_bytes),
        ] {
            if let Some(bytes) = bytes {
                least(name, bytes, 1)?;
            }
        }
        if let Some(bytes) = self.memtable_bytes
            && bytes > memory_bytes / MEMTABLE_SHARE
        {
            let min = bytes.saturating_mul(MEMTABLE_SHARE);
            return Err(refused(format!(
                "memory_bytes is {memory_bytes}: with memtables of {bytes} bytes a store needs at least {min}"
            )));
        }
        if let Some(bytes) = self.block_bytes {
            within("block_bytes", bytes, &BLOCK_BYTES_TUNED)?;
        }
        if let Some(levels) = self.levels_max {
            within("levels_max", levels, &LEVELS_MAX_TUNED)?;
        }
        Ok(())
    }

    /// What a store that is bounded needs on disk: segments, and twice what a checkpoint of both memtables, a unit and the
    /// log between checkpoints take, so that there is room to give room back.
    fn disk_bytes_min(&self, segment_bytes: u64) -> u64 {
        let log = self.log_bytes.unwrap_or(LOG_BYTES_MIN);
        let memtable = self.memtable_bytes.unwrap_or(MEMTABLE_BYTES_MIN);
        let unit = self.unit_bytes.unwrap_or(UNIT_BYTES_MIN);
        let pair = log.saturating_add(memtable).saturating_mul(2);
        let working = pair.saturating_add(unit).saturating_mul(2);
        segment_bytes
            .saturating_mul(DISK_SEGMENTS_MIN)
            .saturating_add(working)
            .saturating_add(MANIFEST_BYTES)
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn least(name: &str, bytes: u64, min: u64) -> Result<()> {
    if bytes >= min {
        return Ok(());
    }
    let message = format!("{name} is {bytes}: a store needs at least {min}");
    Err(refused(message))
}

fn within<N: PartialOrd + std::fmt::Display>(
    name: &str,
    number: N,
    range: &RangeInclusive<N>,
) -> Result<()> {
    if range.contains(&number) {
        return Ok(());
    }
    let (min, max) = (range.start(), range.end());
    Err(refused(format!(
        "{name} is {number}: it can be {min} to {max}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    fn budgets(change: impl FnOnce(&mut Asked)) -> Result<Budgets> {
        let mut asked = Asked::default();
        change(&mut asked);
        Budgets::new(&asked, 64 * MIB)
    }

    fn refusal(change: impl FnOnce(&mut Asked)) -> String {
        let refused = budgets(change).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        refused.message().to_owned()
    }

    #[test]
    fn memory_is_one_budget_that_memtables_and_cache_share() {
        for memory in [MEMORY_BYTES_MIN, MEMORY_BYTES_DEFAULT, 10 * GIB, u64::MAX] {
            for disk in [None, Some(520 * MIB), Some(u64::MAX)] {
                let budgets = budgets(|asked| {
                    asked.memory_bytes = memory;
                    asked.disk_bytes_max = disk;
                });
                let budgets = budgets.unwrap();
                let parts =
                    2 * u128::from(budgets.memtable_bytes) + u128::from(budgets.cache_bytes);
                assert_eq!(parts, u128::from(memory));
                assert!(budgets.memtable_bytes >= MEMTABLE_BYTES_MIN);
                assert!(budgets.cache_bytes >= memory / 2);
            }
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_would() {
        assert_eq!(
            refusal(|asked| asked.memory_bytes = MIB - 1),
            "memory_bytes is 1048575: a store needs at least 1048576"
        );
        assert_eq!(
            refusal(|asked| asked.separation_bytes = 0),
            "separation_bytes is 0: it can be 1 to 65536"
        );
        assert_eq!(
            refusal(|asked| asked.separation_bytes = 65537),
            "separation_bytes is 65537: it can be 1 to 65536"
        );
        assert_eq!(
            refusal(|asked| asked.chore_bytes_per_second = Some(1000)),
            "chore_bytes_per_second is 1000: a store needs at least 65536"
        );
        assert_eq!(
            refusal(|asked| asked.view_age_max = Some(Duration::ZERO)),
            "view_age_max is 0: no view could be read from"
        );
        assert_eq!(
            refusal(|asked| asked.disk_bytes_max = Some(100 * MIB)),
            "disk_bytes_max is 104857600: with segments of 67108864 bytes a store needs at least 545259520"
        );
        assert!(budgets(|asked| asked.disk_bytes_max = Some(545_259_520)).is_ok());
        assert_eq!(
            refusal(|asked| asked.tuning.memtable_bytes = Some(64 * MIB)),
            "memory_bytes is 134217728: with memtables of 67108864 bytes a store needs at least 268435456"
        );
        assert_eq!(
            refusal(|asked| asked.tuning.levels_max = Some(2)),
            "levels_max is 2: it can be 3 to 64"
        );
        assert_eq!(
            refusal(|asked| asked.tuning.slice_bytes = Some(0)),
            "slice_bytes is 0: a store needs at least 1"
        );
    }

    #[test]
    fn a_bounded_disk_has_room_for_what_gives_room_back() {
        for segment in [1024, 64 * 1024, MIB, 64 * MIB, 4 * GIB] {
            let least = Tuning::default().disk_bytes_min(segment);
            for disk in [least, 2 * least, 10 * least, 100 * least] {
                let asked = Asked {
                    disk_bytes_max: Some(disk),
                    memory_bytes: 64 * GIB,
                    ..Asked::default()
                };
                let budgets = Budgets::new(&asked, segment).unwrap();
                let log = *budgets.log_bytes_range().end();
                let working = 2 * (log + budgets.memtable_bytes) + budgets.unit_bytes;
                assert!(
                    4 * segment + working + MANIFEST_BYTES <= disk,
                    "segments of {segment} on {disk}: {budgets:?}"
                );
            }
        }
    }
}
