//! What an open owes the disk before it serves, or, after a clean end, before its first change. Each step can
//! be repeated by the next open if this one is cut short.
//!
//! Two halves. [`Settlement::secure`] makes what is read durable, and what is not there stay away: without it nothing may
//! be served. It writes only into bytes that the log has already. [`Settlement::finish`] needs room: it keeps a torn tail,
//! begins a new generation of the manifest, removes debris. What it cannot do for want of room, of descriptors, or of a
//! permission, it does before the first write, which is refused while that fails. Room that is missing is taken from the
//! reserve.

use super::{Recovered, TornTail};
use crate::fault;
use crate::format::frame::{CLEAN_MARK_FRAME_BYTES, FRAME_HEADER_BYTES};
use crate::format::manifest::{Edit, Manifest, SegmentEntry};
use crate::log::files::SegmentFiles;
use crate::log::scan::Boundary;
use crate::storage::{OpenMode, Storage, StorageFile, exact};
use crate::store::catalog::{Catalog, EditError};
use crate::store::layout::{self, QUARANTINE};
use crate::store::quotas::{Held, SPARED_TAIL_BYTES_MAX};
use crate::store::reserve::{Quota, Reserve};
use kv_trait::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Torn tails that are kept; the oldest go first.
pub(crate) const QUARANTINE_FILES_MAX: usize = 16;
/// Bytes of one torn tail that are kept.
pub(crate) const QUARANTINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const PIECE_BYTES: u64 = 64 * 1024;
/// The same where room is short.
const SMALL_PIECE_BYTES: usize = 4 * 1024;

type Settled<T = ()> = std::result::Result<T, EditError>;

/// What is left to be done before the store may be changed.
#[derive(Debug)]
pub(crate) struct Settlement {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    /// As the manifest has it.
    active: SegmentEntry,
    end: Boundary,
    /// `[proof, end)` may be in the page cache only.
    proof: u64,
    /// Of the file.
    length: u64,
    sealed: bool,
    torn: Option<TornTail>,
    /// The torn tail's first header, once zeros stand in its place and before the tail is kept.
    torn_header: Vec<u8>,
    /// What this open wants the manifest to say besides.
    changes: Edit,
    debris: Vec<String>,
    reserve: Arc<Reserve>,
    /// What the next checkpoint writes, and what a unit does: the reserve is to have room for both.
    memtable_bytes: u64,
    unit_bytes: u64,
    named: bool,
    secured: bool,
}

impl Settlement {
    /// What the store that was recovered needs. `changes` goes into the next generation of its manifest.
    ///
    /// # Errors
    /// `Io`: the active segment cannot be opened for writing.
    pub(crate) fn new(
        files: &SegmentFiles,
        reserve: &Arc<Reserve>,
        recovered: &Recovered,
        changes: Edit,
        unit_bytes: u64,
    ) -> Result<Self> {
        let active = &recovered.active;
        let path = active.segment.path();
        let file = files
            .storage()
            .open(&path, OpenMode::ReadWrite)
            .map_err(|source| fault::io("open", &path, source))?;
        files.keep(active.segment.id, Arc::clone(&file));
        let entry = recovered.manifest.active().copied();
        let settlement = Self {
            path,
            file,
            active: entry.expect("a manifest is checked to name one active segment"),
            end: active.end,
            proof: active.proof,
            length: active.length,
            sealed: active.sealed,
            torn: recovered.report.torn_tail.clone(),
            torn_header: Vec::new(),
            changes,
            debris: recovered.report.debris.clone(),
            reserve: Arc::clone(reserve),
            memtable_bytes: recovered.replayed_bytes,
            unit_bytes,
            named: false,
            secured: false,
        };
        settlement.want_reserve(&recovered.manifest);
        Ok(settlement)
    }

    /// Says how large the reserve is to be. Memory only.
    fn want_reserve(&self, manifest: &Manifest) {
        let end = self.end.offset;
        let held = self.reserve.held_by(manifest, end, self.unit_bytes);
        self.reserve.want_for(&Held {
            memtable_bytes: self.memtable_bytes,
            ..held
        });
    }

