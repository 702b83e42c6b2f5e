//! The active segment: making room, writing frames, undoing a write, syncing, sealing.
//!
//! One writer at a time, the leader. Nothing here decides what a failure means for the callers; each step says
//! which one failed, and `commit` draws the conclusion from the step, never from the errno.

use super::files::{Segment, SegmentFiles};
use super::scan::{Boundary, Contents};
use crate::fault;
use crate::format::frame::{
    FOOTER_FRAME_BYTES, Footer, MARK_FRAME_BYTES, Place, footer_frame, mark_frame,
};
use crate::format::ids::{SegmentId, Seqno};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::{Salt, StoreId};
use crate::storage::{OpenMode, Storage, StorageFile, exact};
use kv_trait::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The smallest and the largest step by which space is zero-filled ahead.
pub(crate) const GROW_BYTES_MIN: u64 = 4 * 1024;
pub(crate) const GROW_BYTES_MAX: u64 = 1024 * 1024;

/// Room that is kept behind every group: for the mark of a clean close and for the footer.
pub(crate) const RESERVED_BYTES: u64 = MARK_FRAME_BYTES + FOOTER_FRAME_BYTES;

/// The active segment's end, and the way to move it.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segment: Arc<Segment>,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    base_seqno: Seqno,
    segment_bytes: u64,
    /// END with its chain and next seqno: they move together, in [`SegmentWriter::advance`] and nowhere else.
    end: Boundary,
    contents: Contents,
    /// `[end, zeroed)` was zero-filled by this open.
    zeroed: u64,
    /// The file's length when it was opened; 0 where it was made.
    found_length: u64,
    /// An earlier process may have changed the length in vain: a sync that fails leaves a length that reads well, is not
    /// durable, and that no later sync covers. The first grow changes it again.
    length_in_doubt: bool,
    /// END stands behind a footer: no frame may follow.
    sealed: bool,
    /// Where an idle mark was written since END moved last.
    idle_mark: Option<u64>,
}

impl SegmentWriter {
    /// Goes on where recovery ended.
    pub(crate) fn resume(
        segment: Arc<Segment>,
        file: Arc<dyn StorageFile>,
        base_seqno: Seqno,
        segment_bytes: u64,
        end: Boundary,
        contents: Contents,
        sealed: bool,
    ) -> Self {
        Self {
            path: segment.path(),
            segment,
            file,
            base_seqno,
            segment_bytes,
            end,
            contents,
            zeroed: end.offset,
            found_length: 0,
            length_in_doubt: true,
            sealed,
            idle_mark: None,
        }
    }

    /// The same, knowing how long the file is.
    pub(crate) const fn with_length(mut self, length: u64) -> Self {
        self.found_length = length;
        self
    }

    /// Makes a segment's file: header, first zero-fill, sync, directory sync. On an error the file is removed, never
    /// synced again, and the id may be tried once more with a fresh salt.
    ///
    /// # Errors
    /// What the file system says; nothing refers to the file yet, so nothing happened.
    pub(crate) fn create(
        files: &Arc<SegmentFiles>,
        store_id: StoreId,
        id: SegmentId,
        salt: Salt,
        next_seqno: Seqno,
        segment_bytes: u64,
    ) -> Result<Self> {
        let path = files.path(id);
        let storage = files.storage();
        let file = storage
            .open(&path, OpenMode::CreateNew)
            .map_err(|source| fault::io("create", &path, source))?;
        let header = SegmentHeader {
            store_id,
            salt,
            id,
            base_seqno: next_seqno,
        };
        let (bytes, chain) = header.encode();
        let zeroed = SEGMENT_HEADER_BYTES + GROW_BYTES_MIN.min(segment_bytes);
        if let Err(error) =
            Self::fill_new(storage, files.directory(), &path, &*file, &bytes, zeroed)
        {
            return Err(match storage.remove_file(&path) {
                Ok(()) => error,
                // The next try takes another id where this name is in the way, so the first cause is the one to tell.
                Err(_left_as_debris) => error,
            });
        }
        files.keep(id, Arc::clone(&file));
        let end = Boundary {
            offset: SEGMENT_HEADER_BYTES,
            chain,
            next_seqno,
        };
        let segment = Segment::new(id, salt, Arc::clone(files));
        let contents = Contents::default();
        let mut writer = Self::resume(
            segment,
            file,
            next_seqno,
            segment_bytes,
            end,
            contents,
            false,
        );
        writer.zeroed = zeroed;
        writer.length_in_doubt = false;
        Ok(writer)
    }

