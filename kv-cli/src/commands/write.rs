//! What changes a store key by key: `init`, `set` and `del`.

use super::{NO, Outcome, close, note, options, path};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, put_bytes, put_path};
use crate::text::counted;
use kv_log_engine::{Batch, Create, Engine};
use kv_trait::VALUE_BYTES_MAX;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::process::ExitCode;

pub(super) fn init(args: &Args, segment_size: Option<u64>) -> Outcome {
    let mut options = options(args).create(Create::New);
    if let Some(bytes) = segment_size {
        options = options.segment_bytes(bytes);
    }
    let store = Engine::open(path(args)?, options)?;
    close(&store)?;
    let mut output = Output::new();
    if args.json {
        let mut object = Map::new();
        put_path(&mut object, "path", store.path());
        object.insert("created".to_owned(), Value::Bool(true));
        output.json(&Value::Object(object))?;
    } else if !args.quiet {
        output.line(&format!("created {}", store.path().display()))?;
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn set(
    args: &Args,
    open: impl FnOnce() -> Result<Engine, Failure>,
    key: &str,
    value: &str,
    prev: bool,
) -> Outcome {
    // Without a name there is nothing to wait for the input for.
    path(args)?;
    let batch = batch_of(key, value)?;
    let store = open()?;
    let before = if prev {
        let receipt = store.write(batch.with_priors())?;
        receipt.priors()?.into_iter().next().flatten()
    } else {
        store.write(batch)?;
        None
    };
    close(&store)?;
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

/// The write, with all of its input read and within the limits. Made before the store is opened: a producer on the same
/// pipe may need the store first, and what cannot be read or stored must not leave a new store behind.
fn batch_of(key: &str, value: &str) -> Result<Batch, Failure> {
    let mut batch = Batch::new();
    if value == "-" {
        batch.put(key.as_bytes(), &read_value()?)?;
    } else {
        batch.put(key.as_bytes(), value.as_bytes())?;
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

pub(super) fn del(args: &Args, store: &Engine, keys: &[String]) -> Outcome {
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
    if !args.json {
        note(
            args,
            &format!("removed {removed} of {}", counted(keys.len() as u64, "key")),
        )?;
    }
    Ok(if removed == 0 {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}
