//! Many records at once: `import`.

use super::keyspaces::{called, find, named};
use super::stats::keys;
use super::{Outcome, close, note, open_to_write, path, refuse_typed};
use crate::args::Args;
use crate::failure::Failure;
use crate::input::{Entry, Record, Records};
use crate::output::{Output, put_path};
use crate::progress::Progress;
use crate::text::counted;
use kv_log_engine::{Batch, Engine};
use kv_trait::{Error, ErrorKind, Fingerprint};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

type Lines = Records<Box<dyn BufRead>>;

/// How an import is to be done.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// The store, and keyspaces of bytes, are made where they are not there.
    pub(super) create: bool,
    /// Records that become durable together.
    pub(super) batch: usize,
    pub(super) force_raw: bool,
}

/// A batch of an import ends at this many bytes, however few records it has.
const IMPORT_BATCH_BYTES: u64 = 8 * 1024 * 1024;

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

pub(super) fn import(args: &Args, file: &Path, asked: Asked) -> Outcome {
    path(args)?;
    // Opened and tried first: a wrong name, or a file that is something else, must not leave a new store behind.
    let (input, total) = open_input(file)?;
    let mut records = Records::new(input);
    let first = first(&mut records).map_err(|cause| Failure::of_import(0, cause))?;
    let store = open_to_write(args, asked.create, asked.force_raw)?;
    let progress = Progress::new(args, total);
    let mut import = Import {
        own: named(args),
        store: &store,
        others: BTreeMap::new(),
        asked,
        first,
        durable: 0,
    };
    let imported = import.all(&mut records, &progress);
    let durable = import.durable;
    drop(progress);
    let closed = close(&store);
    if let Err(cause) = imported {
        // The first cause is the one to end with; what was durable before does not hang on the close.
        if let Err(second) = closed
            && !second.is_consequence()
        {
            note(args, &format!("closing failed too: {}", second.message()));
        }
        return Err(Failure::of_import(durable, cause));
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

/// The first line, tried as far as that needs no store.
fn first(records: &mut Lines) -> Result<Option<Entry>, Failure> {
    let first = records.next()?;
    if let Some(Entry::Record(record)) = &first {
        put(&mut Batch::new(), record).map_err(|error| records.wrong(&error.to_string()))?;
    }
    Ok(first)
}

fn put(batch: &mut Batch, record: &Record) -> kv_trait::Result<()> {
    match record.expires_at_ms {
        Some(moment) => batch.put_until(&record.key, &record.value, moment),
        None => batch.put(&record.key, &record.value),
    }
}

/// Lines on their way into a store.
struct Import<'a> {
    /// The keyspace that the command names: lines of no other one are taken.
    own: Option<&'a str>,
    /// Where the records go that do not say it.
    store: &'a Engine,
    /// Where the others go, once one has asked for it.
    others: BTreeMap<String, Engine>,
    asked: Asked,
    /// What was read before there was a store.
    first: Option<Entry>,
    /// So many records survive whatever comes next.
    durable: u64,
}

impl Import<'_> {
    /// Writes batch by batch.
    fn all(&mut self, records: &mut Lines, progress: &Progress) -> Result<(), Failure> {
        loop {
            let mut batch = Batch::new();
            let end = self.fill(&mut batch, records);
            let count = batch.len() as u64;
            if count > 0 {
                self.store.write(batch)?;
                self.durable += count;
                let durable = self.durable;
                progress.at(records.bytes(), || {
                    format!("{} durable", counted(durable, "record"))
                });
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Adds records until there are so many, or so many bytes. Answers how the input ended, if it did; what was added before
    /// it went wrong is good.
    fn fill(&mut self, batch: &mut Batch, records: &mut Lines) -> Option<Result<(), Failure>> {
        while batch.len() < self.asked.batch && batch.bytes() < IMPORT_BATCH_BYTES {
            let entry = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => records.next(),
            };
            let added = match entry {
                Ok(Some(Entry::Record(record))) => self.add(batch, &record, records),
                Ok(Some(Entry::Types { keyspace, types })) => self.enter(keyspace, &types, records),
                Ok(None) => return Some(Ok(())),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = added {
                return Some(Err(failure));
            }
        }
        None
    }

    fn add(&mut self, batch: &mut Batch, record: &Record, lines: &Lines) -> Result<(), Failure> {
        let keyspace = match record.keyspace.as_deref() {
            None => self.store,
            Some(name) => self.place_of(name, lines)?,
        };
        put(batch.select(keyspace), record).map_err(|error| lines.wrong(&error.to_string()))
    }

    /// The keyspace of a line that names it.
    fn place_of(&mut self, name: &str, lines: &Lines) -> Result<&Engine, Failure> {
        self.refuse_other(name, lines)?;
        if self.own.is_some() {
            return Ok(self.store);
        }
        if !self.others.contains_key(name) {
            let found = find(self.store, name, self.asked.create).map_err(|failure| {
                if failure.is_absence() {
                    return lines.wrong(&format!(
                        "there is no keyspace {name:?}, and no line before has its types; --create makes one of bytes"
                    ));
                }
                failure
            })?;
            refuse_typed(&called(name), &found, self.asked.force_raw)?;
            self.others.insert(name.to_owned(), found);
        }
        Ok(self.others.get(name).unwrap_or(self.store))
    }

    /// A keyspace with its types, which is made if it is not there. Whatever bytes come for it are what those types write.
    fn enter(&mut self, name: String, types: &Fingerprint, lines: &Lines) -> Result<(), Failure> {
        self.refuse_other(&name, lines)?;
        let misfit = |error: Error| match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::UnsupportedFormat => lines.wrong(error.message()),
            _ => error.into(),
        };
        if self.own.is_some() {
            return self.store.fingerprint().check(types).map_err(misfit);
        }
        let entered = self.store.keyspace(&name, types).map_err(misfit)?;
        self.others.insert(name, entered);
        Ok(())
    }

    fn refuse_other(&self, name: &str, lines: &Lines) -> Result<(), Failure> {
        match self.own {
            Some(own) if own != name => Err(lines.wrong(&format!(
                "it is of keyspace {name:?}, and --keyspace names {own:?}"
            ))),
            _ => Ok(()),
        }
    }
}
