//! OPEN 3: files that the manifest does not name. Debris, corruption, or somebody else's; nothing is deleted here.

use super::RecoveryReport;
use crate::fault;
use crate::format::manifest::Manifest;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, parse_file_name};
use crate::ids::SegmentId;
use crate::layout::{LOCK, MANIFEST, MANIFEST_NEW, QUARANTINE};
use crate::segment::files::SegmentFiles;
use crate::segment::scan;
use crate::segment::window::Window;
use crate::storage::{DirEntry, FileKind, StorageFile, exact};
use kv_trait::Result;

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
    let header = read_header(&*file, &path)?;
    match header {
        Some(header) if header.store_id != manifest.store_id => report.foreign.push(name),
        Some(header) if id >= manifest.next_segment_id && holds_frame(&*file, &path, &header)? => {
            let what = format!(
                "it holds frames, and the manifest knows no segment from {} on: the manifest is older than the data",
                manifest.next_segment_id
            );
            return Err(fault::corrupt(&path, what));
        }
        _ => report.debris.push(name),
    }
    Ok(())
}

/// The header of a segment's file; `None` if it was never wholly written.
///
/// # Errors
/// `Io`, and `UnsupportedFormat` for a later version's header.
pub(super) fn read_header(
    file: &dyn StorageFile,
    path: &std::path::Path,
) -> Result<Option<SegmentHeader>> {
    let mut bytes = SegmentHeader::buffer();
    let found =
        exact::read_up_to(file, &mut bytes, 0).map_err(|source| fault::io("read", path, source))?;
    match SegmentHeader::decode(&bytes[..found]) {
        Ok((header, _)) => Ok(Some(header)),
        Err(defect @ crate::format::Defect::Unsupported { .. }) => {
            Err(fault::defect(path, 0, defect))
        }
        Err(_) => Ok(None),
    }
}

/// Whether any header that verifies under the segment's own salt stands in the file.
pub(super) fn holds_frame(
    file: &dyn StorageFile,
    path: &std::path::Path,
    header: &SegmentHeader,
) -> Result<bool> {
    let length = file
        .len()
        .map_err(|source| fault::io("look at", path, source))?;
    let mut window = Window::new(file, path, length);
    let start = SEGMENT_HEADER_BYTES;
    let tail = scan::search(&mut window, &header.salt, start, start)?;
    Ok(tail.headers > 0)
}

/// The first segment of an unfinished creation that holds a frame: then a manifest is missing.
///
/// # Errors
/// `Io`, `UnsupportedFormat`.
pub(crate) fn segment_with_frames(
    files: &SegmentFiles,
    names: &[DirEntry],
) -> Result<Option<SegmentId>> {
    for id in names
        .iter()
        .filter_map(|entry| parse_file_name(&entry.name))
    {
        let path = files.path(id);
        let file = files.file(id)?;
        if let Some(header) = read_header(&*file, &path)?
            && holds_frame(&*file, &path, &header)?
        {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
