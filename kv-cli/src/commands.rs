//! What each command does. Every one opens the store, does one thing, and closes it.

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::input::Records;
use crate::output::{Output, escaped, put_bytes, record};
use kv_log_engine::{Batch, Create, Engine, Options, Scan, verify};
use kv_trait::{Error, ErrorKind, VALUE_BYTES_MAX};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A batch of an import ends at this many bytes, however few records it has.
const IMPORT_BATCH_BYTES: u64 = 8 * 1024 * 1024;

type Outcome = Result<ExitCode, Failure>;

const NO: u8 = 1;
const DAMAGED: u8 = 3;

pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Init { segment_size } => init(args, *segment_size),
        Command::Get { keys, or } => get(args, keys, or.as_deref()),
        Command::Set {
            key,
            value,
            create,
            prev,
            force_raw,
        } => {
            let store = open(
                args,
                if *create {
                    Create::IfMissing
                } else {
                    Create::Never
                },
            )?;
            refuse_typed(&store, *force_raw)?;
            set(args, &store, key, value, *prev)
        }
        Command::Del { keys, force_raw } => {
            let store = open(args, Create::Never)?;
            refuse_typed(&store, *force_raw)?;
            del(args, &store, keys)
        }
        Command::Scan {
            prefix,
            from,
            to,
            limit,
            keys_only,
            count,
            null,
        } => {
            let bounds = (range_from(prefix, from), range_to(prefix, to));
            let limit = limit.unwrap_or(usize::MAX);
            scan(args, &bounds, limit, *keys_only, *count, *null)
        }
        Command::Import {
            file,
            create,
            batch,
            force_raw,
        } => import(args, file, *create, *batch as usize, *force_raw),
        Command::Export { prefix } => export(args, prefix),
        Command::Stats => stats(args),
        Command::Verify => verify_store(args),
    }
}

fn path(args: &Args) -> Result<&Path, Failure> {
    args.path.as_deref().ok_or_else(|| {
        Failure::input(
            "no store was named",
            "give its directory with --path, or in KVLOG_PATH",
        )
    })
}

fn options(args: &Args) -> Options {
    Options::new().lock_timeout(Duration::from_secs(args.lock_timeout))
}

fn open(args: &Args, create: Create) -> Result<Engine, Failure> {
    let store = Engine::open(path(args)?, options(args).create(create))?;
    if let Some(torn) = &store.recovery_report().torn_tail
        && !args.quiet
    {
        note(&format!(
            "cut {} never-acknowledged bytes at the end of {}; they are kept {}",
            torn.bytes,
            torn.path.display(),
            torn.quarantine.as_ref().map_or_else(
                || "in no file, being too few".to_owned(),
                |kept| format!("in {}", kept.display())
            )
        ))?;
    }
    Ok(store)
}

/// A remark for people, on standard error.
fn note(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stderr(), "kvlog: {text}")
        .map_err(|source| Failure::stream("cannot write to standard error", source))
}

/// Raw bytes among typed ones would be misread by the program that owns the store.
fn refuse_typed(store: &Engine, force: bool) -> Result<(), Failure> {
    let recorded = store.fingerprint();
    let raw = recorded.key().name() == "raw" && recorded.value().name() == "raw";
    if raw || force {
        return Ok(());
    }
    let message = format!(
        "the store was written by a program with typed values ({} keys, {} values); raw bytes need --force-raw",
        recorded.key(),
        recorded.value()
    );
    Err(Error::new(ErrorKind::UnsupportedFormat, message).into())
}

fn close(store: &Engine) -> Result<(), Failure> {
    store.close().map_err(Failure::from)
}