    fn fill_new(
        storage: &dyn Storage,
        directory: &Path,
        path: &Path,
        file: &dyn StorageFile,
        header: &[u8],
        zeroed: u64,
    ) -> Result<()> {
        exact::write_all(file, header, 0)
            .and_then(|()| exact::write_zeros(file, header.len() as u64, zeroed))
            .map_err(|source| fault::io("write", path, source))?;
        file.sync()
            .map_err(|source| fault::io("sync", path, source))?;
        if planted!(NoDirectorySync) {
            return Ok(());
        }
        storage
            .sync_dir(directory)
            .map_err(|source| fault::io("sync", directory, source))
    }

    pub(crate) const fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn base_seqno(&self) -> Seqno {
        self.base_seqno
    }

    pub(crate) const fn end(&self) -> Boundary {
        self.end
    }

    pub(crate) const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Whether the file reaches as far behind END as every group sees to: less is reported by the next open.
    pub(crate) fn has_room_behind_end(&self) -> bool {
        self.sealed || self.end.offset + FOOTER_FRAME_BYTES <= self.zeroed.max(self.found_length)
    }

    pub(crate) const fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Bytes that the next group may have here, given its first batch; `None`: not even that one fits. A segment without
    /// a frame takes one of any size.
    pub(crate) fn room_for(&self, first_bytes: u64) -> Option<u64> {
        let left = self
            .segment_bytes
            .saturating_sub(self.end.offset + RESERVED_BYTES);
        let empty = self.end.offset == SEGMENT_HEADER_BYTES;
        let fits = !self.sealed && (first_bytes <= left || empty);
        fits.then_some(left.max(first_bytes))
    }

    /// GROUP 3: zero-fills ahead, so that `group_bytes`, a mark and the footer have room. Not synced: the group's own
    /// sync covers it.
    ///
    /// # Errors
    /// What the write says; no byte of a frame was handed over, so nothing happened.
    pub(crate) fn grow(&mut self, group_bytes: u64) -> Result<()> {
        let needed = self.end.offset + group_bytes + RESERVED_BYTES;
        if needed <= self.zeroed {
            return Ok(());
        }
        let used = self.end.offset - SEGMENT_HEADER_BYTES;
        let step = used.clamp(GROW_BYTES_MIN, GROW_BYTES_MAX);
        let target = needed.max((self.zeroed + step).min(self.segment_bytes));
        exact::write_zeros(&*self.file, self.zeroed, target)
            .map_err(|source| fault::io_at("grow", &self.path, self.zeroed, source))?;
        if self.length_in_doubt {
            exact::change_length(&*self.file)
                .map_err(|source| fault::io_at("grow", &self.path, target, source))?;
            self.length_in_doubt = false;
        }
        self.zeroed = target;
        Ok(())
    }

    /// GROUP 4, first half: writes frames at `offset`, at or behind END. The caller has grown the segment.
    ///
    /// # Errors
    /// What the write says; some of the bytes may have been handed over.
    pub(crate) fn write(&mut self, frames: &[u8], offset: u64) -> Result<()> {
        debug_assert!(!self.sealed && offset >= self.end.offset);
        self.idle_mark = None;
        exact::write_all(&*self.file, frames, offset)
            .map_err(|source| fault::io_at("write", &self.path, offset, source))
    }

    /// GROUP 4, second half: takes back what was handed over in `[END, to)`.
    ///
    /// # Errors
    /// What the write or the sync says: then nobody knows what the range holds.
    pub(crate) fn undo(&mut self, to: u64) -> Result<()> {
        if planted!(UndoSkipped) {
            return Ok(());
        }
        exact::write_zeros(&*self.file, self.end.offset, to)
            .map_err(|source| fault::io_at("undo", &self.path, self.end.offset, source))?;
        self.sync()
    }

