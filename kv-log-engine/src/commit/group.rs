//! The order of a write. One thread at a time, the leader, and nobody else syncs the active segment.
//!
//! The effect that callers learn follows the step that failed, never the errno:
//!
//! | step | on failure |
//! |---|---|
//! | append: room, no byte of a frame | nothing; the store goes on |
//! | append: frames | undone (zeros, sync): nothing; if that fails too: poison, unknown |
//! | sync; a look at the names | poison, unknown; never synced or written again |
//! | advance, publish, show | cannot fail: memory only |
//!
//! What the disk may hold: before the append, nothing of the group; between append and sync any part of it, above the
//! mark that all its frames carry; after the sync all of it. END, chain and next seqno move only after the sync, so a
//! refused group gives its seqnos back and only the attempt number is used up.

use super::active::Active;
use super::admission::Admission;
use super::plan::Group;
use super::rotate::Rotation;
use super::seam::{GroupEnd, GroupWriter, Request};
use super::upkeep::{LogTail, Relief, Upkeep};
use crate::batch::{Answer, Batch};
use crate::format::manifest::Checkpoint;
use crate::index::{Lookup, Published};
use crate::log::followers::Told;
use crate::log::scan::Boundary;
use crate::log::writer::SegmentWriter;
use crate::stats::add;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::Arc;

/// Frames are gathered into pieces of this size, so that a group of small batches is one write.
const WRITE_BYTES: usize = 1024 * 1024;

/// Slices that a put waits for at most where there is no room; the next one waits for others.
const SLICES_FOR_ROOM_MAX: usize = 512;

/// Everything the leader needs to make a group durable and visible.
#[derive(Debug)]
pub(crate) struct LogWriter {
    active: Active,
    rotation: Rotation,
    published: Arc<Published>,
    upkeep: Arc<dyn Upkeep>,
    tail: Arc<LogTail>,
    /// What the next group would have to wait for fails.
    refused: Option<Error>,
    /// The same for those of the next group that put.
    refuses_puts: Option<Error>,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// All of it: plan, append, sync, advance, publish, show, resolve. [`GroupWriter::prepare`] has come before.
    fn commit_group(
        &mut self,
        batches: Vec<Batch>,
        resolve: impl FnOnce(Vec<Result<Answer>>, GroupEnd),
    ) {
        let mut admission = Admission::new(batches);
        let admitted = match self.admit(&admission.batches) {
            Err(full) if self.gains_room(&full) => self.admit(&admission.batches),
            admitted => admitted,
        };
        if let Err(full) = admitted {
            admission.refuse_puts(&full);
        }
        let mut gained = false;
        let (mut group, appended) = loop {
            let end = self.active.segment.end();
            let mut group = Group::plan(admission.take(), end, &self.published);
            if !admission.puts() {
                let unnamed = self.upkeep.unnamed_bytes();
                let keeping = &self.rotation.keeping;
                keeping.spare_others(&self.active, unnamed, group.bytes());
            }
            match self.append(&mut group) {
                Err(full) if !gained && admission.puts() && self.gains_room(&full) => {
                    gained = true;
                    admission.put_back(group.into_batches());
                }
                Err(full) if self.goes_on(&full, &admission, &group) => {
                    admission.put_back(group.into_batches());
                    admission.refuse_puts(&full);
                }
                // Deletes whose quota is used up.
                Err(full) if !gained && self.gains_room(&full) => {
                    gained = true;
                    admission.put_back(group.into_batches());
                }
                appended => break (group, appended),
            }
        };
        if appended.is_ok() && admission.has_refused() {
            add(&self.active.counters.failed_groups, 1);
        }
        if appended.is_ok() && admission.puts() {
            self.rotation.keeping.reserve.note_short(false);
        }
        if planted!(WatchedBeforeSync)
            && let Ok(end) = &appended
        {
            self.active.followers.show(*end).wake();
        }
        let durable = appended.and_then(|end| self.sync(end));
        let mut told = None;
        let outcomes = match durable {
            Ok(end) => {
                self.advance(&group, end);
                let replaced = self.publish(&group);
                told = self.show(&group, end);
                self.freeze_if_due(group.freezes());
                group.answers(replaced, end)
            }
            Err(error) => self.failures(&group, &error),
        };
        resolve(admission.with_refused(outcomes), self.group_end());
        if let Some(told) = told {
            told.wake();
        }
    }

    /// Whether batches that only delete go on where their group found no room: without the others, or in room that was kept
    /// for them. Nothing of the group was written.
    fn goes_on(&self, error: &Error, admission: &Admission, group: &Group) -> bool {
        error.kind() == ErrorKind::StorageFull
            && self.active.poison_refusal().is_none()
            && admission.deletes()
            && (admission.puts() || self.rotation.keeping.spend_for_deletes(group.bytes()))
    }

