//! What a store is like: `stats`.

use super::{Outcome, close, open};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, at_path};
use crate::text::{bar, counted, grouped, percent, size};
use kv_log_engine::{Create, Engine, Stats};
use serde_json::{Value, json};
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
