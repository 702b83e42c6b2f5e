//! Runs, the checkpoint and the merges under way, as the manifest names them. FORMAT.md, "Manifest".

use crate::format::cursor::Cursor;
use crate::format::erasures::Covered;
use crate::format::ids::{LevelId, SegmentId, Seqno};
use crate::format::run::footer::{Expiring, Referred};
use crate::format::run::{FULL_KEY_BYTES_MAX, RunId, push_varint};
use crate::format::{Defect, Salt};
use std::collections::{BTreeMap, BTreeSet};

/// The longest bound of a live interval that is written: a separator, not a key.
pub(crate) const SEPARATOR_BYTES_MAX: usize = 256;
/// The longest that is read: above the longest key.
const BOUND_BYTES_MAX: usize = FULL_KEY_BYTES_MAX + 1;
/// A run's item without its head, and without the segments that it refers to.
pub(super) const RUN_BODY_BYTES_MAX: usize = 120 + 2 * (4 + SEPARATOR_BYTES_MAX);
/// The interval ends before the last key of all.
const FLAG_BOUNDED: u32 = 1;
/// Entries of the run expire.
const FLAG_EXPIRES: u32 = 2;

/// How far runs cover the log: what has this seqno or a lower one is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The last seqno that is covered, C: that of the end of a group.
    pub(crate) seqno: Seqno,
    /// Where the group ends. The segment may be gone once it is sealed and its last record covered.
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    /// The check of the frame that ends there; of the segment's header, if none does.
    pub(crate) chain: u64,
    /// Batches and records of that segment up to there, and the seqno of the first: its footer counts them, too.
    pub(crate) frames: u64,
    pub(crate) records: u64,
    pub(crate) min_seqno: Option<Seqno>,
}

impl Checkpoint {
    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        let numbers = [
            self.seqno.get(),
            self.segment.get(),
            self.offset,
            self.chain,
            self.frames,
            self.records,
            self.min_seqno.unwrap_or(Seqno::ZERO).get(),
        ];
        push_numbers(body, &numbers);
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        Ok(Self {
            seqno: Seqno::new(cursor.u64()?),
            segment: SegmentId::new(cursor.u64()?),
            offset: cursor.u64()?,
            chain: cursor.u64()?,
            frames: cursor.u64()?,
            records: cursor.u64()?,
            min_seqno: Some(Seqno::new(cursor.u64()?)).filter(|seqno| *seqno != Seqno::ZERO),
        })
    }
}

/// A run that is part of the store: which keys are live in it, and what must be known of it without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunEntry {
    pub(crate) id: RunId,
    pub(crate) salt: Salt,
    pub(crate) level: LevelId,
    /// Keys from this one on are live in it,
    pub(crate) from: Vec<u8>,
    /// and those below this one; `None`: to the last key of all.
    pub(crate) to: Option<Vec<u8>>,
    /// Entries that units have taken off its front; 0: it is whole.
    pub(crate) taken: u64,
    /// What follows is of the whole file, whatever was taken of it.
    pub(crate) file_bytes: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) lowest: Seqno,
    pub(crate) highest: Seqno,
    pub(crate) expiring: Option<Expiring>,
    /// What is erased at this seqno or a lower one was left out when it was written.
    pub(crate) erased_to: Seqno,
    pub(crate) referred: BTreeMap<SegmentId, Referred>,
}

impl RunEntry {
    /// The run as far as erasures are concerned.
    pub(crate) fn covered(&self) -> Covered<'_> {
        Covered {
            from: &self.from,
            to: self.to.as_deref(),
            lowest: self.lowest,
            erased_to: self.erased_to,
        }
    }

    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        push_numbers(body, &[self.id.get()]);
        body.extend_from_slice(&self.salt.0);
        let bounded = self.to.as_ref().map_or(0, |_| FLAG_BOUNDED);
        let flags = bounded | self.expiring.map_or(0, |_| FLAG_EXPIRES);
        push_numbers(body, &[self.level.0]);
        body.extend_from_slice(&flags.to_le_bytes());
        let numbers = [
            self.taken,
            self.file_bytes,
            self.entries,
            self.tombstones,
            self.lowest.get(),
            self.highest.get(),
        ];
        push_numbers(body, &numbers);
        Expiring::encode(self.expiring, body);
        push_numbers(body, &[self.erased_to.get()]);
        push_key(body, &self.from);
        if let Some(to) = &self.to {
            push_key(body, to);
        }
        push_count(body, self.referred.len());
        let mut last = 0;
        for (segment, referred) in &self.referred {
            push_varint(body, segment.get() - last);
            push_varint(body, referred.records);
            push_varint(body, referred.bytes);
            last = segment.get();
        }
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let id = RunId::new(cursor.u64()?);
        let salt = Salt(cursor.array()?);
        let level = LevelId(cursor.u64()?);
        let flags = cursor.u32()?;
        if flags & !(FLAG_BOUNDED | FLAG_EXPIRES) != 0 {
            return Err(Defect::Unsupported {
                what: "flags of a run in the manifest",
                found: flags.into(),
            });
        }
        Ok(Self {
            id,
            salt,
            level,
            taken: cursor.u64()?,
            file_bytes: cursor.u64()?,
            entries: cursor.u64()?,
            tombstones: cursor.u64()?,
            lowest: Seqno::new(cursor.u64()?),
            highest: Seqno::new(cursor.u64()?),
            expiring: Expiring::decode(cursor, flags & FLAG_EXPIRES != 0)?,
            erased_to: Seqno::new(cursor.u64()?),
            from: take_key(cursor)?,
            to: if flags & FLAG_BOUNDED == 0 {
                None
            } else {
                Some(take_key(cursor)?)
            },
            referred: decode_referred(cursor)?,
        })
    }
}

