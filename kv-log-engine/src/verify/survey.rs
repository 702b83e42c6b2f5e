//! Reading on behind damage: all of it, and which keys it puts at risk.
//!
//! The rules of acceptance are those of an open; what differs is what follows. Behind bytes that are not accepted the log
//! goes on with the next header that verifies, and the numbers of the records before and behind say how many are missing.
//! What stands between is read as records once more, so that their keys can be named.

use super::damage::{Damage, DamageAt, Damages};
use super::report::VerifyReport;
use super::runs::{is_missing, verify_named};
use crate::fault;
use crate::format::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader};
use crate::format::ids::{SegmentId, Seqno};
use crate::format::manifest::{Checkpoint, Manifest, SegmentEntry, SegmentState};
use crate::format::record::{RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind};
use crate::format::run::full_key;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, parse_file_name};
use crate::format::tables::Tables;
use crate::format::{Defect, Salt};
use crate::log::files::SegmentFiles;
use crate::log::scan::{self, Boundary, Stop};
use crate::open::Located;
use crate::recovery::RecoveryReport;
use crate::recovery::survey::{missing_files, unnamed_files, unproven_salt};
use crate::storage::window::Window;
use crate::storage::{FileKind, StorageFile, exact};
use crate::store::layout::MANIFEST;
use crate::store::manifest;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the store that an open refused because of `first`.
///
/// # Errors
/// `Io`: the disk did not answer. `UnsupportedFormat`.
pub(super) fn survey(located: &Located, first: Error) -> Result<VerifyReport> {
    let mut survey = Survey::default();
    let files = &*located.files;
    let path = files.directory().join(MANIFEST);
    match manifest::read(files.storage(), files.directory()) {
        Ok(read) => survey.named_segments(located, &read.manifest)?,
        Err(lost) if lost.kind() == ErrorKind::Corrupt => {
            survey.damages.push(Damage::of(&path, 0, None, lost));
            // What the manifest would say of the segments they say themselves, but for how far they go.
            let names = located.names.iter();
            let names = names.filter(|entry| entry.kind == FileKind::File);
            for id in names.filter_map(|entry| parse_file_name(&entry.name)) {
                survey.report.segments += 1;
                if !holds_values(files, id)? {
                    survey.segment(files, id, None)?;
                }
            }
        }
        Err(error) => return Err(error),
    }
    if survey.damages.is_empty() {
        // The open has seen what this reading has not.
        survey.damages.push(Damage::of(&path, 0, None, first));
    }
    Ok(survey.into_report())
}

/// A segment as the manifest knows it.
type Known<'m> = Option<(&'m Manifest, &'m SegmentEntry)>;

#[derive(Debug, Default)]
struct Survey {
    report: VerifyReport,
    damages: Damages,
    /// The last record of each full key that was accepted, and whether it is a value.
    newest: BTreeMap<Box<[u8]>, (Seqno, bool)>,
    /// Keyspaces and erasures, as far as records were accepted.
    tables: Tables,
}

/// A segment's bytes, and what is known of them.
struct Log<'f> {
    window: Window<'f>,
    salt: Salt,
    /// The offset up to which the manifest says that it was durable.
    floor: u64,
    sealed: bool,
    /// The number of its first record.
    base_seqno: Seqno,
    /// A number above those of the records that the manifest knows to be in it.
    next_seqno: Seqno,
}

impl Survey {
    fn named_segments(&mut self, located: &Located, manifest: &Manifest) -> Result<()> {
        let files = &*located.files;
        self.tables.clone_from(&manifest.tables);
        self.report.segments = manifest.segments.len() as u64;
        let mut names = RecoveryReport::default();
        match unnamed_files(files, manifest, &located.names, &mut names) {
            Err(older) if older.kind() == ErrorKind::Corrupt => {
                let path = files.directory().join(MANIFEST);
                self.damages.push(Damage::of(&path, 0, None, older));
            }
            judged => judged?,
        }
        (self.report.foreign, self.report.debris) = (names.foreign, names.debris);
        if !missing_files(manifest, &located.names).is_empty() {
            // The manifest may be older than the data.
            self.report.debris.clear();
        }
        let log = manifest.segments.iter().filter(|entry| entry.is_log());
        for entry in log.filter(|entry| !manifest.is_covered(entry)) {
            self.segment(files, entry.id, Some((manifest, entry)))?;
        }
        let Self {
            report,
            damages,
            newest,
            tables,
        } = self;
        let is_newer = |full_key: &[u8]| newest.contains_key(full_key);
        let manifest = (manifest, &tables.erasures);
        verify_named(&located.files, manifest, &is_newer, damages, report)
    }

