//! The store as the policy sees it: made of the manifest alone, without any I/O.

use super::policy::{Budgets, LevelShape, Pass, Reason, RunShape, SegmentShape, Shape};
use crate::format::ids::SegmentId;
use crate::format::manifest::{Manifest, PassEntry, RunEntry};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::store::quotas::full_unit_bytes;
use std::collections::BTreeSet;

/// What the policy must know beside the manifest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    /// The run that a checkpoint writes, about.
    pub(super) checkpoint_bytes: u64,
    /// The log from one checkpoint to the next.
    pub(super) log_bytes: u64,
    /// Levels that lookups may meet, where that does not follow the store's size.
    pub(super) levels_max: Option<usize>,
    /// The reading of the store's clock.
    pub(super) now_ms: u64,
    /// A write failed for want of room.
    pub(super) disk_full: bool,
    /// What a unit writes where there is room.
    pub(super) unit_bytes: u64,
    /// What copies may take where there is none.
    pub(super) room: u64,
    /// Segments with a value that does not verify: they cannot be emptied.
    pub(super) spared: &'a BTreeSet<SegmentId>,
}

/// What a decision depends on.
pub(super) fn shape(manifest: &Manifest, circumstances: &Circumstances<'_>) -> Shape {
    let now_ms = circumstances.now_ms;
    let mut levels: Vec<LevelShape> = Vec::new();
    for run in &manifest.runs {
        match levels.last_mut().filter(|level| level.id == run.level) {
            Some(level) => level.runs.push(run_shape(run, now_ms)),
            None => levels.push(LevelShape {
                id: run.level,
                runs: vec![run_shape(run, now_ms)],
            }),
        }
    }
    let segments = manifest.segments.iter().map(|segment| SegmentShape {
        id: segment.id,
        // What every segment of values has is no garbage: one that is live whole must not be a victim again.
        bytes: if segment.is_log() {
            segment.end
        } else {
            segment.end.saturating_sub(SEGMENT_HEADER_BYTES)
        },
        may_go: (!segment.is_log() || manifest.is_covered(segment))
            && !circumstances.spared.contains(&segment.id),
    });
    let bottom = levels.iter().next_back().into_iter();
    let bottom = bottom.flat_map(|level| &level.runs);
    let bottom_bytes = bottom.map(|run| run.live_bytes).sum();
    let budgets = Budgets::new(
        circumstances.checkpoint_bytes,
        circumstances.log_bytes,
        bottom_bytes,
    );
    let segments: Vec<SegmentShape> = segments.collect();
    let copies_max = if circumstances.disk_full {
        let whole: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let runs: u64 = manifest.runs.iter().map(|run| run.file_bytes).sum();
        let merged = whole + runs;
        let most = full_unit_bytes(merged, circumstances.unit_bytes, manifest.segment_bytes);
        most.min(circumstances.room)
    } else {
        u64::MAX
    };
    Shape {
        segments,
        budgets: Budgets {
            disk_full: circumstances.disk_full,
            levels_max: circumstances.levels_max.unwrap_or(budgets.levels_max),
            copies_max,
            ..budgets
        },
        levels,
        now_ms,
    }
}

fn run_shape(run: &RunEntry, now_ms: u64) -> RunShape {
    let left = run.entries.saturating_sub(run.taken);
    let share = |of: u64| {
        let share = u128::from(of) * u128::from(left) / u128::from(run.entries.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    let referred = run.referred.iter();
    RunShape {
        from: run.from.clone(),
        to: run.to.clone(),
        cut: run.taken > 0,
        file_bytes: run.file_bytes,
        live_bytes: share(run.file_bytes),
        entries: left,
        // One at least: a rest that is taken for none would never be merged away.
        tombstones: share(run.tombstones).max(run.tombstones.min(left).min(1)),
        expired: share(run.expiring.map_or(0, |expiring| expiring.expired(now_ms))),
        earliest_expiry_ms: run.expiring.map(|expiring| expiring.earliest_ms),
        // Which of them a cut took is not known; a segment that nothing is left of is still named by its run.
        referred: referred
            .map(|(segment, referred)| (*segment, share(referred.bytes)))
            .collect(),
    }
}

/// The passes that were under way when the manifest was changed last.
pub(super) fn passes(manifest: &Manifest) -> Vec<Pass> {
    let passes = manifest.passes.iter().map(|pass| Pass {
        newest: pass.newest,
        oldest: pass.oldest,
        victims: pass.victims.clone(),
        reason: Reason::of(pass.reason),
        expired_by_ms: 0,
    });
    passes.collect()
}

/// The same as the manifest keeps them.
pub(super) fn pass_entries(passes: &[Pass]) -> Vec<PassEntry> {
    let entries = passes.iter().map(|pass| PassEntry {
        newest: pass.newest,
        oldest: pass.oldest,
        victims: pass.victims.clone(),
        reason: pass.reason.number(),
    });
    entries.collect()
}