    /// The active segment's file, for writing.
    pub(crate) const fn file(&self) -> &Arc<dyn StorageFile> {
        &self.file
    }

    /// The torn tail, with the place where it is kept.
    pub(crate) const fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Makes the names of the store durable. Returns the parent if it may not be read.
    ///
    /// # Errors
    /// `Io`: a sync failed.
    pub(crate) fn sync_names(&mut self, files: &SegmentFiles) -> Result<Option<PathBuf>> {
        let unsynced = layout::sync_names(files.storage(), files.directory(), true)?;
        self.named = true;
        Ok(unsynced)
    }

    /// Makes durable what is read, and keeps away what is not. `keep` says whether a torn tail may be kept in a file of its
    /// own, where there is room for one.
    ///
    /// # Errors
    /// Nothing may be served.
    pub(crate) fn secure(&mut self, files: &SegmentFiles, keep: bool) -> Settled {
        if self.secured {
            return Ok(());
        }
        if !self.named {
            self.sync_names(files).map_err(EditError::InDoubt)?;
        }
        self.with_room(|| self.rewrite_unproven())?;
        if keep {
            match self.keep_torn_tail(files) {
                // Left where it is, until there is room.
                Ok(()) | Err(EditError::Nothing(_)) => {}
                failed => return failed,
            }
        }
        self.clear_behind_end()?;
        self.secured = true;
        Ok(())
    }

    /// Everything else that has to be done before the first change.
    ///
    /// # Errors
    /// Why not: *nothing* may be tried again.
    pub(crate) fn finish(&mut self, files: &SegmentFiles, catalog: &Catalog) -> Settled {
        self.secure(files, true)?;
        if self.tail_is_left() {
            self.keep_torn_tail(files)?;
            self.clear_behind_end()?;
        }
        if planted!(UnlinkedInDoubt) {
            self.remove_debris(files);
        }
        let mut edit = self.changes.clone();
        edit.segment(&SegmentEntry {
            end: self.end.offset,
            chain: self.end.chain,
            ..self.active
        });
        edit.counters(self.end.next_seqno, catalog.raised_file_id());
        self.with_room(|| catalog.begin(&edit))?;
        self.remove_debris(files);
        let manifest = catalog.read(Manifest::clone);
        self.reserve.look_at_files(&manifest);
        self.want_reserve(&manifest);
        // Early, so that the first put need not. What cannot be had now is asked for again by the next put.
        drop(self.reserve.refill());
        Ok(())
    }

    /// A step that finds no room is done once more at the cost of the quota that is kept for it.
    fn with_room<T>(&self, step: impl FnMut() -> Settled<T>) -> Settled<T> {
        self.reserve
            .spending(Quota::Close, EditError::is_full, step)
    }

    /// Debris that stays is in nobody's way: its id is never handed out, and the next open finds it again.
    fn remove_debris(&self, files: &SegmentFiles) {
        for name in &self.debris {
            drop(remove_if_there(
                files.storage(),
                &files.directory().join(name),
            ));
        }
    }

    /// A failed sync leaves pages that read well, are not durable, and that no later sync covers. So every accepted
    /// byte that nothing proves is written again, the same bytes in the same place, and synced.
    fn rewrite_unproven(&self) -> Settled {
        let (file, path, end) = (&*self.file, &self.path, self.end.offset);
        if self.proof >= end {
            return Ok(());
        }
        copy(file, self.proof, end, |piece, offset| {
            if planted!(RewriteSkipped) {
                return Ok(());
            }
            self.overwrite("rewrite", piece, offset)
        })
        .map_err(|error| match error {
            CopyError::Read(offset, source) => {
                EditError::Nothing(fault::io_at("read", path, offset, source))
            }
            CopyError::Write(error) => error,
        })?;
        // The bytes are of no use behind an end of file that a power cut takes back.
        exact::change_length(file)
            .map_err(|source| EditError::Nothing(fault::io_at("rewrite", path, end, source)))?;
        self.sync()
    }

    fn sync(&self) -> Settled {
        let synced = self.file.sync();
        synced.map_err(|source| EditError::InDoubt(fault::io("sync", &self.path, source)))
    }

