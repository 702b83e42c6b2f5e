//! What a store is like, and whether it is whole: `stats` and `verify`.

use super::{DAMAGED, Outcome, close, cut_short, open, options, path};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, put_bytes, put_path};
use crate::text::{bar, counted, grouped, percent, size};
use kv_log_engine::{Create, Damage, Engine, Stats, VerifyReport, verify};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn stats(args: &Args) -> Outcome {
    let store = open(args, Create::Never)?;
    let stats = store.stats();
    let mut output = Output::new();
    if args.json {
        output.json(&stats_json(&store, &stats))?;
    } else {
        show_stats(&mut output, &store, &stats)?;
    }
    output.finish()?;
    close(&store)?;
    Ok(ExitCode::SUCCESS)
}

/// The bytes of all segments, and those of them that the index points at.
fn sums(stats: &Stats) -> (u64, u64) {
    stats.segments.iter().fold((0, 0), |(bytes, live), one| {
        (bytes + one.bytes, live + one.live_bytes)
    })
}

fn show_stats(output: &mut Output, store: &Engine, stats: &Stats) -> Result<(), Failure> {
    let (bytes, live) = sums(stats);
    output.line(&format!(
        "store {}  {}  {}  {}% live  {}  seq {}",
        store.path().display(),
        counted(stats.segments.len() as u64, "segment"),
        size(bytes),
        percent(live, bytes),
        counted(stats.live_keys, "key"),
        grouped(stats.last_seqno.get()),
    ))?;
    for segment in &stats.segments {
        let size = size(segment.bytes);
        output.line(&format!(
            "{}.seg {} {:>3}% live  {size:>11}{}",
            segment.id,
            bar(segment.live_bytes, segment.bytes),
            percent(segment.live_bytes, segment.bytes),
            if segment.active { "  (active)" } else { "" }
        ))?;
    }
    let fingerprint = store.fingerprint();
    output.line(&format!(
        "index about {} of memory  keys: {}  values: {}{}",
        size(stats.index_bytes),
        fingerprint.key_type(),
        fingerprint.value_type(),
        fingerprint
            .tag()
            .map_or_else(String::new, |tag| format!("  tag: {tag}"))
    ))
}

fn stats_json(store: &Engine, stats: &Stats) -> Value {
    let (bytes, live) = sums(stats);
    let fingerprint = store.fingerprint();
    let segments: Vec<_> = stats
        .segments
        .iter()
        .map(|segment| {
            json!({
                "id": segment.id.get(),
                "bytes": segment.bytes,
                "live_bytes": segment.live_bytes,
                "active": segment.active,
            })
        })
        .collect();
    let value = json!({
        "keys": stats.live_keys,
        "last_seqno": stats.last_seqno.get(),
        "bytes": bytes,
        "live_bytes": live,
        "index_bytes": stats.index_bytes,
        "open_segment_files": stats.open_segment_files,
        "poisoned": stats.poisoned,
        "key_codec": fingerprint.key().to_string(),
        "key_type": fingerprint.key_type(),
        "value_codec": fingerprint.value().to_string(),
        "value_type": fingerprint.value_type(),
        "tag": fingerprint.tag(),
        "segments": segments,
        "since_open": {
            "groups": stats.groups,
            "batches": stats.batches,
            "records": stats.records,
            "frame_bytes": stats.frame_bytes,
            "failed_groups": stats.failed_groups,
            "rotations": stats.rotations,
        },
    });
    at_path(store.path(), value)
}

/// The object with where it is about.
fn at_path(path: &Path, value: Value) -> Value {
    let mut object = Map::new();
    put_path(&mut object, "path", path);
    if let Value::Object(fields) = value {
        object.extend(fields);
    }
    Value::Object(object)
}

pub(super) fn verify_store(args: &Args) -> Outcome {
    let report = verify(path(args)?, options(args))?;
    let code = if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DAMAGED)
    };
    match show_report(args, &report) {
        // Damage is what the exit code is about, whether somebody reads to the end or not.
        Err(failure) if failure.without_reader().is_some() && !report.is_clean() => Ok(code),
        shown => shown.map(|()| code),
    }
}

fn show_report(args: &Args, report: &VerifyReport) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        output.json(&report_json(report))?;
        return output.finish();
    }
    for damage in &report.damages {
        output.line(&format!("damage: {damage}"))?;
    }
    if report.more_damages > 0 {
        let more = counted(report.more_damages, "more place");
        output.line(&format!("damage: {more}, not listed"))?;
    }
    if let Some(torn) = report.torn_tail.as_ref().filter(|torn| torn.bytes == 0) {
        output.line(&format!("note: {}", cut_short(torn)))?;
    } else if let Some(torn) = &report.torn_tail {
        output.line(&format!(
            "note: {} bytes at offset {} of {} were never acknowledged ({}); the next open cuts them",
            torn.bytes,
            torn.offset,
            torn.path.display(),
            torn.cause
        ))?;
    }
    for name in &report.foreign {
        output.line(&format!(
            "note: {name} is not the store's; it is left alone"
        ))?;
    }
    for name in &report.debris {
        output.line(&format!(
            "note: nothing refers to {name}; the next write deletes it"
        ))?;
    }
    if !args.quiet {
        let read = [
            counted(report.segments, "segment"),
            counted(report.frames, "batch"),
            counted(report.records, "record"),
            counted(report.live_keys, "key"),
        ]
        .join(", ");
        if report.is_clean() {
            output.line(&format!("good: {read}"))?;
        } else {
            let places = report.damages.len() as u64 + report.more_damages;
            let places = counted(places, "place");
            output.line(&format!(
                "damaged: {places}; what can be read: {read}; keep the files as they are, and restore a backup"
            ))?;
        }
    }
    output.finish()
}

fn report_json(report: &VerifyReport) -> Value {
    let torn = report.torn_tail.as_ref().map(|torn| {
        at_path(
            &torn.path,
            json!({ "offset": torn.offset, "bytes": torn.bytes, "cause": torn.cause }),
        )
    });
    let damages: Vec<_> = report.damages.iter().map(damage_json).collect();
    json!({
        "clean": report.is_clean(),
        "segments": report.segments,
        "frames": report.frames,
        "records": report.records,
        "keys": report.live_keys,
        "torn_tail": torn,
        "foreign": report.foreign,
        "debris": report.debris,
        "damages": damages,
        "more_damages": report.more_damages,
    })
}

fn damage_json(damage: &Damage) -> Value {
    let key = |key: &Vec<u8>| {
        let mut object = Map::new();
        put_bytes(&mut object, "key", key);
        Value::Object(object)
    };
    let value = json!({
        "offset": damage.offset,
        "end": damage.end,
        "cause": damage.cause.to_string(),
        "records": damage.records,
        "keys_at_risk": damage.keys.iter().map(key).collect::<Vec<_>>(),
        "more_keys": damage.more_keys,
        "unnamed_records": damage.unnamed_records,
    });
    at_path(&damage.path, value)
}
