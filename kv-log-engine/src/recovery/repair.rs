//! OPEN 7 to 10: what an open changes on disk. Each step can be repeated by the next open if this one is cut short.

use super::{Recovered, RecoveredActive};
use crate::fault;
use crate::format::frame::{FRAME_HEADER_BYTES, MARK_FRAME_BYTES};
use crate::format::manifest::SegmentState;
use crate::log::files::SegmentFiles;
use crate::storage::{OpenMode, Storage, StorageFile, exact};
use crate::store::layout::QUARANTINE;
use crate::store::manifest::{SwapError, swap};
use kv_trait::{Error, ErrorKind, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Torn tails that are kept; the oldest go first.
pub(crate) const QUARANTINE_FILES_MAX: usize = 16;
/// Bytes of one torn tail that are kept.
pub(crate) const QUARANTINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const PIECE_BYTES: u64 = 64 * 1024;

/// Makes what was recovered safe to serve, and returns the active segment's file for writing.
///
/// # Errors
/// `Io`, `StorageFull`: the open is refused; the next one does the same again.
pub(crate) fn repair(
    files: &SegmentFiles,
    recovered: &mut Recovered,
) -> Result<Arc<dyn StorageFile>> {
    let path = recovered.active.segment.path();
    let file = files
        .storage()
        .open(&path, OpenMode::ReadWrite)
        .map_err(|source| fault::io("open", &path, source))?;
    files.keep(recovered.active.segment.id, Arc::clone(&file));
    rewrite_unproven(&*file, &path, &recovered.active)?;
    keep_torn_tail(files, &*file, &path, recovered)?;
    clear_behind_end(&*file, &path, recovered)?;
    write_manifest_again(files, recovered)?;
    for name in &recovered.report.debris {
        remove_if_there(files.storage(), &files.directory().join(name))?;
    }
    Ok(file)
}

/// OPEN 7: a failed sync leaves pages that read well, are not durable, and that no later sync covers. So every accepted
/// byte that nothing proves is written again, the same bytes in the same place, and synced.
fn rewrite_unproven(file: &dyn StorageFile, path: &Path, active: &RecoveredActive) -> Result<()> {
    if active.proof >= active.end.offset {
        return Ok(());
    }
    copy(file, active.proof, active.end.offset, |piece, offset| {
        if planted!(RewriteSkipped) {
            return Ok(());
        }
        exact::write_all(file, piece, offset)
            .map_err(|source| fault::io_at("rewrite", path, offset, source))
    })
    .map_err(|error| match error {
        CopyError::Read(offset, source) => fault::io_at("read", path, offset, source),
        CopyError::Write(error) => error,
    })?;
    // The bytes are of no use behind an end of file that a power cut takes back.
    exact::change_length(file)
        .map_err(|source| fault::io_at("rewrite", path, active.end.offset, source))?;
    file.sync()
        .map_err(|source| fault::io("sync", path, source))
}

/// OPEN 8, first half: what will be cut is kept.
fn keep_torn_tail(
    files: &SegmentFiles,
    file: &dyn StorageFile,
    path: &Path,
    recovered: &mut Recovered,
) -> Result<()> {
    let salt = recovered.active.segment.salt.short();
    if let Some(torn) = &mut recovered.report.torn_tail
        && torn.bytes > MARK_FRAME_BYTES
        && !planted!(TailNotCut)
    {
        let name = format!("{}-{salt}-{:012}.tail", torn.segment, torn.offset);
        let kept = quarantine(files, file, path, &name, torn.offset, torn.bytes)
            .map_err(|error| cannot_quarantine(&error, torn.bytes))?;
        torn.quarantine = Some(kept);
        torn.quarantined_bytes = torn.bytes.min(QUARANTINE_BYTES_MAX);
    }
    Ok(())
}

/// OPEN 8, second half: zeros over the torn tail, and over the place of the next frame's header even where the cache shows
/// zeros.
///
/// "Nothing stands behind END" may be true of the page cache only: a write that was undone, and whose undoing was never
/// synced because the process died or the sync failed, may be on the device, and a power cut would bring it back after
/// readers saw it absent. Without the header at END none of it can be accepted again: the frames behind chain to it.
/// Where the file has no room for a header there is none, because a file is never cut but behind a footer.
///
/// Only bytes that the file has already, so blocks that it holds stay held, and a full disk is no reason to refuse.
fn clear_behind_end(file: &dyn StorageFile, path: &Path, recovered: &Recovered) -> Result<()> {
    let active = &recovered.active;
    let start = active.end.offset;
    let torn = recovered.report.torn_tail.as_ref();
    let torn = torn.filter(|torn| torn.bytes > 0);
    let header_end = start + FRAME_HEADER_BYTES as u64;
    let has_header = !active.sealed && header_end <= active.length && !planted!(ZerosTrusted);
    let end = torn
        .map_or(start, |torn| torn.offset + torn.bytes)
        .max(if has_header { header_end } else { start });
    if end == start || (torn.is_some() && planted!(TailNotCut)) {
        return Ok(());
    }
    exact::write_zeros(file, start, end)
        .map_err(|source| fault::io_at("clear what is behind the end of", path, start, source))?;
    file.sync()
        .map_err(|source| fault::io("sync", path, source))
}

/// A directory sync that failed leaves names that are there, are not durable, and that no later sync covers. So the one
/// name that decides what the store is, the manifest's, is one that this open wrote itself. The floor rises with it.
///
/// A full disk is no reason to refuse: the manifest that was read and the one before it lead to the same records, so there
/// is no harm in reading. But a write that only the newer one leads to would be lost with it: the first group has to write
/// the manifest again. Types that were adopted are no such case: what is written with them must never be read without.
fn write_manifest_again(files: &SegmentFiles, recovered: &mut Recovered) -> Result<()> {
    let mut manifest = recovered.manifest.clone();
    let end = recovered.active.end;
    manifest.next_seqno = end.next_seqno;
    if let Some(active) = manifest
        .segments
        .iter_mut()
        .find(|s| s.state == SegmentState::Active)
    {
        active.end = end.offset;
        active.chain = end.chain;
    }
    match swap(files.storage(), files.directory(), &manifest) {
        Ok(()) => {
            recovered.manifest = manifest;
            Ok(())
        }
        Err(SwapError::Before(error))
            if error.kind() == ErrorKind::StorageFull && !recovered.manifest_changed =>
        {
            recovered.manifest_in_doubt = true;
            Ok(())
        }
        Err(error) => Err(error.into_error()),
    }
}

enum CopyError {
    Read(u64, io::Error),
    Write(Error),
}

/// Hands `[start, end)` of a file to `write`, piece by piece.
fn copy(
    file: &dyn StorageFile,
    start: u64,
    end: u64,
    mut write: impl FnMut(&[u8], u64) -> Result<()>,
) -> std::result::Result<(), CopyError> {
    let mut at = start;
    while at < end {
        let count = usize::try_from((end - at).min(PIECE_BYTES)).unwrap_or_default();
        let mut piece = vec![0; count];
        exact::read_exact(file, &mut piece, at).map_err(|source| CopyError::Read(at, source))?;
        write(&piece, at).map_err(CopyError::Write)?;
        at += count as u64;
    }
    Ok(())
}

/// OPEN 8: keeps the torn bytes under a name that the next open would choose too.
fn quarantine(
    files: &SegmentFiles,
    file: &dyn StorageFile,
    path: &Path,
    name: &str,
    offset: u64,
    bytes: u64,
) -> Result<PathBuf> {
    let storage = files.storage();
    let directory = files.directory().join(QUARANTINE);
    match storage.create_dir(&directory) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(fault::io("create", &directory, source));
        }
        _ => {}
    }
    storage
        .sync_dir(files.directory())
        .map_err(|source| fault::io("sync", files.directory(), source))?;
    let kept = directory.join(name);
    let new = directory.join(format!("{name}.new"));
    remove_if_there(storage, &new)?;
    let target = storage
        .open(&new, OpenMode::CreateNew)
        .map_err(|source| fault::io("create", &new, source))?;
    let end = offset + bytes.min(QUARANTINE_BYTES_MAX);
    copy(file, offset, end, |piece, at| {
        exact::write_all(&*target, piece, at - offset)
            .map_err(|source| fault::io_at("write", &new, at - offset, source))
    })
    .map_err(|error| match error {
        CopyError::Read(offset, source) => fault::io_at("read", path, offset, source),
        CopyError::Write(error) => error,
    })?;
    target
        .sync()
        .map_err(|source| fault::io("sync", &new, source))?;
    storage
        .rename(&new, &kept)
        .map_err(|source| fault::io("rename", &new, source))?;
    storage
        .sync_dir(&directory)
        .map_err(|source| fault::io("sync", &directory, source))?;
    prune(storage, &directory)?;
    Ok(kept)
}

