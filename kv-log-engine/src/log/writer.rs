//! The active segment: making room, writing frames, undoing a write, syncing, sealing.
//!
//! One writer at a time, the leader. Nothing here decides what a failure means for the callers; each step says
//! which one failed, and `commit` draws the conclusion from the step, never from the errno.

use super::files::{Segment, SegmentFiles};
use super::scan::{Boundary, Contents};
use crate::fault;
use crate::format::frame::{
    CLEAN_MARK_FRAME_BYTES, FOOTER_FRAME_BYTES, FRAME_HEADER_BYTES, Footer, MARK_FRAME_BYTES,
    Place, clean_mark_frame, footer_frame, mark_frame,
};
use crate::format::ids::{EditNumber, Seqno};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::storage::exact::{self, is_full};
use crate::storage::{OpenMode, Storage, StorageFile};
use kv_trait::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The smallest and the largest step by which space is zero-filled ahead.
pub(crate) const GROW_BYTES_MIN: u64 = 4 * 1024;
pub(crate) const GROW_BYTES_MAX: u64 = 1024 * 1024;

/// Room that is kept behind every group: for the mark of a clean close and for the footer.
pub(crate) const RESERVED_BYTES: u64 = CLEAN_MARK_FRAME_BYTES + FOOTER_FRAME_BYTES;

/// What is read at a time where an undo finds out whether there is anything to undo.
const UNDO_PIECE_BYTES: u64 = 64 * 1024;

/// A group that needs more room than this beyond what is zero-filled makes it with its own frames: written once, not
/// twice.
pub(crate) const DIRECT_BYTES: u64 = 64 * 1024;