    fn segment(&mut self, files: &SegmentFiles, id: SegmentId, known: Known<'_>) -> Result<()> {
        let path = files.path(id);
        let next_seqno = known.map_or(Seqno::ZERO, |(manifest, entry)| match entry.state {
            SegmentState::Sealed | SegmentState::Values => {
                Seqno::new(entry.max_seqno.get().saturating_add(1))
            }
            SegmentState::Active => manifest.next_seqno,
        });
        let file = match files.file(id) {
            Err(error) if is_missing(&error) => {
                let what = "the manifest names this segment, and its file is missing";
                self.lose_file(fault::corrupt(&path, what), &path, known, next_seqno);
                return Ok(());
            }
            file => file?,
        };
        let length = file
            .len()
            .map_err(|source| fault::io("look at", &path, source))?;
        let Some((salt, start)) = self.start(&*file, &path, known)? else {
            if known.is_none() {
                return Ok(()); // Copied values: they say nothing of themselves.
            }
            let what = "it is not the segment that the manifest means";
            self.lose_file(fault::corrupt(&path, what), &path, known, next_seqno);
            return Ok(());
        };
        // What runs cover is not read: the log begins behind it, whatever became of the header.
        let covered = known.and_then(|(manifest, _)| manifest.checkpoint.as_ref());
        let covered = covered.filter(|covered| covered.segment == id);
        let start = covered.map(behind).or(start);
        let sealed = known.is_some_and(|(_, entry)| entry.state == SegmentState::Sealed);
        let floor = known.map_or(0, |(_, entry)| entry.end);
        let limit = if sealed { floor.min(length) } else { length };
        let mut log = Log {
            window: Window::new(&*file, &path, limit),
            salt,
            floor,
            sealed,
            base_seqno: match (covered, known) {
                (Some(covered), _) => covered.seqno.next(),
                (None, Some((_, entry))) => entry.base_seqno,
                (None, None) => next_seqno,
            },
            next_seqno,
        };
        self.walk(&mut log, start)
    }

    fn lose_file(&mut self, cause: Error, path: &Path, known: Known<'_>, next: Seqno) {
        let base = known.map_or(next, |(_, entry)| entry.base_seqno);
        let at = self.damages.push(Damage::of(path, 0, None, cause));
        let records = next.get().saturating_sub(base.get());
        self.damages.count_records(at, records);
    }

    /// The salt that the frames verify under, and where they begin, unless the header is damaged; `None` if this is another
    /// segment, or none of the log.
    fn start(
        &mut self,
        file: &dyn StorageFile,
        path: &Path,
        known: Known<'_>,
    ) -> Result<Option<(Salt, Option<Boundary>)>> {
        let mut bytes = SegmentHeader::buffer();
        let found = exact::read_up_to(file, &mut bytes, 0)
            .map_err(|source| fault::io("read", path, source))?;
        match SegmentHeader::decode(&bytes[..found]) {
            Ok((header, chain)) => {
                let is_meant = known.is_none_or(|(manifest, entry)| {
                    header.store_id == manifest.store_id
                        && (header.id, header.salt) == (entry.id, entry.salt)
                });
                let is_meant = is_meant && header.kind == SegmentKind::Log;
                let start = Boundary {
                    offset: SEGMENT_HEADER_BYTES,
                    chain,
                    next_seqno: header.base_seqno,
                };
                Ok(is_meant.then_some((header.salt, Some(start))))
            }
            Err(defect @ Defect::Unsupported { .. }) => Err(fault::defect(path, 0, defect)),
            Err(defect) => {
                let cause = fault::defect(path, 0, defect);
                let end = Some(SEGMENT_HEADER_BYTES);
                self.damages.push(Damage::of(path, 0, end, cause));
                let salt = match known {
                    Some((_, entry)) => Some(entry.salt),
                    None => unproven_salt(file, path)?,
                };
                Ok(salt.map(|salt| (salt, None)))
            }
        }
    }