fn decode_referred(cursor: &mut Cursor<'_>) -> Result<BTreeMap<SegmentId, Referred>, Defect> {
    let mut referred = BTreeMap::new();
    let mut last = 0_u64;
    for _ in 0..cursor.u32()? {
        let step = cursor.varint("segment that a run refers to")?;
        let (records, bytes) = (
            cursor.varint("records that a run refers to")?,
            cursor.varint("bytes that a run refers to")?,
        );
        let segment = last.checked_add(step).filter(|_| step != 0);
        last = segment.ok_or(Defect::Field {
            what: "segment that a run refers to",
            found: step,
        })?;
        referred.insert(SegmentId::new(last), Referred { records, bytes });
    }
    Ok(referred)
}

/// What is live in a run begins further on.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) run: RunId,
    pub(super) from: Vec<u8>,
    pub(super) taken: u64,
}

impl Cut {
    pub(super) fn encode(body: &mut Vec<u8>, run: RunId, from: &[u8], taken: u64) {
        push_numbers(body, &[run.get(), taken]);
        push_key(body, from);
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Defect> {
        let run = RunId::new(cursor.u64()?);
        let taken = cursor.u64()?;
        let from = take_key(cursor)?;
        Ok(Self { run, from, taken })
    }
}

/// A pass of merges under way, so that a process after this one goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PassEntry {
    /// The newest and the oldest level that it merges.
    pub(crate) newest: LevelId,
    pub(crate) oldest: LevelId,
    /// The segments that it empties.
    pub(crate) victims: BTreeSet<SegmentId>,
    /// Why it was begun: a number of the policy's, which the format keeps and does not read.
    pub(crate) reason: u32,
}

pub(super) fn encode_passes(body: &mut Vec<u8>, passes: &[PassEntry]) {
    push_count(body, passes.len());
    for pass in passes {
        push_numbers(body, &[pass.newest.0, pass.oldest.0]);
        body.extend_from_slice(&pass.reason.to_le_bytes());
        push_count(body, pass.victims.len());
        for victim in &pass.victims {
            push_numbers(body, &[victim.get()]);
        }
    }
}

pub(super) fn decode_passes(cursor: &mut Cursor<'_>) -> Result<Vec<PassEntry>, Defect> {
    let mut passes = Vec::new();
    for _ in 0..cursor.u32()? {
        let (newest, oldest) = (LevelId(cursor.u64()?), LevelId(cursor.u64()?));
        let reason = cursor.u32()?;
        let mut victims = BTreeSet::new();
        for _ in 0..cursor.u32()? {
            let victim = SegmentId::new(cursor.u64()?);
            if victims.last().is_some_and(|last| *last >= victim) {
                return Err(Defect::Field {
                    what: "order of victims",
                    found: victim.get(),
                });
            }
            victims.insert(victim);
        }
        passes.push(PassEntry {
            newest,
            oldest,
            victims,
            reason,
        });
    }
    Ok(passes)
}

fn push_numbers(body: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        body.extend_from_slice(&number.to_le_bytes());
    }
}

fn push_count(body: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("what an item lists is bounded");
    body.extend_from_slice(&count.to_le_bytes());
}

fn push_key(body: &mut Vec<u8>, key: &[u8]) {
    push_count(body, key.len());
    body.extend_from_slice(key);
}

fn take_key(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Defect> {
    let length = cursor.u32()?;
    if length as usize > BOUND_BYTES_MAX {
        return Err(Defect::Field {
            what: "length of a run's bound",
            found: length.into(),
        });
    }
    Ok(cursor.take(length as usize)?.to_vec())
}