    /// Writes bytes that the file has already. A file system that copies on write needs room for that, and has what it
    /// copied free again at a sync: so it goes on in small pieces where there is little.
    fn overwrite(&self, what: &str, bytes: &[u8], offset: u64) -> Settled {
        let write = |bytes: &[u8], offset| {
            exact::write_all(&*self.file, bytes, offset).map_err(|source| {
                EditError::Nothing(fault::io_at(what, &self.path, offset, source))
            })
        };
        match write(bytes, offset) {
            Err(full) if full.is_full() => {}
            written => return written,
        }
        let mut at = offset;
        for piece in bytes.chunks(SMALL_PIECE_BYTES) {
            match write(piece, at) {
                Err(full) if full.is_full() => {
                    self.sync()?;
                    write(piece, at)?;
                }
                written => written?,
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Whether a torn tail that must be kept before it is cut still stands where it was found.
    fn tail_is_left(&self) -> bool {
        self.torn
            .as_ref()
            .is_some_and(|torn| torn.bytes > CLEAN_MARK_FRAME_BYTES && torn.quarantine.is_none())
            && !planted!(TailNotCut)
    }

    /// What will be cut is kept first.
    fn keep_torn_tail(&mut self, files: &SegmentFiles) -> Settled {
        if !self.tail_is_left() {
            return Ok(());
        }
        let Some(torn) = self.torn.clone() else {
            return Ok(());
        };
        let salt = self.active.salt.short();
        let name = format!("{}-{salt}-{:012}.tail", torn.segment, torn.offset);
        let keep = || self.quarantine(files, &name, &torn);
        // A long one would take what the manifest needs after it.
        let kept = if torn.bytes <= SPARED_TAIL_BYTES_MAX {
            self.with_room(keep)
        } else {
            keep()
        };
        let kept = kept.map_err(|error| cannot_quarantine(error, torn.bytes))?;
        self.torn = Some(TornTail {
            quarantine: Some(kept),
            quarantined_bytes: torn.bytes.min(QUARANTINE_BYTES_MAX),
            ..torn
        });
        Ok(())
    }

    /// Zeros over the torn tail, and over the place of the next frame's header even where the cache
    /// shows zeros.
    ///
    /// "Nothing stands behind END" may be true of the page cache only: a write that was undone, and whose undoing was never
    /// synced because the process died or the sync failed, may be on the device, and a power cut would bring it back after
    /// readers saw it absent. Without the header at END none of it can be accepted again: the frames behind chain to it.
    /// Where the file has no room for a header there is none: a file is cut behind a footer, behind the room for one, or to
    /// the length that it had before a group which never wrote its first header.
    ///
    /// Only bytes that the file has already, so blocks that it holds stay held, and a full disk is no reason to refuse. Of a
    /// tail that could not be kept, the header alone goes, and is remembered.
    fn clear_behind_end(&mut self) -> Settled {
        let start = self.end.offset;
        let header_end = start + FRAME_HEADER_BYTES as u64;
        let has_header = !self.sealed && header_end <= self.length && !planted!(ZerosTrusted);
        let left = self.tail_is_left();
        let torn = self.torn.as_ref();
        let torn = torn.filter(|torn| torn.bytes > 0 && !left);
        let end = torn
            .map_or(start, |torn| torn.offset + torn.bytes)
            .max(if has_header { header_end } else { start });
        if end == start || (torn.is_some() && planted!(TailNotCut)) {
            return Ok(());
        }
        if left && self.torn_header.is_empty() {
            let mut header = vec![0; FRAME_HEADER_BYTES];
            exact::read_exact(&*self.file, &mut header, start).map_err(|source| {
                EditError::Nothing(fault::io_at("read", &self.path, start, source))
            })?;
            self.torn_header = header;
        }
        self.with_room(|| self.clear(start, end))?;
        self.sync()
    }

    /// Writes zeros over `[start, end)`, from the front on.
    fn clear(&self, start: u64, end: u64) -> Settled {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let mut at = start;
        while at < end {
            let count = usize::try_from((end - at).min(PIECE_BYTES)).unwrap_or_default();
            self.overwrite("clear what is behind the end of", &ZEROS[..count], at)?;
            at += count as u64;
        }
        Ok(())
    }

    /// Keeps the torn bytes under a name that the next open would choose too.
    fn quarantine(&self, files: &SegmentFiles, name: &str, torn: &TornTail) -> Settled<PathBuf> {
        let storage = files.storage();
        let directory = files.directory().join(QUARANTINE);
        match storage.create_dir(&directory) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(EditError::Nothing(fault::io("create", &directory, source)));
            }
            _ => {}
        }
        let sync_dir = |path: &Path| {
            let synced = storage.sync_dir(path);
            synced.map_err(|source| EditError::InDoubt(fault::io("sync", path, source)))
        };
        sync_dir(files.directory())?;
        let kept = directory.join(name);
        let new = directory.join(format!("{name}.new"));
        self.copy_tail(storage, &new, torn).map_err(|error| {
            // What there is of it would take room from whoever comes next; where it stays, the next try removes it.
            drop(storage.remove_file(&new));
            EditError::Nothing(error)
        })?;
        storage
            .rename(&new, &kept)
            .map_err(|source| EditError::Nothing(fault::io("rename", &new, source)))?;
        sync_dir(&directory)?;
        prune(storage, &directory)?;
        Ok(kept)
    }

    /// Always into a fresh file: one whose sync failed before must not be trusted again.
    fn copy_tail(&self, storage: &dyn Storage, new: &Path, torn: &TornTail) -> Result<()> {
        remove_if_there(storage, new)?;
        let target = storage
            .open(new, OpenMode::CreateNew)
            .map_err(|source| fault::io("create", new, source))?;
        let end = torn.offset + torn.bytes.min(QUARANTINE_BYTES_MAX);
        let write = |piece: &[u8], at| {
            exact::write_all(&*target, piece, at)
                .map_err(|source| fault::io_at("write", new, at, source))
        };
        copy(&*self.file, torn.offset, end, |piece, at| {
            write(piece, at - torn.offset)
        })
        .map_err(|error| match error {
            CopyError::Read(offset, source) => fault::io_at("read", &self.path, offset, source),
            CopyError::Write(error) => error,
        })?;
        // What stood there before this open zeroed it.
        write(&self.torn_header, 0)?;
        target
            .sync()
            .map_err(|source| fault::io("sync", new, source))
    }
}

enum CopyError<E> {
    Read(u64, io::Error),
    Write(E),
}

/// Hands `[start, end)` of a file to `write`, piece by piece.
fn copy<E>(
    file: &dyn StorageFile,
    start: u64,
    end: u64,
    mut write: impl FnMut(&[u8], u64) -> std::result::Result<(), E>,
) -> std::result::Result<(), CopyError<E>> {
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

/// Names begin with the segment and end with the offset, so the last ones are the newest. What an open that was cut short
/// has begun to keep is of no use: the bytes are still in the segment, or were kept under another name.
fn prune(storage: &dyn Storage, directory: &Path) -> Settled {
    let names = storage
        .list(directory)
        .map_err(|source| EditError::Nothing(fault::io("list", directory, source)))?;
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
        remove_if_there(storage, &directory.join(&entry.name)).map_err(EditError::Nothing)?;
    }
    if useless.is_empty() {
        return Ok(());
    }
    storage
        .sync_dir(directory)
        .map_err(|source| EditError::InDoubt(fault::io("sync", directory, source)))
}

fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<()> {
    match storage.remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(fault::io("remove", path, source))
        }
        _ => Ok(()),
    }
}

fn cannot_quarantine(error: EditError, bytes: u64) -> EditError {
    let explain = |error: Error| {
        let message = format!("cannot keep a torn tail: {bytes} bytes are needed");
        Error::new(error.kind(), message).with_source(error)
    };
    match error {
        EditError::Nothing(error) => EditError::Nothing(explain(error)),
        EditError::InDoubt(error) => EditError::InDoubt(explain(error)),
    }
}