    /// Accepts frames from `start` on, and behind each damage from the next header that verifies; without a start, from the
    /// first such header.
    fn walk(&mut self, log: &mut Log<'_>, start: Option<Boundary>) -> Result<()> {
        let first = match start {
            Some(_) => None,
            None => scan::next_verified(&mut log.window, &log.salt, SEGMENT_HEADER_BYTES)?,
        };
        let mut at = match (start, first) {
            (Some(start), _) => (start, None),
            (None, Some((SEGMENT_HEADER_BYTES, header))) => goes_on(SEGMENT_HEADER_BYTES, &header),
            (None, first) => {
                let what = "no frame follows the place of its header";
                let cause = fault::corrupt(log.window.path(), what);
                let missing = log.base_seqno;
                self.lose(log, cause, (SEGMENT_HEADER_BYTES, first), missing)?;
                match first {
                    Some((offset, header)) => goes_on(offset, &header),
                    None => return Ok(()),
                }
            }
        };
        let mut proof = None;
        loop {
            let Self {
                report,
                newest,
                tables,
                ..
            } = self;
            let visit = |_, record: Record<'_>, _| {
                report.records += 1;
                if record.kind.is_of_key() {
                    accept(newest, record);
                } else {
                    // Behind damage it may make no sense: what is lost may have been part of it.
                    tables.apply(&record, record.seqno).unwrap_or_default();
                }
            };
            let (start, group) = at;
            let walk = scan::walk_on(&mut log.window, &log.salt, start, group, |_| Ok(()), visit)?;
            self.report.frames += walk.contents.frames;
            let end = walk.end;
            let (defect, resume) = match walk.stop {
                // What stands behind a footer that was just written, before the manifest tells of it.
                Stop::Footer(_) if !log.sealed || end.offset == log.floor => return Ok(()),
                Stop::Footer(_) | Stop::End => (None, end.offset),
                Stop::Unacceptable { defect, resume } => (Some(defect), resume),
            };
            let proof = match proof {
                Some(proof) => proof,
                None if log.sealed => *proof.insert(log.floor),
                None => {
                    let tail = scan::search(&mut log.window, &log.salt, end.offset, resume)?;
                    *proof.insert(log.floor.max(walk.last_mark).max(tail.proof))
                }
            };
            if end.offset >= proof && end.next_seqno >= log.next_seqno {
                return Ok(()); // a clean end, or a torn tail, which was never acknowledged
            }
            // A header in this very place that continues other frames than these: what is missing stood before it.
            let here = scan::header_at(&mut log.window, &log.salt, end.offset)?;
            let next = match here.filter(|header| header.chain != end.chain) {
                Some(header) => Some((end.offset, header)),
                None => scan::next_verified(&mut log.window, &log.salt, resume)?,
            };
            let path = log.window.path();
            let cause = match defect {
                Some(defect) => fault::defect(path, end.offset, defect),
                None => {
                    let what = format!("it ends at offset {}, and went on once", end.offset);
                    fault::corrupt(path, what)
                }
            };
            self.lose(log, cause, (end.offset, next), end.next_seqno)?;
            match next {
                Some((offset, header)) => at = goes_on(offset, &header),
                None => return Ok(()),
            }
        }
    }

    /// Reports what is missing from `range.0` on, up to the header where the log goes on, or to its end; the first record of
    /// it has the number `first`.
    fn lose(
        &mut self,
        log: &mut Log<'_>,
        cause: Error,
        range: (u64, Option<(u64, FrameHeader)>),
        first: Seqno,
    ) -> Result<()> {
        let (offset, next) = range;
        let (end, behind) = match next {
            Some((end, header)) => (Some(end), header.first_seqno),
            None => (None, log.next_seqno),
        };
        let damage = Damage::of(log.window.path(), offset, end, cause);
        let found = self.damages.push(damage);
        let range = (offset, end.unwrap_or_else(|| log.window.limit()));
        let missing = (first, behind.max(first));
        self.name_keys(log, found, range, missing)?;
        let records = missing.1.get() - missing.0.get();
        self.damages.count_records(found, records);
        Ok(())
    }

    /// Puts the keys of the records in this range of bytes at risk, if they are numbered like those that are missing: in a
    /// frame that was not accepted the records stand where they stood, good or bad.
    fn name_keys(
        &mut self,
        log: &mut Log<'_>,
        found: DamageAt,
        range: (u64, u64),
        missing: (Seqno, Seqno),
    ) -> Result<()> {
        let mut expected = missing.0;
        let mut at = range.0;
        while expected < missing.1 && at < range.1 {
            let mut next = at + FRAME_ALIGN;
            if at == range.0 || log.window.up_to(at, 4)? == FRAME_MAGIC {
                let mut record_at = at + FRAME_HEADER_BYTES as u64;
                while record_at + RECORD_HEADER_BYTES as u64 <= range.1 {
                    let bytes = log.window.up_to(record_at, RECORD_HEADER_BYTES)?;
                    let Ok(header) = RecordHeader::decode(bytes) else {
                        break;
                    };
                    let end = record_at + header.record_bytes() as u64;
                    if end > range.1 || !(expected..missing.1).contains(&header.seqno) {
                        break;
                    }
                    let key_at = header.head_bytes();
                    let head = key_at + header.key_bytes;
                    let bytes = log.window.up_to(record_at, head)?;
                    let key = full_key(header.keyspace, &bytes[key_at..]);
                    self.damages.put_at_risk(found, &key, header.seqno);
                    expected = header.seqno.next();
                    record_at = end;
                    next = end.next_multiple_of(FRAME_ALIGN);
                }
            }
            at = next;
        }
        Ok(())
    }

    fn into_report(self) -> VerifyReport {
        let Self {
            mut report,
            mut damages,
            newest,
            tables,
        } = self;
        let erasures = tables.erasures;
        let is_newer =
            |key: &[u8], seqno| newest.get(key).is_some_and(|(newer, _)| *newer >= seqno);
        damages.retain_keys(|key, seqno| !is_newer(key, seqno) && !erasures.covers(key, seqno));
        let live = newest.iter();
        let live =
            live.filter(|(key, (seqno, is_value))| *is_value && !erasures.covers(key, *seqno));
        report.live_keys += live.count() as u64;
        report.with(damages)
    }
}

