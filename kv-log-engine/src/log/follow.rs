//! Reading the log behind a place, a piece at a time.
//!
//! Frames were accepted when they were written, or by the recovery that found them, and whoever reads here stops where the
//! log is durable and visible. So what does not verify is damage, never a torn tail. Each record is verified by its own sum,
//! as a read by location does it: a frame of any length is read in pieces, and memory is bounded by the longest record.

use super::files::Segment;
use super::scan::Boundary;
use crate::fault;
use crate::format::Defect;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::format::ids::{SegmentId, Seqno};
use crate::format::record::{self, RECORD_HEADER_BYTES, Record, RecordHeader};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::storage::{StorageFile, exact};
use kv_trait::Result;

/// What is read at a time, but for a longer record.
const PIECE_BYTES: u64 = 256 * 1024;

/// Records that are handed out for a piece at most.
const PIECE_RECORDS: usize = 1000;

/// A place between two records of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    offset: u64,
    /// The seqno of the next record.
    pub(crate) next_seqno: Seqno,
    /// What the next frame has to chain to; `None`: the segment's header, which was not read yet.
    chain: Option<u64>,
    /// The frame that the place is in.
    within: Option<Within>,
}

/// A batch of which records are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Within {
    /// Where the frame ends, padding included.
    end: u64,
    records_left: u32,
}

impl Place {
    /// Between two groups.
    pub(crate) const fn at(segment: SegmentId, end: Boundary) -> Self {
        Self {
            segment,
            offset: end.offset,
            next_seqno: end.next_seqno,
            chain: Some(end.chain),
            within: None,
        }
    }

    /// Before the first frame of a segment.
    pub(crate) const fn start_of(segment: SegmentId, base_seqno: Seqno) -> Self {
        Self {
            segment,
            offset: SEGMENT_HEADER_BYTES,
            next_seqno: base_seqno,
            chain: None,
            within: None,
        }
    }

    /// Whether anything is left before `end` of the same segment.
    pub(crate) const fn is_before(&self, end: u64) -> bool {
        self.offset < end
    }

    /// Reads on, up to `to` at most, and moves behind what was read. `visit` is handed each record from `from` on, and
    /// whether it is the last of its batch. After an error the place is behind the records that were visited.
    ///
    /// # Errors
    /// `Io`; `Corrupt` and `UnsupportedFormat`: what stands here is not what was written.
    pub(crate) fn read_on(
        &mut self,
        segment: &Segment,
        to: u64,
        from: Seqno,
        visit: impl FnMut(&Record<'_>, bool),
    ) -> Result<()> {
        let file = segment.file()?;
        let chain = match self.chain {
            Some(chain) => chain,
            None => header_check(&*file, segment, self.next_seqno)?,
        };
        self.chain = Some(chain);
        let mut reading = Reading {
            segment,
            file: &*file,
            place: self,
            chain,
            to,
            from,
            start: 0,
            bytes: Vec::new(),
        };
        reading.piece(visit)
    }
}

/// The check of a segment's header, if the header is that of this segment.
fn header_check(file: &dyn StorageFile, segment: &Segment, base_seqno: Seqno) -> Result<u64> {
    let path = segment.path();
    let mut bytes = SegmentHeader::buffer();
    exact::read_exact(file, &mut bytes, 0).map_err(|source| fault::io("read", &path, source))?;
    let (header, check) =
        SegmentHeader::decode(&bytes).map_err(|defect| fault::defect(&path, 0, defect))?;
    if header.id == segment.id && header.salt == segment.salt && header.base_seqno == base_seqno {
        return Ok(check);
    }
    let what = format!("it is another segment, {}", header.id);
    Err(fault::corrupt(&path, what))
}

/// A piece under way.
struct Reading<'a> {
    segment: &'a Segment,
    file: &'a dyn StorageFile,
    place: &'a mut Place,
    chain: u64,
    to: u64,
    from: Seqno,
    /// Where `bytes` begin in the file.
    start: u64,
    bytes: Vec<u8>,
}

