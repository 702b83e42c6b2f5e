//! What was written, in the order of writes: `watch`.

use super::{NO, Outcome, close, note, open_keyspace};
use crate::args::{Args, Watch};
use crate::failure::Failure;
use crate::output::{Output, put_bytes};
use crate::spelling::Keys;
use crate::text::counted;
use kv_log_engine::{Change, Missed};
use kv_trait::{EventKind, KeyRange};
use serde_json::{Map, Value};
use std::ops::Bound;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

/// Nobody else can write while the store is open here, so that the end of the log is the end of the answer.
pub(super) fn watch(args: &Args, asked: &Watch) -> Outcome {
    let key_as = asked.spelling.key_as;
    key_as.tried_one(asked.prefix.as_deref())?;
    let limit = asked.limit.unwrap_or(usize::MAX);
    let store = open_keyspace(args)?;
    let keys = key_as.keys(store.fingerprint())?;
    let prefix = keys.start_of(asked.prefix.as_deref())?;
    let changes = store.watch(&prefix.unwrap_or_default())?;
    let mut changes = changes.after(asked.after.into())?;
    let mut output = Output::new();
    let mut number = 0;
    while number < limit {
        match changes.try_next() {
            None => break,
            Some(Ok(change)) => {
                number += 1;
                show(args, &mut output, &keys, &change)?;
            }
            Some(Err(error)) => match Missed::of(&error) {
                Some(missed) => tell_missed(args, missed),
                None => return Err(error.into()),
            },
        }
    }
    output.finish()?;
    close(&store)?;
    Ok(if number == 0 && limit > 0 {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

fn tell_missed(args: &Args, missed: &Missed) {
    let count = missed.last.get().saturating_sub(missed.first.get());
    let count = counted(count.saturating_add(1), "write");
    let (first, last) = (missed.first, missed.last);
    note(
        args,
        &format!("the log does not have versions {first} to {last} any more, {count} of any keys"),
    );
}

fn show(args: &Args, output: &mut Output, keys: &Keys, change: &Change) -> Result<(), Failure> {
    if args.json {
        return output.json(&to_json(keys, change));
    }
    let version = change.version.to_string();
    let mut fields = vec![version.into_bytes()];
    match &change.kind {
        EventKind::Put { key, value, .. } => {
            fields.extend([b"put".to_vec(), keys.line(key), value.clone()]);
        }
        EventKind::Remove { key } => fields.extend([b"remove".to_vec(), keys.line(key)]),
        EventKind::Erase { keys: range } => {
            let (from, to) = ends(range);
            let line = |key: Option<&[u8]>| key.map_or_else(Vec::new, |key| keys.line(key));
            fields.extend([b"erase".to_vec(), line(from), line(to)]);
        }
        EventKind::Drop => fields.push(b"drop".to_vec()),
    }
    output.fields(fields.iter().map(Vec::as_slice))
}

/// Where a range begins and ends; `None`: nowhere.
fn ends(range: &KeyRange) -> (Option<&[u8]>, Option<&[u8]>) {
    let end = |bound| match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    };
    (end(range.from()), end(range.to()))
}

fn to_json(keys: &Keys, change: &Change) -> Value {
    let mut object = Map::new();
    object.insert("version".to_owned(), change.version.get().into());
    object.insert("ends_batch".to_owned(), change.ends_batch.into());
    let kind = match &change.kind {
        EventKind::Put {
            key,
            value,
            expires_at,
        } => {
            keys.put(&mut object, key);
            put_bytes(&mut object, "value", value);
            let since = expires_at.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
            let ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
            if let Some(ms) = ms {
                object.insert("expires_at_ms".to_owned(), ms.into());
            }
            "put"
        }
        EventKind::Remove { key } => {
            keys.put(&mut object, key);
            "remove"
        }
        EventKind::Erase { keys: range } => {
            let (from, to) = ends(range);
            for (name, end) in [("from", from), ("to", to)] {
                match end {
                    Some(key) => put_bytes(&mut object, name, key),
                    None => drop(object.insert(name.to_owned(), Value::Null)),
                }
            }
            "erase"
        }
        EventKind::Drop => "drop",
    };
    object.insert("change".to_owned(), kind.into());
    Value::Object(object)
}
