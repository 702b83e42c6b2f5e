//! What a store is like, and how it is doing: `stats`.

use super::{Outcome, close, open};
use crate::args::Args;
use crate::output::{Output, at_path};
use crate::text::{bar, counted, grouped, percent, size, span};
use kv_log_engine::{Create, Pressure, SegmentKind, SegmentStats, Stats};
use kv_trait::{Error, Fingerprint};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn stats(args: &Args) -> Outcome {
    let store = open(args, Create::Never)?;
    let stats = store.stats();
    let mut output = Output::new();
    if args.json {
        let object = stats_json(&stats, store.fingerprint());
        output.json(&at_path(store.path(), object))?;
    } else {
        for line in lines(&stats, store.path(), store.fingerprint()) {
            output.line(&line)?;
        }
    }
    output.finish()?;
    close(&store)?;
    Ok(ExitCode::SUCCESS)
}

/// The number of keys, and whether it is one.
pub(super) fn keys(stats: &Stats) -> String {
    let about = if is_exact(stats) { "" } else { "about " };
    about.to_owned() + &counted(stats.live_keys, "key")
}

/// Without runs every key is in memory. What was erased, or has expired, is counted until a merge drops it.
fn is_exact(stats: &Stats) -> bool {
    stats.levels.is_empty() && stats.erased_ranges == 0
}

/// The bytes of all segments, and those of them that the index points at.
fn sums(stats: &Stats) -> (u64, u64) {
    stats.segments.iter().fold((0, 0), |(bytes, live), one| {
        (bytes + one.bytes, live + one.live_bytes)
    })
}

/// What there always is to say, and behind it only what is out of the ordinary.
fn lines(stats: &Stats, path: &Path, fingerprint: &Fingerprint) -> Vec<String> {
    let mut lines = vec![headline(stats, path)];
    lines.extend(stats.segments.iter().map(segment_line));
    for (at, level) in stats.levels.iter().enumerate() {
        lines.push(format!(
            "level {}  {}  {}  {}  {}",
            at + 1,
            counted(level.runs, "run"),
            size(level.bytes),
            counted(level.entries, "record"),
            counted(level.tombstones, "tombstone"),
        ));
    }
    let tag = fingerprint.tag();
    lines.push(format!(
        "{}  keys: {}  values: {}{}",
        memory(stats),
        fingerprint.key_type(),
        fingerprint.value_type(),
        tag.map_or_else(String::new, |tag| format!("  tag: {tag}"))
    ));
    lines.extend(circumstances(stats));
    lines
}

fn headline(stats: &Stats, path: &Path) -> String {
    let in_levels: u64 = stats.levels.iter().map(|level| level.bytes).sum();
    let bytes = sums(stats).0 + in_levels;
    let runs: u64 = stats.levels.iter().map(|level| level.runs).sum();
    let mut parts = vec![
        format!("store {}", path.display()),
        counted(stats.segments.len() as u64, "segment"),
    ];
    if runs > 0 {
        let levels = counted(stats.levels.len() as u64, "level");
        parts.push(format!("{} in {levels}", counted(runs, "run")));
    }
    parts.extend([
        size(bytes),
        format!(
            "{}% live",
            percent(bytes.saturating_sub(stats.garbage_bytes), bytes)
        ),
        keys(stats),
        format!("seq {}", grouped(stats.last_seqno.get())),
    ]);
    parts.join("  ")
}

fn segment_line(segment: &SegmentStats) -> String {
    let remark = match segment.kind {
        _ if segment.active => "  (active)",
        SegmentKind::Values => "  (values)",
        _ => "",
    };
    format!(
        "{}.seg {} {:>3}% live  {:>11}{remark}",
        segment.id,
        bar(segment.live_bytes, segment.bytes),
        percent(segment.live_bytes, segment.bytes),
        size(segment.bytes),
    )
}

