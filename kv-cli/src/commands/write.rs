//! What changes a store key by key: `init`, `set` and `del`.

use super::{NO, Outcome, close, note, open_with, options, path};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, put_bytes, put_path};
use crate::spelling::plain;
use crate::text::counted;
use kv_log_engine::{Batch, Create, Engine};
use kv_trait::VALUE_BYTES_MAX;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::ops::Bound;
use std::process::ExitCode;

pub(super) fn init(args: &Args, segment_size: Option<u64>) -> Outcome {
    let mut options = options(args);
    if let Some(bytes) = segment_size {
        options = options.segment_bytes(bytes);
    }
    let store = open_with(args, Create::New, options)?;
    close(&store)
        .and_then(|()| report_init(args, &store))
        .map_err(|cause| cause.after("the store is created", None))?;
    Ok(ExitCode::SUCCESS)
}

fn report_init(args: &Args, store: &Engine) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        let mut object = Map::new();
        put_path(&mut object, "path", store.path());
        object.insert("created".to_owned(), Value::Bool(true));
        output.json(&Value::Object(object))?;
    } else if !args.quiet {
        output.line(&format!("created {}", store.path().display()))?;
    }
    output.finish()
}

pub(super) fn set(
    args: &Args,
    open: impl FnOnce() -> Result<Engine, Failure>,
    key: &[u8],
    value: &OsStr,
    prev: bool,
) -> Outcome {
    // A command without a store fails before it waits for its input.
    path(args)?;
    let batch = batch_of(key, value)?;
    let store = open()?;
    let before = if prev {
        let receipt = store.write(batch.with_priors())?;
        receipt.into_priors()?.into_iter().next().flatten()
    } else {
        store.write(batch)?;
        None
    };
    close(&store)
        .and_then(|()| report_set(args, key, before.as_deref(), prev))
        .map_err(|cause| cause.after("the value is stored and durable", None))?;
    Ok(ExitCode::SUCCESS)
}

fn report_set(args: &Args, key: &[u8], before: Option<&[u8]>, prev: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        let mut object = Map::new();
        put_bytes(&mut object, "key", key);
        match before {
            Some(before) => put_bytes(&mut object, "prev", before),
            None if prev => drop(object.insert("prev".to_owned(), Value::Null)),
            None => {}
        }
        object.insert("durable".to_owned(), Value::Bool(true));
        output.json(&Value::Object(object))?;
    } else if let Some(before) = before {
        output.shown(before)?;
        if output.is_terminal() {
            output.bytes(b"\n")?;
        }
    }
    output.finish()
}

/// The write, with all of its input read and within the limits. Made before the store is opened: a producer on the same
/// pipe may need the store first, and what cannot be read or stored must not leave a new store behind.
fn batch_of(key: &[u8], value: &OsStr) -> Result<Batch, Failure> {
    let mut batch = Batch::new();
    if value == "-" {
        batch.put(key, &read_value()?)?;
    } else {
        batch.put(key, &plain(value)?)?;
    }
    Ok(batch)
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

pub(super) fn del(
    args: &Args,
    open: impl FnOnce() -> Result<Engine, Failure>,
    keys: &[Vec<u8>],
) -> Outcome {
    // All keys are tried before the store is touched, and go in one batch: a removal that fails half way is one that
    // nobody knows the extent of.
    let mut all = Batch::new();
    for key in keys {
        all.delete(key)?;
    }
    let store = open()?;
    let mut batch = Batch::new();
    let distinct: BTreeSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    for key in distinct {
        // The key is looked for, its value is not read: one that cannot be read can be removed.
        let only = (Bound::Included(key), Bound::Included(key));
        if store.scan(only)?.next_key().transpose()?.is_some() {
            batch.delete(key)?;
        }
    }
    let removed = batch.len() as u64;
    if removed > 0 {
        store.write(batch)?;
    }
    let reported = close(&store).and_then(|()| report_del(args, keys.len() as u64, removed));
    reported.map_err(|cause| match removed {
        0 => cause,
        _ => cause.after(
            format!("{} removed, durably", counted(removed, "key")),
            Some(("removed", removed)),
        ),
    })?;
    Ok(if removed == 0 {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

fn report_del(args: &Args, asked: u64, removed: u64) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        output.json(&json!({ "removed": removed, "durable": true }))?;
    }
    output.finish()?;
    if !args.json {
        note(
            args,
            &format!("removed {removed} of {}", counted(asked, "key")),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use kv_log_engine::Options;
    use kv_log_engine::storage::sim::{EIO, Fault, FaultKind, OpKind, SimDisk};

    /// Runs `set k new --prev` on a disk that fails one call of this kind once the store is open.
    fn set_on_failing_disk(failing: OpKind) -> (SimDisk, Failure) {
        let disk = SimDisk::new();
        let open = || Engine::open("/db", Options::new().storage(disk.storage()));
        let store = open().unwrap();
        // Long enough to stay in its segment: short values are in memory, and no read of them fails.
        store.put(b"k", &[b'o'; 2000]).unwrap();
        // Not closed: the next open does all that it owes the disk before it serves.
        drop(store);
        let args = Args::parse_from(["kvlog", "-p", "/db", "set", "k", "new", "--prev"]);
        let open_and_break = || {
            let store = open()?;
            let fault = Fault::new(FaultKind::Errno(EIO)).on(failing);
            disk.inject(fault.path_contains(".seg"));
            Ok(store)
        };
        let failure = set(&args, open_and_break, b"k", "new".as_ref(), true).unwrap_err();
        disk.clear_faults();
        (disk, failure)
    }

    #[test]
    fn a_set_whose_prior_value_cannot_be_read_says_that_it_is_durable() {
        let (disk, failure) = set_on_failing_disk(OpKind::Read);
        assert!(
            failure
                .message()
                .ends_with("; it was written all the same, and is durable"),
            "{}",
            failure.message()
        );
        assert_eq!(failure.hint(), "it is done: do not repeat it");
        let json: Value = serde_json::from_str(&failure.to_json()).unwrap();
        assert_eq!(
            (&json["error"]["effect"], &json["error"]["code"]),
            (&"applied".into(), &4.into())
        );
        disk.power_cut_losing_all();
        let store = Engine::open("/db", Options::new().storage(disk.storage())).unwrap();
        assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_set_whose_sync_fails_says_that_nobody_knows() {
        let (_, failure) = set_on_failing_disk(OpKind::Sync);
        assert!(
            failure
                .message()
                .ends_with("; whether it was written is unknown"),
            "{}",
            failure.message()
        );
        let json: Value = serde_json::from_str(&failure.to_json()).unwrap();
        assert_eq!(
            (&json["error"]["effect"], &json["error"]["code"]),
            (&"unknown".into(), &5.into())
        );
    }
}
