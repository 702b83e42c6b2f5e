//! What is in a store: `get`, `contains`, `scan` and `count`.

use super::{NO, Outcome, close, edges, is_there, note, open_keyspace, start_scan, try_edges};
use crate::args::{Among, Args, Get, Scan};
use crate::failure::Failure;
use crate::output::{Output, put_bytes};
use crate::spelling::{KeyAs, Keys, plain};
use crate::text::escaped;
use kv_log_engine::{Batch, Seqno};
use kv_trait::Result as Read;
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::process::ExitCode;

/// A key, with what else of it was asked for.
struct Found {
    key: Vec<u8>,
    version: Option<Seqno>,
    value: Option<Vec<u8>>,
}

impl Found {
    fn version(&self) -> Option<String> {
        self.version.map(|version| version.to_string())
    }

    fn to_json(&self, keys: &Keys) -> Value {
        let mut object = Map::new();
        keys.put(&mut object, &self.key);
        if let Some(version) = self.version {
            object.insert("version".to_owned(), version.get().into());
        }
        if let Some(value) = &self.value {
            put_bytes(&mut object, "value", value);
        }
        Value::Object(object)
    }

    /// Key, where it is spelled, version and value, as far as they are there, with zero bytes or on a line.
    fn show(&self, output: &mut Output, keys: Option<&Keys>, null: bool) -> Result<(), Failure> {
        let version = self.version();
        let key = keys.map(|keys| keys.line(&self.key));
        let key = key.as_deref();
        let version = version.as_deref().map(str::as_bytes);
        let fields = key.into_iter().chain(version);
        let fields = fields.chain(self.value.as_deref());
        if null {
            output.ended(fields)
        } else {
            output.fields(fields)
        }
    }
}

pub(super) fn get(args: &Args, asked: &Get) -> Outcome {
    let or = asked.or.as_deref().map(plain).transpose()?;
    let key_as = asked.spelling.key_as;
    key_as.tried_all(&asked.keys)?;
    let store = open_keyspace(args)?;
    let spelled = key_as.keys(store.fingerprint())?;
    let keys = spelled.all(&asked.keys)?;
    let mut output = Output::new();
    let mut missing = Vec::new();
    for key in &keys {
        let (version, value) = if asked.versioned {
            store.get_versioned(key)?.unzip()
        } else {
            (None, store.get(key)?)
        };
        if value.is_none() {
            missing.push(key);
        }
        let found = Found {
            key: key.clone(),
            version,
            value: value.or_else(|| or.clone()),
        };
        if args.json {
            output.json(&with_nulls(&found, &spelled, asked.versioned))?;
        } else if let Some(value) = &found.value {
            // One value alone is its bytes; with anything beside it there are fields.
            if keys.len() > 1 || asked.versioned || asked.null {
                let shown = (keys.len() > 1).then_some(&spelled);
                found.show(&mut output, shown, asked.null)?;
            } else {
                output.shown(value)?;
                if output.is_terminal() {
                    output.bytes(b"\n")?;
                }
            }
        }
    }
    output.finish()?;
    close(&store)?;
    if or.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(told_missing(args, &spelled, &missing))
}

/// Whoever asked for a key is told what is not there.
fn with_nulls(found: &Found, keys: &Keys, versioned: bool) -> Value {
    let mut object = found.to_json(keys);
    if found.value.is_none() {
        object["value"] = Value::Null;
        if versioned {
            object["version"] = Value::Null;
        }
    }
    object
}

pub(super) fn contains(args: &Args, given: &[OsString], key_as: KeyAs) -> Outcome {
    for key in key_as.tried_all(given)?.into_iter().flatten() {
        // One that is too long is refused, as elsewhere.
        Batch::new().delete(&key)?;
    }
    let store = open_keyspace(args)?;
    let spelled = key_as.keys(store.fingerprint())?;
    let keys = spelled.all(given)?;
    let mut output = Output::new();
    let mut missing = Vec::new();
    for key in &keys {
        let present = is_there(&store, key)?;
        if !present {
            missing.push(key);
        }
        if args.json {
            let mut object = Map::new();
            spelled.put(&mut object, key);
            object.insert("present".to_owned(), Value::Bool(present));
            output.json(&Value::Object(object))?;
        }
    }
    output.finish()?;
    close(&store)?;
    Ok(told_missing(args, &spelled, &missing))
}

/// JSON has said it already: the value is null.
fn told_missing(args: &Args, keys: &Keys, missing: &[&Vec<u8>]) -> ExitCode {
    if !args.json {
        for key in missing {
            note(args, &format!("no value for {}", escaped(&keys.line(key))));
        }
    }
    if missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO)
    }
}

/// The next record in the order that was asked for; a value only where it is shown.
fn next(found: &mut kv_log_engine::Scan, asked: &Scan) -> Option<Read<Found>> {
    let whole = |(key, version, value): (Vec<u8>, Seqno, Vec<u8>)| Found {
        key,
        version: asked.versioned.then_some(version),
        value: (!asked.keys_only).then_some(value),
    };
    let only = |key| Found {
        key,
        version: None,
        value: None,
    };
    let without_value = asked.count || (asked.keys_only && !asked.versioned);
    match (without_value, asked.reverse) {
        (true, false) => found.next_key().map(|next| next.map(only)),
        (true, true) => found.next_back_key().map(|next| next.map(only)),
        (false, false) => found.next_versioned().map(|next| next.map(whole)),
        (false, true) => found.next_back_versioned().map(|next| next.map(whole)),
    }
}

pub(super) fn scan(args: &Args, asked: &Scan) -> Outcome {
    let key_as = asked.among.spelling.key_as;
    try_edges(&asked.among)?;
    key_as.tried_one(asked.after.as_deref())?;
    let limit = asked.limit.unwrap_or(usize::MAX);
    let store = open_keyspace(args)?;
    let keys = key_as.keys(store.fingerprint())?;
    let after = asked.after.as_deref().map(|key| keys.key(key));
    let edges = edges(&asked.among, &keys)?.behind(after.transpose()?, asked.reverse);
    let mut scan = start_scan(&store, &edges)?;
    let mut output = Output::new();
    let mut number = 0;
    while number < limit {
        let Some(found) = next(&mut scan, asked) else {
            break;
        };
        let found = found?;
        number += 1;
        if asked.count {
            continue;
        }
        if args.json {
            output.json(&found.to_json(&keys))?;
        } else {
            found.show(&mut output, Some(&keys), asked.null)?;
        }
    }
    if asked.count {
        show_count(args, &mut output, number)?;
    }
    output.finish()?;
    close(&store)?;
    // Who asks for none has got them.
    Ok(if number == 0 && !asked.count && limit > 0 {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

pub(super) fn count(args: &Args, among: &Among) -> Outcome {
    try_edges(among)?;
    let store = open_keyspace(args)?;
    let edges = edges(among, &among.spelling.key_as.keys(store.fingerprint())?)?;
    let mut scan = start_scan(&store, &edges)?;
    let mut number = 0;
    while scan.next_key().transpose()?.is_some() {
        number += 1;
    }
    let mut output = Output::new();
    show_count(args, &mut output, number)?;
    output.finish()?;
    close(&store)?;
    Ok(ExitCode::SUCCESS)
}

fn show_count(args: &Args, output: &mut Output, number: usize) -> Result<(), Failure> {
    if args.json {
        output.json(&json!({ "count": number }))
    } else {
        output.line(&number.to_string())
    }
}
