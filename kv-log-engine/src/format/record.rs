//! One record: a put, a tombstone, or what is about more than one key. FORMAT.md, "Record".
//!
//! The caller's thread encodes a record and sums its bytes, unless they are many; the leader, who knows salt, offset and
//! seqno, fills in the seqno and continues the same sum over the three. No byte is summed twice, and a record is valid only in the
//! place and at the time it was written.

use super::cursor::Cursor;
use super::{Defect, Salt};
use crate::format::ids::Seqno;
use kv_trait::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Bytes before a record's optional fields and its key.
pub(crate) const RECORD_HEADER_BYTES: usize = 28;
const CRC_AT: usize = 0;
const SUMMED_AT: usize = 4;
const SEQNO_AT: usize = 20;
const _: () = assert!(SEQNO_AT + 8 == RECORD_HEADER_BYTES);
const _: () = assert!(KEY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(VALUE_BYTES_MAX < u32::MAX as usize);

/// The keyspace that every store has from the start. It has no name, and cannot be dropped.
pub(crate) const KEYSPACE_DEFAULT: u32 = 0;
/// No keyspace has this id: it is above the full keys of all.
pub(crate) const KEYSPACE_END: u32 = u32::MAX;

/// How many bytes of optional fields each flag stands for, from the lowest bit on: expiry, codec, key id, and four that
/// have no meaning yet. So a record of a later version has a length here, too, and is refused by name.
const OPTION_BYTES: [usize; 8] = [EXPIRY_BYTES, 4, 4, 8, 8, 8, 8, 0];
/// The flag of a record that expires, and the field that says when.
const FLAG_EXPIRES: u8 = 1;
const EXPIRY_BYTES: usize = 8;
/// The optional fields of a record that this version writes, at most.
pub(crate) const OPTIONS_BYTES_MAX: usize = EXPIRY_BYTES;

/// What a record with a key and a value of these lengths takes.
pub(crate) const fn bytes_of(expires: bool, key_bytes: usize, value_bytes: usize) -> u64 {
    let options = if expires { EXPIRY_BYTES } else { 0 };
    (RECORD_HEADER_BYTES + options + key_bytes + value_bytes) as u64
}

fn option_bytes(flags: u8) -> usize {
    let set = |(bit, bytes): (usize, &usize)| {
        if flags >> bit & 1 == 1 { *bytes } else { 0 }
    };
    OPTION_BYTES.iter().enumerate().map(set).sum()
}

/// What a record does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The key holds the value from now on.
    Put,
    /// The key is absent from now on.
    Tombstone,
    /// There is a keyspace from now on: its name in place of the key, the text of its fingerprint in place of the value.
    Create,
    /// There is that keyspace no more, and nothing of what was written to it.
    Drop,
    /// All keys from the key on and below the value are absent; where that is empty, to the last of the keyspace.
    Erase,
}

impl RecordKind {
    const fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Tombstone => 2,
            Self::Create => 3,
            Self::Drop => 4,
            Self::Erase => 5,
        }
    }

    /// Whether it is about one key, and not about which keyspaces there are or what is erased.
    pub(crate) const fn is_of_key(self) -> bool {
        matches!(self, Self::Put | Self::Tombstone)
    }
}

/// What a record says besides its key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: RecordKind,
    /// From this moment on, in milliseconds since 1970, the key is absent. Of puts only.
    pub(crate) expiry_ms: Option<u64>,
}

impl Head {
    /// A put until that moment.
    pub(crate) const fn put_until(expiry_ms: Option<u64>) -> Self {
        Self {
            kind: RecordKind::Put,
            expiry_ms,
        }
    }

    const fn flags(self) -> u8 {
        match self.expiry_ms {
            Some(_) => FLAG_EXPIRES,
            None => 0,
        }
    }

    /// Bytes before the key.
    fn bytes(self) -> usize {
        RECORD_HEADER_BYTES + option_bytes(self.flags())
    }
}

impl From<RecordKind> for Head {
    /// For ever.
    fn from(kind: RecordKind) -> Self {
        Self {
            kind,
            expiry_ms: None,
        }
    }
}

/// A record's header: its lengths are within the limits, nothing else is checked.
///
/// Kind and flags are judged after the sum has verified ([`RecordHeader::judge`]): in a torn frame they are
/// arbitrary bytes, not the work of a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) crc: u32,
    kind: u8,
    flags: u8,
    reserved: u16,
    pub(crate) keyspace: u32,
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) seqno: Seqno,
}

