//! From files to the state that every acknowledged write is in. Reads only, changes nothing.
//!
//! What runs cover is listed, not read: the log is replayed from where the manifest says that they end.
//!
//! What verifies is accepted in order. What does not is either the never-acknowledged end of the active segment (a
//! torn tail) or corruption; the proofs in the log and in the manifest tell which. [`repair`] then changes the disk,
//! in steps that can each be repeated.

pub(crate) mod repair;
mod report;
pub(crate) mod settle;
#[cfg(test)]
mod settle_tests;
pub(crate) mod survey;
#[cfg(test)]
mod survey_tests;

pub use report::{RecoveryReport, TornTail};

use crate::fault;
use crate::format::Defect;
use crate::format::frame::{CLEAN_MARK_FRAME_BYTES, FOOTER_FRAME_BYTES};
use crate::format::ids::{EditNumber, Location, SegmentId, Seqno};
use crate::format::manifest::{Checkpoint, Manifest, SegmentEntry, SegmentState};
use crate::format::record::{Record, RecordKind};
use crate::format::run::{split_key, write_full_key};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use crate::format::tables::Tables;
use crate::index::memtable::{Change, Filler, Value};
use crate::index::{Gather, Memtable};
use crate::log::files::{Segment, SegmentFiles};
use crate::log::scan::{self, Boundary, Contents, Stop, Walk};
use crate::storage::window::Window;
use crate::storage::{StorageFile, exact};
use crate::store::{layout, manifest};
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What the files of a store say.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) manifest: Manifest,
    /// What was written behind the last checkpoint.
    pub(crate) memtable: Memtable,
    /// Keyspaces and erasures as of the last record.
    pub(crate) tables: Tables,
    /// Bytes of frames that were replayed.
    pub(crate) replayed_bytes: u64,
    pub(crate) segments: BTreeMap<SegmentId, Arc<Segment>>,
    pub(crate) active: RecoveredActive,
    pub(crate) report: RecoveryReport,
    /// The store was closed, and both copies of its manifest end where that close left them: nothing has to be written
    /// before it is served.
    pub(crate) clean: bool,
    /// Above the id of every file that was found, whosever it is, up to a bound.
    pub(crate) next_id: SegmentId,
}

/// What the active segment's file says.
#[derive(Debug)]
pub(crate) struct RecoveredActive {
    pub(crate) segment: Arc<Segment>,
    pub(crate) base_seqno: Seqno,
    pub(crate) end: Boundary,
    pub(crate) contents: Contents,
    /// END stands behind a footer.
    pub(crate) sealed: bool,
    /// `[proof, end)` may be in the page cache only.
    pub(crate) proof: u64,
    /// Of the file.
    pub(crate) length: u64,
    /// The last frame is the mark of a close, which names this edit of the manifest.
    pub(crate) closed_at: Option<EditNumber>,
}

