//! Keyspaces and segments, as the manifest names them. FORMAT.md, "Manifest".

use crate::format::cursor::Cursor;
use crate::format::ids::{SegmentId, Seqno};
use crate::format::{Defect, Salt};

/// A segment's item without its head.
pub(super) const SEGMENT_BODY_BYTES: usize = 72;

/// A keyspace, and the text that says which codecs its keys and values were written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyspaceEntry {
    pub(crate) id: u32,
    pub(crate) fingerprint: String,
}

/// Where a segment stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// A part of the log that is never written again: `end` is its length.
    Sealed,
    /// Takes frames: `end` is the floor, an offset known to be durable.
    Active,
    /// Values that a merge copied: `end` is its length. Never replayed.
    Values,
}

/// One live segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) id: SegmentId,
    pub(crate) salt: Salt,
    pub(crate) state: SegmentState,
    /// Of the first record that a segment of the log may hold; [`Seqno::ZERO`] for values.
    pub(crate) base_seqno: Seqno,
    /// Length of a sealed segment or one of values, floor of the active one; always the end of a frame, or of a record.
    pub(crate) end: u64,
    /// The check of the frame that ends there (of the segment's header, if none does, and for values).
    pub(crate) chain: u64,
    /// The lowest and highest seqno of the records, but for the active segment.
    pub(crate) min_seqno: Seqno,
    pub(crate) max_seqno: Seqno,
}

impl KeyspaceEntry {
    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let id = cursor.u32()?;
        let flags = cursor.u32()?;
        let fingerprint = cursor.text("fingerprint")?;
        if flags != 0 || id != crate::format::record::KEYSPACE_DEFAULT {
            return Err(Defect::Unsupported {
                what: "keyspace",
                found: id.into(),
            });
        }
        Ok(Self { id, fingerprint })
    }
}

impl SegmentEntry {
    /// Whether it is a part of the log.
    pub(crate) const fn is_log(&self) -> bool {
        match self.state {
            SegmentState::Sealed | SegmentState::Active => true,
            SegmentState::Values => false,
        }
    }

    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(&self.id.get().to_le_bytes());
        body.extend_from_slice(&self.salt.0);
        let state: u32 = match self.state {
            SegmentState::Sealed => 0,
            SegmentState::Active => 1,
            SegmentState::Values => 2,
        };
        body.extend_from_slice(&state.to_le_bytes());
        body.extend_from_slice(&0_u32.to_le_bytes()); // flags
        body.extend_from_slice(&self.base_seqno.get().to_le_bytes());
        body.extend_from_slice(&self.end.to_le_bytes());
        body.extend_from_slice(&self.chain.to_le_bytes());
        body.extend_from_slice(&self.min_seqno.get().to_le_bytes());
        body.extend_from_slice(&self.max_seqno.get().to_le_bytes());
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let id = SegmentId::new(cursor.u64()?);
        let salt = Salt(cursor.array()?);
        let state = match cursor.u32()? {
            0 => SegmentState::Sealed,
            1 => SegmentState::Active,
            2 => SegmentState::Values,
            other => {
                return Err(Defect::Unsupported {
                    what: "segment state",
                    found: other.into(),
                });
            }
        };
        let flags = cursor.u32()?;
        if flags != 0 {
            return Err(Defect::Unsupported {
                what: "segment flags",
                found: flags.into(),
            });
        }
        Ok(Self {
            id,
            salt,
            state,
            base_seqno: Seqno::new(cursor.u64()?),
            end: cursor.u64()?,
            chain: cursor.u64()?,
            min_seqno: Seqno::new(cursor.u64()?),
            max_seqno: Seqno::new(cursor.u64()?),
        })
    }
}
