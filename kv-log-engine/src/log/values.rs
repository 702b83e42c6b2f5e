//! Value segments: records that a merge copies out of segments that are to go, one behind the other.
//!
//! A copy is the record that was written first, key, seqno, expiry and value, in another place: it is read by [`Segment`], as those
//! of the log are. Nothing replays it. The header is synced before anything else, so that what a power cut leaves is
//! known for this store's; the rest in steps of a few MiB, so that no sync takes long. Until [`ValueWriter::finish`]
//! returns, and the directory is synced, nothing may refer to the file. After an error it is worth nothing; whoever made
//! it removes it.
//!
//! [`Segment`]: super::files::Segment

use super::files::SegmentFiles;
use crate::fault;
use crate::format::ids::{Location, Seqno};
use crate::format::manifest::{SegmentEntry, SegmentState};
use crate::format::record::{self, Head, RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind};
use crate::format::run::split_key;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use crate::format::{Defect, Salt};
use crate::storage::window::Window;
use crate::storage::{OpenMode, StorageFile, exact};
use kv_trait::Result;
use std::path::PathBuf;
use std::sync::Arc;

/// How a value segment is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueLayout {
    /// Written in pieces of about this size,
    pub(crate) write_bytes: usize,
    /// and synced after so many bytes, also in the middle of a record.
    pub(crate) sync_bytes: usize,
}

impl Default for ValueLayout {
    fn default() -> Self {
        Self {
            write_bytes: 256 << 10,
            sync_bytes: 2 << 20,
        }
    }
}

/// A value segment that is being written.
#[derive(Debug)]
pub(crate) struct ValueWriter {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    header: SegmentHeader,
    /// The header's check.
    chain: u64,
    layout: ValueLayout,
    /// Not written yet; begins at `written`.
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    records: u64,
    seqnos: Option<(Seqno, Seqno)>,
}

impl ValueWriter {
    /// Makes the file of a value segment, and writes and syncs its header.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn create(
        files: &SegmentFiles,
        header: SegmentHeader,
        layout: ValueLayout,
    ) -> Result<Self> {
        debug_assert_eq!(header.kind, SegmentKind::Values);
        let path = files.path(header.id);
        let file = files.storage().open(&path, OpenMode::CreateNew);
        let file = file.map_err(|source| fault::io("create", &path, source))?;
        let (bytes, chain) = header.encode();
        let mut writer = Self {
            file,
            path,
            header,
            chain,
            layout,
            buffer: bytes,
            written: 0,
            synced: 0,
            records: 0,
            seqnos: None,
        };
        writer.write_out()?;
        writer.sync()?;
        Ok(writer)
    }

    /// Appends a record: what it holds was verified. Returns where the record lies; it is in the file once this writer has
    /// finished.
    ///
    /// One write and one sync at most, unless the record is longer than a step.
    ///
    /// # Errors
    /// What the file system says. `Corrupt`: that is no full key.
    pub(crate) fn copy(
        &mut self,
        full_key: &[u8],
        seqno: Seqno,
        expiry_ms: Option<u64>,
        value: &[u8],
    ) -> Result<Location> {
        let (keyspace, key) = split_key(full_key)
            .ok_or_else(|| fault::corrupt(&self.path, "a key without a keyspace"))?;
        let offset = self.file_bytes();
        let start = self.buffer.len();
        let head = Head::put_until(expiry_ms);
        record::encode(&mut self.buffer, head, keyspace, key, value);
        record::finish(&mut self.buffer[start..], &self.header.salt, offset, seqno);
        let record_bytes = u32::try_from(self.buffer.len() - start)
            .expect("the limits of keys and values fit 32 bits");
        self.records += 1;
        let (lowest, highest) = self.seqnos.unwrap_or((seqno, seqno));
        self.seqnos = Some((lowest.min(seqno), highest.max(seqno)));
        if self.buffer.len() >= self.layout.write_bytes {
            self.write_out()?;
        }
        Ok(Location {
            segment: self.header.id,
            offset,
            record_bytes,
        })
    }

    /// The file's length so far, with what is not written yet.
    pub(crate) const fn file_bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn write_out(&mut self) -> Result<()> {
        for piece in self.buffer.chunks(self.layout.sync_bytes.max(1)) {
            exact::write_all(&*self.file, piece, self.written)
                .map_err(|source| fault::io_at("write", &self.path, self.written, source))?;
            self.written += piece.len() as u64;
            if self.written - self.synced >= self.layout.sync_bytes as u64 {
                sync(&*self.file, &self.path)?;
                self.synced = self.written;
            }
        }
        // A value that was much longer than a piece leaves no such buffer behind.
        self.buffer.clear();
        self.buffer.shrink_to(4 * self.layout.write_bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        sync(&*self.file, &self.path)?;
        self.synced = self.written;
        Ok(())
    }

    /// Writes and syncs what is left. Returns the segment as the manifest names it; the directory entry is the caller's to
    /// sync.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn finish(mut self) -> Result<SegmentEntry> {
        self.write_out()?;
        if !planted!(ValuesNotSynced) {
            self.sync()?;
        }
        let (min_seqno, max_seqno) = self.seqnos.unwrap_or_default();
        Ok(SegmentEntry {
            id: self.header.id,
            salt: self.header.salt,
            state: SegmentState::Values,
            base_seqno: self.header.base_seqno,
            end: self.written,
            chain: self.chain,
            min_seqno,
            max_seqno,
        })
    }
}