/// Reads the store in `files.directory()`; `names` are the directory's.
///
/// # Errors
/// `Corrupt` and `UnsupportedFormat`: file, offset, cause. `Io`: the store may be good, the disk did not answer.
pub(crate) fn recover(
    files: &Arc<SegmentFiles>,
    names: &[crate::storage::DirEntry],
    separation_bytes: usize,
) -> Result<Recovered> {
    let read = manifest::read(files.storage(), files.directory())?;
    let manifest = read.manifest;
    // Before anything is called debris, and before the log is read.
    survey::all_named_are_there(files, &manifest, names)?;
    let mut report = RecoveryReport {
        segments: manifest.segments.len() as u64,
        damaged_manifest_copy: read.damaged_copy,
        ..RecoveryReport::default()
    };
    let mut replay = Replay::new(separation_bytes, manifest.tables.clone());
    let mut segments = BTreeMap::new();
    let mut active = None;
    // The seqno that the next segment has to begin with.
    let mut next_seqno = manifest.checkpoint.map(|covered| covered.seqno.next());
    for entry in &manifest.segments {
        let segment = if entry.is_log() {
            Segment::new(entry.id, entry.salt, Arc::clone(files))
        } else {
            Segment::of_values(entry.id, entry.salt, Arc::clone(files), entry.end)
        };
        segments.insert(entry.id, Arc::clone(&segment));
        if entry.state != SegmentState::Active {
            segment.set_sealed_bytes(entry.end);
        }
        if !entry.is_log() || manifest.is_covered(entry) {
            continue;
        }
        let file = files
            .file(entry.id)
            .map_err(|error| missing(&segment, error))?;
        let header_end = check_header(&*file, &segment, &manifest, entry)?;
        let start = Start::of(&manifest, entry, header_end, next_seqno, &segment)?;
        next_seqno = Some(if entry.state == SegmentState::Active {
            let replayed = replay_active(&*file, &segment, entry, start, &mut replay, &mut report)?;
            active.insert(replayed).end.next_seqno
        } else {
            replay_sealed(&*file, &segment, entry, start, &mut replay)?
        });
    }
    survey::unnamed_files(files, &manifest, names, &mut report)?;
    let active = active.expect("a manifest is checked to name one active segment");
    if active.end.next_seqno < manifest.next_seqno {
        let what = format!(
            "it ends before seqno {}, which the manifest has seen used",
            manifest.next_seqno
        );
        return Err(fault::corrupt(&active.segment.path(), what));
    }
    replay.apply_gathered();
    report.frames = replay.frames;
    report.records = replay.records;
    report.live_keys = replay.live_keys();
    let closed_at = active.closed_at;
    let closed =
        closed_at == Some(manifest.edit) || closed_at.is_some() && planted!(CleanMarkBelieved);
    let clean = closed && read.both && report.torn_tail.is_none();
    if closed && !read.both && report.damaged_manifest_copy.is_none() {
        let what = format!(
            "MANIFEST or MANIFEST.2: one ends before edit {}, with which the store was closed",
            manifest.edit
        );
        report.damaged_manifest_copy = Some(what);
    }
    if !clean {
        report.rewritten_bytes = active.end.offset - active.proof.min(active.end.offset);
    }
    Ok(Recovered {
        manifest,
        memtable: replay.memtable,
        tables: replay.tables,
        replayed_bytes: replay.bytes,
        segments,
        active,
        report,
        clean,
        next_id: layout::next_id(names),
    })
}

/// Where the replay of a segment begins, and what of it stands before that.
#[derive(Clone, Copy, Debug)]
struct Start {
    at: Boundary,
    base_seqno: Seqno,
    before: Contents,
}

impl Start {
    /// Behind the checkpoint, if that is in this segment; else behind its header. `next_seqno`: what has to come next.
    ///
    /// # Errors
    /// `Corrupt`: between this segment and what comes before it records are missing.
    fn of(
        manifest: &Manifest,
        entry: &SegmentEntry,
        header_end: Boundary,
        next_seqno: Option<Seqno>,
        segment: &Segment,
    ) -> Result<Self> {
        let covered = manifest.checkpoint.as_ref();
        let here = covered.filter(|covered| covered.segment == entry.id);
        if let Some(covered) = here.filter(|_| !planted!(CoveredReplayed)) {
            return Ok(Self {
                at: Boundary {
                    offset: covered.offset,
                    chain: covered.chain,
                    next_seqno: covered.seqno.next(),
                },
                base_seqno: entry.base_seqno,
                before: contents_before(covered),
            });
        }
        let is_planted = [planted!(SwappedOrder), planted!(CoveredReplayed)].contains(&true);
        if next_seqno.is_some_and(|next| next != entry.base_seqno) && !is_planted {
            let what = format!(
                "it begins with seqno {}, where {} has to come next",
                entry.base_seqno,
                next_seqno.unwrap_or_default()
            );
            return Err(fault::corrupt(&segment.path(), what));
        }
        Ok(Self {
            at: header_end,
            base_seqno: entry.base_seqno,
            before: Contents::default(),
        })
    }
}

/// What of the checkpoint's segment runs have.
fn contents_before(covered: &Checkpoint) -> Contents {
    Contents {
        frames: covered.frames,
        records: covered.records,
        seqnos: covered.min_seqno.map(|lowest| (lowest, covered.seqno)),
    }
}

