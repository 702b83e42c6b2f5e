//! What a run knows of a key, as a block's entry. FORMAT.md, "Table".

use super::push_varint;
use super::table::Payload;
use crate::format::Defect;
use crate::format::cursor::Cursor;
use crate::format::ids::{Location, SegmentId, Seqno};
use std::ops::Range;

const KIND_MASK: u8 = 0x0f;
const KIND_HERE: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const KIND_SEPARATED: u8 = 3;
const FLAG_EXPIRES: u8 = 0x10;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held<V> {
    /// A value that stands with the key.
    Here(V),
    /// Nothing: it was deleted.
    Tombstone,
    /// A value that a segment keeps.
    Separated(Location),
}

/// One version of a key: which write, until when, what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version<V> {
    pub(crate) seqno: Seqno,
    /// From this moment on, in milliseconds since 1970, it counts as a tombstone.
    pub(crate) expiry_ms: Option<u64>,
    pub(crate) held: Held<V>,
}

impl<V> Version<V> {
    pub(crate) const fn is_tombstone(&self) -> bool {
        matches!(self.held, Held::Tombstone)
    }

    /// Whether its time has passed at this reading of the store's clock.
    pub(crate) const fn has_expired(&self, now_ms: u64) -> bool {
        match self.expiry_ms {
            Some(expiry_ms) => expiry_ms <= now_ms,
            None => false,
        }
    }

    /// Whether whoever has this reading of the store's clock finds a value.
    pub(crate) const fn is_visible(&self, now_ms: u64) -> bool {
        !self.is_tombstone() && !self.has_expired(now_ms)
    }

    /// The same, with a value that is borrowed.
    pub(crate) const fn as_ref(&self) -> Version<&V> {
        let held = match &self.held {
            Held::Here(value) => Held::Here(value),
            Held::Tombstone => Held::Tombstone,
            Held::Separated(location) => Held::Separated(*location),
        };
        Version {
            seqno: self.seqno,
            expiry_ms: self.expiry_ms,
            held,
        }
    }

    /// The same with another form of the value.
    pub(crate) fn map<W>(self, value: impl FnOnce(V) -> W) -> Version<W> {
        let held = match self.held {
            Held::Here(here) => Held::Here(value(here)),
            Held::Tombstone => Held::Tombstone,
            Held::Separated(location) => Held::Separated(location),
        };
        Version {
            seqno: self.seqno,
            expiry_ms: self.expiry_ms,
            held,
        }
    }
}

/// A version whose value is a range of its block's content.
pub(crate) type Stored = Version<Slice>;

/// A range of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    start: usize,
    end: usize,
}

impl Slice {
    pub(crate) const fn new(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }

    pub(crate) const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

pub(crate) fn encode(out: &mut Vec<u8>, version: &Version<&[u8]>) {
    let kind = match version.held {
        Held::Here(_) => KIND_HERE,
        Held::Tombstone => KIND_TOMBSTONE,
        Held::Separated(_) => KIND_SEPARATED,
    };
    let flags = version.expiry_ms.map_or(0, |_| FLAG_EXPIRES);
    out.push(kind | flags);
    push_varint(out, version.seqno.get());
    if let Some(expiry) = version.expiry_ms {
        out.extend_from_slice(&expiry.to_le_bytes());
    }
    match version.held {
        Held::Here(value) => {
            push_varint(out, value.len() as u64);
            out.extend_from_slice(value);
        }
        Held::Tombstone => {}
        Held::Separated(location) => {
            push_varint(out, location.segment.get());
            push_varint(out, location.offset);
            push_varint(out, location.record_bytes.into());
        }
    }
}

impl Payload for Stored {
    fn decode(content: &[u8], at: usize) -> Result<(Self, usize), Defect> {
        let mut cursor = Cursor::new(content.get(at..).unwrap_or_default());
        let head = cursor.u8()?;
        let flags = head & !KIND_MASK;
        if flags & !FLAG_EXPIRES != 0 {
            return Err(Defect::Unsupported {
                what: "flags of an entry",
                found: flags.into(),
            });
        }
        let seqno = Seqno::new(cursor.varint("seqno")?);
        let expiry_ms = if flags & FLAG_EXPIRES == 0 {
            None
        } else {
            Some(cursor.u64()?)
        };
        let held = match head & KIND_MASK {
            KIND_HERE => {
                let length = cursor.varint("value length")?;
                let start = content.len() - cursor.remaining();
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let value = cursor.take(length)?;
                Held::Here(Slice {
                    start,
                    end: start + value.len(),
                })
            }
            KIND_TOMBSTONE => Held::Tombstone,
            KIND_SEPARATED => Held::Separated(Location {
                segment: SegmentId::new(cursor.varint("segment id")?),
                offset: cursor.varint("offset of a record")?,
                record_bytes: record_bytes(cursor.varint("length of a record")?)?,
            }),
            other => {
                return Err(Defect::Unsupported {
                    what: "kind of an entry",
                    found: other.into(),
                });
            }
        };
        let version = Self {
            seqno,
            expiry_ms,
            held,
        };
        Ok((version, content.len() - cursor.remaining()))
    }
}

fn record_bytes(length: u64) -> Result<u32, Defect> {
    u32::try_from(length).map_err(|_too_long| Defect::Field {
        what: "length of a record",
        found: length,
    })
}
