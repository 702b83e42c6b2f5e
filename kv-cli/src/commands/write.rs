//! What makes a store, and what removes from it: `init` and `del`.

use super::{NO, Outcome, close, is_there, note, open_with, options};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, put_path};
use crate::text::counted;
use kv_log_engine::{Batch, Create, Engine};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
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
    let mut batch = store.batch();
    let distinct: BTreeSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    for key in distinct {
        // Its value is not read: one that cannot be read can be removed.
        if is_there(&store, key)? {
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
