//! Files that the manifest does not name: *debris*, which is ours, refers to nothing and goes; *foreign*, which is or may
//! be somebody's and stays; or corruption. FORMAT.md, "Directory". Nothing is deleted here.

use super::RecoveryReport;
use crate::fault;
use crate::format::Salt;
use crate::format::ids::SegmentId;
use crate::format::manifest::Manifest;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentHeader, parse_file_name};
use crate::log::files::SegmentFiles;
use crate::log::scan::{self, Tail};
use crate::log::writer::GROW_BYTES_MIN;
use crate::storage::window::Window;
use crate::storage::{DirEntry, FileKind, StorageFile, exact};
use crate::store::layout::{COPIES, COPIES_NEW, LOCK, MANIFEST, QUARANTINE};
use kv_trait::Result;
use std::path::Path;

/// Where the salt stands in a segment's header. FORMAT.md, "Segment".
const SALT_AT: usize = 48;

/// Sorts the names that the manifest does not explain into the report's `debris` and `foreign`. The caller has found every
/// file that the manifest names.
///
/// # Errors
/// `Corrupt`: a file shows that the manifest is older than the data.
pub(crate) fn unnamed_files(
    files: &SegmentFiles,
    manifest: &Manifest,
    names: &[DirEntry],
    report: &mut RecoveryReport,
) -> Result<()> {
    for entry in names {
        let name = entry.name.as_str();
        if name == LOCK
            || COPIES.contains(&name)
            || (name == QUARANTINE && entry.kind == FileKind::Directory)
        {
            continue;
        }
        let segment = parse_file_name(name).filter(|_| entry.kind == FileKind::File);
        match segment {
            Some(id) if names_segment(manifest, id) => {}
            Some(id) => judge_segment(files, manifest, id, report)?,
            None if COPIES_NEW.contains(&name) && entry.kind == FileKind::File => {
                report.debris.push(name.to_owned());
            }
            None => report.foreign.push(name.to_owned()),
        }
    }
    Ok(())
}

fn names_segment(manifest: &Manifest, id: SegmentId) -> bool {
    let found = manifest.segments.binary_search_by_key(&id, |s| s.id);
    found.is_ok()
}

fn judge_segment(
    files: &SegmentFiles,
    manifest: &Manifest,
    id: SegmentId,
    report: &mut RecoveryReport,
) -> Result<()> {
    let path = files.path(id);
    let name = crate::format::segment::file_name(id);
    let file = files.file(id)?;
    match read_start(&*file, &path)? {
        Start::Header(header)
            if header.store_id != manifest.store_id
                || header.incarnation != manifest.incarnation =>
        {
            report.foreign.push(name);
        }
        Start::Header(header) => {
            if let Some(why) = newer_than(manifest, id, &header, || {
                Ok(behind_header(&*file, &path, &header.salt)?.headers > 0)
            })? {
                let what = format!("{why}: the manifest is older than the data");
                return Err(fault::corrupt(&path, what));
            }
            report.debris.push(name);
        }
        Start::Unwritten => report.debris.push(name),
        Start::Foreign => report.foreign.push(name),
    }
    Ok(())
}

/// Why a file of this store that the manifest does not name shows that the manifest is not the newest one. An edit raises
/// the bound of ids before a file gets its first byte, and names a segment before it gets its first frame.
fn newer_than(
    manifest: &Manifest,
    id: SegmentId,
    header: &SegmentHeader,
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
    } else if header.edit == last && holds_frame()? {
        Some("it holds frames, and the manifest does not name it".to_owned())
    } else {
        None
    })
}

/// What a file with a segment's name begins with.
enum Start {
    Header(SegmentHeader),
    /// A creation of ours that was cut short, and nothing else: debris.
    Unwritten,
    /// What stands in the header's place, or behind it, may be anybody's.
    Foreign,
}

/// Reads a segment's header, or judges what stands there instead. Only what can hold nothing of anybody's is
/// [`Start::Unwritten`]: such a file is deleted.
///
/// # Errors
/// `Io`, and `UnsupportedFormat` for a later version's header.
fn read_start(file: &dyn StorageFile, path: &Path) -> Result<Start> {
    let mut bytes = SegmentHeader::buffer();
    let found =
        exact::read_up_to(file, &mut bytes, 0).map_err(|source| fault::io("read", path, source))?;
    let bytes = &bytes[..found];
    match SegmentHeader::decode(bytes) {
        Ok((header, _)) => return Ok(Start::Header(header)),
        Err(defect @ crate::format::Defect::Unsupported { .. }) => {
            return Err(fault::defect(path, 0, defect));
        }
        Err(_) => {}
    }
    let length = file
        .len()
        .map_err(|source| fault::io("look at", path, source))?;
    let header_bytes = SEGMENT_HEADER_BYTES;
    if length > header_bytes + GROW_BYTES_MIN {
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

/// What the segments in a directory without a manifest are.
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
/// A frame that verifies proves the second: it was written behind a manifest. Nothing else proves anything: a power cut in
/// the very first creation may leave whatever the file system shows in blocks that were never written. Such a file cannot
/// be told from somebody's, so it keeps its name and its bytes, and the new store goes around it.
///
/// # Errors
/// `Corrupt`: a segment holds a frame, so a manifest is missing. `Io`, `UnsupportedFormat`.
pub(crate) fn unfinished(files: &SegmentFiles, names: &[DirEntry]) -> Result<Unfinished> {
    let mut found = Unfinished::default();
    for entry in names {
        let Some(id) = parse_file_name(&entry.name) else {
            continue;
        };
        if entry.kind != FileKind::File {
            found.foreign.push(id);
            continue;
        }
        let path = files.path(id);
        let file = files.file(id)?;
        let (debris, salt) = match read_start(&*file, &path)? {
            Start::Header(header) => (true, Some(header.salt)),
            Start::Unwritten => (true, None),
            Start::Foreign => (false, unproven_salt(&*file, &path)?),
        };
        let behind = salt.map(|salt| behind_header(&*file, &path, &salt));
        let behind = behind.transpose()?.unwrap_or_default();
        if behind.headers > 0 {
            let what = format!("the manifest is missing, and segment {id} holds frames");
            return Err(fault::corrupt(&files.directory().join(MANIFEST), what));
        }
        if debris && behind.nonzero_end.is_none() {
            found.debris.push(id);
        } else {
            found.foreign.push(id);
        }
    }
    Ok(found)
}