    /// Lets the batches of a group in that put, as far as there is room to be kept beside them.
    fn admit(&mut self, batches: &[Batch]) -> Result<()> {
        if let Some(full) = self.refuses_puts.take() {
            return Err(full);
        }
        let unnamed = self.upkeep.unnamed_bytes();
        self.rotation
            .keeping
            .admit(&self.active, &self.published, unnamed, batches)
    }

    /// Lets chores give back what they can, where a step found no room. Says whether it is worth to be done once more.
    fn gains_room(&mut self, error: &Error) -> bool {
        let is_full = error.kind() == ErrorKind::StorageFull && error.effect() == Effect::Nothing;
        if !is_full || self.active.refusal().is_some() || !self.rotation.is_settled() {
            return false;
        }
        self.rotation.keeping.reserve.note_short(true);
        if !self.upkeep.gives_room() {
            return false;
        }
        self.upkeep.settled();
        for _ in 0..SLICES_FOR_ROOM_MAX {
            // What only memory knows to be garbage nobody can give back. A memtable that was frozen before goes first.
            let freezes = self.tail.bytes() > 0 && self.published.unwritten().is_none();
            if freezes && self.upkeep.checkpoint_gives_room() {
                self.freeze_if_due(true);
                self.rotation
                    .rotate_for_chores(&mut self.active, &self.published);
            }
            match self.upkeep.give_room() {
                Relief::Again => {}
                Relief::Go | Relief::Refuse(_) => break,
            }
        }
        self.rotation.keeping.trim(&self.active, &self.published);
        self.active.refusal().is_none()
    }

    /// Makes room for a group that begins with this batch.
    fn make_room(&mut self, first: &Batch) -> Result<u64> {
        let unnamed = self.upkeep.unnamed_bytes();
        self.rotation
            .make_room(&mut self.active, &self.published, unnamed, first)
    }

    /// Makes room and writes the frames at END. Returns where END will be.
    fn append(&mut self, group: &mut Group) -> Result<Boundary> {
        let bytes = group.bytes();
        if bytes == 0 {
            return Ok(group.start());
        }
        let attempt = self.active.next_attempt();
        let segment = &mut self.active.segment;
        let end = group.finish(segment.place_at_end(attempt));
        let buffer = &mut self.buffer;
        let own_room = segment.make_room(bytes, |segment, from| {
            write_frames(segment, buffer, group, from..end.offset)
        })?;
        write_frames(segment, buffer, group, group.start().offset..own_room)
            .map(|()| end)
            .map_err(|error| self.active.undo(own_room, end.offset, error))
    }

    /// The one sync of the group, and now and then a look whether the names that lead to it are still there.
    fn sync(&mut self, end: Boundary) -> Result<Boundary> {
        self.active.sync(end)?;
        self.rotation.look_at_names(&self.active)?;
        Ok(end)
    }

    /// END, chain and next seqno move together.
    fn advance(&mut self, group: &Group, end: Boundary) {
        let added = group.added();
        if added.is_empty() {
            return;
        }
        let counters = &self.active.counters;
        add(&counters.groups, 1);
        add(&counters.batches, added.len() as u64);
        add(&counters.records, added.iter().map(|(_, n)| n).sum());
        add(&counters.frame_bytes, end.offset - group.start().offset);
        self.tail.grow(end.offset - group.start().offset);
        self.active.segment.advance(end, added);
        self.active.show_end();
    }

    /// Readers see the group, in one step. Returns what was there before, for the changes that ask for it.
    fn publish(&self, group: &Group) -> Vec<Lookup> {
        let steps = group.steps(self.active.segment.segment().id);
        self.published.publish(steps, group.now_ms())
    }

    /// Whoever follows the log may read the group: readers see it, so a read behind a change finds that change or a later one.
    fn show(&self, group: &Group, end: Boundary) -> Option<Told> {
        (!group.added().is_empty()).then(|| self.active.followers.show(end))
    }

