//! Everything as JSON lines: `export`.

use super::edges::Edges;
use super::keyspaces::{enter, named};
use super::{NO, Outcome, close, note, open, types};
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, record};
use crate::progress::Progress;
use crate::spelling::KeyAs;
use crate::text::counted;
use kv_log_engine::{Create, Engine, KeyspaceInfo, Snapshot};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::process::ExitCode;

pub(super) fn export(args: &Args, prefix: Option<&OsStr>, key_as: KeyAs) -> Outcome {
    key_as.tried_one(prefix)?;
    let store = open(args, Create::Never)?;
    let others = if prefix.is_none() && args.keyspace.is_none() {
        store.keyspaces()?
    } else {
        Vec::new()
    };
    let store = enter(args, store, false)?;
    let prefix = key_as.keys(store.fingerprint())?.start_of(prefix)?;
    if let Some(types) = types(&store) {
        let message = match named(args) {
            None => format!(
                "the types are not carried ({types}), only the bytes: to keep them, let the program create the new store \
                 and import with --force-raw"
            ),
            Some(_) => format!(
                "the types are not carried ({types}), only the bytes; an export of all keyspaces carries those of each"
            ),
        };
        note(args, &message);
    }
    let whole = prefix.is_none();
    let edges = Edges::new(prefix, None, None);
    let mut output = Output::new();
    let progress = if output.is_terminal() {
        Progress::hidden()
    } else {
        // How many keys begin with a prefix, or lie in a keyspace, nobody knows before the end.
        let total = (whole && named(args).is_none()).then(|| store.stats().live_keys);
        Progress::new(args, total)
    };
    // One point for all of them.
    let snapshot = store.snapshot()?;
    let mut sheet = Sheet {
        output: &mut output,
        progress: &progress,
        exported: 0,
    };
    sheet.records(&snapshot, &edges, None)?;
    for keyspace in &others {
        sheet.keyspace(&store, &snapshot, keyspace)?;
    }
    let exported = sheet.exported;
    output.finish()?;
    drop(progress);
    close(&store)?;
    // All of an empty store is none; but a prefix of nothing is a question that was answered with no.
    Ok(if exported == 0 && !whole {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

/// What the lines are written to.
struct Sheet<'a> {
    output: &'a mut Output,
    progress: &'a Progress,
    exported: u64,
}

impl Sheet<'_> {
    /// A keyspace: first its types, so that an import can make it before there is a record.
    fn keyspace(
        &mut self,
        store: &Engine,
        snapshot: &Snapshot,
        keyspace: &KeyspaceInfo,
    ) -> Result<(), Failure> {
        let name = keyspace.name.as_str();
        let types = keyspace.fingerprint.to_text();
        self.output
            .json(&json!({ "keyspace": name, "types": types }))?;
        let handle = store.keyspace(name, &keyspace.fingerprint)?;
        let snapshot = snapshot.of(&handle)?;
        self.records(&snapshot, &Edges::all(), Some(name))
    }

    fn records(
        &mut self,
        snapshot: &Snapshot,
        edges: &Edges,
        keyspace: Option<&str>,
    ) -> Result<(), Failure> {
        let mut scan = snapshot.scan(edges.range())?;
        while let Some((key, value, expiry_ms)) = scan.next_with_expiry().transpose()? {
            let mut line = record(&key, &value);
            if let Some(name) = keyspace {
                line.insert("keyspace".to_owned(), name.into());
            }
            if let Some(expiry_ms) = expiry_ms {
                line.insert("expires_at_ms".to_owned(), expiry_ms.into());
            }
            self.output.json(&Value::Object(line))?;
            self.exported += 1;
            self.progress
                .at(self.exported, || counted(self.exported, "record"));
        }
        Ok(())
    }
}
