//! The header that every file of a store begins with, but the manifest. FORMAT.md, "Segment".
//!
//! These 104 bytes keep this shape in every version and for every kind, so that a later one is recognised as such and not
//! taken for damage.

use super::cursor::Cursor;
use super::{Defect, FORMAT_VERSION, Salt, StoreId, hold_check, know_version};
use crate::format::ids::{EditNumber, Seqno};

pub(crate) const HEADER_BYTES: usize = 104;
pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"KVLOGSEG";
const CHECKED_BYTES: usize = HEADER_BYTES - 8;

/// What the header of a file says, whatever the file is.
pub(super) struct FileHeader {
    pub(super) kind: u32,
    pub(super) store_id: StoreId,
    pub(super) incarnation: StoreId,
    pub(super) salt: Salt,
    pub(super) id: u64,
    pub(super) base_seqno: Seqno,
    pub(super) edit: EditNumber,
    pub(super) flags: u64,
}

impl FileHeader {
    /// The header's bytes, and its check.
    pub(super) fn encode(&self) -> (Vec<u8>, u64) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&self.store_id.0);
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&self.salt.0);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.base_seqno.get().to_le_bytes());
        bytes.extend_from_slice(&self.edit.get().to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        let check = self.salt.check(&[&bytes]);
        bytes.extend_from_slice(&check.to_le_bytes());
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        (bytes, check)
    }

    /// Decodes a header of this version and its check; `what` is its name. Kind and flags are for the caller to judge.
    pub(super) fn decode(what: &'static str, bytes: &[u8]) -> Result<(Self, u64), Defect> {
        let mut cursor = Cursor::new(bytes);
        let covered = cursor.take(CHECKED_BYTES)?;
        let check = cursor.u64()?;
        let mut cursor = Cursor::new(covered);
        if cursor.take(SEGMENT_MAGIC.len())? != SEGMENT_MAGIC {
            return Err(Defect::Magic);
        }
        let version = cursor.u32()?;
        let header = Self {
            kind: cursor.u32()?,
            store_id: StoreId(cursor.array()?),
            incarnation: StoreId(cursor.array()?),
            salt: Salt(cursor.array()?),
            id: cursor.u64()?,
            base_seqno: Seqno::new(cursor.u64()?),
            edit: EditNumber::new(cursor.u64()?),
            flags: cursor.u64()?,
        };
        hold_check(what, header.salt.check(&[covered]), check)?;
        know_version(version)?;
        Ok((header, check))
    }
}
