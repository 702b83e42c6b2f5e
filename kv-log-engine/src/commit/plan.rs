//! A planned group: batches with what becomes of each. Conditions and seqnos before anything is written, answers when
//! all of it is durable and visible. Memory only.

use crate::batch::{Answer, Batch, Committed, Condition, RangeCondition};
use crate::fault;
use crate::format::frame::Place;
use crate::format::ids::{Location, SegmentId, Seqno};
use crate::format::record::RecordKind;
use crate::format::run::{full_key, split_key};
use crate::format::tables::Tables;
use crate::index::memtable::{Change, Value};
use crate::index::{Changed, Known, Lookup, Published, Remembered, Step, erased_above};
use crate::log::scan::Boundary;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::ops::Range;

/// A record of this key panics when it is published.
#[cfg(test)]
pub(super) const PANICS: &[u8] = b"panics when it is published";

/// The batches of a group, in order, each with its plan.
#[derive(Debug)]
pub(super) struct Group {
    members: Vec<(Batch, Plan)>,
    /// END when it was planned: where its first frame goes.
    start: Boundary,
    /// The reading of the store's clock that all of it is judged by.
    now_ms: u64,
}

/// What becomes of one batch of a group.
#[derive(Debug)]
enum Plan {
    /// Its records are written at these seqnos.
    Write { first: Seqno, last: Seqno },
    /// It has no records.
    Empty,
    /// A condition does not hold.
    Refuse(Error),
    /// A condition cannot be judged by what memory has.
    LookAgain,
}

impl Group {
    /// Judges conditions, against the index and what the group changes before them, and gives out seqnos.
    pub(super) fn plan(batches: Vec<Batch>, end: Boundary, index: &Published) -> Self {
        let now_ms = index.group_reading_ms(batches.iter().any(Batch::expires));
        let mut versions = Versions {
            index,
            now_ms,
            first: end.next_seqno,
            changed: BTreeMap::new(),
            conditional: batches.iter().any(Batch::is_conditional),
            tables: None,
        };
        let mut next = end.next_seqno;
        let mut plans = Vec::with_capacity(batches.len());
        for batch in &batches {
            plans.push(match versions.judge(batch, next) {
                Judged::Broken(condition, found) => Plan::Refuse(conflict(condition, found)),
                Judged::Refused(error) => Plan::Refuse(error),
                Judged::Changed(range, key) => Plan::Refuse(range.conflict(&key)),
                Judged::Unknown => Plan::LookAgain,
                Judged::Holds if batch.is_empty() => Plan::Empty,
                Judged::Holds => {
                    let first = next;
                    next = versions.change(batch, first);
                    let last = next.previous();
                    Plan::Write { first, last }
                }
            });
        }
        Self {
            members: batches.into_iter().zip(plans).collect(),
            start: end,
            now_ms,
        }
    }

    /// The batches, as they were before they were planned: nothing of them was written.
    pub(super) fn into_batches(self) -> Vec<Batch> {
        let batches = self.members.into_iter().map(|(mut batch, plan)| {
            if matches!(plan, Plan::Write { .. }) {
                batch.frame.unfinish();
            }
            batch
        });
        batches.collect()
    }

    /// The reading of the store's clock that all of it is judged by.
    pub(super) const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Where its first frame goes.
    pub(super) const fn start(&self) -> Boundary {
        self.start
    }

    /// The batches that are written, each with its first seqno.
    fn written(&self) -> impl Iterator<Item = (&Batch, Seqno)> {
        self.members.iter().filter_map(|(batch, plan)| match plan {
            Plan::Write { first, .. } => Some((batch, *first)),
            Plan::Empty | Plan::Refuse(_) | Plan::LookAgain => None,
        })
    }

    /// Whether somebody wants the memtable to be frozen behind it.
    pub(super) fn freezes(&self) -> bool {
        self.members.iter().any(|(batch, _)| batch.freezes)
    }

    /// The room that its frames take.
    pub(super) fn bytes(&self) -> u64 {
        self.written().map(|(batch, _)| batch.bytes()).sum()
    }

    /// First seqno and number of records of each batch that is written.
    pub(super) fn added(&self) -> Vec<(Seqno, u64)> {
        let written = self.written();
        written
            .map(|(batch, first)| (first, batch.len() as u64))
            .collect()
    }

    /// Finishes sums and chain of the frames for this place; returns where END will be.
    pub(super) fn finish(&mut self, mut place: Place) -> Boundary {
        for (batch, plan) in &mut self.members {
            if matches!(plan, Plan::Write { .. }) {
                place.chain = batch.frame.finish(&place);
                place.offset += batch.bytes();
                place.first_seqno = Seqno::new(place.first_seqno.get() + batch.len() as u64);
            }
        }
        Boundary {
            offset: place.offset,
            chain: place.chain,
            next_seqno: place.first_seqno,
        }
    }

