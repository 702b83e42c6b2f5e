//! GROUP: the order append, sync, publish. One thread at a time, the leader, and nobody else syncs the active segment.
//!
//! The effect that callers learn follows the step that failed, never the errno:
//!
//! | step | on failure |
//! |---|---|
//! | grow (room, no byte of a frame) | nothing; the store goes on |
//! | write | undone (zeros, sync): nothing; if that fails too: poison, unknown |
//! | sync | poison, unknown; never synced or written again |
//! | publish | cannot fail: memory only |
//!
//! What the disk may hold: before the write, nothing of the group; between write and sync any part of it, above the
//! mark that all its frames carry; after the sync all of it. END, chain and next seqno move only after the sync, so a
//! refused group gives its seqnos back and only the attempt number is used up.

use super::GroupEnd;
use super::rotate::Rotation;
use crate::batch::{Batch, Condition, Prior, Receipt};
use crate::commit::poison::Poison;
use crate::format::frame::Place;
use crate::format::ids::{Entry, Location, Seqno};
use crate::format::record::RecordKind;
use crate::host::Host;
use crate::index::{Change, Published};
use crate::log::scan::Boundary;
use crate::log::writer::SegmentWriter;
use crate::stats::{Counters, add};
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Frames are gathered into pieces of this size, so that a group of small batches is one write.
const WRITE_BYTES: usize = 1024 * 1024;

/// Everything the leader needs to make a group durable and visible.
#[derive(Debug)]
pub(crate) struct LogWriter {
    pub(super) segment: SegmentWriter,
    pub(super) rotation: Rotation,
    pub(super) published: Arc<Published>,
    pub(super) counters: Arc<Counters>,
    pub(super) poison: Poison,
    pub(super) host: Arc<dyn Host>,
    /// Two tries at one place differ in this. Random at open, one higher with each write.
    pub(super) attempt: u64,
    process_id: u32,
    buffer: Vec<u8>,
}

/// What becomes of one request of a group.
enum Plan {
    /// Its records are written at these seqnos.
    Write { first: Seqno, last: Seqno },
    /// It has no records.
    Empty,
    /// A condition does not hold.
    Refuse(Error),
}

impl LogWriter {
    pub(crate) fn new(
        segment: SegmentWriter,
        rotation: Rotation,
        published: Arc<Published>,
        counters: Arc<Counters>,
        poison: Poison,
        host: Arc<dyn Host>,
        attempt: u64,
    ) -> Self {
        let process_id = host.process_id();
        let writer = Self {
            segment,
            rotation,
            published,
            counters,
            poison,
            host,
            attempt,
            process_id,
            buffer: Vec::new(),
        };
        writer.show_end();
        writer
    }

    /// Steps 1 to 6. Pushes one outcome for each request, in order; the requests themselves stay in `group`.
    pub(super) fn commit_group(
        &mut self,
        group: &mut [Batch],
        outcomes: &mut Vec<Result<Receipt>>,
    ) -> GroupEnd {
        if let Some(refusal) = self.refusal() {
            outcomes.extend(group.iter().map(|_| Err(refusal.clone())));
            return self.group_end();
        }
        let plans = self.plan(group);
        let end = match self.append_and_sync(group, &plans) {
            Ok(end) => end,
            Err(error) => {
                add(&self.counters.failed_groups, 1);
                // Refused requests learn of the failure too: their refusal may rest on a write that is in doubt.
                outcomes.extend(plans.iter().map(|plan| {
                    Err(match plan {
                        Plan::Write { .. } => error.clone(),
                        Plan::Empty | Plan::Refuse(_) => error.clone().with_effect(Effect::Nothing),
                    })
                }));
                return self.group_end();
            }
        };
        self.publish(group, plans, end, outcomes);
        if planted!(VisibleBeforeDurable)
            && let Err(error) = self.segment.sync()
        {
            outcomes.clear();
            let error = self.poisoned_by(error);
            outcomes.extend(group.iter().map(|_| Err(error.clone())));
        }
        self.group_end()
    }

    fn group_end(&self) -> GroupEnd {
        match self.poison.refusal() {
            Some(refusal) => GroupEnd::Poisoned(refusal),
            None => GroupEnd::Good,
        }
    }

