//! Runs and value segments: each read whole, and every value that a live entry of a run refers to.
//!
//! What lies outside of a run's live interval, or in a segment where nothing refers to it, is no part of the store any
//! more: it may be anything.

use super::damage::{Damage, DamageAt, Damages};
use super::report::VerifyReport;
use crate::fault;
use crate::format::erasures::Erasures;
use crate::format::ids::{Entry, SegmentId};
use crate::format::manifest::{Manifest, RunEntry, SegmentEntry, SegmentState};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use crate::index::cache::PieceCache;
use crate::index::levels::Levels;
use crate::index::merge::{Merge, Yield};
use crate::index::run::level::LiveRun;
use crate::index::run::verify::{RunDamage, verify};
use crate::index::source::{Direction, Interval, Item};
use crate::log::files::{Segment, SegmentFiles};
use crate::log::values::{self, Met};
use crate::storage::window::Window;
use crate::storage::{OpenMode, StorageFile, exact};
use kv_trait::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What is read of runs twice stays in memory up to here.
const CACHE_BYTES: u64 = 8 << 20;

/// Whether what is newer than all runs says something of a full key.
pub(super) type IsNewer<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Reads what a manifest names beside the log, and says in the report how much that is.
///
/// # Errors
/// `Io`: the disk did not answer.
pub(super) fn verify_named(
    files: &Arc<SegmentFiles>,
    (manifest, erasures): (&Manifest, &Erasures),
    is_newer: IsNewer<'_>,
    damages: &mut Damages,
    report: &mut VerifyReport,
) -> Result<()> {
    let cache = PieceCache::new(CACHE_BYTES);
    let store_id = manifest.store_id;
    let levels = Levels::open(&manifest.runs, store_id, Arc::clone(files), cache);
    report.runs = manifest.runs.len() as u64;
    report.levels = levels.len() as u64;
    report.bytes = bytes_of_files(files, manifest)?;
    let mut reading = Reading {
        files,
        manifest,
        erasures,
        levels,
        is_newer,
        damages,
        lost: BTreeMap::new(),
        reported: BTreeSet::new(),
        values: 0,
    };
    for entry in &manifest.segments {
        if entry.state == SegmentState::Values {
            report.value_segments += 1;
            reading.value_segment(entry)?;
        }
    }
    for entry in &manifest.runs {
        reading.run(entry)?;
    }
    for entry in &manifest.segments {
        if entry.state == SegmentState::Values {
            reading.unreferred(entry)?;
        }
    }
    report.separated_values += reading.values;
    if !reading.levels.is_empty() {
        report.live_keys += live_keys(&reading.levels, is_newer, erasures)?;
    }
    Ok(())
}

/// What the files take that are there.
fn bytes_of_files(files: &SegmentFiles, manifest: &Manifest) -> Result<u64> {
    let segments = manifest.segments.iter();
    let segments = segments.map(|segment| files.path(segment.id));
    let runs = manifest.runs.iter().map(|run| files.run_path(run.id));
    let mut bytes = 0;
    for path in segments.chain(runs) {
        let opened = files.storage().open(&path, OpenMode::Read);
        bytes += match opened.and_then(|file| file.len()) {
            // Told where it is looked for.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            length => length.map_err(|source| fault::io("look at", &path, source))?,
        };
    }
    Ok(bytes)
}

/// How many keys hold a value of which nothing newer than the runs knows, as far as it can be read.
fn live_keys(levels: &Levels, is_newer: IsNewer<'_>, erasures: &Erasures) -> Result<u64> {
    let sources = levels.sources(&Interval::ALL, Direction::Forward, erasures);
    // Whether a value's time has passed is for a clock to say: it is there.
    let merge = Merge::new(sources, Direction::Forward, Yield::Live(0));
    let mut merge = merge.without(erasures.clone());
    let mut count = 0;
    while let Some(merged) = merge.next()? {
        count += match merged.item {
            Item::Entry(entry) => u64::from(!is_newer(&entry.key)),
            Item::Hole(_) => 0,
        };
    }
    Ok(count)
}