// The header of a group's first frame never leaves the room that is zero-filled.
const _: () = assert!(RESERVED_BYTES >= FRAME_HEADER_BYTES as u64);

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
    /// The file's length: what it is cut to again where room could not be made.
    length: u64,
    /// The largest step by which space is zero-filled ahead: small on a disk that was full.
    step_bytes_max: u64,
    /// An earlier process may have changed the length in vain: a sync that fails leaves a length that reads well, is not
    /// durable, and that no later sync covers. The first grow changes it again.
    length_in_doubt: bool,
    /// END stands behind a footer: no frame may follow.
    sealed: bool,
    /// The idle mark that was written since END moved last.
    idle_mark: Option<Vec<u8>>,
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
            length: end.offset,
            step_bytes_max: GROW_BYTES_MAX,
            length_in_doubt: true,
            sealed,
            idle_mark: None,
        }
    }

    /// The same, knowing how long the file is.
    pub(crate) fn with_length(mut self, length: u64) -> Self {
        self.length = self.length.max(length);
        self
    }

    /// Makes a segment's file: header, first zero-fill, sync, directory sync. On an error the file is removed, never
    /// synced again, and the id may be tried once more with a fresh salt.
    ///
    /// # Errors
    /// What the file system says; nothing refers to the file yet, so nothing happened.
    pub(crate) fn create(
        files: &Arc<SegmentFiles>,
        header: &SegmentHeader,
        segment_bytes: u64,
    ) -> Result<Self> {
        let SegmentHeader {
            id,
            salt,
            base_seqno: next_seqno,
            ..
        } = *header;
        let path = files.path(id);
        let storage = files.storage();
        let epoch = files.name_epoch();
        let file = storage
            .open(&path, OpenMode::CreateNew)
            .map_err(|source| fault::io("create", &path, source))?;
        let (bytes, chain) = header.encode();
        let zeroed = SEGMENT_HEADER_BYTES + GROW_BYTES_MIN.min(segment_bytes);
        let filled = Self::fill_new(&path, &*file, &bytes, zeroed).and_then(|zeroed| {
            if planted!(NoDirectorySync) {
                return Ok(zeroed);
            }
            files.sync_names(epoch).map(|()| zeroed)
        });
        let zeroed = match filled {
            Ok(zeroed) => zeroed,
            Err(error) => {
                return Err(match storage.remove_file(&path) {
                    Ok(()) => error,
                    // The next try takes another id where this name is in the way, so the first cause is the one to tell.
                    Err(_left_as_debris) => error,
                });
            }
        };
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
        writer.length = zeroed;
        writer.length_in_doubt = false;
        Ok(writer)
    }

    /// Returns up to where there are zeros: as far as `zeroed`, or where the disk is too full for that, as far as a mark and a
    /// footer go.
    fn fill_new(path: &Path, file: &dyn StorageFile, header: &[u8], zeroed: u64) -> Result<u64> {
        let start = header.len() as u64;
        let least = start + RESERVED_BYTES;
        let zeros = |to| exact::write_zeros(file, start, to);
        // Only zeros are done without: a header that did not fit is not there.
        let zeroed = exact::write_all(file, header, 0).and_then(|()| match zeros(zeroed) {
            Err(source) if is_full(&source) && least < zeroed => {
                let fitted = file.set_len(start).and_then(|()| zeros(least));
                fitted.map(|()| least)
            }
            written => written.map(|()| zeroed),
        });
        let zeroed = zeroed.map_err(|source| fault::io("write", path, source))?;
        file.sync()
            .map(|()| zeroed)
            .map_err(|source| fault::io("sync", path, source))
    }

    pub(crate) const fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Whether its name still leads to this file.
    ///
    /// # Errors
    /// The file system refused to say.
    pub(crate) fn is_named(&self, storage: &dyn Storage) -> Result<bool> {
        let look = |source| fault::io("look at", &self.path, source);
        match storage.file_id(&self.path) {
            Ok(id) => Ok(id == self.file.file_id().map_err(look)?),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(look(source)),
        }
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

    /// Makes room for a group of `group_bytes`, and for the mark and the footer behind it. Not synced: the group's own sync
    /// covers it.
    ///
    /// Space is zero-filled ahead; where the disk is too full for that, as much as the group needs. A group that needs
    /// much more than is zero-filled makes its room itself: `write` is asked for its frames from an offset behind the
    /// first header on, which is returned; otherwise what is returned is the group's end. The caller writes what is before
    /// it, the first header included, only then.
    ///
    /// # Errors
    /// What the write says. No byte of the frame at END was handed over, and without it nothing behind END can be
    /// accepted: so nothing happened. The file is as long as it was, and takes the space that it took.
    pub(crate) fn make_room(
        &mut self,
        group_bytes: u64,
        write: impl FnOnce(&Self, u64) -> Result<()>,
    ) -> Result<u64> {
        let group_end = self.end.offset + group_bytes;
        if group_end > self.zeroed + DIRECT_BYTES {
            let from = self.zeroed.max(self.end.offset + RESERVED_BYTES);
            let needed = group_end + RESERVED_BYTES;
            self.or_give_back(needed, |writer| {
                writer.zero(writer.zeroed, from)?;
                write(writer, from)?;
                writer.zero(group_end, needed)
            })?;
            return Ok(from);
        }
        self.grow(group_bytes)?;
        Ok(group_end)
    }

    /// The file's length.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// How much longer the file gets at most by a group of so many bytes, or the next segment where they do not fit here.
    pub(crate) fn grows_by(&self, bytes: u64) -> u64 {
        let needed = self.end.offset + bytes + RESERVED_BYTES;
        if self.room_for(bytes).is_none() {
            return SEGMENT_HEADER_BYTES + GROW_BYTES_MIN + bytes + RESERVED_BYTES;
        }
        if needed <= self.zeroed {
            return 0;
        }
        let used = self.end.offset - SEGMENT_HEADER_BYTES;
        let step = used.clamp(GROW_BYTES_MIN, self.step_bytes_max);
        needed.saturating_sub(self.zeroed).max(step)
    }

    /// Zero-fills, so that `bytes` behind END, a mark and the footer have room.
    ///
    /// # Errors
    /// As for [`SegmentWriter::make_room`].
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<()> {
        let needed = self.end.offset + bytes + RESERVED_BYTES;
        if needed <= self.zeroed {
            return Ok(());
        }
        let used = self.end.offset - SEGMENT_HEADER_BYTES;
        let step = used.clamp(GROW_BYTES_MIN, self.step_bytes_max);
        let ahead = needed.max((self.zeroed + step).min(self.segment_bytes));
        match self.fill(ahead) {
            Err(error) if error.kind() == ErrorKind::StorageFull && ahead > needed => {
                self.step_bytes_max = GROW_BYTES_MIN;
                self.fill(needed)
            }
            Ok(()) => {
                self.step_bytes_max = (self.step_bytes_max * 2).min(GROW_BYTES_MAX);
                Ok(())
            }
            failed => failed,
        }
    }

    fn fill(&mut self, to: u64) -> Result<()> {
        self.or_give_back(to, |writer| writer.zero(writer.zeroed, to))
    }

    /// Extends the room up to `to` by `extend`, or takes back what of it could be written.
    fn or_give_back(&mut self, to: u64, extend: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        match extend(self).and_then(|()| self.settle_length()) {
            Ok(()) => {
                self.zeroed = to;
                self.length = self.length.max(to);
                Ok(())
            }
            Err(error) => {
                // Whatever remains here is in nobody's way: it is written over before it is used. So neither needs a sync.
                let within = self.zero(self.zeroed, to.min(self.length));
                let behind = self.file.set_len(self.length);
                match (within, behind) {
                    (Ok(()) | Err(_), Ok(()) | Err(_)) => Err(error),
                }
            }
        }
    }

    fn zero(&self, start: u64, end: u64) -> Result<()> {
        exact::write_zeros(&*self.file, start, end)
            .map_err(|source| fault::io_at("grow", &self.path, start, source))
    }

    fn settle_length(&mut self) -> Result<()> {
        if self.length_in_doubt {
            let changed = exact::change_length(&*self.file);
            self.length =
                changed.map_err(|source| fault::io_at("grow", &self.path, self.length, source))?;
            self.length_in_doubt = false;
        }
        Ok(())
    }

    /// Writes frames at `offset`, at or behind END, where there is room.
    ///
    /// # Errors
    /// What the write says; some of the bytes may have been handed over.
    pub(crate) fn write(&self, frames: &[u8], offset: u64) -> Result<()> {
        debug_assert!(!self.sealed && offset >= self.end.offset);
        exact::write_all(&*self.file, frames, offset)
            .map_err(|source| fault::io_at("write", &self.path, offset, source))
    }

    /// Takes back what was handed over in `[END, to)`, of which the group made its own room from `own` on: that is cut, the
    /// rest is zeros again, both synced. Where the disk is too full even for zeros (it does not write in place), a range
    /// that reads as it was before is one of which nothing was handed over.
    ///
    /// # Errors
    /// What the write or the sync says: then nobody knows what the range holds.
    pub(crate) fn undo(&mut self, own: u64, to: u64) -> Result<()> {
        if planted!(UndoSkipped) {
            return Ok(());
        }
        let mut zeros_to = to;
        if own < to && self.file.set_len(own).is_ok() {
            (self.zeroed, self.length, zeros_to) = (own, own, own);
        }
        match exact::write_zeros(&*self.file, self.end.offset, zeros_to) {
            Ok(()) => self.idle_mark = None,
            Err(source) if self.is_untouched(zeros_to) => drop(source),
            Err(source) => {
                return Err(fault::io_at("undo", &self.path, self.end.offset, source));
            }
        }
        self.sync()
    }

    /// `[END, to)` reads as zeros, behind an idle mark if there is one.
    fn is_untouched(&self, to: u64) -> bool {
        let mark = self.idle_mark.as_deref().unwrap_or_default();
        let mut expected = mark.to_vec();
        let mut at = self.end.offset;
        while at < to {
            let count = (to - at).min(UNDO_PIECE_BYTES);
            let mut piece = vec![0; usize::try_from(count).unwrap_or_default()];
            expected.resize(piece.len(), 0);
            let read = exact::read_exact(&*self.file, &mut piece, at);
            if read.is_err() || piece != expected {
                return false;
            }
            expected.clear();
            at += count;
        }
        true
    }

    /// A failure is final: the caller poisons the store and nobody syncs this file again.
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

    /// Behind the sync: END, chain and next seqno move together.
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
        if self.sealed || self.idle_mark.is_some() || here + MARK_FRAME_BYTES > self.zeroed {
            return;
        }
        let (mark, _) = mark_frame(&self.place_at_end(attempt));
        if exact::write_all(&*self.file, &mark, here).is_ok() {
            self.idle_mark = Some(mark);
        }
    }

    /// A mark at END that names the manifest's last edit, synced; END moves behind it.
    ///
    /// # Errors
    /// Whether it was taken back, and why.
    pub(crate) fn close_mark(&mut self, attempt: u64, edit: EditNumber) -> Result<(), Failed> {
        self.grow(CLEAN_MARK_FRAME_BYTES).map_err(Failed::Undone)?;
        let (mark, chain) = clean_mark_frame(&self.place_at_end(attempt), edit);
        let written = self.write(&mark, self.end.offset);
        self.or_undo(written, CLEAN_MARK_FRAME_BYTES)?;
        self.sync().map_err(Failed::InDoubt)?;
        let end = Boundary {
            offset: self.end.offset + CLEAN_MARK_FRAME_BYTES,
            chain,
            ..self.end
        };
        self.advance(end, []);
        Ok(())
    }

    /// The footer at END, everything behind it cut, synced. Afterwards the file is never written again.
    ///
    /// # Errors
    /// Whether it was taken back, and why.
    pub(crate) fn seal(&mut self, attempt: u64) -> Result<(), Failed> {
        self.grow(0).map_err(Failed::Undone)?;
        let (min_seqno, max_seqno) = self.contents.seqno_range(self.end.next_seqno);
        let footer = Footer {
            min_seqno,
            max_seqno,
            frames: self.contents.frames,
            records: self.contents.records,
        };
        let (bytes, chain) = footer_frame(&self.place_at_end(attempt), &footer);
        let offset = self.end.offset;
        let length = offset + bytes.len() as u64;
        let written = self.write(&bytes, offset).and_then(|()| {
            let cut = self.file.set_len(length);
            cut.map_err(|source| fault::io_at("truncate", &self.path, length, source))
        });
        self.or_undo(written, bytes.len() as u64)?;
        self.sync().map_err(Failed::InDoubt)?;
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

    /// Takes a mark or a footer of so many bytes back that could not be written.
    fn or_undo(&mut self, written: Result<()>, bytes: u64) -> Result<(), Failed> {
        let Err(error) = written else { return Ok(()) };
        let to = self.end.offset + bytes;
        Err(match self.undo(to, to) {
            Ok(()) => Failed::Undone(error),
            Err(_also) => Failed::InDoubt(error),
        })
    }
}

/// How the writing of a mark or of a footer failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// There was no room, or what was written is taken back: nothing happened.
    Undone(kv_trait::Error),
    /// Nobody knows what is behind END: the store must be poisoned.
    InDoubt(kv_trait::Error),
}

impl Failed {
    /// Nothing happened because the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Undone(error) if error.kind() == ErrorKind::StorageFull)
    }
}