/// What replay has gathered. Records are read in the order of their seqnos, so the one that is read last wins.
#[derive(Debug)]
struct Replay {
    memtable: Memtable,
    tables: Tables,
    /// The first record that makes no sense behind those before it: its offset, and why.
    senseless: Option<(u64, Defect)>,
    /// Records that were read and are not in the memtable yet.
    gathered: Gather<Gathered>,
    separation_bytes: usize,
    /// The full key of the record that is visited.
    full_key: Vec<u8>,
    bytes: u64,
    frames: u64,
    records: u64,
}

/// A record without its key, and without a value that stays where it is.
#[derive(Clone, Copy, Debug)]
struct Gathered {
    kind: RecordKind,
    seqno: Seqno,
    expiry_ms: Option<u64>,
    location: Location,
    /// Of the value; if it is not gathered, only its length counts.
    value_bytes: usize,
}

impl Replay {
    fn new(separation_bytes: usize, tables: Tables) -> Self {
        Self {
            memtable: Memtable::new(separation_bytes),
            tables,
            senseless: None,
            gathered: Gather::default(),
            separation_bytes,
            full_key: Vec::new(),
            bytes: 0,
            frames: 0,
            records: 0,
        }
    }

    fn visit(&mut self, segment: SegmentId, offset: u64, record: Record<'_>, record_bytes: u32) {
        self.records += 1;
        if record.kind == RecordKind::Erase && planted!(ErasureNotReplayed) {
            return;
        }
        if !record.kind.is_of_key() {
            // What the memtable holds says by its seqno whether it is older.
            if let Err(defect) = self.tables.apply(&record, record.seqno)
                && self.senseless.is_none()
            {
                self.senseless = Some((offset, defect));
            }
            return;
        }
        let gathered = Gathered {
            kind: record.kind,
            seqno: record.seqno,
            expiry_ms: record.expiry_ms,
            location: Location {
                segment,
                offset,
                record_bytes,
            },
            value_bytes: record.value.len(),
        };
        let inline = record.value.len() < self.separation_bytes;
        let value = if inline { record.value } else { &[] };
        write_full_key(&mut self.full_key, record.keyspace, record.key);
        if self.gathered.push(&self.full_key, value, gathered) {
            self.apply_gathered();
        }
    }

    /// Keys that hold a value in the memtable.
    fn live_keys(&self) -> u64 {
        let erasures = &self.tables.erasures;
        if erasures.is_empty() {
            return self.memtable.live() as u64;
        }
        let mut entries = self.memtable.all();
        let mut live = 0;
        while let Some(entry) = entries.next_entry() {
            let version = &entry.version;
            let counts = !version.is_tombstone() && !erasures.covers(&entry.key, version.seqno);
            live += u64::from(counts);
        }
        live
    }

    fn apply_gathered(&mut self) {
        let mut filler = Filler::new(&mut self.memtable);
        self.gathered.give_out(|full_key, value, record| {
            if record.kind == RecordKind::Tombstone && planted!(ResurrectedDelete) {
                return;
            }
            let (keyspace, key) = split_key(full_key).expect("it was made of both");
            let change = Change {
                keyspace,
                key,
                seqno: record.seqno,
                location: record.location,
                expiry_ms: record.expiry_ms,
                value: (record.kind == RecordKind::Put).then_some(Value {
                    bytes: value,
                    len: record.value_bytes,
                }),
            };
            if planted!(SwappedOrder) && filler.has(&change) {
                return;
            }
            filler.apply(&change, |_, _| ());
        });
    }

    /// # Errors
    /// `Corrupt`: a record of this segment makes no sense.
    fn count(&mut self, contents: &Contents, bytes: u64, segment: &Segment) -> Result<()> {
        if let Some((offset, defect)) = self.senseless.take() {
            return Err(fault::defect(&segment.path(), offset, defect));
        }
        self.frames += contents.frames;
        self.bytes += bytes;
        Ok(())
    }
}

fn missing(segment: &Segment, error: Error) -> Error {
    use std::error::Error as _;
    let not_found = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| source.kind() == std::io::ErrorKind::NotFound);
    if not_found {
        fault::corrupt(
            &segment.path(),
            "the manifest names this segment, and its file is missing",
        )
        .with_source(error)
    } else {
        error
    }
}