/// Names begin with the segment and end with the offset, so the last ones are the newest. What an open that was cut short
/// has begun to keep is of no use: the bytes are still in the segment, or were kept under another name.
fn prune(storage: &dyn Storage, directory: &Path) -> Result<()> {
    let names = storage
        .list(directory)
        .map_err(|source| fault::io("list", directory, source))?;
    let tails: Vec<_> = names
        .iter()
        .filter(|entry| entry.name.ends_with(".tail"))
        .collect();
    let surplus = tails.len().saturating_sub(QUARANTINE_FILES_MAX);
    let begun = names
        .iter()
        .filter(|entry| entry.name.ends_with(".tail.new"));
    let useless: Vec<_> = tails.into_iter().take(surplus).chain(begun).collect();
    for entry in &useless {
        remove_if_there(storage, &directory.join(&entry.name))?;
    }
    if useless.is_empty() {
        return Ok(());
    }
    storage
        .sync_dir(directory)
        .map_err(|source| fault::io("sync", directory, source))
}

fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<()> {
    match storage.remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(fault::io("remove", path, source))
        }
        _ => Ok(()),
    }
}

fn cannot_quarantine(error: &Error, bytes: u64) -> Error {
    let message =
        format!("cannot keep a torn tail: {bytes} bytes are needed before the store can be opened");
    Error::new(error.kind(), message).with_source(error.clone())
}