    /// What of its frames lies in a range of the file, in order.
    pub(super) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        let mut next = self.start.offset;
        let pieces = self.written().map(move |(batch, _)| {
            let frame = batch.frame.bytes();
            let (start, end) = (next, next + frame.len() as u64);
            next = end;
            let within = |offset: u64| {
                let offset = offset.clamp(start, end) - start;
                usize::try_from(offset).expect("a frame is in memory")
            };
            &frame[within(range.start)..within(range.end)]
        });
        pieces.filter(|piece| !piece.is_empty())
    }

    /// What readers see of it, in order, and for each step whether its batch asks for what was there before.
    pub(super) fn steps(&self, segment: SegmentId) -> impl Iterator<Item = (Step<'_>, bool)> {
        let mut frame_at = self.start.offset;
        let frames = self.written().map(move |(batch, first)| {
            let at = frame_at;
            frame_at += batch.bytes();
            (batch, at, first)
        });
        frames.flat_map(move |(batch, frame_at, mut next)| {
            let records = batch.frame.records();
            records.map(move |(at, record, record_bytes)| {
                let seqno = next;
                next = next.next();
                #[cfg(test)]
                assert_ne!(record.key, PANICS, "planned");
                if !record.kind.is_of_key() {
                    return (Step::Tables(record, seqno), batch.wants_priors);
                }
                let location = Location {
                    segment,
                    offset: frame_at + at,
                    record_bytes,
                };
                let change = Change {
                    keyspace: record.keyspace,
                    key: record.key,
                    seqno,
                    location,
                    expiry_ms: record.expiry_ms,
                    value: (record.kind == RecordKind::Put).then_some(Value {
                        bytes: record.value,
                        len: record.value.len(),
                    }),
                };
                (Step::Key(change), batch.wants_priors)
            })
        })
    }

    /// The answers when it is durable and visible. `replaced`: what the changes that asked for it replaced; `end`: behind
    /// the group.
    pub(super) fn answers(&mut self, replaced: Vec<Lookup>, end: Boundary) -> Vec<Result<Answer>> {
        let mut replaced = replaced.into_iter();
        let answers = self.members.iter_mut().map(|(batch, plan)| match plan {
            Plan::Write { first, last } => {
                let asked = if batch.wants_priors { batch.len() } else { 0 };
                Ok(Answer::Committed(Committed {
                    first_seqno: *first,
                    last_seqno: *last,
                    priors: replaced.by_ref().take(asked).collect(),
                }))
            }
            Plan::Empty => Ok(Answer::Committed(Committed {
                first_seqno: end.next_seqno,
                last_seqno: end.next_seqno.previous(),
                priors: Vec::new(),
            })),
            Plan::Refuse(error) => Err(error.clone()),
            Plan::LookAgain => {
                let mut batch = std::mem::take(batch);
                batch.looked = None;
                Ok(Answer::LookAgain(batch))
            }
        });
        answers.collect()
    }

    /// The answers when it failed. Refused batches learn of the failure too: their refusal may rest on a write that is
    /// in doubt.
    pub(super) fn failures(&self, error: &Error) -> Vec<Result<Answer>> {
        let failures = self.members.iter().map(|(_, plan)| {
            Err(match plan {
                Plan::Write { .. } => error.clone(),
                Plan::Empty | Plan::Refuse(_) | Plan::LookAgain => {
                    error.clone().with_effect(Effect::Nothing)
                }
            })
        });
        failures.collect()
    }
}

/// The version of each key at one point of a group.
struct Versions<'a> {
    index: &'a Published,
    now_ms: u64,
    /// What the group's first record has, or would have.
    first: Seqno,
    /// By the group, so far, by keyspace and key; `None`: absent.
    changed: BTreeMap<(u32, &'a [u8]), Option<Seqno>>,
    /// Somebody asks.
    conditional: bool,
    /// Keyspaces and erasures with what the group does to them; looked at where a batch depends on them.
    tables: Option<Tables>,
}