    /// GROUP 1: poisoned, or a forked child that has inherited the handles but not the lock.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.poison.refusal().or_else(|| {
            (self.host.process_id() != self.process_id).then(|| {
                let message =
                    "this process is a fork of the one that opened the store; open it here";
                Error::new(ErrorKind::Unavailable, message)
            })
        })
    }

    /// GROUP 2: conditions against the index and what this group has changed already; seqnos.
    fn plan(&self, group: &[Batch]) -> Vec<Plan> {
        let mut next = self.segment.end().next_seqno;
        let conditional = group.iter().any(|batch| !batch.conditions.is_empty());
        let mut overlay: BTreeMap<&[u8], Option<Seqno>> = BTreeMap::new();
        let mut plans = Vec::with_capacity(group.len());
        for batch in group {
            let broken = batch.conditions.iter().find(|condition| {
                let version = overlay.get(&*condition.key).copied().unwrap_or_else(|| {
                    self.published
                        .lookup(&condition.key)
                        .map(|(entry, _)| entry.seqno)
                });
                version != condition.version
            });
            if let Some(condition) = broken {
                plans.push(Plan::Refuse(conflict(condition)));
            } else if batch.is_empty() {
                plans.push(Plan::Empty);
            } else {
                let first = next;
                for (_, record, _) in batch.frame.records().filter(|_| conditional) {
                    let version = (record.kind == RecordKind::Put).then_some(next);
                    overlay.insert(record.key, version);
                    next = next.next();
                }
                let last = Seqno::new(first.get() + batch.len() as u64 - 1);
                next = last.next();
                plans.push(Plan::Write { first, last });
            }
        }
        plans
    }

    /// GROUP 3 to 5. Returns where END will be.
    fn append_and_sync(&mut self, group: &mut [Batch], plans: &[Plan]) -> Result<Boundary> {
        let writes = |(_, plan): &(&mut Batch, &Plan)| matches!(plan, Plan::Write { .. });
        let bytes: u64 = group
            .iter()
            .zip(plans)
            .filter(|(_, plan)| matches!(plan, Plan::Write { .. }))
            .map(|(batch, _)| batch.bytes())
            .sum();
        if bytes == 0 {
            return Ok(self.segment.end());
        }
        self.attempt = self.attempt.wrapping_add(1);
        self.segment.grow(bytes)?;
        let start = self.segment.place_at_end(self.attempt);
        let mut place = start;
        for (batch, _) in group.iter_mut().zip(plans).filter(writes) {
            place.chain = batch.frame.finish(&place);
            place.offset += batch.bytes();
            place.first_seqno = Seqno::new(place.first_seqno.get() + batch.len() as u64);
        }
        let frames = group
            .iter()
            .zip(plans)
            .filter(|(_, plan)| matches!(plan, Plan::Write { .. }))
            .map(|(batch, _)| batch.frame.bytes());
        if let Err(error) = write_pieces(&mut self.segment, &mut self.buffer, start.offset, frames)
        {
            return Err(match self.segment.undo(place.offset) {
                Ok(()) => error,
                Err(_also) => self.poisoned_by(error),
            });
        }
        if planted!(VisibleBeforeDurable) {
            return Ok(end_of(&place));
        }
        match self.segment.sync() {
            Err(error) if planted!(EffectByErrno) && error.kind() == ErrorKind::StorageFull => {
                Err(error)
            }
            Err(error) if planted!(NotPoisoned) => Err(error.with_effect(Effect::Unknown)),
            synced => synced
                .map(|()| end_of(&place))
                .map_err(|error| self.poisoned_by(error)),
        }
    }

    /// The flag first, then the answers.
    pub(super) fn poisoned_by(&self, error: Error) -> Error {
        let error = error.with_effect(Effect::Unknown);
        self.poison.set(&error);
        error
    }

    /// GROUP 6: END moves, readers see the group, and prior locations are noted with a pin.
    fn publish(
        &mut self,
        group: &[Batch],
        plans: Vec<Plan>,
        end: Boundary,
        outcomes: &mut Vec<Result<Receipt>>,
    ) {
        let written = || {
            group
                .iter()
                .zip(&plans)
                .filter(|(_, plan)| matches!(plan, Plan::Write { .. }))
        };
        let start = self.segment.end();
        let added = written().filter_map(|(batch, plan)| match plan {
            Plan::Write { first, .. } => Some((*first, batch.len() as u64)),
            Plan::Empty | Plan::Refuse(_) => None,
        });
        let added: Vec<_> = added.collect();
        if !added.is_empty() {
            add(&self.counters.groups, 1);
            add(&self.counters.batches, added.len() as u64);
            add(
                &self.counters.records,
                added.iter().map(|(_, records)| records).sum(),
            );
            add(&self.counters.frame_bytes, end.offset - start.offset);
            self.segment.advance(end, added);
            self.show_end();
        }
        let segment = self.segment.segment().id;
        let mut replaced = Vec::new();
        let mut frame_at = start.offset;
        let mut seqno = start.next_seqno;
        let changes = written().flat_map(|(batch, _)| {
            let frame = frame_at;
            frame_at += batch.bytes();
            batch
                .frame
                .records()
                .map(move |(at, record, record_bytes)| (frame + at, record, record_bytes))
        });
        let changes = changes.map(|(offset, record, record_bytes)| {
            let own = seqno;
            seqno = seqno.next();
            match record.kind {
                RecordKind::Put => {
                    let location = Location {
                        segment,
                        offset,
                        record_bytes,
                    };
                    Change::Put(
                        record.key,
                        Entry {
                            location,
                            seqno: own,
                        },
                    )
                }
                RecordKind::Tombstone => Change::Remove(record.key),
            }
        });
        let wanted: Vec<bool> = written()
            .flat_map(|(batch, _)| std::iter::repeat_n(batch.wants_priors, batch.len()))
            .collect();
        let mut wanted = wanted.into_iter();
        self.published.publish(changes, |before| {
            if wanted.next() == Some(true) {
                replaced.push(before);
            }
        });
        let mut replaced = replaced.into_iter();
        let next = self.segment.end().next_seqno;
        outcomes.extend(group.iter().zip(plans).map(|(batch, plan)| match plan {
            Plan::Write { first, last } => {
                let priors = if batch.wants_priors {
                    priors(batch, &mut replaced)
                } else {
                    Vec::new()
                };
                Ok(Receipt {
                    first_seqno: first,
                    last_seqno: last,
                    priors,
                })
            }
            Plan::Empty => Ok(Receipt {
                first_seqno: next,
                last_seqno: next.previous(),
                priors: Vec::new(),
            }),
            Plan::Refuse(error) => Err(error),
        }));
    }

    pub(super) fn show_end(&self) {
        let end = self.segment.end();
        self.counters
            .last_seqno
            .store(end.next_seqno.previous().get(), Ordering::Relaxed);
        self.counters
            .active_bytes
            .store(end.offset, Ordering::Relaxed);
    }

    /// Somebody who leads has panicked in here: what the log holds is not known.
    pub(super) fn panicked(&self) -> Error {
        self.poisoned_by(Error::new(
            ErrorKind::Poisoned,
            "the leader of a group panicked",
        ))
    }
}