impl Reading<'_> {
    fn piece(&mut self, mut visit: impl FnMut(&Record<'_>, bool)) -> Result<()> {
        let mut visited = 0;
        while self.place.offset < self.to && visited < PIECE_RECORDS {
            let went_on = match self.place.within {
                None => self.frame()?,
                Some(within) => self.record(within, &mut visit, &mut visited)?,
            };
            if !went_on {
                break;
            }
        }
        Ok(())
    }

    /// The next `count` bytes, up to `limit`; `None`: they are not of this piece any more.
    fn next(&mut self, count: u64, limit: u64) -> Result<Option<&[u8]>> {
        let at = self.place.offset;
        if at.checked_add(count).is_none_or(|end| end > limit) {
            let what = Defect::Field {
                what: "length",
                found: count,
            };
            return Err(self.defect(what));
        }
        let buffered = self.start + self.bytes.len() as u64;
        if self.bytes.is_empty() || at < self.start || at + count > buffered {
            // Whatever does not fit is the beginning of the next piece; what does not fit into any is read as a whole.
            let is_first = self.bytes.is_empty() || (at == self.start && at + count > buffered);
            if !is_first {
                return Ok(None);
            }
            let length = count.max(PIECE_BYTES).min(self.to - at);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            self.bytes = vec![0; length];
            self.start = at;
            let read = exact::read_exact(self.file, &mut self.bytes, at);
            if let Err(source) = read {
                self.bytes = Vec::new();
                return Err(fault::io_at("read", &self.segment.path(), at, source));
            }
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(count)))
    }

    fn frame(&mut self) -> Result<bool> {
        let (at, to) = (self.place.offset, self.to);
        let salt = self.segment.salt;
        let Some(bytes) = self.next(FRAME_HEADER_BYTES as u64, to)? else {
            return Ok(false);
        };
        let decoded = FrameHeader::decode(bytes, &salt, at);
        let Some((header, check)) = decoded.map_err(|defect| self.defect(defect))? else {
            return Err(self.defect(Defect::Check {
                what: "frame header",
                expected: 0,
                found: 0,
            }));
        };
        if header.chain != self.chain {
            return Err(self.defect(Defect::Check {
                what: "frame chain",
                expected: self.chain,
                found: header.chain,
            }));
        }
        let next = header.next_seqno();
        let (Some(next), true) = (next, header.first_seqno == self.place.next_seqno) else {
            return Err(self.defect(Defect::Field {
                what: "first seqno",
                found: header.first_seqno.get(),
            }));
        };
        if !header.fits(to - at) {
            return Err(self.defect(Defect::Field {
                what: "frame length",
                found: header.frame_bytes(),
            }));
        }
        self.chain = check;
        self.place.chain = Some(check);
        let end = at + header.frame_bytes();
        // Nothing of it is asked for, or there is nothing to ask for: its body is not even read.
        if header.kind != FrameKind::Batch || next <= self.from {
            self.place.offset = end;
            self.place.next_seqno = next;
        } else {
            self.place.offset = at + FRAME_HEADER_BYTES as u64;
            self.place.within = Some(Within {
                end,
                records_left: header.record_count,
            });
        }
        Ok(true)
    }

    fn record(
        &mut self,
        within: Within,
        visit: &mut impl FnMut(&Record<'_>, bool),
        visited: &mut usize,
    ) -> Result<bool> {
        let (at, seqno) = (self.place.offset, self.place.next_seqno);
        let salt = self.segment.salt;
        let Some(bytes) = self.next(RECORD_HEADER_BYTES as u64, within.end)? else {
            return Ok(false);
        };
        let header = RecordHeader::decode(bytes).map_err(|defect| self.defect(defect))?;
        let length = header.record_bytes() as u64;
        let is_last = within.records_left <= 1;
        if seqno >= self.from {
            let Some(bytes) = self.next(length, within.end)? else {
                return Ok(false);
            };
            match record::verify(bytes, &salt, at, seqno) {
                Ok(record) => visit(&record, is_last),
                Err(defect) => return Err(self.defect(defect)),
            }
            *visited += 1;
        } else if at + length > within.end {
            return Err(self.defect(Defect::Field {
                what: "record length",
                found: length,
            }));
        }
        self.place.next_seqno = seqno.next();
        if is_last {
            self.place.offset = within.end;
            self.place.within = None;
        } else {
            self.place.offset = at + length;
            self.place.within = Some(Within {
                records_left: within.records_left - 1,
                ..within
            });
        }
        Ok(true)
    }

    fn defect(&self, defect: Defect) -> kv_trait::Error {
        fault::defect(&self.segment.path(), self.place.offset, defect)
    }
}
