//! What the index keeps behind a key, as bytes: a kind, numbers of as many bytes as they need, and a small value itself.
//!
//! In memory only, so the encoding may change with any build.

use crate::format::ids::{Location, SegmentId, Seqno};
use crate::format::run::block::{Held, Version};

const HERE: u8 = 0;
const TOMBSTONE: u8 = 1;
const SEPARATED: u8 = 2;
/// Beside the kind: a number says when it expires.
const EXPIRES: u8 = 0x80;

/// What a memtable says of a key, and which segment's record said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) version: Version<&'a [u8]>,
    /// Where its record was written.
    pub(crate) segment: SegmentId,
}

impl Found<'_> {
    /// Bytes of the record that holds the value, of a key with so many bytes; a tombstone holds none.
    pub(crate) fn live_bytes(&self, key_bytes: usize) -> u64 {
        match self.version.held {
            Held::Here(value) => {
                let expires = self.version.expiry_ms.is_some();
                crate::format::record::bytes_of(expires, key_bytes, value.len())
            }
            Held::Tombstone => 0,
            Held::Separated(location) => location.record_bytes.into(),
        }
    }
}

/// Bytes that go behind a key. One is filled again and again.
#[derive(Debug, Default)]
pub(super) struct Slot {
    bytes: Vec<u8>,
}

impl Slot {
    pub(super) fn fill(&mut self, found: &Found<'_>) -> &[u8] {
        self.bytes.clear();
        let kind = match found.version.held {
            Held::Here(_) => HERE,
            Held::Tombstone => TOMBSTONE,
            Held::Separated(_) => SEPARATED,
        };
        let expiry_ms = found.version.expiry_ms;
        self.bytes.push(kind | expiry_ms.map_or(0, |_| EXPIRES));
        self.push_number(found.version.seqno.get());
        self.push_number(found.segment.get());
        if let Some(expiry_ms) = expiry_ms {
            self.push_number(expiry_ms);
        }
        match found.version.held {
            Held::Here(value) => self.bytes.extend_from_slice(value),
            Held::Tombstone => {}
            Held::Separated(location) => {
                self.push_number(location.offset);
                self.push_number(location.record_bytes.into());
            }
        }
        &self.bytes
    }

    fn push_number(&mut self, number: u64) {
        let (bytes, len) = number_bytes(number);
        self.bytes.extend_from_slice(&bytes[..len]);
    }
}

/// What [`Slot::fill`] made these bytes of.
#[inline]
pub(super) fn found(bytes: &[u8]) -> Found<'_> {
    let mut at = 1;
    let seqno = Seqno::new(number_at(bytes, &mut at));
    let segment = SegmentId::new(number_at(bytes, &mut at));
    let expiry_ms = (bytes[0] & EXPIRES != 0).then(|| number_at(bytes, &mut at));
    let held = match bytes[0] & !EXPIRES {
        HERE => Held::Here(&bytes[at..]),
        TOMBSTONE => Held::Tombstone,
        _ => {
            let offset = number_at(bytes, &mut at);
            let record_bytes = number_at(bytes, &mut at);
            Held::Separated(Location {
                segment,
                offset,
                record_bytes: u32::try_from(record_bytes)
                    .expect("a slot holds what was put into it"),
            })
        }
    };
    let version = Version {
        seqno,
        expiry_ms,
        held,
    };
    Found { version, segment }
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
