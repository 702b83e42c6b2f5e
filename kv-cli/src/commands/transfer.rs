//! Many records at once: `import` and `export`.

use super::edges::Edges;
use super::stats::keys;
use super::{NO, Outcome, close, note, open_keyspace, open_to_write, path, start_scan, types};
use crate::args::Args;
use crate::failure::Failure;
use crate::input::Records;
use crate::output::{Output, put_path, record};
use crate::progress::Progress;
use crate::text::counted;
use kv_log_engine::{Batch, Engine};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

/// A batch of an import ends at this many bytes, however few records it has.
const IMPORT_BATCH_BYTES: u64 = 8 * 1024 * 1024;

pub(super) fn export(args: &Args, prefix: Option<Vec<u8>>) -> Outcome {
    let store = open_keyspace(args)?;
    if let Some(types) = types(&store) {
        let message = format!(
            "the types are not carried ({types}), only the bytes: to keep them, let the program create the new store \
             and import with --force-raw"
        );
        note(args, &message);
    }
    let whole = prefix.is_none();
    let edges = Edges::new(prefix, None, None);
    let mut output = Output::new();
    let progress = if output.is_terminal() {
        Progress::hidden()
    } else {
        // How many keys begin with a prefix nobody knows before the end.
        let total = whole.then(|| store.stats().live_keys);
        Progress::new(args, total)
    };
    let mut exported = 0;
    for found in start_scan(&store, &edges)? {
        let (key, value) = found?;
        output.json(&record(&key, &value))?;
        exported += 1;
        progress.at(exported, || counted(exported, "record"));
    }
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

/// The input, and how long it is where that is known.
#[expect(
    clippy::disallowed_methods,
    reason = "the input is the user's file, not the store's"
)]
fn open_input(file: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let wrong = |source| Failure::stream(format!("cannot open {}", file.display()), source);
    let opened = File::open(file).map_err(wrong)?;
    let what = opened.metadata().map_err(wrong)?;
    // It opens, and fails at the first read: too late, the store would have been created.
    if what.is_dir() {
        return Err(wrong(io::ErrorKind::IsADirectory.into()));
    }
    let total = what.is_file().then_some(what.len());
    Ok((Box::new(BufReader::with_capacity(1 << 20, opened)), total))
}

pub(super) fn import(
    args: &Args,
    file: &Path,
    create: bool,
    batch: usize,
    force_raw: bool,
) -> Outcome {
    path(args)?;
    // Opened and tried first: a wrong name, or a file that is something else, must not leave a new store behind.
    let (input, total) = open_input(file)?;
    let mut records = Records::new(input);
    let mut durable = 0_u64;
    let mut first = Batch::new();
    if let Some(Err(cause)) = fill(&mut first, &mut records, 1) {
        return Err(Failure::Import {
            durable,
            cause: Box::new(cause),
        });
    }
    let store = open_to_write(args, create, force_raw)?;
    let progress = Progress::new(args, total);
    let imported = import_all(&store, first, &mut records, batch, &mut durable, &progress);
    drop(progress);
    let closed = close(&store);
    if let Err(cause) = imported {
        // The first cause is the one to end with; what was durable before does not hang on the close.
        if let Err(second) = closed
            && !second.is_consequence()
        {
            note(args, &format!("closing failed too: {}", second.message()));
        }
        return Err(Failure::Import {
            durable,
            cause: Box::new(cause),
        });
    }
    closed
        .and_then(|()| report(args, &store, durable))
        .map_err(|cause| {
            let what = format!("{} durable", counted(durable, "record"));
            cause.after(what, Some(("imported", durable)))
        })?;
    Ok(ExitCode::SUCCESS)
}

fn report(args: &Args, store: &Engine, durable: u64) -> Result<(), Failure> {
    let mut output = Output::new();
    let stats = store.stats();
    if args.json {
        let mut object = Map::new();
        put_path(&mut object, "path", store.path());
        object.insert("imported".to_owned(), durable.into());
        object.insert("keys".to_owned(), stats.live_keys.into());
        object.insert("durable".to_owned(), Value::Bool(true));
        output.json(&Value::Object(object))?;
    } else if !args.quiet {
        output.line(&format!(
            "{} durable in {}, which holds {} now",
            counted(durable, "record"),
            store.path().display(),
            keys(&stats)
        ))?;
    }
    output.finish()
}

/// Adds records until there are so many, or so many bytes. Answers how the input ended, if it did; what was added before
/// it went wrong is good.
fn fill(
    batch: &mut Batch,
    records: &mut Records<Box<dyn BufRead>>,
    size: usize,
) -> Option<Result<(), Failure>> {
    while batch.len() < size && batch.bytes() < IMPORT_BATCH_BYTES {
        match records.next() {
            Ok(Some((key, value))) => {
                if let Err(error) = batch.put(&key, &value) {
                    return Some(Err(records.wrong(&error.to_string())));
                }
            }
            Ok(None) => return Some(Ok(())),
            Err(failure) => return Some(Err(failure)),
        }
    }
    None
}

/// Writes batch by batch: what `durable` counts survives whatever comes next.
fn import_all(
    store: &Engine,
    mut batch: Batch,
    records: &mut Records<Box<dyn BufRead>>,
    size: usize,
    durable: &mut u64,
    progress: &Progress,
) -> Result<(), Failure> {
    loop {
        let end = fill(&mut batch, records, size);
        let full = std::mem::replace(&mut batch, store.batch());
        let count = full.len() as u64;
        if count > 0 {
            store.write(full)?;
            *durable += count;
            progress.at(records.bytes(), || {
                format!("{} durable", counted(*durable, "record"))
            });
        }
        if let Some(end) = end {
            return end;
        }
    }
}
