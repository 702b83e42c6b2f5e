//! Files that the manifest does not name: *debris*, which is ours, refers to nothing and goes; *foreign*, which is or may
//! be somebody's and stays; or corruption. FORMAT.md, "Directory". Nothing is deleted here.

use super::RecoveryReport;
use crate::fault;
use crate::format::ids::{EditNumber, SegmentId};
use crate::format::manifest::Manifest;
use crate::format::run::header::RunHeader;
use crate::format::run::{KEYS_END, name_range};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentHeader, SegmentKind};
use crate::format::{Defect, Salt, StoreId};
use crate::log::files::SegmentFiles;
use crate::log::scan::{self, Tail};
use crate::log::writer::GROW_BYTES_MIN;
use crate::storage::window::Window;
use crate::storage::{DirEntry, FileKind, OpenMode, StorageFile, exact};
use crate::store::layout::{COPIES, COPIES_NEW, DataFile, LOCK, MANIFEST, QUARANTINE, RESERVES};
use kv_trait::Result;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the salt stands in a segment's header. FORMAT.md, "Segment".
const SALT_AT: usize = 48;

/// Every file that the manifest names is there. Files are listed at an open, and those that runs cover are not opened.
///
/// A missing one may be the only sign of a manifest that is older than the data: then what looks like debris is what took
/// its place. So nothing is served, and nothing removed.
///
/// # Errors
/// `Corrupt`: the first that is missing, and of a run the keys that it has.
pub(crate) fn all_named_are_there(
    files: &SegmentFiles,
    manifest: &Manifest,
    names: &[DirEntry],
) -> Result<()> {
    let missing = missing_files(manifest, names);
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let more = match missing.len() - 1 {
        0 => String::new(),
        more => format!("; {more} more are missing"),
    };
    Err(is_missing(files, manifest, *first, &more))
}

/// The files that are named and not there.
pub(crate) fn missing_files(manifest: &Manifest, names: &[DirEntry]) -> Vec<DataFile> {
    let there = names.iter().map(|entry| DataFile::parse(&entry.name));
    let there: BTreeSet<DataFile> = there.flatten().collect();
    named_files(manifest).difference(&there).copied().collect()
}

/// What is lost with a file.
pub(crate) fn is_missing(
    files: &SegmentFiles,
    manifest: &Manifest,
    file: DataFile,
    more: &str,
) -> kv_trait::Error {
    let what = match file {
        DataFile::Segment(_) => "this segment, and its file is missing".to_owned(),
        DataFile::Run(id) => {
            let run = manifest.runs.iter().find(|run| run.id == id);
            let keys = run.map_or_else(String::new, |run| {
                let to = run.to.as_deref().unwrap_or(&KEYS_END);
                format!(": it has the keys {}", name_range(&run.from, to))
            });
            format!("this run, and its file is missing{keys}")
        }
    };
    let path = files.directory().join(file.name());
    fault::corrupt(&path, format!("the manifest names {what}{more}"))
}

/// Sorts the names that the manifest does not explain into the report's `debris` and `foreign`. The caller has found
/// [`all_named_are_there`]: else nothing may be called debris.
///
/// # Errors
/// `Corrupt`: a file shows that the manifest is older than the data.
pub(crate) fn unnamed_files(
    files: &SegmentFiles,
    manifest: &Manifest,
    names: &[DirEntry],
    report: &mut RecoveryReport,
) -> Result<()> {
    let named = named_files(manifest);
    for entry in names {
        let name = entry.name.as_str();
        if name == LOCK
            || COPIES.contains(&name)
            || (name == QUARANTINE && entry.kind == FileKind::Directory)
            || (RESERVES.contains(&name) && entry.kind == FileKind::File)
        {
            continue;
        }
        let data = DataFile::parse(name).filter(|_| entry.kind == FileKind::File);
        match data {
            Some(data) if named.contains(&data) => {}
            Some(data) => match judge(files, manifest, data)? {
                Verdict::Debris => report.debris.push(name.to_owned()),
                Verdict::Foreign => report.foreign.push(name.to_owned()),
            },
            None if COPIES_NEW.contains(&name) && entry.kind == FileKind::File => {
                report.debris.push(name.to_owned());
            }
            None => report.foreign.push(name.to_owned()),
        }
    }
    Ok(())
}