impl RecordHeader {
    /// Decodes the first [`RECORD_HEADER_BYTES`] of `bytes` and checks the lengths against the limits.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(bytes);
        Ok(Self {
            crc: cursor.u32()?,
            kind: cursor.u8()?,
            flags: cursor.u8()?,
            reserved: cursor.u16()?,
            keyspace: cursor.u32()?,
            key_bytes: bounded(cursor.u32()?, KEY_BYTES_MAX, "key length")?,
            value_bytes: bounded(cursor.u32()?, VALUE_BYTES_MAX, "value length")?,
            seqno: Seqno::new(cursor.u64()?),
        })
    }

    /// Header and optional fields: where the key begins.
    pub(crate) fn head_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + option_bytes(self.flags)
    }

    /// Header, optional fields, key and value.
    pub(crate) fn record_bytes(&self) -> usize {
        self.head_bytes() + self.key_bytes + self.value_bytes
    }

    const fn expires(&self) -> bool {
        self.flags & FLAG_EXPIRES != 0
    }

    /// What the record does; what this version does not know is named.
    pub(crate) fn judge(&self) -> Result<RecordKind, Defect> {
        if self.flags & !FLAG_EXPIRES != 0 {
            return Err(Defect::Unsupported {
                what: "record flags",
                found: self.flags.into(),
            });
        }
        if self.reserved != 0 {
            return Err(Defect::Unsupported {
                what: "record flags",
                found: u64::from(self.reserved) << 8,
            });
        }
        if self.keyspace == KEYSPACE_END {
            return Err(Defect::Unsupported {
                what: "keyspace",
                found: self.keyspace.into(),
            });
        }
        match self.kind {
            1 => Ok(RecordKind::Put),
            2 if self.expires() => Err(Defect::Field {
                what: "tombstone's flags",
                found: self.flags.into(),
            }),
            2 if self.value_bytes == 0 => Ok(RecordKind::Tombstone),
            2 => Err(Defect::Field {
                what: "tombstone's value length",
                found: self.value_bytes as u64,
            }),
            3 | 4 if self.keyspace == KEYSPACE_DEFAULT => Err(Defect::Field {
                what: "keyspace that is made or dropped",
                found: self.keyspace.into(),
            }),
            3 => Ok(RecordKind::Create),
            4 if self.key_bytes == 0 && self.value_bytes == 0 => Ok(RecordKind::Drop),
            4 => Err(Defect::Field {
                what: "length of a record that drops a keyspace",
                found: self.record_bytes() as u64,
            }),
            5 => Ok(RecordKind::Erase),
            other => Err(Defect::Unsupported {
                what: "record kind",
                found: other.into(),
            }),
        }
    }
}

fn bounded(length: u32, max: usize, what: &'static str) -> Result<usize, Defect> {
    match usize::try_from(length) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(Defect::Field {
            what,
            found: length.into(),
        }),
    }
}

/// A record whose bytes verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) seqno: Seqno,
    pub(crate) keyspace: u32,
    /// From this moment on, in milliseconds since 1970, its key is absent.
    pub(crate) expiry_ms: Option<u64>,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Appends a record without a seqno: its sum still lacks salt, offset and seqno ([`finish`]).
///
/// The caller has checked the lengths against the limits.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    head: impl Into<Head>,
    keyspace: u32,
    key: &[u8],
    value: &[u8],
) {
    let head = head.into();
    let start = out.len();
    out.reserve(head.bytes() + key.len() + value.len());
    begin(out, head, key);
    out.extend_from_slice(value);
    end(&mut out[start..], head, keyspace, key);
}

/// Appends room for the header and its fields, and the key. The value comes next, and then [`end`].
pub(crate) fn begin(out: &mut Vec<u8>, head: Head, key: &[u8]) {
    out.extend_from_slice(&[0; RECORD_HEADER_BYTES + OPTIONS_BYTES_MAX][..head.bytes()]);
    out.extend_from_slice(key);
}