/// What a frame begins with. FORMAT.md, "Frame".
const FRAME_MAGIC: &[u8] = b"KVRF";

/// A walk's start at a header that verifies, whatever stood before it.
fn goes_on(offset: u64, header: &FrameHeader) -> (Boundary, Option<(u64, u64)>) {
    let start = Boundary {
        offset,
        chain: header.chain,
        next_seqno: header.first_seqno,
    };
    (start, Some((header.mark, header.attempt)))
}

/// Whether a segment says that a merge copied values into it: without a manifest nothing says which of them count.
fn holds_values(files: &SegmentFiles, id: SegmentId) -> Result<bool> {
    let mut bytes = SegmentHeader::buffer();
    let path = files.path(id);
    let found = exact::read_up_to(&*files.file(id)?, &mut bytes, 0)
        .map_err(|source| fault::io("read", &path, source))?;
    let header = SegmentHeader::decode(&bytes[..found]);
    Ok(header.is_ok_and(|(header, _)| header.kind == SegmentKind::Values))
}

/// Where the log goes on that runs do not cover.
fn behind(covered: &Checkpoint) -> Boundary {
    Boundary {
        offset: covered.offset,
        chain: covered.chain,
        next_seqno: covered.seqno.next(),
    }
}

fn accept(newest: &mut BTreeMap<Box<[u8]>, (Seqno, bool)>, record: Record<'_>) {
    let found = (record.seqno, record.kind == RecordKind::Put);
    let key = full_key(record.keyspace, record.key);
    match newest.get_mut(&*key) {
        Some(known) => *known = found.max(*known),
        None => drop(newest.insert(key.into(), found)),
    }
}
