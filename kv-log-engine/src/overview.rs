//! What a store tells of itself: counters, and sizes that are looked at.

use crate::format::manifest::RunEntry;
use crate::handle::Handle;
use crate::index::View;
use crate::index::run::level::Level;
use crate::stats::{
    DAMAGES_MAX, LevelStats, SegmentStats, Stats, ViewStats, WatchStats, Written, read,
};

/// Counters and sizes now. Waits for nobody: what the manifest would say is taken from the view.
pub(crate) fn stats(handle: &Handle) -> Stats {
    let view = handle.published.view();
    let segments = segments(handle, &view);
    let levels: Vec<LevelStats> = view.levels().levels().iter().map(level).collect();
    let frozen = view.frozen().filter(|(_, written)| !written);
    let frozen = frozen.map(|(frozen, _)| &frozen.memtable);
    let chores = handle.background.chores();
    let memtable_bytes = view.memtable().approximate_bytes() as u64;
    let frozen_bytes = frozen.map_or(0, |memtable| memtable.approximate_bytes() as u64);
    // What is above is taken to be new, or to replace what a tombstone or a newer version hides: see `Stats::live_keys`.
    let in_memory = (view.memtable().live() + frozen.map_or(0, |memtable| memtable.live())) as u64;
    let deleted = view.memtable().tombstones() as u64
        + frozen.map_or(0, |memtable| memtable.tombstones() as u64);
    let in_runs: u64 = levels
        .iter()
        .map(|level| level.entries.saturating_sub(level.tombstones))
        .sum();
    let tombstones: u64 = levels.iter().map(|level| level.tombstones).sum();
    let live_keys = if levels.is_empty() {
        in_memory
    } else {
        (in_memory + in_runs).saturating_sub(deleted + tombstones)
    };
    let segment_bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let run_bytes: u64 = levels.iter().map(|level| level.bytes).sum();
    let garbage = |segment: &SegmentStats| segment.bytes.saturating_sub(segment.live_bytes);
    let standing = chores.standing();
    let mut damages = chores.damages();
    let filters = view
        .levels()
        .runs()
        .flat_map(|live| live.run.damaged_filters());
    let room = DAMAGES_MAX.saturating_sub(damages.len());
    damages.extend(filters.map(|error| error.to_string()).take(room));
    let counted = handle.counters.stats();
    let written = Written {
        manifest: handle.catalog.bytes_written(),
        ..counted.written
    };
    Stats {
        written,
        damages,
        live_keys,
        // Merges look at what runs have; what only the log has is no garbage yet.
        garbage_bytes: if levels.is_empty() {
            segments.iter().map(garbage).sum()
        } else {
            standing.total_bytes.saturating_sub(standing.live_bytes)
        },
        disk_bytes: segment_bytes + run_bytes,
        segments,
        levels,
        index_bytes: memtable_bytes + frozen_bytes,
        memtable_bytes,
        frozen_bytes,
        cache_bytes: handle.cache.bytes() + view.levels().footer_bytes(),
        memory_budget: handle.memory_bytes,
        checkpoint_seqno: view.covered(),
        log_bytes_since_checkpoint: handle.tail.bytes(),
        pressure: chores.pressure(),
        erased_ranges: view.tables().erasures.len() as u64,
        oldest_view: handle.views.oldest().map(|since| ViewStats {
            age: handle.host.now().saturating_sub(since),
            pinned_bytes: standing.pinned_bytes,
        }),
        slowest_watch: slowest_watch(handle, counted.last_seqno.get()),
        open_segment_files: handle.files.open_count() as u64,
        poisoned: handle.poison.is_set(),
        read_only: handle
            .report
            .read_only
            .clone()
            .filter(|_| !chores.is_settled()),
        ..counted
    }
}

fn slowest_watch(handle: &Handle, last: u64) -> Option<WatchStats> {
    let slowest = handle.followers.slowest()?;
    Some(WatchStats {
        age: handle.host.now().saturating_sub(slowest.since),
        next: slowest.next,
        behind: (last + 1).saturating_sub(slowest.next.get()),
        kept_bytes: slowest.kept_bytes,
        watches: slowest.count as u64,
    })
}

fn level(level: &Level) -> LevelStats {
    let runs = level.runs();
    let sum = |of: &dyn Fn(&RunEntry) -> u64| {
        let shares = runs.iter().map(|live| live.share(of(live.run.entry())));
        shares.sum::<u64>()
    };
    LevelStats {
        runs: runs.len() as u64,
        // What was cut off a run still takes its place.
        bytes: runs.iter().map(|live| live.run.entry().file_bytes).sum(),
        entries: sum(&|run| run.entries),
        tombstones: sum(&|run| run.tombstones),
    }
}

/// Segments with what memtables and runs point at.
fn segments(handle: &Handle, view: &View) -> Vec<SegmentStats> {
    let mut live = view.memtable().live_bytes().clone();
    if let Some((frozen, false)) = view.frozen() {
        for (segment, bytes) in frozen.memtable.live_bytes() {
            *live.entry(*segment).or_default() += bytes;
        }
    }
    for run in view.levels().runs() {
        for (segment, referred) in &run.run.entry().referred {
            *live.entry(*segment).or_default() += run.share(referred.bytes);
        }
    }
    let active_bytes = read(&handle.counters.active_bytes);
    let stats = view.segments().values().map(|segment| {
        let active = segment.sealed_bytes() == 0;
        let bytes = if active {
            active_bytes
        } else {
            segment.sealed_bytes()
        };
        SegmentStats {
            id: segment.id,
            kind: segment.kind(),
            bytes,
            live_bytes: live
                .get(&segment.id)
                .copied()
                .unwrap_or_default()
                .min(bytes),
            active,
        }
    });
    let mut stats: Vec<_> = stats.collect();
    stats.sort_by_key(|segment| (segment.active, segment.id));
    stats
}