fn priors(
    batch: &Batch,
    replaced: &mut impl Iterator<Item = Option<(Entry, Arc<crate::log::files::Segment>)>>,
) -> Vec<Option<Prior>> {
    batch
        .frame
        .records()
        .zip(replaced)
        .map(|((_, record, _), before)| {
            before.map(|(entry, segment)| Prior {
                key: record.key.into(),
                entry,
                segment,
            })
        })
        .collect()
}

fn end_of(place: &Place) -> Boundary {
    Boundary {
        offset: place.offset,
        chain: place.chain,
        next_seqno: place.first_seqno,
    }
}

/// Writes frames at rising offsets, small ones together. On an error the caller undoes the whole range.
fn write_pieces<'a>(
    segment: &mut SegmentWriter,
    buffer: &mut Vec<u8>,
    start: u64,
    frames: impl Iterator<Item = &'a [u8]>,
) -> Result<()> {
    buffer.clear();
    let mut offset = start;
    for frame in frames {
        if !buffer.is_empty() && buffer.len() + frame.len() > WRITE_BYTES {
            segment.write(buffer, offset)?;
            offset += buffer.len() as u64;
            buffer.clear();
        }
        if frame.len() > WRITE_BYTES {
            segment.write(frame, offset)?;
            offset += frame.len() as u64;
        } else {
            buffer.extend_from_slice(frame);
        }
    }
    if buffer.is_empty() {
        Ok(())
    } else {
        segment.write(buffer, offset)
    }
}

fn conflict(condition: &Condition) -> Error {
    let expected = condition
        .version
        .map_or_else(|| "absent".to_owned(), |seqno| seqno.to_string());
    Error::new(
        ErrorKind::Conflict,
        format!("a key has another version than the batch expects ({expected})"),
    )
}

impl super::Request for Batch {
    type Answer = Receipt;

    fn bytes(&self) -> u64 {
        Self::bytes(self)
    }

    fn queue_bytes(&self) -> u64 {
        Self::queue_bytes(self)
    }
}

impl super::GroupWriter for LogWriter {
    type Request = Batch;

    fn prepare(&mut self, first_bytes: u64) -> Result<u64> {
        self.prepare_room(first_bytes)
    }

    fn commit(&mut self, group: &mut [Batch], outcomes: &mut Vec<Result<Receipt>>) -> GroupEnd {
        self.commit_group(group, outcomes)
    }

    fn refusal(&self) -> Option<Error> {
        self.poison.refusal()
    }

    #[cfg(feature = "planted-faults")]
    fn early_refusals(&self, group: &[Batch]) -> Vec<(usize, Error)> {
        let plans = self.plan(group).into_iter().enumerate();
        plans
            .filter_map(|(at, plan)| match plan {
                Plan::Refuse(error) => Some((at, error)),
                Plan::Write { .. } | Plan::Empty => None,
            })
            .collect()
    }

    fn idle(&mut self) {
        self.idle_mark();
    }

    fn panicked(&mut self) -> Error {
        Self::panicked(self)
    }
}
