//! What removes: `del`, of keys or of all that lie together.

use super::confirm::{confirm, refuse_unasked};
use super::edges::Edges;
use super::keyspaces::{called, named};
use super::{NO, Outcome, close, is_there, note, start_scan};
use crate::args::{Args, Del};
use crate::failure::Failure;
use crate::output::Output;
use crate::spelling::Keys;
use crate::text::counted;
use kv_log_engine::{Batch, Engine};
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;

pub(super) fn del(
    args: &Args,
    asked: &Del,
    open: impl FnOnce() -> Result<Engine, Failure>,
) -> Outcome {
    let key_as = asked.spelling.key_as;
    // All keys are tried before the store is touched, and go in one batch: a removal that fails half way is one that
    // nobody knows the extent of.
    let mut all = Batch::new();
    for key in key_as.tried_all(&asked.keys)?.into_iter().flatten() {
        all.delete(&key)?;
    }
    let ends = asked.prefix.iter().chain(asked.range.iter().flatten());
    for end in ends {
        key_as.tried_one(Some(end))?;
    }
    let together = asked.prefix.is_some() || asked.range.is_some();
    if together {
        refuse_unasked(asked.yes)?;
    }
    let store = open()?;
    let keys = key_as.keys(store.fingerprint())?;
    if together {
        del_together(args, asked, &store, &keys)
    } else {
        del_keys(args, &store, &keys.all(&asked.keys)?)
    }
}

fn del_keys(args: &Args, store: &Engine, keys: &[Vec<u8>]) -> Outcome {
    let mut batch = store.batch();
    let distinct: BTreeSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    for key in distinct {
        // Its value is not read: one that cannot be read can be removed.
        if is_there(store, key)? {
            batch.delete(key)?;
        }
    }
    let removed = batch.len() as u64;
    if removed > 0 {
        store.write(batch)?;
    }
    let said = format!("removed {removed} of {}", counted(keys.len() as u64, "key"));
    end(args, store, removed, &said)
}

fn del_together(args: &Args, asked: &Del, store: &Engine, keys: &Keys) -> Outcome {
    let end_of = |at: usize| {
        let range = asked.range.as_deref();
        keys.start_of(
            range
                .and_then(|range| range.get(at))
                .map(OsString::as_os_str),
        )
    };
    let edges = Edges::new(
        keys.start_of(asked.prefix.as_deref())?,
        end_of(0)?,
        end_of(1)?,
    );
    let mut scan = start_scan(store, &edges)?;
    let mut found = 0;
    while scan.next_key().transpose()?.is_some() {
        found += 1;
    }
    drop(scan);
    if found > 0 {
        let question = format!(
            "remove {}{} from {}?",
            counted(found, "key"),
            named(args).map_or_else(String::new, |name| format!(" of {}", called(name))),
            store.path().display()
        );
        if !confirm(asked.yes, &question)? {
            return end(args, store, 0, "nothing was removed");
        }
        // One record, however many there are: all of them or none.
        store.delete_range(edges.range())?;
    }
    let said = format!("removed {}", counted(found, "key"));
    end(args, store, found, &said)
}

fn end(args: &Args, store: &Engine, removed: u64, said: &str) -> Outcome {
    let reported = close(store).and_then(|()| report(args, removed, said));
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

fn report(args: &Args, removed: u64, said: &str) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        output.json(&json!({ "removed": removed, "durable": true }))?;
    }
    output.finish()?;
    if !args.json {
        note(args, said);
    }
    Ok(())
}