struct Reading<'v> {
    files: &'v Arc<SegmentFiles>,
    manifest: &'v Manifest,
    /// As of the last record.
    erasures: &'v Erasures,
    levels: Levels,
    is_newer: IsNewer<'v>,
    damages: &'v mut Damages,
    /// Segments whose files as a whole are reported.
    lost: BTreeMap<SegmentId, DamageAt>,
    /// Records that a run refers to and that are reported: segment, offset. As many as are listed.
    reported: BTreeSet<(SegmentId, u64)>,
    /// Separated values that were read.
    values: u64,
}

impl Reading<'_> {
    /// Whether the file of a value segment is there, and the one that the manifest means.
    fn value_segment(&mut self, entry: &SegmentEntry) -> Result<()> {
        let path = self.files.path(entry.id);
        let file = match self.files.file(entry.id) {
            Err(error) if is_missing(&error) => {
                let what = "the manifest names this value segment, and its file is missing";
                self.lose(entry.id, &path, fault::corrupt(&path, what));
                return Ok(());
            }
            file => file?,
        };
        if let Err(error) = check_header(&*file, &path, self.manifest, entry) {
            // The records verify under the manifest's salt, whatever stands in front of them.
            let end = Some(SEGMENT_HEADER_BYTES);
            self.damages.push(Damage::of(&path, 0, end, damage(error)?));
        }
        let length = file.len();
        let length = length.map_err(|source| fault::io("look at", &path, source))?;
        if length < entry.end {
            let what = format!(
                "truncated: {length} bytes, where {} were written",
                entry.end
            );
            let cause = fault::corrupt(&path, what);
            self.damages
                .push(Damage::of(&path, length, Some(entry.end), cause));
        }
        Ok(())
    }

    fn lose(&mut self, id: SegmentId, path: &Path, cause: Error) -> DamageAt {
        let at = self.damages.push(Damage::of(path, 0, None, cause));
        self.lost.insert(id, at);
        at
    }

    fn run(&mut self, entry: &RunEntry) -> Result<()> {
        let live = self.levels.runs().find(|live| live.run.id() == entry.id);
        let Some(live) = live.cloned() else {
            return Ok(());
        };
        let reader = match live.reader() {
            Ok(reader) => Arc::clone(reader),
            Err(error) => {
                let path = self.files.run_path(entry.id);
                let mut found = Damage::of(&path, 0, None, damage(error)?);
                found.hides(&live.bounds());
                let at = self.damages.push(found);
                let records = entry.entries.saturating_sub(entry.taken);
                self.damages.count_records(at, records);
                return Ok(());
            }
        };
        let mut separated = |key: &[u8], entry: Entry| self.separated(key, entry);
        let found = verify(&reader, &live.interval(), &mut separated)?;
        for found in found.damage {
            self.damages.push(of_run(reader.path(), &live, found));
        }
        for hole in &reader.footer().facts.holes {
            // A merge met this damage; what it could not read is still not there.
            if let Some(hole) = live.interval().clip(hole.clone()) {
                let cause = crate::index::source::hidden(reader.path(), &hole);
                let mut found = Damage::of(reader.path(), 0, None, cause);
                found.hides(&(hole.from, hole.to));
                self.damages.push(found);
            }
        }
        Ok(())
    }

    /// Reads a value that a live entry of a run refers to.
    fn separated(&mut self, full_key: &[u8], entry: Entry) -> Result<()> {
        let id = entry.location.segment;
        if self.erasures.covers(full_key, entry.seqno) {
            return Ok(()); // It counts for nothing.
        }
        self.values += 1;
        let segments = &self.manifest.segments;
        let known = segments.binary_search_by_key(&id, |segment| segment.id);
        let known = known.ok().and_then(|at| segments.get(at));
        let path = self.files.path(id);
        let cause = match known {
            Some(known) => {
                let segment = Segment::new(id, known.salt, Arc::clone(self.files));
                match segment.read_value_with(&entry, full_key, |_| ()) {
                    Ok(()) => return Ok(()),
                    Err(error) => damage(error)?,
                }
            }
            None => fault::corrupt(
                &path,
                "a run refers to it, and the manifest does not name it",
            ),
        };
        let is_whole = known.is_none() || is_missing(&cause);
        let at = match self.lost.get(&id) {
            Some(at) => *at,
            None if is_whole => self.lose(id, &path, cause),
            None => {
                let start = entry.location.offset;
                let end = start.saturating_add(entry.location.record_bytes.into());
                let at = self
                    .damages
                    .push(Damage::of(&path, start, Some(end), cause));
                if self.reported.len() < VerifyReport::DAMAGES_MAX {
                    self.reported.insert((id, start));
                }
                at
            }
        };
        self.damages.count_one(at);
        if self.is_at_risk(full_key, entry) {
            self.damages.put_at_risk(at, full_key, entry.seqno);
        }
        Ok(())
    }

    /// Whether nothing newer takes the place of this version.
    fn is_at_risk(&self, full_key: &[u8], entry: Entry) -> bool {
        if (self.is_newer)(full_key) {
            return false;
        }
        match self.levels.get(full_key) {
            Ok(Some(newest)) => newest.seqno <= entry.seqno,
            Ok(None) | Err(_) => true,
        }
    }

    /// Damage in a value segment to which no live entry refers: it harms nobody yet, and says that the device forgets.
    fn unreferred(&mut self, entry: &SegmentEntry) -> Result<()> {
        if self.lost.contains_key(&entry.id) {
            return Ok(());
        }
        let path = self.files.path(entry.id);
        let file = self.files.file(entry.id)?;
        let length = file.len();
        let length = length.map_err(|source| fault::io("look at", &path, source))?;
        let mut window = Window::new(&*file, &path, entry.end.min(length));
        let (damages, reported) = (&mut *self.damages, &self.reported);
        values::walk(&mut window, &entry.salt, |met| {
            let (start, end, cause) = match met {
                Met::Record { offset, record } => {
                    if (entry.min_seqno..=entry.max_seqno).contains(&record.seqno) {
                        return;
                    }
                    let what = format!(
                        "the record at offset {offset} has seqno {}, and the manifest knows those from {} to {}",
                        record.seqno, entry.min_seqno, entry.max_seqno
                    );
                    (offset, None, fault::corrupt(&path, what))
                }
                Met::Damage { start, end, defect } => {
                    (start, Some(end), fault::defect(&path, start, defect))
                }
            };
            let hit = (entry.id, start)..(entry.id, end.unwrap_or(start));
            if reported.range(hit).next().is_none() {
                damages.push(Damage::of(&path, start, end, cause));
            }
        })
    }
}