/// The segment's file is the one that the manifest means, and not shorter than it was known to be.
fn check_header(
    file: &dyn StorageFile,
    segment: &Segment,
    manifest: &Manifest,
    entry: &SegmentEntry,
) -> Result<Boundary> {
    let path = segment.path();
    let mut bytes = SegmentHeader::buffer();
    let found = exact::read_up_to(file, &mut bytes, 0)
        .map_err(|source| fault::io("read", &path, source))?;
    let (header, chain) =
        SegmentHeader::decode(&bytes[..found]).map_err(|defect| fault::defect(&path, 0, defect))?;
    if header.store_id != manifest.store_id {
        let what = format!("it belongs to another store, {}", header.store_id);
        return Err(fault::corrupt(&path, what));
    }
    if header.incarnation != manifest.incarnation {
        let what = format!(
            "it belongs to another incarnation of this store, {}",
            header.incarnation
        );
        return Err(fault::corrupt(&path, what));
    }
    let is_log = header.kind == SegmentKind::Log;
    if !is_log
        || header.id != entry.id
        || header.salt != entry.salt
        || header.base_seqno != entry.base_seqno
    {
        let what = format!(
            "it is not the segment that the manifest means, but segment {}",
            header.id
        );
        return Err(fault::corrupt(&path, what));
    }
    if header.edit >= manifest.edit {
        let what = format!(
            "it was made after edit {}, and the manifest ends with edit {}: the manifest is older than the data",
            header.edit, manifest.edit
        );
        return Err(fault::corrupt(&path, what));
    }
    let length = file
        .len()
        .map_err(|source| fault::io("look at", &path, source))?;
    if length < entry.end {
        let what = format!(
            "truncated: {length} bytes, where {} were known to be durable",
            entry.end
        );
        return Err(fault::corrupt(&path, what));
    }
    Ok(Boundary {
        offset: SEGMENT_HEADER_BYTES,
        chain,
        next_seqno: header.base_seqno,
    })
}

/// Returns the seqno that has to come next.
fn replay_sealed(
    file: &dyn StorageFile,
    segment: &Segment,
    entry: &SegmentEntry,
    start: Start,
    replay: &mut Replay,
) -> Result<Seqno> {
    let path = segment.path();
    let mut window = Window::new(file, &path, entry.end);
    let walk = scan::walk(
        &mut window,
        &segment.salt,
        start.at,
        |_| Ok(()),
        |offset, record, bytes| replay.visit(segment.id, offset, record, bytes),
    )?;
    replay.count(&walk.contents, walk.end.offset - start.at.offset, segment)?;
    sealed_as_recorded(&walk, start.before, entry)
        .map_err(|defect| fault::defect(&path, walk.end.offset, defect))?;
    Ok(walk.end.next_seqno)
}

fn sealed_as_recorded(walk: &Walk, before: Contents, entry: &SegmentEntry) -> Result<(), Defect> {
    let footer = match &walk.stop {
        Stop::Footer(footer) => footer,
        Stop::Unacceptable { defect, .. } => return Err(defect.clone()),
        Stop::End => {
            return Err(Defect::Field {
                what: "footer, which is missing;",
                found: walk.end.offset,
            });
        }
    };
    if walk.end.offset != entry.end || walk.end.chain != entry.chain {
        let (expected, found) = (entry.chain, walk.end.chain);
        return Err(Defect::Check {
            what: "sealed segment's chain",
            expected,
            found,
        });
    }
    let contents = before.and(walk.contents);
    let (min_seqno, max_seqno) = contents.seqno_range(walk.end.next_seqno);
    let counted = (min_seqno, max_seqno, contents.frames, contents.records);
    if counted
        != (
            footer.min_seqno,
            footer.max_seqno,
            footer.frames,
            footer.records,
        )
        || (min_seqno, max_seqno) != (entry.min_seqno, entry.max_seqno)
    {
        return Err(Defect::Field {
            what: "footer's count of records",
            found: footer.records,
        });
    }
    Ok(())
}