fn sync(file: &dyn StorageFile, path: &std::path::Path) -> Result<()> {
    file.sync()
        .map_err(|source| fault::io("sync", path, source))
}

/// What stands in a value segment.
#[derive(Debug)]
pub(crate) enum Met<'a> {
    /// A record that verifies.
    Record { offset: u64, record: Record<'a> },
    /// Bytes that are no record, up to the next one that verifies, or to the end.
    Damage {
        start: u64,
        end: u64,
        defect: Defect,
    },
}

/// Walks the records of a value segment, which ends at the window's limit. Behind damage it goes on with the next record
/// that verifies.
///
/// # Errors
/// `Io`: a read failed.
pub(crate) fn walk(
    window: &mut Window<'_>,
    salt: &Salt,
    mut meet: impl FnMut(Met<'_>),
) -> Result<()> {
    let mut at = SEGMENT_HEADER_BYTES;
    // What a search may read in vain: lengths that lie must not make it take for ever.
    let mut patience = window.limit().saturating_mul(8);
    while at < window.limit() {
        let defect = match record_at(window, salt, at)? {
            Ok((record, bytes)) => {
                meet(Met::Record { offset: at, record });
                at += bytes;
                continue;
            }
            Err(defect) => defect,
        };
        let end = next_record(window, salt, at, &mut patience)?;
        let start = at;
        meet(Met::Damage { start, end, defect });
        at = end;
    }
    Ok(())
}

/// The record at this place, and its length.
fn record_at<'w>(
    window: &'w mut Window<'_>,
    salt: &Salt,
    at: u64,
) -> Result<Result<(Record<'w>, u64), Defect>> {
    let header = match RecordHeader::decode(window.up_to(at, RECORD_HEADER_BYTES)?) {
        Ok(header) => header,
        Err(defect) => return Ok(Err(defect)),
    };
    let needed = header.record_bytes() as u64;
    let found = window.limit() - at;
    if needed > found {
        return Ok(Err(Defect::Truncated { needed, found }));
    }
    let bytes = window.up_to(at, header.record_bytes())?;
    Ok(record::verify(bytes, salt, at, header.seqno).map(|record| (record, needed)))
}

/// Where the next record that verifies begins, behind the bytes at `at`, which are none; the limit if there is none. The
/// length that stands there is not believed: it may be what is wrong. No value can hold such a record, whose sum is bound to
/// its place.
fn next_record(window: &mut Window<'_>, salt: &Salt, at: u64, patience: &mut u64) -> Result<u64> {
    let limit = window.limit();
    let mut next = at + 1;
    while next < limit && *patience > 0 {
        let header = RecordHeader::decode(window.up_to(next, RECORD_HEADER_BYTES)?);
        let likely = header.is_ok_and(|header| {
            let fits = header.record_bytes() as u64 <= limit - next;
            let tried = fits && header.judge() == Ok(RecordKind::Put);
            if tried {
                *patience = patience.saturating_sub(header.record_bytes() as u64);
            }
            tried
        });
        if likely && record_at(window, salt, next)?.is_ok() {
            return Ok(next);
        }
        next += 1;
    }
    Ok(limit)
}
