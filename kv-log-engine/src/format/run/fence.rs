//! Where blocks and parts of a run lie, by the separators of their keys. FORMAT.md, "Table".

use super::push_varint;
use super::table::{Payload, common_prefix};
use crate::format::Defect;
use crate::format::cursor::Cursor;

/// A piece of a run: its place and length, head included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Place {
    fn push(self, out: &mut Vec<u8>) {
        push_varint(out, self.offset);
        push_varint(out, self.bytes);
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        Ok(Self {
            offset: cursor.varint("offset of a piece")?,
            bytes: cursor.varint("length of a piece")?,
        })
    }

    /// Whether the piece lies within `[start, end)`: the question before memory is taken for it.
    pub(crate) fn check(self, start: u64, end: u64) -> Result<(), Defect> {
        let inside = self.offset >= start
            && self
                .offset
                .checked_add(self.bytes)
                .is_some_and(|last| last <= end);
        if inside && self.bytes >= super::piece::PIECE_HEAD_BYTES as u64 {
            return Ok(());
        }
        Err(Defect::Field {
            what: "place of a piece",
            found: self.offset,
        })
    }
}

impl Payload for Place {
    fn decode(content: &[u8], at: usize) -> Result<(Self, usize), Defect> {
        let mut cursor = Cursor::new(content.get(at..).unwrap_or_default());
        let place = Self::take(&mut cursor)?;
        Ok((place, content.len() - cursor.remaining()))
    }
}

/// One part of a run: a fence, the blocks that it names, and the filter over their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) entries: u64,
    pub(crate) fence: Place,
    pub(crate) filter: Place,
}

impl Part {
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push_varint(out, self.entries);
        self.fence.push(out);
        self.filter.push(out);
    }
}

impl Payload for Part {
    fn decode(content: &[u8], at: usize) -> Result<(Self, usize), Defect> {
        let mut cursor = Cursor::new(content.get(at..).unwrap_or_default());
        let part = Self {
            entries: cursor.varint("entries of a part")?,
            fence: Place::take(&mut cursor)?,
            filter: Place::take(&mut cursor)?,
        };
        Ok((part, content.len() - cursor.remaining()))
    }
}

/// Appends the payload of a block's separator.
pub(crate) fn push_place(out: &mut Vec<u8>, place: Place) {
    place.push(out);
}

/// The shortest key that is above `last` and not above `first`, which is above `last`.
pub(crate) fn separator<'a>(last: &[u8], first: &'a [u8]) -> &'a [u8] {
    debug_assert!(last < first);
    let length = common_prefix(last, first) + 1;
    first.get(..length).unwrap_or(first)
}