fn memory(stats: &Stats) -> String {
    let parts = [
        ("memtable", stats.memtable_bytes),
        ("being written", stats.frozen_bytes),
        ("blocks", stats.cache_bytes),
    ];
    let sum = parts.iter().map(|(_, bytes)| bytes).sum();
    let text = format!("memory {} of {}", size(sum), size(stats.memory_budget));
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", size(*bytes)))
        .collect();
    if parts.is_empty() {
        text
    } else {
        format!("{text} ({})", parts.join(", "))
    }
}

/// Why it is slow, or stands, or keeps so much.
fn circumstances(stats: &Stats) -> Vec<String> {
    let mut lines = Vec::new();
    if stats.checkpoint_seqno.get() > 0 {
        lines.push(format!(
            "checkpoint at seq {}, and {} of log since",
            grouped(stats.checkpoint_seqno.get()),
            size(stats.log_bytes_since_checkpoint)
        ));
    }
    if stats.written.total() > 0 {
        lines.push(written(stats));
    }
    if let Some(chore) = stats.chore {
        lines.push(format!("under way: {chore}"));
    }
    if let Some(pressure) = stats.pressure {
        lines.push(format!("writers wait: {}", reason(pressure)));
    }
    if let Some(view) = &stats.oldest_view {
        lines.push(format!(
            "oldest scan or snapshot: {}; {} are kept for such",
            span(view.age),
            size(view.pinned_bytes)
        ));
    }
    if let Some(error) = &stats.last_chore_error {
        lines.push(format!("the last chore failed: {error}"));
    }
    if let Some(cause) = &stats.read_only {
        lines.push(format!("takes no writes: {cause}"));
    }
    lines
}

fn written(stats: &Stats) -> String {
    let written = &stats.written;
    let parts = [
        ("log", written.log),
        ("checkpoints", written.checkpoint),
        ("merges", written.merge),
        ("values copied", written.values),
        ("manifest", written.manifest),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", size(*bytes)))
        .collect();
    format!("written since it was opened: {}", parts.join(", "))
}

const fn reason(pressure: Pressure) -> &'static str {
    match pressure {
        Pressure::Memory => "both memtables are full, and a checkpoint has to write one",
        Pressure::Levels => {
            "there are as many levels as may be, and a merge has to make fewer of them"
        }
        Pressure::Disk => {
            "the store takes as much of the disk as it may, and merges have to give some back"
        }
        _ => pressure.as_str(),
    }
}

fn stats_json(stats: &Stats, fingerprint: &Fingerprint) -> Value {
    let (bytes, live) = sums(stats);
    let segments: Vec<_> = stats.segments.iter().map(segment_json).collect();
    let levels: Vec<_> = stats
        .levels
        .iter()
        .map(|level| {
            json!({
                "runs": level.runs,
                "bytes": level.bytes,
                "entries": level.entries,
                "tombstones": level.tombstones,
            })
        })
        .collect();
    json!({
        "keys": stats.live_keys,
        "keys_exact": is_exact(stats),
        "last_seqno": stats.last_seqno.get(),
        "bytes": bytes,
        "live_bytes": live,
        "disk_bytes": stats.disk_bytes,
        "garbage_bytes": stats.garbage_bytes,
        "index_bytes": stats.index_bytes,
        "memory": {
            "budget": stats.memory_budget,
            "memtable": stats.memtable_bytes,
            "frozen": stats.frozen_bytes,
            "cache": stats.cache_bytes,
        },
        "checkpoint_seqno": stats.checkpoint_seqno.get(),
        "log_bytes_since_checkpoint": stats.log_bytes_since_checkpoint,
        "open_segment_files": stats.open_segment_files,
        "pressure": stats.pressure.map(Pressure::as_str),
        "chore": stats.chore.map(|chore| chore.as_str()),
        "last_chore_error": stats.last_chore_error.as_ref().map(error_json),
        "oldest_view": stats.oldest_view.map(|view| json!({
            "age_ms": u64::try_from(view.age.as_millis()).unwrap_or(u64::MAX),
            "pinned_bytes": view.pinned_bytes,
        })),
        "poisoned": stats.poisoned,
        "read_only": stats.read_only,
        "key_codec": fingerprint.key().to_string(),
        "key_type": fingerprint.key_type(),
        "value_codec": fingerprint.value().to_string(),
        "value_type": fingerprint.value_type(),
        "tag": fingerprint.tag(),
        "segments": segments,
        "levels": levels,
        "since_open": since_open(stats),
    })
}