/// Writes the header of the record that `record` is, and sums it unless it is long.
pub(crate) fn end(record: &mut [u8], head: Head, keyspace: u32, key: &[u8]) {
    let key_at = head.bytes();
    let value_bytes = record.len() - key_at - key.len();
    debug_assert!(key.len() <= KEY_BYTES_MAX && value_bytes <= VALUE_BYTES_MAX);
    record[SUMMED_AT..8].copy_from_slice(&[head.kind.code(), head.flags(), 0, 0]); // reserved
    record[8..12].copy_from_slice(&keyspace.to_le_bytes());
    record[12..16].copy_from_slice(&length_field(key.len()));
    record[16..SEQNO_AT].copy_from_slice(&length_field(value_bytes));
    if let Some(expiry) = head.expiry_ms {
        record[RECORD_HEADER_BYTES..key_at].copy_from_slice(&expiry.to_le_bytes());
    }
    record[key_at..key_at + key.len()].copy_from_slice(key);
    if !is_summed_late(record.len()) {
        let crc = content_crc(record);
        record[CRC_AT..SUMMED_AT].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A longer record is summed by the leader, who may take his time: the caller's thread may be an executor's.
const SUMMED_BY_CALLER_MAX: usize = 64 * 1024;

const fn is_summed_late(record_bytes: usize) -> bool {
    record_bytes > SUMMED_BY_CALLER_MAX
}

fn length_field(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("the limits of keys and values fit 32 bits")
        .to_le_bytes()
}

/// CRC32C of everything but the sum itself and the seqno.
fn content_crc(record: &[u8]) -> u32 {
    let head = crc32c::crc32c(&record[SUMMED_AT..SEQNO_AT]);
    crc32c::crc32c_append(head, &record[RECORD_HEADER_BYTES..])
}

fn place_crc(content: u32, salt: &Salt, offset: u64, seqno: Seqno) -> u32 {
    if planted!(RecordUnbound) {
        return content;
    }
    let mut place = [0; 32];
    place[..16].copy_from_slice(&salt.0);
    place[16..24].copy_from_slice(&offset.to_le_bytes());
    place[24..].copy_from_slice(&seqno.get().to_le_bytes());
    crc32c::crc32c_append(content, &place)
}

/// Gives the record that `record` is its seqno and its place, and returns the finished sum.
pub(crate) fn finish(record: &mut [u8], salt: &Salt, offset: u64, seqno: Seqno) -> u32 {
    let content = if is_summed_late(record.len()) {
        content_crc(record)
    } else {
        let mut content = [0; 4];
        content.copy_from_slice(&record[CRC_AT..SUMMED_AT]);
        u32::from_le_bytes(content)
    };
    let crc = place_crc(content, salt, offset, seqno);
    record[CRC_AT..SUMMED_AT].copy_from_slice(&crc.to_le_bytes());
    record[SEQNO_AT..RECORD_HEADER_BYTES].copy_from_slice(&seqno.get().to_le_bytes());
    crc
}

/// Takes back what [`finish`] did, so that the record can be finished for another place.
pub(crate) fn unfinish(record: &mut [u8]) {
    if !is_summed_late(record.len()) {
        let content = content_crc(record);
        record[CRC_AT..SUMMED_AT].copy_from_slice(&content.to_le_bytes());
    }
}

/// Decodes and verifies the record that fills `bytes` exactly and was written at `offset` with `seqno`.
pub(crate) fn verify<'a>(
    bytes: &'a [u8],
    salt: &Salt,
    offset: u64,
    seqno: Seqno,
) -> Result<Record<'a>, Defect> {
    let header = RecordHeader::decode(bytes)?;
    if header.record_bytes() != bytes.len() {
        let found = header.record_bytes() as u64;
        return Err(Defect::Field {
            what: "record length",
            found,
        });
    }
    let expected = place_crc(content_crc(bytes), salt, offset, seqno);
    let wrong = header.crc != expected || header.seqno != seqno && !planted!(RecordUnbound);
    if wrong && !planted!(NoChecksumCheck) {
        let found = header.crc.into();
        return Err(Defect::Check {
            what: "record",
            expected: expected.into(),
            found,
        });
    }
    split(bytes).map(|(_, record)| record)
}

/// The record at the start of `bytes`, its sum not checked: for bytes that are known to be good.
pub(crate) fn split(bytes: &[u8]) -> Result<(RecordHeader, Record<'_>), Defect> {
    let header = RecordHeader::decode(bytes)?;
    let kind = header.judge()?;
    let mut cursor = Cursor::new(bytes);
    cursor.take(RECORD_HEADER_BYTES)?;
    let expiry_ms = if header.expires() {
        Some(cursor.u64()?)
    } else {
        None
    };
    let key = cursor.take(header.key_bytes)?;
    let value = cursor.take(header.value_bytes)?;
    Ok((
        header,
        Record {
            kind,
            seqno: header.seqno,
            keyspace: header.keyspace,
            expiry_ms,
            key,
            value,
        },
    ))
}