    /// GROUP 5. A failure is final: the caller poisons the store and nobody syncs this file again.
    ///
    /// # Errors
    /// What the sync says.
    pub(crate) fn sync(&self) -> Result<()> {
        if planted!(NoSync) {
            return Ok(());
        }
        if planted!(SyncRetried) && self.file.sync().is_ok() {
            return Ok(());
        }
        self.file
            .sync()
            .map_err(|source| fault::io("sync", &self.path, source))
    }

    /// GROUP 6, first part: END, chain and next seqno move together.
    pub(crate) fn advance(&mut self, end: Boundary, added: impl IntoIterator<Item = (Seqno, u64)>) {
        self.end = end;
        self.idle_mark = None;
        for (first, records) in added {
            self.contents.add(first, records);
        }
    }

    /// The place of a frame at END.
    pub(crate) fn place_at_end(&self, attempt: u64) -> Place {
        Place {
            salt: self.segment.salt,
            offset: self.end.offset,
            mark: self.end.offset,
            attempt: if planted!(NoAttempt) { 1 } else { attempt },
            chain: self.end.chain,
            first_seqno: self.end.next_seqno,
        }
    }

    /// Writes an idle mark at END, without sync and without moving END: the next group is written over it. It proves
    /// END to a recovery that finds it. Errors are forgotten: it promises nothing.
    pub(crate) fn write_idle_mark(&mut self, attempt: u64) {
        let here = self.end.offset;
        if self.sealed || self.idle_mark == Some(here) || here + MARK_FRAME_BYTES > self.zeroed {
            return;
        }
        let (mark, _) = mark_frame(&self.place_at_end(attempt));
        if exact::write_all(&*self.file, &mark, here).is_ok() {
            self.idle_mark = Some(here);
        }
    }

    /// CLOSE 3: a mark at END, synced; END moves behind it.
    ///
    /// # Errors
    /// `Step::Room`: there is no room for it, nothing was written. `Step::Log`: what the write or the sync says.
    pub(crate) fn close_mark(&mut self, attempt: u64) -> Result<(), CloseMarkError> {
        self.grow(MARK_FRAME_BYTES)
            .map_err(|_no_room| CloseMarkError::Room)?;
        let (mark, chain) = mark_frame(&self.place_at_end(attempt));
        self.write(&mark, self.end.offset)
            .and_then(|()| self.sync())
            .map_err(CloseMarkError::Log)?;
        let end = Boundary {
            offset: self.end.offset + MARK_FRAME_BYTES,
            chain,
            ..self.end
        };
        self.advance(end, []);
        Ok(())
    }

    /// ROTATE 2: the footer at END, everything behind it cut, synced. Afterwards the file is never written again.
    ///
    /// # Errors
    /// What the write, the cut or the sync says: the store must be poisoned.
    pub(crate) fn seal(&mut self, attempt: u64) -> Result<()> {
        let (min_seqno, max_seqno) = self.contents.seqno_range(self.end.next_seqno);
        let footer = Footer {
            min_seqno,
            max_seqno,
            frames: self.contents.frames,
            records: self.contents.records,
        };
        let (bytes, chain) = footer_frame(&self.place_at_end(attempt), &footer);
        let offset = self.end.offset;
        self.write(&bytes, offset)?;
        let length = offset + bytes.len() as u64;
        self.file
            .set_len(length)
            .map_err(|source| fault::io_at("truncate", &self.path, length, source))?;
        self.sync()?;
        self.advance(
            Boundary {
                offset: length,
                chain,
                ..self.end
            },
            [],
        );
        self.sealed = true;
        self.segment.set_sealed_bytes(length);
        Ok(())
    }
}

/// Which part of writing the mark of a clean close failed.
#[derive(Debug)]
pub(crate) enum CloseMarkError {
    /// There was no room: nothing was written.
    Room,
    /// The write or the sync failed: the store must be poisoned.
    Log(kv_trait::Error),
}