fn init(args: &Args, segment_size: Option<u64>) -> Outcome {
    let mut options = options(args).create(Create::New);
    if let Some(bytes) = segment_size {
        options = options.segment_bytes(bytes);
    }
    let store = Engine::open(path(args)?, options)?;
    close(&store)?;
    let mut output = Output::new();
    if args.json {
        output.json(&json!({ "created": store.path().to_string_lossy() }))?;
    } else if !args.quiet {
        output.line(&format!("created {}", store.path().display()))?;
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn get(args: &Args, keys: &[String], or: Option<&str>) -> Outcome {
    let store = open(args, Create::Never)?;
    let mut output = Output::new();
    let mut missing = Vec::new();
    for key in keys {
        let found = store.get(key.as_bytes())?;
        if found.is_none() {
            missing.push(key);
        }
        let value = found.or_else(|| or.map(|text| text.as_bytes().to_vec()));
        if args.json {
            let mut object = Map::new();
            put_bytes(&mut object, "key", key.as_bytes());
            match &value {
                Some(value) => put_bytes(&mut object, "value", value),
                None => drop(object.insert("value".to_owned(), Value::Null)),
            }
            output.json(&Value::Object(object))?;
        } else if let Some(value) = value {
            if keys.len() > 1 {
                output.shown(key.as_bytes())?;
                output.bytes(b"\t")?;
            }
            output.shown(&value)?;
            if keys.len() > 1 || output.is_terminal() {
                output.bytes(b"\n")?;
            }
        }
    }
    output.finish()?;
    close(&store)?;
    if missing.is_empty() || or.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.quiet {
        for key in missing {
            note(&format!("no value for {}", escaped(key.as_bytes())))?;
        }
    }
    Ok(ExitCode::from(NO))
}

fn set(args: &Args, store: &Engine, key: &str, value: &str, prev: bool) -> Outcome {
    let value = if value == "-" {
        read_value()?
    } else {
        value.as_bytes().to_vec()
    };
    let before = if prev {
        store.set(key.as_bytes(), &value)?
    } else {
        store.put(key.as_bytes(), &value)?;
        None
    };
    close(store)?;
    let mut output = Output::new();
    if args.json {
        let mut object = Map::new();
        put_bytes(&mut object, "key", key.as_bytes());
        match &before {
            Some(before) => put_bytes(&mut object, "prev", before),
            None if prev => drop(object.insert("prev".to_owned(), Value::Null)),
            None => {}
        }
        object.insert("durable".to_owned(), Value::Bool(true));
        output.json(&Value::Object(object))?;
    } else if let Some(before) = before {
        output.shown(&before)?;
        if output.is_terminal() {
            output.bytes(b"\n")?;
        }
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Standard input, up to one byte more than a value may have: the store refuses that one.
fn read_value() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    std::io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|source| Failure::stream("cannot read standard input", source))?;
    Ok(value)
}

fn del(args: &Args, store: &Engine, keys: &[String]) -> Outcome {
    let mut removed = 0_u64;
    for key in keys {
        if store.get(key.as_bytes())?.is_some() {
            store.remove(key.as_bytes())?;
            removed += 1;
        }
    }
    close(store)?;
    let mut output = Output::new();
    if args.json {
        output.json(&json!({ "removed": removed, "durable": true }))?;
    }
    output.finish()?;
    if !args.quiet && !args.json {
        note(&format!("removed {removed} of {} keys", keys.len()))?;
    }
    Ok(if removed == 0 {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

type Edge = Bound<Vec<u8>>;

fn range_from(prefix: &Option<String>, from: &Option<String>) -> Edge {
    let lowest = from.iter().chain(prefix).max();
    lowest.map_or(Bound::Unbounded, |text| {
        Bound::Included(text.clone().into_bytes())
    })
}

fn range_to(prefix: &Option<String>, to: &Option<String>) -> Edge {
    let behind = prefix
        .as_ref()
        .and_then(|prefix| behind_prefix(prefix.as_bytes()));
    let to = to.as_ref().map(|text| text.clone().into_bytes());
    match (behind, to) {
        (Some(behind), Some(to)) => Bound::Excluded(behind.min(to)),
        (Some(edge), None) | (None, Some(edge)) => Bound::Excluded(edge),
        (None, None) => Bound::Unbounded,
    }
}

/// The first key that no longer begins with the prefix; `None` if there is none.
fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut behind = prefix.to_vec();
    while let Some(last) = behind.pop() {
        if last < u8::MAX {
            behind.push(last + 1);
            return Some(behind);
        }
    }
    None
}

fn start_scan(store: &Engine, bounds: &(Edge, Edge)) -> Result<Scan, Failure> {
    let bounds = (
        bounds.0.as_ref().map(Vec::as_slice),
        bounds.1.as_ref().map(Vec::as_slice),
    );
    Ok(store.scan(bounds)?)
}

fn scan(
    args: &Args,
    bounds: &(Edge, Edge),
    limit: usize,
    keys_only: bool,
    count: bool,
    null: bool,
) -> Outcome {
    let store = open(args, Create::Never)?;
    let mut found = start_scan(&store, bounds)?;
    let mut output = Output::new();
    let mut number = 0;
    while number < limit {
        let (key, value) = if keys_only || count {
            let Some(key) = found.next_key() else { break };
            (key, None)
        } else {
            let Some(next) = found.next() else { break };
            let (key, value) = next?;
            (key, Some(value))
        };
        number += 1;
        if count {
            continue;
        }
        match (&value, args.json, null) {
            (Some(value), true, _) => output.json(&record(&key, value))?,
            (None, true, _) => {
                let mut object = Map::new();
                put_bytes(&mut object, "key", &key);
                output.json(&Value::Object(object))?;
            }
            (_, false, true) => {
                for bytes in [Some(&key), value.as_ref()].into_iter().flatten() {
                    output.bytes(bytes)?;
                    output.bytes(b"\0")?;
                }
            }
            (_, false, false) => {
                // Always escaped: tabs and newlines inside would make lines that lie.
                output.bytes(escaped(&key).as_bytes())?;
                if let Some(value) = &value {
                    output.bytes(b"\t")?;
                    output.bytes(escaped(value).as_bytes())?;
                }
                output.bytes(b"\n")?;
            }
        }
    }
    if count {
        if args.json {
            output.json(&json!({ "count": number }))?;
        } else {
            output.line(&number.to_string())?;
        }
    }
    output.finish()?;
    close(&store)?;
    Ok(if number == 0 && !count {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

fn export(args: &Args, prefix: &Option<String>) -> Outcome {
    let store = open(args, Create::Never)?;
    let bounds = (range_from(prefix, &None), range_to(prefix, &None));
    let mut output = Output::new();
    for found in start_scan(&store, &bounds)? {
        let (key, value) = found?;
        output.json(&record(&key, &value))?;
    }
    output.finish()?;
    close(&store)?;
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the input is the user's file, not the store's"
)]
fn open_input(file: &PathBuf) -> Result<Box<dyn BufRead>, Failure> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let opened = File::open(file)
        .map_err(|source| Failure::stream(format!("cannot open {}", file.display()), source))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, opened)))
}

fn import(args: &Args, file: &PathBuf, create: bool, batch: usize, force: bool) -> Outcome {
    // Opened first: a wrong file name must not leave a new store behind.
    let mut records = Records::new(open_input(file)?);
    let store = open(
        args,
        if create {
            Create::IfMissing
        } else {
            Create::Never
        },
    )?;
    refuse_typed(&store, force)?;
    let mut durable = 0_u64;
    let imported = import_all(&store, &mut records, batch, &mut durable);
    let closed = close(&store);
    match imported {
        Err(Failure::Input { message, hint }) => {
            let message = format!("{message}; the {durable} records before it are durable");
            return Err(Failure::input(message, hint));
        }
        Err(failure) => {
            note(&format!("the first {durable} records are durable"))?;
            return Err(failure);
        }
        Ok(()) => closed?,
    }
    let mut output = Output::new();
    let stats = store.stats();
    let place = store.path().display().to_string();
    if args.json {
        output.json(&json!({ "imported": durable, "keys": stats.live_keys, "path": place, "durable": true }))?;
    } else if !args.quiet {
        output.line(&format!(
            "{durable} records are durable in {place}, which holds {} keys now",
            stats.live_keys
        ))?;
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes batch by batch: what `durable` counts survives whatever comes next.
fn import_all(
    store: &Engine,
    records: &mut Records<Box<dyn BufRead>>,
    size: usize,
    durable: &mut u64,
) -> Result<(), Failure> {
    loop {
        let mut batch = Batch::new();
        let mut end = None;
        while batch.len() < size && batch.bytes() < IMPORT_BATCH_BYTES {
            match records.next() {
                Ok(Some((key, value))) => {
                    if let Err(error) = batch.put(&key, &value) {
                        end = Some(Err(records.wrong(&error.to_string())));
                        break;
                    }
                }
                Ok(None) => {
                    end = Some(Ok(()));
                    break;
                }
                Err(failure) => {
                    end = Some(Err(failure));
                    break;
                }
            }
        }
        let count = batch.len() as u64;
        if count > 0 {
            store.write(batch)?;
            *durable += count;
        }
        if let Some(end) = end {
            return end;
        }
    }
}

fn stats(args: &Args) -> Outcome {
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

fn verify_store(args: &Args) -> Outcome {
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
