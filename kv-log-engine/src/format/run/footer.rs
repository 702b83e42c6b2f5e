//! What a finished run says of itself, and where that stands. FORMAT.md, "Footer of a run".

use super::fence::{Part, Place};
use super::header::RUN_HEADER_BYTES;
use super::piece::{CONTENT_BYTES_MAX, PIECE_HEAD_BYTES, place_crc};
use super::table::Table;
use super::{FULL_KEY_BYTES_MAX, RunId};
use crate::format::cursor::Cursor;
use crate::format::ids::{SegmentId, Seqno};
use crate::format::{Defect, Salt, StoreId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a trailer.
pub(crate) const TRAILER_BYTES: usize = 32;
/// Zeros between the two copies of footer and trailer: damage to 4 KiB reaches one of them at most.
pub(crate) const COPY_GAP_BYTES: u64 = COPY_GAP.len() as u64;
pub(crate) const COPY_GAP: [u8; 4096] = [0; 4096];
const TRAILER_MAGIC: &[u8; 8] = b"KVLOGEND";
const NO_EXPIRY: u64 = u64::MAX;
/// Entries of the run expire.
const FLAG_EXPIRES: u64 = 1;
/// The longest bound of a hole: the successor of the longest key.
const BOUND_BYTES_MAX: usize = FULL_KEY_BYTES_MAX + 1;
/// The longest cause of a hole.
pub(crate) const CAUSE_BYTES_MAX: usize = 1024;

/// A range of keys that a merge could not read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The first key that it hides.
    pub(crate) from: Vec<u8>,
    /// The first key above that it does not hide.
    pub(crate) to: Vec<u8>,
    pub(crate) cause: String,
}

impl Hole {
    pub(crate) fn covers(&self, full_key: &[u8]) -> bool {
        *self.from <= *full_key && *full_key < *self.to
    }
}

/// How much of a segment a run refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Referred {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// The entries of a run that expire: how many, and between which moments, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    pub(crate) entries: u64,
    pub(crate) earliest_ms: u64,
    pub(crate) latest_ms: u64,
}

impl Expiring {
    /// Counts one more.
    pub(crate) fn add(this: &mut Option<Self>, expiry_ms: u64) {
        let known = this.get_or_insert(Self {
            entries: 0,
            earliest_ms: expiry_ms,
            latest_ms: expiry_ms,
        });
        known.entries += 1;
        known.earliest_ms = known.earliest_ms.min(expiry_ms);
        known.latest_ms = known.latest_ms.max(expiry_ms);
    }

    /// About how many have expired at a reading of the clock: as if they came evenly. One at least, if one has.
    pub(crate) fn expired(&self, now_ms: u64) -> u64 {
        if now_ms < self.earliest_ms {
            return 0;
        }
        if now_ms >= self.latest_ms {
            return self.entries;
        }
        let passed = u128::from(now_ms - self.earliest_ms);
        let all = u128::from(self.latest_ms - self.earliest_ms);
        let expired = u128::from(self.entries) * passed / all;
        u64::try_from(expired).unwrap_or(self.entries).max(1)
    }

    /// The same fields in a footer and in the manifest, which say elsewhere whether there is more than the first.
    pub(in crate::format) fn encode(this: Option<Self>, out: &mut Vec<u8>) {
        let earliest_ms = this.map_or(NO_EXPIRY, |expiring| expiring.earliest_ms);
        out.extend_from_slice(&earliest_ms.to_le_bytes());
        if let Some(expiring) = this {
            out.extend_from_slice(&expiring.latest_ms.to_le_bytes());
            out.extend_from_slice(&expiring.entries.to_le_bytes());
        }
    }

    pub(in crate::format) fn decode(
        cursor: &mut Cursor<'_>,
        expires: bool,
    ) -> Result<Option<Self>, Defect> {
        let earliest_ms = cursor.u64()?;
        let malformed = Err(Defect::Field {
            what: "expiry of a run",
            found: earliest_ms,
        });
        if !expires {
            return if earliest_ms == NO_EXPIRY {
                Ok(None)
            } else {
                malformed
            };
        }
        let expiring = Self {
            earliest_ms,
            latest_ms: cursor.u64()?,
            entries: cursor.u64()?,
        };
        if expiring.entries == 0 || expiring.latest_ms < earliest_ms {
            return malformed;
        }
        Ok(Some(expiring))
    }
}