    /// Freezes the memtable at this group's end, if it is time and the one before is written: what it holds, how far the
    /// log has come and the check that the next frame has to chain to are taken in one step, and nobody else is at them.
    fn freeze_if_due(&mut self, asked: bool) {
        let due = asked || self.upkeep.wants_freeze();
        // Behind a footer no frame may follow, so no replay can begin there; the next segment comes first.
        if !due || self.active.segment.is_sealed() || self.published.unwritten().is_some() {
            return;
        }
        self.tail.freeze();
        self.published.freeze(self.checkpoint());
        // What the checkpoint covers of this segment is given back with all of it. A large one is worth a new one.
        if asked || self.active.segment.end().offset >= self.upkeep.rotates_at() {
            self.rotation.rotate_soon();
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        let segment = &self.active.segment;
        let (end, contents) = (segment.end(), segment.contents());
        Checkpoint {
            seqno: end.next_seqno.previous(),
            segment: segment.segment().id,
            offset: end.offset,
            chain: end.chain,
            frames: contents.frames,
            records: contents.records,
            min_seqno: contents.seqnos.map(|(lowest, _)| lowest),
        }
    }

    fn failures(&self, group: &Group, error: &Error) -> Vec<Result<Answer>> {
        add(&self.active.counters.failed_groups, 1);
        group.failures(error)
    }

    fn group_end(&self) -> GroupEnd {
        match self.active.poison_refusal() {
            Some(refusal) => GroupEnd::Poisoned(refusal),
            None => GroupEnd::Good,
        }
    }

    pub(crate) const fn new(
        active: Active,
        rotation: Rotation,
        published: Arc<Published>,
        upkeep: Arc<dyn Upkeep>,
        tail: Arc<LogTail>,
    ) -> Self {
        Self {
            active,
            rotation,
            published,
            upkeep,
            tail,
            refused: None,
            refuses_puts: None,
            buffer: Vec::new(),
        }
    }

    /// Freezes the memtable of a store that closes, so that its last checkpoint can be written. The caller holds the lead.
    pub(crate) fn freeze(&mut self) {
        if self.active.refusal().is_none() && self.rotation.is_settled() {
            self.freeze_if_due(true);
        }
    }

    /// Marks the end and makes the manifest say so. The caller holds the lead and keeps it.
    ///
    /// # Errors
    /// Everything acknowledged is safe: effect *nothing*. `Poisoned`: nothing was written. Effect *unknown*: somebody
    /// removed or replaced the store.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.rotation.close(&mut self.active, &self.published)
    }
}

/// No group comes any more, whichever way the store ended: whoever follows the log has seen all of it, or reads it to its end.
impl Drop for LogWriter {
    fn drop(&mut self) {
        self.active.followers.end();
    }
}

/// Writes what of a group's frames lies in a range of the file, small pieces together.
fn write_frames(
    segment: &SegmentWriter,
    buffer: &mut Vec<u8>,
    group: &Group,
    range: Range<u64>,
) -> Result<()> {
    buffer.clear();
    let mut at = range.start; // where the buffer goes
    for piece in group.pieces(range) {
        if !buffer.is_empty() && buffer.len() + piece.len() > WRITE_BYTES {
            segment.write(buffer, at)?;
            at += buffer.len() as u64;
            buffer.clear();
        }
        if piece.len() > WRITE_BYTES {
            segment.write(piece, at)?;
            at += piece.len() as u64;
        } else {
            buffer.extend_from_slice(piece);
        }
    }
    if buffer.is_empty() {
        Ok(())
    } else {
        segment.write(buffer, at)
    }
}

impl Request for Batch {
    type Answer = Answer;

    fn bytes(&self) -> u64 {
        Self::bytes(self)
    }

    fn queue_bytes(&self) -> u64 {
        Self::queue_bytes(self)
    }
}

impl GroupWriter for LogWriter {
    type Request = Batch;

    fn prepare(&mut self, first: &Batch) -> Result<u64> {
        self.refuses_puts = None;
        if let Some(error) = self.refused.take() {
            let error = error.with_effect(Effect::Nothing);
            if error.kind() != ErrorKind::StorageFull || !first.only_deletes() {
                return Err(error);
            }
            // Deletes wait for nobody who has no room: they lead to some.
            self.refuses_puts = Some(error);
        }
        let room = match self.make_room(first) {
            Err(full) if self.gains_room(&full) => self.make_room(first)?,
            made => made?,
        };
        self.upkeep.settled();
        Ok(room)
    }

    fn relieve(&mut self) -> bool {
        if self.active.refusal().is_some() {
            return false;
        }
        match self.upkeep.relieve() {
            Relief::Again => return true,
            Relief::Go => self.refused = None,
            Relief::Refuse(error) => self.refused = Some(error),
        }
        false
    }

    fn commit(&mut self, group: Vec<Batch>, resolve: impl FnOnce(Vec<Result<Answer>>, GroupEnd)) {
        self.commit_group(group, resolve);
    }

    fn refusal(&self) -> Option<Error> {
        self.active.poison_refusal()
    }

    /// An idle mark: proves END to a recovery that finds it, costs no sync.
    fn idle(&mut self) {
        if self.active.refusal().is_none() && self.rotation.is_settled() {
            let attempt = self.active.next_attempt();
            self.active.segment.write_idle_mark(attempt);
        }
    }

    /// Somebody who leads has panicked in here: what the log holds is not known.
    fn panicked(&mut self) -> Error {
        let error = Error::new(ErrorKind::Poisoned, "the leader of a group panicked");
        self.active.poisoned_by(error)
    }
}
