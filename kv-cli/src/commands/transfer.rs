//! Many records at once: `import` and `export`.

use super::{Outcome, close, note, open, range_from, range_to, refuse_typed, start_scan};
use crate::args::Args;
use crate::failure::Failure;
use crate::input::Records;
use crate::output::{Output, record};
use kv_log_engine::{Batch, Create, Engine};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

/// A batch of an import ends at this many bytes, however few records it has.
const IMPORT_BATCH_BYTES: u64 = 8 * 1024 * 1024;

pub(super) fn export(args: &Args, prefix: &Option<String>) -> Outcome {
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

pub(super) fn import(
    args: &Args,
    file: &PathBuf,
    create: bool,
    batch: usize,
    force: bool,
) -> Outcome {
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
