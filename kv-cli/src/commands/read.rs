//! What is in a store: `get` and `scan`.

use super::{Edge, NO, Outcome, close, note, open, start_scan};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, put_bytes, record};
use crate::text::escaped;
use kv_log_engine::Create;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

pub(super) fn get(args: &Args, keys: &[Vec<u8>], or: Option<&[u8]>, null: bool) -> Outcome {
    let store = open(args, Create::Never)?;
    let mut output = Output::new();
    let mut missing = Vec::new();
    for key in keys {
        let found = store.get(key)?;
        if found.is_none() {
            missing.push(key);
        }
        let value = found.or_else(|| or.map(<[u8]>::to_vec));
        if args.json {
            let mut object = Map::new();
            put_bytes(&mut object, "key", key);
            match &value {
                Some(value) => put_bytes(&mut object, "value", value),
                None => drop(object.insert("value".to_owned(), Value::Null)),
            }
            output.json(&Value::Object(object))?;
        } else if let Some(value) = value {
            let key = (keys.len() > 1).then_some(key);
            show(&mut output, key, &value, null)?;
        }
    }
    output.finish()?;
    close(&store)?;
    if missing.is_empty() || or.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    // JSON has said it already: the value is null.
    if !args.json {
        for key in missing {
            note(args, &format!("no value for {}", escaped(key)));
        }
    }
    Ok(ExitCode::from(NO))
}

/// One value, or one of several, which then comes with its key.
fn show(
    output: &mut Output,
    key: Option<&Vec<u8>>,
    value: &[u8],
    null: bool,
) -> Result<(), Failure> {
    if null {
        return output.ended(key.map(Vec::as_slice).into_iter().chain([value]));
    }
    if let Some(key) = key {
        return output.record(key, Some(value));
    }
    output.shown(value)?;
    if output.is_terminal() {
        output.bytes(b"\n")?;
    }
    Ok(())
}

pub(super) fn scan(
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
            (key?, None)
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
            (value, false, true) => {
                let value = value.as_deref();
                output.ended([key.as_slice()].into_iter().chain(value))?;
            }
            (value, false, false) => output.record(&key, value.as_deref())?,
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
    // Who asks for none has got them.
    Ok(if number == 0 && !count && limit > 0 {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}
