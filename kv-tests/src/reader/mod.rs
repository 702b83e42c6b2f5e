//! A second reader of kvlog's files, made from `docs/FORMAT.md` alone: it shares no code with the engine, so that a test
//! which reads through it does not believe the store about the store. It reads, it repairs nothing.
//!
//! It is stricter than a store has to be: what an open does not read, it reads all the same and compares with what is said
//! of it. Damage that an engine would serve around is an error here.
//!
//! Written for clarity, not for large stores: files are read whole.
#![expect(
    clippy::disallowed_methods,
    reason = "the point is to read the files without the engine's storage seam"
)]

mod file;
mod log;
mod manifest;
mod run;
mod tables;

pub use file::Unreadable;

use file::{File, Read};
use log::{Kind, Place, Walked};
use manifest::{Manifest, Named, NamedRun, State};
use run::{Held, RunEntry};
use std::collections::BTreeMap;
use std::path::Path;
use tables::{Tables, full_key};

const SEGMENT_HEADER: usize = 104;
const FOOTER_FRAME: usize = 128;

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileContents {
    /// Every key of the store's own keyspace that is not deleted, with its value as it was encoded. Whether one has expired is
    /// for a clock to say.
    pub live: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The same of each keyspace that has a name.
    pub keyspaces: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// When those of the store's own keyspace expire that do, in milliseconds since 1970.
    pub expires: BTreeMap<Vec<u8>, u64>,
    /// The clock of an engine reads no less.
    pub clock_ms: u64,
    /// Ranges of keys, from the first to below the second, of which a merge has lost what no newer layer has.
    pub holes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The fingerprint text of the store.
    pub fingerprint: String,
    /// Records replayed, overwritten ones and tombstones included.
    pub records: u64,
    /// Segments named by the manifest.
    pub segments: u64,
    /// Runs named by the manifest.
    pub runs: u64,
    /// Levels that they make.
    pub levels: u64,
    /// Entries that are live in them, tombstones included.
    pub entries: u64,
    /// Separated values that entries lead to.
    pub separated: u64,
    /// Segments and runs that are there and that the manifest does not name.
    pub unnamed: Vec<String>,
    /// Where the accepted frames of the active segment end.
    pub end: u64,
    /// Bytes behind it up to the last that is not zero: never acknowledged.
    pub torn_bytes: u64,
    /// The number of the manifest's last edit.
    pub edit: u64,
    /// Whether the store ended cleanly.
    pub clean: bool,
    /// Items of the manifest that this reader does not know and may pass over, as they stand there.
    pub carried: Vec<u8>,
}

/// The newest that is known of a key, while layers are read from the newest on.
struct Newest {
    seqno: u64,
    expiry: Option<u64>,
    /// `None`: it is deleted.
    value: Option<Vec<u8>>,
}

/// Reads the store in a directory.
///
/// # Errors
/// The first thing that `docs/FORMAT.md` does not allow.
pub fn read(directory: &Path) -> Read<FileContents> {
    let (manifest, both) = manifest::read_manifest(directory)?;
    let mut store = Store {
        directory,
        manifest: &manifest,
        segments: BTreeMap::new(),
        newest: BTreeMap::new(),
        tables: manifest.tables.clone(),
        contents: FileContents {
            fingerprint: manifest.fingerprint.clone(),
            segments: manifest.segments.len() as u64,
            runs: manifest.runs.len() as u64,
            edit: manifest.edit,
            clock_ms: manifest.clock,
            carried: manifest.carried.clone(),
            unnamed: unnamed(directory, &manifest)?,
            ..FileContents::default()
        },
    };
    store.log(both)?;
    for level in manifest.levels() {
        store.contents.levels += 1;
        for named in level {
            store.run(named)?;
        }
    }
    let Store {
        newest,
        tables,
        mut contents,
        ..
    } = store;
    for (name, _) in tables.keyspaces.values() {
        contents.keyspaces.insert(name.clone(), BTreeMap::new());
    }
    for (key, newest) in newest {
        let erased = tables.is_erased(&key, newest.seqno);
        let (Some(value), Some((id, key))) = (newest.value.filter(|_| !erased), split(&key)) else {
            continue;
        };
        if id != 0 {
            let named = tables.keyspaces.get(&id);
            let of_keyspace = named.and_then(|(name, _)| contents.keyspaces.get_mut(name));
            // One that was dropped is erased whole.
            of_keyspace.map(|keys| keys.insert(key.to_vec(), value));
            continue;
        }
        if let Some(expiry) = newest.expiry {
            contents.expires.insert(key.to_vec(), expiry);
        }
        contents.live.insert(key.to_vec(), value);
    }
    Ok(contents)
}

