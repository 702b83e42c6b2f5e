//! The header of a run's file: whose it is, for when nothing names it. FORMAT.md, "Run".
//!
//! The shape is that of the header of every file of a store.

use super::RunId;
use crate::format::cursor::Cursor;
use crate::format::ids::EditNumber;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC};
use crate::format::{Defect, FORMAT_VERSION, Salt, StoreId};

/// Bytes before a run's first block.
pub(crate) const RUN_HEADER_BYTES: u64 = HEADER_BYTES as u64;
const HEADER_BYTES: usize = 104;
const CHECKED_BYTES: usize = HEADER_BYTES - 8;
const KIND_RUN: u32 = 2;

const _: () = assert!(RUN_HEADER_BYTES == SEGMENT_HEADER_BYTES);

/// What a run's file says about itself before it is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunHeader {
    pub(crate) store_id: StoreId,
    pub(crate) incarnation: StoreId,
    pub(crate) salt: Salt,
    pub(crate) id: RunId,
    /// The number of the newest durable edit of the manifest when the file was made: a manifest that has not come that
    /// far is older than this file.
    pub(crate) edit: EditNumber,
}

impl RunHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&KIND_RUN.to_le_bytes());
        bytes.extend_from_slice(&self.store_id.0);
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&self.salt.0);
        bytes.extend_from_slice(&self.id.get().to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.edit.get().to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let check = self.salt.check(&[&bytes]);
        bytes.extend_from_slice(&check.to_le_bytes());
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        bytes
    }

    /// Room for a header's bytes.
    pub(crate) const fn buffer() -> [u8; HEADER_BYTES] {
        [0; HEADER_BYTES]
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(bytes);
        let covered = cursor.take(CHECKED_BYTES)?;
        let check = cursor.u64()?;
        let mut cursor = Cursor::new(covered);
        if cursor.take(SEGMENT_MAGIC.len())? != SEGMENT_MAGIC {
            return Err(Defect::Magic);
        }
        let (version, kind) = (cursor.u32()?, cursor.u32()?);
        let (store_id, incarnation) = (StoreId(cursor.array()?), StoreId(cursor.array()?));
        let (salt, id) = (Salt(cursor.array()?), RunId::new(cursor.u64()?));
        let (_base_seqno, edit) = (cursor.u64()?, EditNumber::new(cursor.u64()?));
        let flags = cursor.u64()?;
        let header = Self {
            store_id,
            incarnation,
            salt,
            id,
            edit,
        };
        let expected = header.salt.check(&[covered]);
        if check != expected {
            return Err(Defect::Check {
                what: "run header",
                expected,
                found: check,
            });
        }
        let unknown = |what, found| Err(Defect::Unsupported { what, found });
        match (version, kind, flags) {
            (FORMAT_VERSION, KIND_RUN, 0) => Ok(header),
            (FORMAT_VERSION, KIND_RUN, flags) => unknown("run flags", flags),
            (FORMAT_VERSION, kind, _) => unknown("run kind", kind.into()),
            (version, ..) => unknown("format version", version.into()),
        }
    }
}

/// The name of a run's file.
pub(crate) fn file_name(id: RunId) -> String {
    format!("{id}.run")
}

/// The run that a file name stands for; `None` if it is not exactly the name of one.
pub(crate) fn parse_file_name(name: &str) -> Option<RunId> {
    let digits = name.strip_suffix(".run")?;
    let id = RunId::new(digits.parse().ok()?);
    (file_name(id) == name).then_some(id)
}
