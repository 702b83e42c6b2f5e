//! The header of a run's file: whose it is, for when nothing names it. FORMAT.md, "Run".
//!
//! The shape is that of the header of every file of a store.

use super::RunId;
use crate::format::header::{FileHeader, HEADER_BYTES};
use crate::format::ids::{EditNumber, Seqno};
use crate::format::{Defect, Salt, StoreId};

/// Bytes before a run's first block.
pub(crate) const RUN_HEADER_BYTES: u64 = HEADER_BYTES as u64;
const KIND_RUN: u32 = 2;

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
        let header = FileHeader {
            kind: KIND_RUN,
            store_id: self.store_id,
            incarnation: self.incarnation,
            salt: self.salt,
            id: self.id.get(),
            base_seqno: Seqno::new(0),
            edit: self.edit,
            flags: 0,
        };
        let (bytes, _check) = header.encode();
        bytes
    }

    /// Room for a header's bytes.
    pub(crate) const fn buffer() -> [u8; HEADER_BYTES] {
        [0; HEADER_BYTES]
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let (header, _check) = FileHeader::decode("run header", bytes)?;
        let unknown = |what, found| Err(Defect::Unsupported { what, found });
        match (header.kind, header.flags) {
            (KIND_RUN, 0) => Ok(Self {
                store_id: header.store_id,
                incarnation: header.incarnation,
                salt: header.salt,
                id: RunId::new(header.id),
                edit: header.edit,
            }),
            (KIND_RUN, flags) => unknown("run flags", flags),
            (kind, _) => unknown("run kind", kind.into()),
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