fn named_files(manifest: &Manifest) -> BTreeSet<DataFile> {
    let segments = manifest.segments.iter();
    let segments = segments.map(|segment| DataFile::Segment(segment.id));
    let runs = manifest.runs.iter().map(|run| DataFile::Run(run.id));
    segments.chain(runs).collect()
}

/// What is done with a file that nothing names.
enum Verdict {
    Debris,
    Foreign,
}

fn judge(files: &SegmentFiles, manifest: &Manifest, data: DataFile) -> Result<Verdict> {
    let (file, path) = open(files, data)?;
    let header = match read_start(&*file, &path, data)? {
        Start::Header(header) => header,
        Start::Unwritten => return Ok(Verdict::Debris),
        Start::Foreign => return Ok(Verdict::Foreign),
    };
    if header.store_id != manifest.store_id || header.incarnation != manifest.incarnation {
        return Ok(Verdict::Foreign);
    }
    if let Some(why) = newer_than(manifest, data.id(), &header, || {
        Ok(behind_header(&*file, &path, &header.salt)?.headers > 0)
    })? {
        let what = format!("{why}: the manifest is older than the data");
        return Err(fault::corrupt(&path, what));
    }
    Ok(Verdict::Debris)
}

/// Opens a file that nothing names. It is not kept: its name may go.
fn open(files: &SegmentFiles, data: DataFile) -> Result<(Arc<dyn StorageFile>, PathBuf)> {
    let path = files.directory().join(data.name());
    let file = files
        .storage()
        .open(&path, OpenMode::Read)
        .map_err(|source| fault::io("open", &path, source))?;
    Ok((file, path))
}

/// Why a file of this store that the manifest does not name shows that the manifest is not the newest one. An edit raises
/// the bound of ids before a file gets its first byte, and names a segment of the log before it gets its first frame. Runs
/// and segments of values are written first and named then: whole ones that nothing names prove nothing.
fn newer_than(
    manifest: &Manifest,
    id: SegmentId,
    header: &Header,
    holds_frame: impl FnOnce() -> Result<bool>,
) -> Result<Option<String>> {
    let last = manifest.edit;
    Ok(if id >= manifest.next_file_id {
        let bound = manifest.next_file_id;
        Some(format!("the manifest knows no file from {bound} on"))
    } else if header.edit > last {
        let made = header.edit;
        Some(format!(
            "it was made after edit {made}, and the manifest ends with edit {last}"
        ))
    } else if header.holds_frames && header.edit == last && holds_frame()? {
        Some("it holds frames, and the manifest does not name it".to_owned())
    } else {
        None
    })
}

/// Whose a file is.
struct Header {
    store_id: StoreId,
    incarnation: StoreId,
    salt: Salt,
    edit: EditNumber,
    /// It is a part of the log.
    holds_frames: bool,
}

impl Header {
    fn decode(data: DataFile, bytes: &[u8]) -> std::result::Result<Self, Defect> {
        match data {
            DataFile::Segment(_) => SegmentHeader::decode(bytes).map(|(header, _)| Self {
                store_id: header.store_id,
                incarnation: header.incarnation,
                salt: header.salt,
                edit: header.edit,
                holds_frames: header.kind == SegmentKind::Log,
            }),
            DataFile::Run(_) => RunHeader::decode(bytes).map(|header| Self {
                store_id: header.store_id,
                incarnation: header.incarnation,
                salt: header.salt,
                edit: header.edit,
                holds_frames: false,
            }),
        }
    }
}

/// What a file with the name of one of ours begins with.
enum Start {
    Header(Header),
    /// A creation of ours that was cut short, and nothing else: debris.
    Unwritten,
    /// What stands in the header's place, or behind it, may be anybody's.
    Foreign,
}

