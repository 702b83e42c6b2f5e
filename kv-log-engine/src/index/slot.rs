//! What the index keeps behind a key, as bytes: a kind, then numbers of as many bytes as they need.
//!
//! In memory only, so the encoding may change with any build. The one kind so far is a location; a memtable's inline
//! value and its tombstone are further kinds of the same slot, of any length.

use crate::format::ids::{Entry, Location, SegmentId, Seqno};

const LOCATION: u8 = 0;
/// A kind, three numbers of at most ten bytes and one of at most five.
const SLOT_BYTES_MAX: usize = 1 + 3 * 10 + 5;

/// An entry as the index keeps it.
#[derive(Debug)]
pub(super) struct Slot {
    bytes: [u8; SLOT_BYTES_MAX],
    len: usize,
}

impl Slot {
    pub(super) fn of(entry: &Entry) -> Self {
        let mut slot = Self {
            bytes: [0; SLOT_BYTES_MAX],
            len: 0,
        };
        slot.push(LOCATION);
        slot.push_number(entry.seqno.get());
        slot.push_number(entry.location.segment.get());
        slot.push_number(entry.location.offset);
        slot.push_number(entry.location.record_bytes.into());
        slot
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_number(&mut self, number: u64) {
        let (bytes, len) = number_bytes(number);
        self.bytes[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The entry that [`Slot::of`] made these bytes of.
    pub(super) fn entry(bytes: &[u8]) -> Entry {
        debug_assert_eq!(bytes[0], LOCATION);
        let mut at = 1;
        let seqno = Seqno::new(number_at(bytes, &mut at));
        let segment = SegmentId::new(number_at(bytes, &mut at));
        let offset = number_at(bytes, &mut at);
        let record_bytes = number_at(bytes, &mut at);
        let record_bytes = u32::try_from(record_bytes).expect("a slot holds what was put into it");
        let location = Location {
            segment,
            offset,
            record_bytes,
        };
        Entry { location, seqno }
    }
}

/// A number in groups of seven bits, the lowest first; the top bit says that another group follows.
pub(super) fn number_bytes(mut number: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut len = 0;
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        bytes[len] = if number == 0 { low } else { low | 0x80 };
        len += 1;
        if number == 0 {
            return (bytes, len);
        }
    }
}

/// The number at `at`, which moves behind it.
#[inline]
pub(super) fn number_at(bytes: &[u8], at: &mut usize) -> u64 {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let byte = bytes[*at];
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return number;
        }
        shift += 7;
    }
}
