//! Whether a store is whole: `verify`.

use super::{DAMAGED, Outcome, cut_short, options, path};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, at_path, put_bytes};
use crate::text::{counted, grouped, size};
use kv_log_engine::{Damage, VerifyReport, verify};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

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
        let read = what_was_read(report);
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

/// Counts. Of a store without runs nothing is said of them.
fn what_was_read(report: &VerifyReport) -> String {
    let mut segments = counted(report.segments, "segment");
    if report.value_segments > 0 {
        segments += &format!(" ({} of values)", grouped(report.value_segments));
    }
    let mut read = vec![segments];
    if report.runs > 0 {
        let levels = counted(report.levels, "level");
        read.push(format!("{} in {levels}", counted(report.runs, "run")));
    }
    if report.bytes > 0 {
        read.push(size(report.bytes));
    }
    if report.separated_values > 0 {
        read.push(counted(report.separated_values, "separated value"));
    }
    read.extend([
        counted(report.frames, "batch"),
        counted(report.records, "record"),
        counted(report.live_keys, "key"),
    ]);
    read.join(", ")
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
        "value_segments": report.value_segments,
        "runs": report.runs,
        "levels": report.levels,
        "bytes": report.bytes,
        "separated_values": report.separated_values,
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
