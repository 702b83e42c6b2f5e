//! The header of a segment file. FORMAT.md, "Segment".

use super::cursor::Cursor;
use super::{Defect, FORMAT_VERSION, Salt, StoreId, hold_check, know_version};
use crate::format::ids::{EditNumber, SegmentId, Seqno};

/// Bytes before a segment's first frame.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = HEADER_BYTES as u64;
const HEADER_BYTES: usize = 104;
pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"KVLOGSEG";
const CHECKED_BYTES: usize = HEADER_BYTES - 8;
const KIND_LOG: u32 = 0;
/// Kinds that a later version writes: values that a merge copied, sorted runs.
const KIND_NAMES: [(u32, &str); 2] = [
    (1, "segment kind, that of value segments:"),
    (2, "segment kind, that of runs:"),
];

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(super::frame::FRAME_ALIGN));

/// What a segment file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: StoreId,
    pub(crate) incarnation: StoreId,
    pub(crate) salt: Salt,
    pub(crate) id: SegmentId,
    /// The seqno of the first record that this segment may hold.
    pub(crate) base_seqno: Seqno,
    /// The newest edit of the manifest that was durable when the file was made: the one that names it comes later.
    pub(crate) edit: EditNumber,
}

impl SegmentHeader {
    /// The header's bytes, and its check: the chain of the first frame.
    pub(crate) fn encode(&self) -> (Vec<u8>, u64) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&KIND_LOG.to_le_bytes());
        bytes.extend_from_slice(&self.store_id.0);
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&self.salt.0);
        bytes.extend_from_slice(&self.id.get().to_le_bytes());
        bytes.extend_from_slice(&self.base_seqno.get().to_le_bytes());
        bytes.extend_from_slice(&self.edit.get().to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let check = self.salt.check(&[&bytes]);
        bytes.extend_from_slice(&check.to_le_bytes());
        (bytes, check)
    }

    /// Room for a header's bytes.
    pub(crate) const fn buffer() -> [u8; HEADER_BYTES] {
        [0; HEADER_BYTES]
    }

    /// Decodes a header and its check. These 104 bytes keep this shape in every version, so that a later one is
    /// recognised as such and not taken for damage.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u64), Defect> {
        let mut cursor = Cursor::new(bytes);
        let covered = cursor.take(CHECKED_BYTES)?;
        let check = cursor.u64()?;
        let mut cursor = Cursor::new(covered);
        if cursor.take(SEGMENT_MAGIC.len())? != SEGMENT_MAGIC {
            return Err(Defect::Magic);
        }
        let version = cursor.u32()?;
        let kind = cursor.u32()?;
        let store_id = StoreId(cursor.array()?);
        let incarnation = StoreId(cursor.array()?);
        let salt = Salt(cursor.array()?);
        hold_check("segment header", salt.check(&[covered]), check)?;
        know_version(version)?;
        if kind != KIND_LOG {
            let known = KIND_NAMES.iter().find(|(known, _)| *known == kind);
            return Err(Defect::Unsupported {
                what: known.map_or("segment kind", |(_, name)| name),
                found: kind.into(),
            });
        }
        let id = SegmentId::new(cursor.u64()?);
        let base_seqno = Seqno::new(cursor.u64()?);
        let edit = EditNumber::new(cursor.u64()?);
        let reserved = cursor.u64()?;
        if reserved != 0 {
            return Err(Defect::Unsupported {
                what: "segment flags",
                found: reserved,
            });
        }
        Ok((
            Self {
                store_id,
                incarnation,
                salt,
                id,
                base_seqno,
                edit,
            },
            check,
        ))
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