/// Damage is told; an error that may pass ends the reading.
fn damage(error: Error) -> Result<Error> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::UnsupportedFormat => Ok(error),
        _ => Err(error),
    }
}

fn of_run(path: &Path, live: &LiveRun, found: RunDamage) -> Damage {
    let mut damage = Damage::of(path, found.offset, found.end, found.cause);
    if let Some((from, to)) = found.keys {
        let (first, last) = live.bounds();
        damage.hides(&(from.max(first), to.min(last)));
    }
    damage
}

fn check_header(
    file: &dyn StorageFile,
    path: &Path,
    manifest: &Manifest,
    entry: &SegmentEntry,
) -> Result<()> {
    let mut bytes = SegmentHeader::buffer();
    let found =
        exact::read_up_to(file, &mut bytes, 0).map_err(|source| fault::io("read", path, source))?;
    let (header, _) =
        SegmentHeader::decode(&bytes[..found]).map_err(|defect| fault::defect(path, 0, defect))?;
    let is_meant = header.kind == SegmentKind::Values
        && (header.store_id, header.incarnation) == (manifest.store_id, manifest.incarnation)
        && (header.id, header.salt) == (entry.id, entry.salt)
        && header.edit < manifest.edit;
    if is_meant {
        return Ok(());
    }
    let what = "its header is not that of the value segment that the manifest means";
    Err(fault::corrupt(path, what))
}

/// Whether an error says that there is no such file.
pub(super) fn is_missing(error: &Error) -> bool {
    use std::error::Error as _;
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
}