/// The numbers of a run, collected while it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunFacts {
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    /// [`Seqno::ZERO`] and [`Seqno::ZERO`] without entries.
    pub(crate) lowest: Seqno,
    pub(crate) highest: Seqno,
    pub(crate) expiring: Option<Expiring>,
    /// Keys, and the values that stand with them.
    pub(crate) content_bytes: u64,
    pub(crate) smallest: Vec<u8>,
    pub(crate) largest: Vec<u8>,
    pub(crate) referred: BTreeMap<SegmentId, Referred>,
    pub(crate) holes: Vec<Hole>,
}

/// A footer: the facts, whose they are, and the top level.
#[derive(Clone, Debug)]
pub(crate) struct Footer {
    pub(crate) store_id: StoreId,
    pub(crate) salt: Salt,
    pub(crate) id: RunId,
    pub(crate) facts: RunFacts,
    pub(crate) parts: Table<Part>,
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("what a footer holds is bounded");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(
    cursor: &mut Cursor<'a>,
    max: usize,
    what: &'static str,
) -> Result<&'a [u8], Defect> {
    let length = cursor.u32()?;
    if length as usize > max {
        return Err(Defect::Field {
            what,
            found: length.into(),
        });
    }
    cursor.take(length as usize)
}

/// The content of a footer.
pub(crate) fn encode(
    store_id: StoreId,
    salt: &Salt,
    id: RunId,
    facts: &RunFacts,
    top_level: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + top_level.len());
    out.extend_from_slice(&store_id.0);
    out.extend_from_slice(&salt.0);
    let numbers = [
        id.get(),
        facts.expiring.map_or(0, |_| FLAG_EXPIRES),
        facts.entries,
        facts.tombstones,
        facts.lowest.get(),
        facts.highest.get(),
    ];
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    Expiring::encode(facts.expiring, &mut out);
    out.extend_from_slice(&facts.content_bytes.to_le_bytes());
    push_bytes(&mut out, &facts.smallest);
    push_bytes(&mut out, &facts.largest);
    out.extend_from_slice(&count_field(facts.referred.len()));
    for (segment, referred) in &facts.referred {
        for number in [segment.get(), referred.records, referred.bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    out.extend_from_slice(&count_field(facts.holes.len()));
    for hole in &facts.holes {
        push_bytes(&mut out, &hole.from);
        push_bytes(&mut out, &hole.to);
        push_bytes(&mut out, hole.cause.as_bytes());
    }
    push_bytes(&mut out, top_level);
    out
}

fn count_field(count: usize) -> [u8; 4] {
    u32::try_from(count)
        .expect("what a footer holds is bounded")
        .to_le_bytes()
}

impl Footer {
    /// Decodes a footer whose piece verified. `end` is where the parts of the run end at the latest.
    pub(crate) fn decode(content: &[u8], end: u64) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(content);
        let store_id = StoreId(cursor.array()?);
        let salt = Salt(cursor.array()?);
        let id = RunId::new(cursor.u64()?);
        let flags = cursor.u64()?;
        if flags & !FLAG_EXPIRES != 0 {
            return Err(Defect::Unsupported {
                what: "flags of a run",
                found: flags,
            });
        }
        let facts = decode_facts(&mut cursor, flags & FLAG_EXPIRES != 0)?;
        let top_level = take_bytes(&mut cursor, CONTENT_BYTES_MAX, "length of the top level")?;
        if cursor.remaining() != 0 {
            return Err(Defect::Field {
                what: "length of a footer",
                found: content.len() as u64,
            });
        }
        let mut at = RUN_HEADER_BYTES;
        let mut entries = 0_u64;
        let parts = Table::parse(Arc::from(top_level), |_, part: &Part| {
            part.fence.check(at, end)?;
            at = part.fence.offset + part.fence.bytes;
            part.filter.check(at, end)?;
            at = part.filter.offset + part.filter.bytes;
            entries = entries.saturating_add(part.entries);
            Ok(())
        })?;
        if entries != facts.entries {
            return Err(Defect::Field {
                what: "number of entries",
                found: facts.entries,
            });
        }
        Ok(Self {
            store_id,
            salt,
            id,
            facts,
            parts,
        })
    }

    /// The hole that hides a key which the run has no entry for.
    pub(crate) fn hole_over(&self, full_key: &[u8]) -> Option<&Hole> {
        let holes = &self.facts.holes;
        let above = holes.partition_point(|hole| *hole.from <= *full_key);
        let hole = holes.get(above.checked_sub(1)?)?;
        hole.covers(full_key).then_some(hole)
    }

    /// An estimate of the bytes of memory that it keeps.
    pub(crate) fn memory_bytes(&self) -> usize {
        let facts = &self.facts;
        let holes = facts.holes.iter();
        let holes = holes.map(|hole| hole.from.len() + hole.to.len() + hole.cause.len() + 72);
        let keys = facts.smallest.len() + facts.largest.len();
        256 + self.parts.content_bytes() + facts.referred.len() * 48 + keys + holes.sum::<usize>()
    }
}

