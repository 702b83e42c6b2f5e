//! OPEN 3: files that the manifest does not name. Debris, corruption, or somebody else's; nothing is deleted here.

use super::RecoveryReport;
use crate::fault;
use crate::format::ids::SegmentId;
use crate::format::manifest::Manifest;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentHeader, parse_file_name};
use crate::log::files::SegmentFiles;
use crate::log::scan;
use crate::log::window::Window;
use crate::log::writer::GROW_BYTES_MIN;
use crate::storage::{DirEntry, FileKind, StorageFile, exact};
use crate::store::layout::{LOCK, MANIFEST, MANIFEST_NEW, QUARANTINE};
use kv_trait::Result;
use std::path::Path;

/// Sorts the names that the manifest does not explain into the report's `debris` and `foreign`.
///
/// # Errors
/// `Corrupt`: a segment newer than the manifest holds frames, so the manifest is older than the data.
pub(super) fn unnamed_files(
    files: &SegmentFiles,
    manifest: &Manifest,
    names: &[DirEntry],
    report: &mut RecoveryReport,
) -> Result<()> {
    for entry in names {
        let name = entry.name.as_str();
        if matches!(name, LOCK | MANIFEST)
            || (name == QUARANTINE && entry.kind == FileKind::Directory)
        {
            continue;
        }
        let segment = parse_file_name(name).filter(|_| entry.kind == FileKind::File);
        match segment {
            Some(id) if manifest.segments.iter().any(|known| known.id == id) => {}
            Some(id) => judge_segment(files, manifest, id, report)?,
            None if name == MANIFEST_NEW && entry.kind == FileKind::File => {
                report.debris.push(name.to_owned());
            }
            None => report.foreign.push(name.to_owned()),
        }
    }
    Ok(())
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
        Start::Header(header) if header.store_id != manifest.store_id => report.foreign.push(name),
        Start::Header(header)
            if id >= manifest.next_segment_id && holds_frame(&*file, &path, &header)? =>
        {
            let what = format!(
                "it holds frames, and the manifest knows no segment from {} on: the manifest is older than the data",
                manifest.next_segment_id
            );
            return Err(fault::corrupt(&path, what));
        }
        Start::Header(_) | Start::Unwritten => report.debris.push(name),
        Start::Garbled | Start::Unknown => report.foreign.push(name),
    }
    Ok(())
}

/// What a file with a segment's name begins with.
enum Start {
    Header(SegmentHeader),
    /// A creation of ours that was cut short, and nothing else.
    Unwritten,
    /// No more than such a creation could leave, but what stands in the header's place may be anybody's.
    Garbled,
    /// More than that.
    Unknown,
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
        return Ok(Start::Unknown);
    }
    let mut room =
        vec![0; usize::try_from(length.saturating_sub(header_bytes)).unwrap_or_default()];
    let read = exact::read_up_to(file, &mut room, header_bytes)
        .map_err(|source| fault::io("read", path, source))?;
    Ok(if room[..read].iter().any(|byte| *byte != 0) {
        Start::Unknown
    } else if bytes.iter().all(|byte| *byte == 0) || bytes.starts_with(SEGMENT_MAGIC) {
        Start::Unwritten
    } else {
        Start::Garbled
    })
}

/// Whether any header that verifies under the segment's own salt stands in the file.
fn holds_frame(file: &dyn StorageFile, path: &Path, header: &SegmentHeader) -> Result<bool> {
    let length = file
        .len()
        .map_err(|source| fault::io("look at", path, source))?;
    let mut window = Window::new(file, path, length);
    let start = SEGMENT_HEADER_BYTES;
    let tail = scan::search(&mut window, &header.salt, start, start)?;
    Ok(tail.headers > 0)
}

/// What the segments in a directory without a manifest are.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// What a creation left behind: the next one deletes it.
    pub(crate) debris: Vec<SegmentId>,
    /// What may be somebody's: left alone, its name is taken.
    pub(crate) kept: Vec<SegmentId>,
}

/// Judges a directory without a manifest.
///
/// # Errors
/// `Corrupt`: a segment holds frames, or so much else that it is no unfinished creation: a manifest is missing. `Io`,
/// `UnsupportedFormat`.
pub(crate) fn unfinished(files: &SegmentFiles, names: &[DirEntry]) -> Result<Unfinished> {
    let mut found = Unfinished::default();
    let segments = names.iter().filter(|entry| entry.kind == FileKind::File);
    for id in segments.filter_map(|entry| parse_file_name(&entry.name)) {
        let path = files.path(id);
        let file = files.file(id)?;
        match read_start(&*file, &path)? {
            Start::Header(header) if holds_frame(&*file, &path, &header)? => {
                let what = format!("the manifest is missing, and segment {id} holds frames");
                return Err(fault::corrupt(&files.directory().join(MANIFEST), what));
            }
            Start::Header(_) | Start::Unwritten => found.debris.push(id),
            Start::Garbled => found.kept.push(id),
            Start::Unknown => {
                let what = format!(
                    "there is none, and {} holds data and has no header that verifies: a damaged store, or none",
                    crate::format::segment::file_name(id)
                );
                return Err(fault::corrupt(&files.directory().join(MANIFEST), what));
            }
        }
    }
    Ok(found)
}