/// Segments and runs that the manifest does not name.
fn unnamed(directory: &Path, manifest: &Manifest) -> Read<Vec<String>> {
    let failed = |error: std::io::Error| Unreadable {
        path: directory.to_path_buf(),
        offset: 0,
        what: error.to_string(),
    };
    let segments = manifest.segments.keys().map(|id| format!("{id:08}.seg"));
    let runs = manifest.runs.keys().map(|id| format!("{id:08}.run"));
    let named: Vec<_> = segments.chain(runs).collect();
    let mut unnamed = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if (name.ends_with(".seg") || name.ends_with(".run")) && !named.contains(&name) {
            unnamed.push(name);
        }
    }
    unnamed.sort();
    Ok(unnamed)
}

struct Store<'s> {
    directory: &'s Path,
    manifest: &'s Manifest,
    /// All that were read, for the values in them.
    segments: BTreeMap<u64, File>,
    /// By full keys.
    newest: BTreeMap<Vec<u8>, Newest>,
    /// As of the last record that was read.
    tables: Tables,
    contents: FileContents,
}

impl Store<'_> {
    /// The segments, in order: replayed, covered, and copied values.
    fn log(&mut self, both: bool) -> Read<()> {
        let mut next = self.manifest.checkpoint.map(|covered| covered.seqno + 1);
        for named in self.manifest.segments.values() {
            let file = File::open(self.directory.join(format!("{:08}.seg", named.id)))?;
            if named.state == State::Values {
                log::walk_values(&file, self.manifest, named)?;
            } else {
                let walked = self.replay(&file, named, next)?;
                if !self.manifest.is_covered(named) {
                    next = Some(walked.next_seqno);
                }
                if named.state == State::Active {
                    self.end(&file, walked, both)?;
                }
            }
            self.segments.insert(named.id, file);
        }
        Ok(())
    }

    /// Walks a segment from where replay begins in it. What runs cover of it is walked, too, and must lead there.
    fn replay(&mut self, file: &File, named: &Named, next: Option<u64>) -> Read<Walked> {
        let chain = log::header(
            file,
            self.manifest,
            0,
            (named.id, &named.salt, named.base_seqno),
        )?;
        let whole = Place::start(chain, named.base_seqno);
        let covered = self.manifest.checkpoint.as_ref();
        let here = covered.filter(|covered| covered.segment == named.id);
        if self.manifest.is_covered(named) || here.is_some() {
            let place = here.map(Place::checkpoint);
            let mut met = place.is_none();
            let walked = log::walk(file, named, whole, &mut |_| (), &mut |at| {
                met |= Some(at) == place;
            })?;
            if !met {
                return file.wrong(0, "the checkpoint is not where it says");
            }
            if self.manifest.is_covered(named) {
                return Ok(walked);
            }
        } else if next.is_some_and(|next| next != named.base_seqno) {
            return file.wrong(72, "records are missing before this segment");
        }
        let start = here.map_or(whole, Place::checkpoint);
        let (newest, contents) = (&mut self.newest, &mut self.contents);
        let (tables, mut senseless) = (&mut self.tables, None);
        let walked = log::walk(
            file,
            named,
            start,
            &mut |record| {
                contents.records += 1;
                if !matches!(record.kind, Kind::Put | Kind::Tombstone) {
                    if let Err(what) = tables.apply(&record) {
                        senseless.get_or_insert(what);
                    }
                    return;
                }
                let known = Newest {
                    seqno: record.seqno,
                    expiry: record.expiry,
                    value: (record.kind == Kind::Put).then_some(record.value),
                };
                newest.insert(full_key(record.keyspace, &record.key), known);
            },
            &mut |_| (),
        )?;
        match senseless {
            Some(what) => file.wrong(0, what),
            None => Ok(walked),
        }
    }

    fn end(&mut self, file: &File, walked: Walked, both: bool) -> Read<()> {
        if walked.next_seqno < self.manifest.next_seqno {
            return file.wrong(walked.end, "seqnos that the manifest has seen are missing");
        }
        let last = file.bytes.iter().rposition(|byte| *byte != 0);
        let torn = last.map_or(0, |last| (last + 1).saturating_sub(walked.end));
        self.contents.end = walked.end as u64;
        self.contents.torn_bytes = torn as u64;
        self.contents.clean = both
            && walked.closed_at == Some(self.manifest.edit)
            && torn == 0
            && walked.end + FOOTER_FRAME <= file.bytes.len();
        Ok(())
    }

    fn run(&mut self, named: &NamedRun) -> Read<()> {
        let file = File::open(self.directory.join(format!("{:08}.run", named.id)))?;
        let run = run::read_run(&file, self.manifest, named)?;
        let is_live = |key: &[u8]| named.from.as_slice() <= key && ends_above(named, key);
        for entry in run.entries.into_iter().filter(|entry| is_live(&entry.key)) {
            self.contents.entries += 1;
            let Some((keyspace, key)) = split(&entry.key) else {
                return file.wrong(0, "a key without a keyspace");
            };
            let value = self.value(&file, &entry, (keyspace, key))?;
            let key = entry.key.clone();
            if self.tables.erases(&key, entry.seqno, named.erased_to) {
                return file.wrong(0, "an entry that was erased before its run was written");
            }
            let (seqno, expiry) = (entry.seqno, entry.expiry);
            let known = Newest {
                seqno,
                expiry,
                value,
            };
            match self.newest.get(&key) {
                Some(newest) if newest.seqno <= seqno => {
                    return file.wrong(0, "a version that is not older than one of a newer layer");
                }
                Some(_) => {}
                None => drop(self.newest.insert(key, known)),
            }
        }
        for hole in run.holes {
            let from = hole.from.max(named.from.clone());
            let to = named.to.as_ref().map_or(&hole.to, |to| to.min(&hole.to));
            if from < *to {
                self.contents.holes.push((from, to.clone()));
            }
        }
        Ok(())
    }

    /// The value that an entry leads to, whether a newer layer has the key or not; `None`: a tombstone.
    fn value(&mut self, file: &File, entry: &RunEntry, key: (u32, &[u8])) -> Read<Option<Vec<u8>>> {
        let (segment, offset, length) = match &entry.held {
            Held::Here(value) => return Ok(Some(value.clone())),
            Held::Tombstone => return Ok(None),
            Held::Separated(segment, offset, length) => (segment, *offset, *length),
        };
        self.contents.separated += 1;
        let named = self.manifest.segments.get(segment);
        let named =
            named.filter(|named| named.state != State::Active || self.covers(*segment, offset));
        let (Some(named), Some(log)) = (named, self.segments.get(segment)) else {
            return file.wrong(0, "a value in a segment that is not named");
        };
        let end = offset.saturating_add(length).min(log.bytes.len());
        match log::record_at(log, &named.salt, offset, end)? {
            Some((record, behind))
                if behind == end
                    && behind - offset == length
                    && record.seqno == entry.seqno
                    && record.expiry == entry.expiry
                    && (record.keyspace, record.key.as_slice()) == key
                    && record.kind == Kind::Put =>
            {
                Ok(Some(record.value))
            }
            _ => log.wrong(offset, "not the record that a run refers to"),
        }
    }

    /// Whether a place of the active segment is before the checkpoint.
    fn covers(&self, segment: u64, offset: usize) -> bool {
        let covered = self.manifest.checkpoint.as_ref();
        covered.is_some_and(|covered| covered.segment == segment && offset < covered.offset)
    }
}

/// The keyspace and the key of a full key.
fn split(key: &[u8]) -> Option<(u32, &[u8])> {
    let (keyspace, key) = key.split_first_chunk()?;
    Some((u32::from_le_bytes(*keyspace).swap_bytes(), key))
}

fn ends_above(named: &NamedRun, key: &[u8]) -> bool {
    named.to.as_deref().is_none_or(|to| key < to)
}
