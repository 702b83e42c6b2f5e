//! What a verification found, for people and for programs.

use super::damage::{self, Damage, Damages};
use crate::recovery::{RecoveryReport, TornTail};

/// What [`verify`](super::verify) found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Live segments, those of values included.
    pub segments: u64,
    /// Segments of values that merges copied.
    pub value_segments: u64,
    /// Runs.
    pub runs: u64,
    /// Levels that the runs are in.
    pub levels: u64,
    /// Bytes of the files of all of them.
    pub bytes: u64,
    /// Values that runs refer to and segments keep: all were read.
    pub separated_values: u64,
    /// Batches of the log that were read: those that runs do not cover.
    pub frames: u64,
    /// Records of the log that were read, replaced ones and tombstones included.
    pub records: u64,
    /// Keys that hold a value, as far as it can be read.
    pub live_keys: u64,
    /// The never-acknowledged end of the active segment, if there is one: no damage. The next open cuts it.
    pub torn_tail: Option<TornTail>,
    /// Names in the directory that are, or may be, somebody's: left alone.
    pub foreign: Vec<String>,
    /// Files of ours that nothing refers to any more: no damage. The next write deletes them.
    pub debris: Vec<String>,
    /// Damage, each with file, offset, cause and the keys at risk: the first [`VerifyReport::DAMAGES_MAX`].
    pub damages: Vec<Damage>,
    /// How many more there are.
    pub more_damages: u64,
}

impl VerifyReport {
    /// The damages that are listed; more are counted.
    pub const DAMAGES_MAX: usize = damage::DAMAGES_MAX;

    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damages.is_empty()
    }

    pub(super) fn of(report: RecoveryReport) -> Self {
        Self {
            segments: report.segments,
            frames: report.frames,
            records: report.records,
            live_keys: report.live_keys,
            torn_tail: report.torn_tail,
            foreign: report.foreign,
            debris: report.debris,
            ..Self::default()
        }
    }

    pub(super) fn with(self, damages: Damages) -> Self {
        let (damages, more_damages) = damages.into_parts();
        Self {
            damages,
            more_damages,
            ..self
        }
    }
}