fn decode_facts(cursor: &mut Cursor<'_>, expires: bool) -> Result<RunFacts, Defect> {
    let (entries, tombstones) = (cursor.u64()?, cursor.u64()?);
    let (lowest, highest) = (Seqno::new(cursor.u64()?), Seqno::new(cursor.u64()?));
    if tombstones > entries || lowest > highest {
        return Err(Defect::Field {
            what: "numbers of a run",
            found: tombstones,
        });
    }
    let expiring = Expiring::decode(cursor, expires)?;
    let content_bytes = cursor.u64()?;
    let smallest = take_bytes(cursor, BOUND_BYTES_MAX, "length of the smallest key")?.to_vec();
    let largest = take_bytes(cursor, BOUND_BYTES_MAX, "length of the largest key")?.to_vec();
    let mut referred = BTreeMap::new();
    let mut last = None;
    for _ in 0..cursor.u32()? {
        let segment = SegmentId::new(cursor.u64()?);
        if last.is_some_and(|last| last >= segment) {
            return Err(Defect::Field {
                what: "order of segments",
                found: segment.get(),
            });
        }
        last = Some(segment);
        let (records, bytes) = (cursor.u64()?, cursor.u64()?);
        referred.insert(segment, Referred { records, bytes });
    }
    let mut holes: Vec<Hole> = Vec::new();
    for at in 0..cursor.u32()? {
        let from = take_bytes(cursor, BOUND_BYTES_MAX, "length of a hole's bound")?.to_vec();
        let to = take_bytes(cursor, BOUND_BYTES_MAX, "length of a hole's bound")?.to_vec();
        let cause = take_bytes(cursor, CAUSE_BYTES_MAX, "length of a cause")?;
        if from >= to || holes.last().is_some_and(|last| last.to > from) {
            return Err(Defect::Field {
                what: "order of holes",
                found: at.into(),
            });
        }
        let cause = String::from_utf8_lossy(cause).into_owned();
        holes.push(Hole { from, to, cause });
    }
    Ok(RunFacts {
        entries,
        tombstones,
        lowest,
        highest,
        expiring,
        content_bytes,
        smallest,
        largest,
        referred,
        holes,
    })
}

/// Where the two footers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) footers: [u64; 2],
    pub(crate) footer_bytes: u32,
}

impl Trailer {
    pub(crate) fn encode(&self, salt: &Salt, offset: u64) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(TRAILER_MAGIC);
        bytes[8..16].copy_from_slice(&self.footers[0].to_le_bytes());
        bytes[16..24].copy_from_slice(&self.footers[1].to_le_bytes());
        bytes[24..28].copy_from_slice(&self.footer_bytes.to_le_bytes());
        let crc = place_crc(&bytes[..28], salt, offset);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the trailer that stands at `offset`: its footers lie before it.
    pub(crate) fn decode(bytes: &[u8], salt: &Salt, offset: u64) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(bytes);
        let covered = cursor.take(TRAILER_BYTES - 4)?;
        let found = cursor.u32()?;
        let mut cursor = Cursor::new(covered);
        if cursor.take(TRAILER_MAGIC.len())? != TRAILER_MAGIC {
            return Err(Defect::Magic);
        }
        let expected = place_crc(covered, salt, offset);
        if found != expected {
            return Err(Defect::Check {
                what: "trailer",
                expected: expected.into(),
                found: found.into(),
            });
        }
        let trailer = Self {
            footers: [cursor.u64()?, cursor.u64()?],
            footer_bytes: cursor.u32()?,
        };
        for footer in trailer.places() {
            footer.check(RUN_HEADER_BYTES, offset)?;
        }
        if trailer.footer_bytes as usize > CONTENT_BYTES_MAX + PIECE_HEAD_BYTES {
            return Err(Defect::Field {
                what: "length of a footer",
                found: trailer.footer_bytes.into(),
            });
        }
        Ok(trailer)
    }

    pub(crate) fn places(&self) -> [Place; 2] {
        let bytes = self.footer_bytes.into();
        self.footers.map(|offset| Place { offset, bytes })
    }

    /// Where the trailers of a file of this length stand, the last one first; `None` if it is too short for them.
    pub(crate) fn offsets(length: u64) -> Option<[u64; 2]> {
        let last = length.checked_sub(TRAILER_BYTES as u64)?;
        let first = last.checked_sub(COPY_GAP_BYTES + TRAILER_BYTES as u64)?;
        (first >= RUN_HEADER_BYTES).then_some([last, first])
    }
}