/// What the conditions of a batch come to.
enum Judged<'a> {
    Holds,
    /// The first one that does not hold, and the version that was found.
    Broken(&'a Condition, Option<Seqno>),
    /// It goes to a keyspace that is not there any more, or more would be erased at once than can be.
    Refused(Error),
    /// The first range that has changed, and a full key that was.
    Changed(&'a RangeCondition, Box<[u8]>),
    /// Memory cannot tell, and neither can what the submitter has found.
    Unknown,
}

impl<'a> Versions<'a> {
    /// The version of the key of a batch's condition, if what memory has tells, or what the submitter found and nothing can
    /// have changed since.
    fn of(&self, batch: &Batch, number: usize, condition: &Condition) -> Option<Option<Seqno>> {
        let Condition { keyspace, key, .. } = condition;
        let full_key = full_key(*keyspace, key);
        let tables = self.tables.as_ref().filter(|_| !planted!(ErasureUnnoticed));
        let floor = tables.map_or(Seqno::ZERO, |tables| tables.erasures.floor(&full_key));
        if let Some(changed) = self.changed.get(&(*keyspace, &**key)) {
            return Some(changed.filter(|version| *version > floor));
        }
        if floor >= self.first {
            return Some(None);
        }
        match self.index.remembered(&full_key, self.now_ms) {
            Remembered::Version(version) => Some(version),
            Remembered::UnchangedSince(since) => {
                let looked = batch
                    .looked
                    .as_ref()
                    .filter(|looked| looked.at >= since || planted!(LookBelieved));
                let looked = looked?;
                let known = looked.versions.get(number)?;
                Some(known.and_then(|known| known.version(self.now_ms)))
            }
        }
    }

    fn tables(&mut self) -> &mut Tables {
        self.tables.get_or_insert_with(|| self.index.tables())
    }

    /// Judges a batch whose first record would have seqno `first`.
    fn judge(&mut self, batch: &'a Batch, first: Seqno) -> Judged<'a> {
        for keyspace in &batch.keyspaces {
            if !self.tables().keyspaces.has(*keyspace) {
                return Judged::Refused(fault::dropped_keyspace(*keyspace));
            }
        }
        match self.judge_conditions(batch) {
            Judged::Holds if batch.changes_tables => self.change_tables(batch, first),
            judged => judged,
        }
    }

    /// Does what the records of a batch say that are about no single key, if all of it can be done.
    fn change_tables(&mut self, batch: &'a Batch, first: Seqno) -> Judged<'a> {
        let mut tables = self.tables().clone();
        let mut next = first;
        for (_, record, _) in batch.frame.records() {
            if let Err(refused) = tables.has_room_for(&record) {
                return Judged::Refused(refused);
            }
            // Whoever makes a keyspace has seen others than there are by now.
            if tables.apply(&record, next).is_err() {
                return Judged::Unknown;
            }
            next = next.next();
        }
        self.tables = Some(tables);
        Judged::Holds
    }

    fn judge_conditions(&self, batch: &'a Batch) -> Judged<'a> {
        for (number, condition) in batch.conditions.iter().enumerate() {
            match self.of(batch, number, condition) {
                None => return Judged::Unknown,
                Some(found) if found == condition.version => {}
                Some(found) => return Judged::Broken(condition, found),
            }
        }
        for range in &batch.ranges {
            match self.changed(batch, range) {
                Changed::Nothing => {}
                Changed::Key(key) => return Judged::Changed(range, key),
                Changed::Unknown => return Judged::Unknown,
            }
        }
        Judged::Holds
    }

    /// Whether a range has changed: by the group so far, or behind what its submitter has looked through.
    fn changed(&self, batch: &Batch, range: &RangeCondition) -> Changed {
        if planted!(PhantomAllowed) {
            return Changed::Nothing;
        }
        let of_group = split_key(&range.from).zip(split_key(&range.to));
        let of_group = of_group.and_then(|(from, to)| self.changed.range(from..to).next());
        if let Some(((keyspace, key), _)) = of_group {
            return Changed::Key(full_key(*keyspace, key).into());
        }
        let looked = batch.looked.as_ref().map(|looked| looked.at);
        let since = looked.map_or(range.at, |looked| looked.max(range.at));
        let interval = range.interval();
        let tables = self.tables.as_ref();
        if let Some(key) = tables.and_then(|tables| erased_above(tables, &interval, since)) {
            return Changed::Key(key);
        }
        self.index.changed_above(&interval, since)
    }

    /// Notes what a batch changes from seqno `first` on; returns the seqno behind it.
    fn change(&mut self, batch: &'a Batch, first: Seqno) -> Seqno {
        let mut next = first;
        for (_, record, _) in batch.frame.records().filter(|_| self.conditional) {
            if !record.kind.is_of_key() {
                next = next.next();
                continue;
            }
            let known = Known {
                seqno: next,
                expiry_ms: record.expiry_ms,
            };
            let put = (record.kind == RecordKind::Put).then_some(known);
            let version = put.and_then(|known| known.version(self.now_ms));
            self.changed.insert((record.keyspace, record.key), version);
            next = next.next();
        }
        Seqno::new(first.get() + batch.len() as u64)
    }
}

/// `found` is the seqno of the key's record when the batch's turn came.
fn conflict(condition: &Condition, found: Option<Seqno>) -> Error {
    let version = |seqno: Option<Seqno>| {
        seqno.map_or_else(
            || "absent".to_owned(),
            |seqno| format!("at version {seqno}"),
        )
    };
    let message = format!(
        "the key {} is {}, where the batch expects it {}",
        fault::shown_key(&condition.key),
        version(found),
        version(condition.version)
    );
    Error::new(ErrorKind::Conflict, message)
}