fn replay_active(
    file: &dyn StorageFile,
    segment: &Arc<Segment>,
    entry: &SegmentEntry,
    start: Start,
    replay: &mut Replay,
    report: &mut RecoveryReport,
) -> Result<RecoveredActive> {
    let path = segment.path();
    let length = file
        .len()
        .map_err(|source| fault::io("look at", &path, source))?;
    // What the checkpoint covers is known to be durable, as what is before the floor is.
    let floor = entry.end.max(start.at.offset);
    if length < floor {
        let what = format!("truncated: {length} bytes, where {floor} were known to be durable");
        return Err(fault::corrupt(&path, what));
    }
    let mut window = Window::new(file, &path, length);
    let mut floor_met = entry.end < start.at.offset;
    let walk = scan::walk(
        &mut window,
        &segment.salt,
        start.at,
        |boundary| {
            if boundary.offset == entry.end {
                floor_met = true;
                if boundary.chain != entry.chain {
                    let (expected, found) = (entry.chain, boundary.chain);
                    let what = "chain at the manifest's floor";
                    let defect = Defect::Check {
                        what,
                        expected,
                        found,
                    };
                    return Err(fault::defect(&path, boundary.offset, defect));
                }
            }
            Ok(())
        },
        |offset, record, bytes| replay.visit(segment.id, offset, record, bytes),
    )?;
    replay.count(&walk.contents, walk.end.offset - start.at.offset, segment)?;
    let end = walk.end.offset;
    if end >= entry.end && !floor_met {
        let what = format!(
            "no frame ends at offset {}, the manifest's floor",
            entry.end
        );
        return Err(fault::corrupt(&path, what));
    }
    let (resume, cause) = match &walk.stop {
        Stop::Unacceptable { defect, resume } => (*resume, Some(defect.clone())),
        Stop::Footer(_) | Stop::End => (end, None),
    };
    let tail = scan::search(&mut window, &segment.salt, end, resume)?;
    let proof = floor.max(walk.last_mark).max(tail.proof);
    if end < proof && !planted!(ProofIgnored) {
        return Err(acknowledged_bytes_lost(&path, end, proof, cause));
    }
    let sealed = matches!(walk.stop, Stop::Footer(_));
    if tail.nonzero_end.is_none() && !sealed && length < end + FOOTER_FRAME_BYTES {
        // Room for a footer was made before the first byte of every group, so something behind END is gone: a length
        // that was not durable yet, or a file that somebody cut. No proof tells which.
        report.torn_tail = Some(TornTail {
            segment: segment.id,
            path: path.clone(),
            offset: end,
            bytes: 0,
            cause: format!("ends at offset {length}, where room was kept"),
            quarantine: None,
            quarantined_bytes: 0,
            head: Vec::new(),
        });
    }
    if let Some(nonzero_end) = tail.nonzero_end {
        let kept = CLEAN_MARK_FRAME_BYTES.min(nonzero_end - end);
        let head = window.up_to(end, usize::try_from(kept).unwrap_or_default())?;
        report.torn_tail = Some(TornTail {
            segment: segment.id,
            path: path.clone(),
            offset: end,
            bytes: nonzero_end - end,
            cause: cause.map_or_else(
                || "bytes behind a footer".to_owned(),
                |cause| cause.to_string(),
            ),
            quarantine: None,
            quarantined_bytes: 0,
            head: head.to_vec(),
        });
    }
    Ok(RecoveredActive {
        segment: Arc::clone(segment),
        base_seqno: start.base_seqno,
        end: walk.end,
        contents: start.before.and(walk.contents),
        sealed,
        proof,
        length,
        closed_at: walk.clean,
    })
}

fn acknowledged_bytes_lost(path: &Path, end: u64, proof: u64, cause: Option<Defect>) -> Error {
    let message = format!(
        "{} is corrupt at offset {end}: the bytes up to offset {proof} were durable once",
        path.display()
    );
    let error = Error::new(ErrorKind::Corrupt, message);
    match cause {
        Some(cause) => error.with_source(cause),
        None => error,
    }
}
