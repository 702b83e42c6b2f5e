//! What a store is like, and whether it is whole: `stats` and `verify`.

use super::{DAMAGED, Outcome, close, open, options, path};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::Output;
use kv_log_engine::{Create, verify};
use serde_json::json;
use std::process::ExitCode;

pub(super) fn stats(args: &Args) -> Outcome {
    let store = open(args, Create::Never)?;
    let stats = store.stats();
    let fingerprint = store.fingerprint();
    let bytes: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
    let live: u64 = stats
        .segments
        .iter()
        .map(|segment| segment.live_bytes)
        .sum();
    let mut output = Output::new();
    if args.json {
        let segments: Vec<_> = stats
            .segments
            .iter()
            .map(|segment| {
                json!({ "id": segment.id.get(), "bytes": segment.bytes, "live_bytes": segment.live_bytes, "active": segment.active })
            })
            .collect();
        output.json(&json!({
            "path": store.path().to_string_lossy(),
            "keys": stats.live_keys,
            "last_seqno": stats.last_seqno.get(),
            "bytes": bytes,
            "live_bytes": live,
            "index_bytes": stats.index_bytes,
            "key_codec": fingerprint.key().to_string(),
            "value_codec": fingerprint.value().to_string(),
            "tag": fingerprint.tag(),
            "segments": segments,
        }))?;
    } else {
        output.line(&format!("store     {}", store.path().display()))?;
        output.line(&format!("keys      {}", stats.live_keys))?;
        output.line(&format!("seqno     {}", stats.last_seqno))?;
        output.line(&format!(
            "codecs    {} keys, {} values",
            fingerprint.key(),
            fingerprint.value()
        ))?;
        output.line(&format!(
            "bytes     {bytes} in {} segments, {}% live",
            stats.segments.len(),
            percent(live, bytes)
        ))?;
        output.line(&format!(
            "index     about {} bytes of memory",
            stats.index_bytes
        ))?;
        for segment in &stats.segments {
            output.line(&format!(
                "{}  {:>12} bytes  {:>3}% live{}",
                segment.id,
                segment.bytes,
                percent(segment.live_bytes, segment.bytes),
                if segment.active { "  (active)" } else { "" }
            ))?;
        }
    }
    output.finish()?;
    close(&store)?;
    Ok(ExitCode::SUCCESS)
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100) / whole.max(1)
}

pub(super) fn verify_store(args: &Args) -> Outcome {
    let report = verify(path(args)?, options(args))?;
    let mut output = Output::new();
    let problems: Vec<String> = report
        .problems
        .iter()
        .map(|problem| Failure::Store(problem.clone()).to_line())
        .collect();
    let torn = report.torn_tail.as_ref().map(|torn| {
        format!(
            "{} bytes at offset {} of {} were never acknowledged ({}); the next open cuts them",
            torn.bytes,
            torn.offset,
            torn.path.display(),
            torn.cause
        )
    });
    if args.json {
        output.json(&json!({
            "clean": report.is_clean(),
            "segments": report.segments,
            "frames": report.frames,
            "records": report.records,
            "keys": report.live_keys,
            "torn_tail": torn,
            "foreign": report.foreign,
            "problems": problems,
        }))?;
    } else {
        for problem in &problems {
            output.line(problem)?;
        }
        if let Some(torn) = &torn {
            output.line(&format!("note: {torn}"))?;
        }
        for name in &report.foreign {
            output.line(&format!(
                "note: {name} is not the store's; it is left alone"
            ))?;
        }
        if report.is_clean() && !args.quiet {
            output.line(&format!(
                "good: {} segments, {} batches, {} records, {} keys",
                report.segments, report.frames, report.records, report.live_keys
            ))?;
        }
    }
    output.finish()?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DAMAGED)
    })
}
