//! Walking the frames of a segment, and judging what stands behind the last good one.
//!
//! The walk accepts a frame only if everything about it fits: its header's keyed check, its place in the chain of
//! its predecessors, its seqno, its mark and attempt, and every record. What comes behind the first frame that does
//! not fit is searched for headers that verify, because each of them *proves* by its mark how far the segment was
//! durable. An I/O error is never "does not verify": it ends the scan.
//!
//! The method is that of protocol-aware recovery (Alagappan et al., FAST 2018), with the proof kept in the log.

use crate::fault;
use crate::format::frame::{
    Ending, FRAME_ALIGN, FRAME_HEADER_BYTES, Footer, FrameHeader, FrameKind, verify_body,
};
use crate::format::ids::{EditNumber, Seqno};
use crate::format::record::Record;
use crate::format::{Defect, Salt};
use crate::storage::window::Window;
use kv_trait::Result;

/// Where a walk begins, and after it, where it ended: the end of a frame, and what the next one must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boundary {
    pub(crate) offset: u64,
    pub(crate) chain: u64,
    pub(crate) next_seqno: Seqno,
}

/// What a segment holds, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) frames: u64,
    pub(crate) records: u64,
    /// The lowest and highest seqno, if there is a record.
    pub(crate) seqnos: Option<(Seqno, Seqno)>,
}

impl Contents {
    /// Counts one more batch.
    pub(crate) fn add(&mut self, first: Seqno, records: u64) {
        self.frames += 1;
        self.records += records;
        let last = Seqno::new(first.get() + records - 1);
        let lowest = self.seqnos.map_or(first, |(lowest, _)| lowest);
        self.seqnos = Some((lowest, last));
    }

    /// These, and others that come behind them.
    pub(crate) fn and(self, behind: Self) -> Self {
        let seqnos = match (self.seqnos, behind.seqnos) {
            (Some((lowest, _)), Some((_, highest))) => Some((lowest, highest)),
            (own, behind) => own.or(behind),
        };
        Self {
            frames: self.frames + behind.frames,
            records: self.records + behind.records,
            seqnos,
        }
    }

    /// The seqno range as footers and manifests write it: empty is (`next`, the one before).
    pub(crate) fn seqno_range(&self, next: Seqno) -> (Seqno, Seqno) {
        self.seqnos.unwrap_or_else(|| (next, next.previous()))
    }
}

/// Why a walk stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No byte is left.
    End,
    /// A footer was accepted: nothing may follow.
    Footer(Footer),
    /// The bytes at the boundary are no acceptable next frame. `resume` is where a search may start.
    Unacceptable { defect: Defect, resume: u64 },
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) end: Boundary,
    pub(crate) contents: Contents,
    pub(crate) stop: Stop,
    /// The highest mark of the accepted frames (the start, if there was none).
    pub(crate) last_mark: u64,
    /// The last accepted frame is the mark of a close, which names this edit of the manifest.
    pub(crate) clean: Option<EditNumber>,
}

