//! The header of a segment file. FORMAT.md, "Segment".

use super::header::{FileHeader, HEADER_BYTES};
use super::{Defect, Salt, StoreId};
use crate::format::ids::{EditNumber, SegmentId, Seqno};

pub(crate) use super::header::SEGMENT_MAGIC;

/// Bytes before a segment's first frame.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = HEADER_BYTES as u64;
const KIND_LOG: u32 = 0;
const KIND_VALUES: u32 = 1;
const KIND_RUN: u32 = 2;

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(super::frame::FRAME_ALIGN));

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// Frames.
    Log,
    /// Records that a merge copied, back to back.
    Values,
}

/// What a segment file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) kind: SegmentKind,
    pub(crate) store_id: StoreId,
    pub(crate) incarnation: StoreId,
    pub(crate) salt: Salt,
    pub(crate) id: SegmentId,
    /// The seqno of the first record that a segment of the log may hold; [`Seqno::ZERO`] for values.
    pub(crate) base_seqno: Seqno,
    /// The newest edit of the manifest that was durable when the file was made: the one that names it comes later.
    pub(crate) edit: EditNumber,
}

impl SegmentHeader {
    /// The header's bytes, and its check: the chain of the first frame.
    pub(crate) fn encode(&self) -> (Vec<u8>, u64) {
        let header = FileHeader {
            kind: match self.kind {
                SegmentKind::Log => KIND_LOG,
                SegmentKind::Values => KIND_VALUES,
            },
            store_id: self.store_id,
            incarnation: self.incarnation,
            salt: self.salt,
            id: self.id.get(),
            base_seqno: self.base_seqno,
            edit: self.edit,
            flags: 0,
        };
        header.encode()
    }

    /// Room for a header's bytes.
    pub(crate) const fn buffer() -> [u8; HEADER_BYTES] {
        [0; HEADER_BYTES]
    }

    /// Decodes a header and its check.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u64), Defect> {
        let (header, check) = FileHeader::decode("segment header", bytes)?;
        let kind = match header.kind {
            KIND_LOG => SegmentKind::Log,
            KIND_VALUES => SegmentKind::Values,
            other => {
                return Err(Defect::Unsupported {
                    what: if other == KIND_RUN {
                        "segment kind, that of runs:"
                    } else {
                        "segment kind"
                    },
                    found: other.into(),
                });
            }
        };
        if header.flags != 0 {
            return Err(Defect::Unsupported {
                what: "segment flags",
                found: header.flags,
            });
        }
        let segment = Self {
            kind,
            store_id: header.store_id,
            incarnation: header.incarnation,
            salt: header.salt,
            id: SegmentId::new(header.id),
            base_seqno: header.base_seqno,
            edit: header.edit,
        };
        Ok((segment, check))
    }
}

/// The name of a segment's file.
pub(crate) fn file_name(id: SegmentId) -> String {
    format!("{id}.seg")
}

/// The segment that a file name stands for; `None` if it is not exactly the name of one.
pub(crate) fn parse_file_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".seg")?;
    let id = SegmentId::new(digits.parse().ok()?);
    (file_name(id) == name).then_some(id)
}