/// Reads a file's header, or judges what stands there instead. Only what can hold nothing of anybody's is
/// [`Start::Unwritten`]: such a file is deleted.
///
/// # Errors
/// `Io`, and `UnsupportedFormat` for a later version's header.
fn read_start(file: &dyn StorageFile, path: &Path, data: DataFile) -> Result<Start> {
    let mut bytes = SegmentHeader::buffer();
    let found =
        exact::read_up_to(file, &mut bytes, 0).map_err(|source| fault::io("read", path, source))?;
    let bytes = &bytes[..found];
    match Header::decode(data, bytes) {
        Ok(header) => return Ok(Start::Header(header)),
        Err(defect @ Defect::Unsupported { .. }) => {
            return Err(fault::defect(path, 0, defect));
        }
        Err(_) => {}
    }
    // A segment is made with room for its first frames, a run with its header alone.
    let room_bytes = match data {
        DataFile::Segment(_) => GROW_BYTES_MIN,
        DataFile::Run(_) => 0,
    };
    let length = file
        .len()
        .map_err(|source| fault::io("look at", path, source))?;
    let header_bytes = SEGMENT_HEADER_BYTES;
    if length > header_bytes + room_bytes {
        return Ok(Start::Foreign);
    }
    let mut room =
        vec![0; usize::try_from(length.saturating_sub(header_bytes)).unwrap_or_default()];
    let read = exact::read_up_to(file, &mut room, header_bytes)
        .map_err(|source| fault::io("read", path, source))?;
    let nothing_behind = room[..read].iter().all(|byte| *byte == 0);
    let ours = bytes.iter().all(|byte| *byte == 0) || bytes.starts_with(SEGMENT_MAGIC);
    Ok(if nothing_behind && ours {
        Start::Unwritten
    } else {
        Start::Foreign
    })
}

/// What stands behind the place of a segment's header; frames are those that verify under `salt`.
fn behind_header(file: &dyn StorageFile, path: &Path, salt: &Salt) -> Result<Tail> {
    let length = file
        .len()
        .map_err(|source| fault::io("look at", path, source))?;
    let mut window = Window::new(file, path, length);
    let start = SEGMENT_HEADER_BYTES;
    scan::search(&mut window, salt, start, start)
}

/// The salt of a segment whose header does not verify, as it stands there: damage elsewhere in the header leaves it good.
pub(crate) fn unproven_salt(file: &dyn StorageFile, path: &Path) -> Result<Option<Salt>> {
    let mut bytes = SegmentHeader::buffer();
    let found =
        exact::read_up_to(file, &mut bytes, 0).map_err(|source| fault::io("read", path, source))?;
    let salt = bytes[..found].get(SALT_AT..SALT_AT + 16);
    Ok(salt.and_then(|salt| salt.try_into().ok()).map(Salt))
}

/// What the files in a directory without a manifest are.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// What a creation left behind: the next one deletes it.
    pub(crate) debris: Vec<SegmentId>,
    /// Names that are taken by what is or may be somebody's: left alone.
    pub(crate) foreign: Vec<SegmentId>,
}

/// Judges a directory without a manifest.
///
/// Nothing is acknowledged before the first manifest is durable, so without one either nothing ever was, or it was lost.
/// A frame that verifies proves the second, and so does the header of a run or of copied values: they were written behind a
/// manifest. Nothing else proves anything: a power cut in
/// the very first creation may leave whatever the file system shows in blocks that were never written. Such a file cannot
/// be told from somebody's, so it keeps its name and its bytes, and the new store goes around it.
///
/// # Errors
/// `Corrupt`: a file was written behind a manifest, which is missing. `Io`, `UnsupportedFormat`.
pub(crate) fn unfinished(files: &SegmentFiles, names: &[DirEntry]) -> Result<Unfinished> {
    let mut found = Unfinished::default();
    for entry in names {
        let Some(data) = DataFile::parse(&entry.name) else {
            continue;
        };
        let id = data.id();
        if entry.kind != FileKind::File {
            found.foreign.push(id);
            continue;
        }
        let (file, path) = open(files, data)?;
        let lost = |what: &str| {
            let what = format!("the manifest is missing, and {} holds {what}", data.name());
            Err(fault::corrupt(&files.directory().join(MANIFEST), what))
        };
        let (debris, salt) = match (read_start(&*file, &path, data)?, data) {
            (Start::Header(header), _) if !header.holds_frames => {
                return lost("what was written behind it");
            }
            // No creation leaves one.
            (_, DataFile::Run(_)) => (false, None),
            (Start::Header(header), _) => (true, Some(header.salt)),
            (Start::Unwritten, _) => (true, None),
            (Start::Foreign, _) => (false, unproven_salt(&*file, &path)?),
        };
        let behind = salt.map(|salt| behind_header(&*file, &path, &salt));
        let behind = behind.transpose()?.unwrap_or_default();
        if behind.headers > 0 {
            return lost("frames");
        }
        if debris && behind.nonzero_end.is_none() {
            found.debris.push(id);
        } else {
            found.foreign.push(id);
        }
    }
    Ok(found)
}