/// Accepts frames from `start` on, handing each batch's records to `visit`, frame by frame: record, offset, length.
///
/// `boundary` is called with each boundary reached, the start included, so that the caller can compare the chain at
/// places it has recorded.
///
/// # Errors
/// An I/O error, or a frame of a later version.
pub(crate) fn walk(
    window: &mut Window<'_>,
    salt: &Salt,
    start: Boundary,
    boundary: impl FnMut(Boundary) -> Result<()>,
    visit: impl FnMut(u64, Record<'_>, u32),
) -> Result<Walk> {
    walk_on(window, salt, start, None, boundary, visit)
}

/// Walks on behind damage, perhaps within a group: `group` is the mark and the attempt that the frame at `start` may
/// repeat.
///
/// # Errors
/// As for [`walk`].
pub(crate) fn walk_on(
    window: &mut Window<'_>,
    salt: &Salt,
    start: Boundary,
    mut group: Option<(u64, u64)>,
    mut boundary: impl FnMut(Boundary) -> Result<()>,
    mut visit: impl FnMut(u64, Record<'_>, u32),
) -> Result<Walk> {
    let mut at = start;
    let mut contents = Contents::default();
    let mut clean = None;
    boundary(at)?;
    let stop = loop {
        if at.offset >= window.limit() {
            break Stop::End;
        }
        let (header, check) = match next_header(window, salt, at, group)? {
            Ok(header) => header,
            Err((defect, resume)) => break Stop::Unacceptable { defect, resume },
        };
        let bytes = header.frame_bytes();
        let path = window.path();
        let frame = window.up_to(at.offset, usize_of(bytes))?;
        let ending = match verify_body(&header, frame, salt, at.offset, &mut visit) {
            Ok(ending) => ending,
            Err(defect @ Defect::Unsupported { .. }) => {
                return Err(fault::defect(path, at.offset, defect));
            }
            Err(defect) => {
                break Stop::Unacceptable {
                    defect,
                    resume: at.offset + bytes,
                };
            }
        };
        if header.kind == FrameKind::Batch {
            contents.add(header.first_seqno, header.record_count.into());
        }
        group = Some((header.mark, header.attempt));
        at = Boundary {
            offset: at.offset + bytes,
            chain: check,
            next_seqno: header.next_seqno().unwrap_or(at.next_seqno),
        };
        boundary(at)?;
        clean = None;
        match ending {
            Ending::None => {}
            Ending::Clean(edit) => clean = Some(edit),
            Ending::Footer(footer) => break Stop::Footer(footer),
        }
    };
    let last_mark = group.map_or(start.offset, |(mark, _)| mark);
    Ok(Walk {
        end: at,
        contents,
        stop,
        last_mark,
        clean,
    })
}

/// The header at a boundary, if it continues the frames before it; otherwise why not, and where a search may start. A
/// header in its place in the chain was written there by the store, so what its body holds is a caller's business.
fn next_header(
    window: &mut Window<'_>,
    salt: &Salt,
    at: Boundary,
    group: Option<(u64, u64)>,
) -> Result<Result<(FrameHeader, u64), (Defect, u64)>> {
    let room = window.limit() - at.offset;
    let path = window.path();
    let bytes = window.up_to(at.offset, FRAME_HEADER_BYTES)?;
    let decoded = FrameHeader::decode(bytes, salt, at.offset)
        .map_err(|defect| fault::defect(path, at.offset, defect))?;
    let Some((header, check)) = decoded else {
        let defect = Defect::Check {
            what: "frame header",
            expected: 0,
            found: 0,
        };
        return Ok(Err((defect, at.offset + FRAME_ALIGN)));
    };
    Ok(match continues(&header, at, group, room) {
        Ok(()) => Ok((header, check)),
        Err(defect) if header.chain == at.chain => {
            Err((defect, at.offset.saturating_add(header.frame_bytes())))
        }
        Err(defect) => Err((defect, at.offset + FRAME_ALIGN)),
    })
}

fn continues(
    header: &FrameHeader,
    at: Boundary,
    group: Option<(u64, u64)>,
    room: u64,
) -> Result<(), Defect> {
    if header.chain != at.chain {
        let (expected, found) = (at.chain, header.chain);
        return Err(Defect::Check {
            what: "frame chain",
            expected,
            found,
        });
    }
    if header.first_seqno != at.next_seqno || header.next_seqno().is_none() {
        return Err(Defect::Field {
            what: "first seqno",
            found: header.first_seqno.get(),
        });
    }
    // The first frame of a group marks its own offset; the others repeat its mark and its attempt.
    let opens = header.mark == at.offset;
    let follows = group == Some((header.mark, header.attempt));
    if !(opens || follows) {
        return Err(Defect::Field {
            what: "mark",
            found: header.mark,
        });
    }
    if !header.fits(room) {
        return Err(Defect::Field {
            what: "frame length",
            found: header.frame_bytes(),
        });
    }
    Ok(())
}

/// What stands behind the end of the accepted frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The highest mark of any header that verifies there.
    pub(crate) proof: u64,
    /// Where the last byte that is not zero ends; `None` if all are zero.
    pub(crate) nonzero_end: Option<u64>,
    /// How many headers verify there.
    pub(crate) headers: u64,
}

/// Searches `[resume, limit)` for headers that verify, never inside the body of one, and `[end, limit)` for bytes
/// that are not zero. The header at `end` itself counts too, although it was not acceptable.
///
/// # Errors
/// An I/O error, or a header of a later version.
pub(crate) fn search(window: &mut Window<'_>, salt: &Salt, end: u64, resume: u64) -> Result<Tail> {
    let mut tail = Tail {
        nonzero_end: last_nonzero(window, end)?,
        ..Tail::default()
    };
    let Some(nonzero_end) = tail.nonzero_end else {
        return Ok(tail);
    };
    if let Some(header) = header_at(window, salt, end)? {
        tail.proof = header.mark;
        tail.headers = 1;
    }
    let mut at = resume
        .checked_next_multiple_of(FRAME_ALIGN)
        .unwrap_or(nonzero_end);
    while at < nonzero_end {
        match header_at(window, salt, at)? {
            Some(header) => {
                tail.proof = tail.proof.max(header.mark);
                tail.headers += 1;
                at += header.frame_bytes();
            }
            None => at += FRAME_ALIGN,
        }
    }
    Ok(tail)
}

/// The next header at or behind `from` that verifies, with its place.
///
/// # Errors
/// An I/O error, or a header of a later version.
pub(crate) fn next_verified(
    window: &mut Window<'_>,
    salt: &Salt,
    from: u64,
) -> Result<Option<(u64, FrameHeader)>> {
    let mut at = from.checked_next_multiple_of(FRAME_ALIGN).unwrap_or(from);
    while at < window.limit() {
        if let Some(header) = header_at(window, salt, at)? {
            return Ok(Some((at, header)));
        }
        at += FRAME_ALIGN;
    }
    Ok(None)
}

/// The header at this place, if it verifies.
///
/// # Errors
/// An I/O error, or a header of a later version.
pub(crate) fn header_at(
    window: &mut Window<'_>,
    salt: &Salt,
    at: u64,
) -> Result<Option<FrameHeader>> {
    let path = window.path();
    let bytes = window.up_to(at, FRAME_HEADER_BYTES)?;
    FrameHeader::decode(bytes, salt, at)
        .map(|decoded| decoded.map(|(header, _)| header))
        .map_err(|defect| fault::defect(path, at, defect))
}

fn last_nonzero(window: &mut Window<'_>, from: u64) -> Result<Option<u64>> {
    const PIECE: usize = 64 * 1024;
    let mut at = from;
    let mut found = None;
    while at < window.limit() {
        let piece = window.up_to(at, PIECE)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            found = Some(at + last as u64 + 1);
        }
        at += piece.len() as u64;
    }
    Ok(found)
}

/// A frame's length as a slice length; `fits` bounded it by the file's length.
fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