fn segment_json(segment: &SegmentStats) -> Value {
    json!({
        "id": segment.id.get(),
        "kind": segment.kind.as_str(),
        "bytes": segment.bytes,
        "live_bytes": segment.live_bytes,
        "active": segment.active,
    })
}

fn error_json(error: &Error) -> Value {
    json!({ "kind": error.kind().as_str(), "message": error.to_string() })
}

fn since_open(stats: &Stats) -> Value {
    let written = &stats.written;
    json!({
        "groups": stats.groups,
        "batches": stats.batches,
        "records": stats.records,
        "frame_bytes": stats.frame_bytes,
        "failed_groups": stats.failed_groups,
        "rotations": stats.rotations,
        "checkpoints": stats.checkpoints,
        "merge_units": stats.merge_units,
        "segments_released": stats.segments_released,
        "written": {
            "log": written.log,
            "checkpoint": written.checkpoint,
            "merge": written.merge,
            "values": written.values,
            "manifest": written.manifest,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_log_engine::storage::sim::SimDisk;
    use kv_log_engine::{Batch, ChoreKind, Engine, LevelStats, Options, Seqno, ViewStats, Written};
    use kv_trait::ErrorKind;
    use std::time::Duration;

    const MIB: u64 = 1 << 20;

    fn level(runs: u64, bytes: u64, entries: u64, tombstones: u64) -> LevelStats {
        let mut level = LevelStats::default();
        level.runs = runs;
        level.bytes = bytes;
        level.entries = entries;
        level.tombstones = tombstones;
        level
    }

    /// A place in the order; only a store gives one out.
    fn seqno() -> Seqno {
        let options = Options::new().storage(SimDisk::new().storage());
        let store = Engine::open("/db", options).unwrap();
        let mut batch = Batch::new();
        for number in 0..3000_u32 {
            batch.put(&number.to_le_bytes(), b"").unwrap();
        }
        store.write(batch).unwrap();
        store.stats().last_seqno
    }

    /// A store of which everything can be said.
    fn busy() -> Stats {
        let mut stats = Stats::default();
        stats.live_keys = 2001;
        stats.last_seqno = seqno();
        stats.levels = vec![level(1, MIB, 100, 7), level(3, 9 * MIB, 2000, 0)];
        stats.disk_bytes = 11 * MIB;
        stats.garbage_bytes = 2 * MIB;
        stats.memory_budget = 128 * MIB;
        stats.memtable_bytes = MIB;
        stats.frozen_bytes = 2 * MIB;
        stats.cache_bytes = 3 * MIB;
        stats.checkpoint_seqno = seqno();
        stats.log_bytes_since_checkpoint = 5 * MIB;
        stats.pressure = Some(Pressure::Memory);
        stats.chore = Some(ChoreKind::Merge);
        let full = Error::new(ErrorKind::StorageFull, "cannot write 00000007.run");
        stats.last_chore_error = Some(full.with_source(std::io::Error::other("no space left")));
        let mut view = ViewStats::default();
        view.age = Duration::from_millis(72_345);
        view.pinned_bytes = 3 * MIB;
        stats.oldest_view = Some(view);
        let mut written = Written::default();
        written.log = 4 * MIB;
        written.merge = 6 * MIB;
        stats.written = written;
        stats.merge_units = 3;
        stats.read_only = Some("an unknown feature".to_owned());
        stats
    }

    #[test]
    fn a_quiet_store_without_runs_is_told_in_two_lines() {
        let mut stats = Stats::default();
        stats.memory_budget = 128 * MIB;
        stats.live_keys = 1;
        assert_eq!(
            lines(&stats, Path::new("/db"), &Fingerprint::raw()),
            [
                "store /db  0 segments  0 bytes  0% live  1 key  seq 0",
                "memory 0 bytes of 128.0 MiB  keys: text or bytes  values: bytes",
            ]
        );
    }

    #[test]
    fn everything_that_is_out_of_the_ordinary_is_told_with_its_reason() {
        assert_eq!(
            lines(&busy(), Path::new("/db"), &Fingerprint::raw()),
            [
                "store /db  0 segments  4 runs in 2 levels  10.0 MiB  80% live  about 2,001 keys  seq 3,000",
                "level 1  1 run  1.0 MiB  100 records  7 tombstones",
                "level 2  3 runs  9.0 MiB  2,000 records  0 tombstones",
                "memory 6.0 MiB of 128.0 MiB (memtable 1.0 MiB, being written 2.0 MiB, blocks 3.0 MiB)  keys: text or bytes  values: bytes",
                "checkpoint at seq 3,000, and 5.0 MiB of log since",
                "written since it was opened: log 4.0 MiB, merges 6.0 MiB",
                "under way: merge",
                "writers wait: both memtables are full, and a checkpoint has to write one",
                "oldest scan or snapshot: 72.3 s; 3.0 MiB are kept for such",
                "the last chore failed: cannot write 00000007.run: no space left",
                "takes no writes: an unknown feature",
            ]
        );
    }

    #[test]
    fn the_same_is_in_json_and_nothing_is_null_that_can_be_counted() {
        let raw = Fingerprint::raw();
        let (busy, quiet) = (
            stats_json(&busy(), &raw),
            stats_json(&Stats::default(), &raw),
        );
        assert_eq!(
            (&busy["keys"], &busy["keys_exact"], &quiet["keys_exact"]),
            (&2001.into(), &false.into(), &true.into())
        );
        assert_eq!(
            busy["levels"][0],
            json!({ "runs": 1, "bytes": MIB, "entries": 100, "tombstones": 7 })
        );
        assert_eq!(
            busy["memory"],
            json!({ "budget": 128 * MIB, "memtable": MIB, "frozen": 2 * MIB, "cache": 3 * MIB })
        );
        assert_eq!(
            busy["oldest_view"],
            json!({ "age_ms": 72_345, "pinned_bytes": 3 * MIB })
        );
        assert_eq!(
            busy["last_chore_error"],
            json!({ "kind": "storage_full", "message": "cannot write 00000007.run: no space left" })
        );
        assert_eq!(
            (&busy["pressure"], &busy["chore"], &busy["read_only"]),
            (
                &"memory".into(),
                &"merge".into(),
                &"an unknown feature".into()
            )
        );
        assert_eq!(
            busy["since_open"]["written"],
            json!({ "log": 4 * MIB, "checkpoint": 0, "merge": 6 * MIB, "values": 0, "manifest": 0 })
        );
        let null = quiet.as_object().unwrap().iter();
        let null: Vec<&str> = null
            .filter(|(_, value)| value.is_null())
            .map(|(name, _)| &**name)
            .collect();
        assert_eq!(
            null,
            [
                "chore",
                "last_chore_error",
                "oldest_view",
                "pressure",
                "read_only",
                "tag"
            ]
        );
        let names = |value: &Value| -> Vec<String> {
            let fields = value.as_object().unwrap();
            fields.keys().cloned().collect()
        };
        assert_eq!(
            names(&busy),
            names(&quiet),
            "one shape, whatever there is to say"
        );
    }
}
