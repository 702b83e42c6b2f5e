//! Sealing the active segment and going on in a new one; the floor and the mark of a clean end.
//!
//! Both under the lead, with nothing in flight. Each step of a rotation can be resumed: a crash before the manifest's edit
//! leaves a file that nothing names, and an active segment that ends in a footer.

use super::active::Active;
use super::keeping::{Keeping, PARTS_OF_BLOCKS_BYTES};
use crate::batch::Batch;
use crate::format::Salt;
use crate::format::manifest::{Edit, SegmentEntry, SegmentState};
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use crate::index::Published;
use crate::log::files::SegmentFiles;
use crate::log::writer::{Failed, GROW_BYTES_MIN, SegmentWriter};
use crate::recovery::repair::Settlement;
use crate::stats::add;
use crate::store::catalog::{Catalog, EditError};
use crate::store::lock::StoreLock;
use crate::store::reserve::Quota;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// While groups are written, the names that lead to them are looked at as often as this, at least.
pub(crate) const NAMES_LOOKED_AT: Duration = Duration::from_millis(50);

/// Names that are in the way of a new segment, and are not ours, before the rotation gives up.
const FOREIGN_NAMES_MAX: u64 = 64;

/// What a change of segments needs besides the segment itself.
#[derive(Debug)]
pub(crate) struct Rotation {
    files: Arc<SegmentFiles>,
    /// Which files make up the store, and the way to change it.
    catalog: Arc<Catalog>,
    /// What is kept for deletes, closes and chores when the disk is full.
    pub(super) keeping: Keeping,
    /// What the open has left to be done before the first change.
    unsettled: Option<Settlement>,
    /// Why the store may only be read.
    must_not_write: Option<Error>,
    /// As many as a manifest may name.
    segments_max: usize,
    lock: Arc<StoreLock>,
    /// The active segment is mostly covered by runs, or soon will be: the next group goes into a new one, so that this one can
    /// be let go.
    due: bool,
    /// A new segment whose file is durable and that the manifest does not name yet.
    prepared: Option<SegmentWriter>,
    /// When the names were looked at last, by the host's clock.
    names_seen: Option<Duration>,
}

impl Rotation {
    pub(crate) fn new(
        files: Arc<SegmentFiles>,
        catalog: Arc<Catalog>,
        keeping: Keeping,
        unsettled: Option<Settlement>,
        must_not_write: Option<Error>,
        segments_max: usize,
        lock: Arc<StoreLock>,
    ) -> Self {
        Self {
            files,
            catalog,
            keeping,
            unsettled,
            must_not_write,
            segments_max,
            lock,
            due: false,
            prepared: None,
            names_seen: None,
        }
    }

    /// Makes room for a group that begins with this batch, and says how many bytes the group may have. `unnamed`: bytes of
    /// files that the manifest does not name.
    ///
    /// # Errors
    /// Why there is no room; effect *nothing*. The store may be poisoned now.
    pub(super) fn make_room(
        &mut self,
        active: &mut Active,
        published: &Published,
        unnamed: u64,
        first: &Batch,
    ) -> Result<u64> {
        if let Some(refusal) = active.refusal() {
            return Err(refusal);
        }
        let nothing = |error: Error| error.with_effect(Effect::Nothing);
        self.settle(active).map_err(nothing)?;
        let batches = std::slice::from_ref(first);
        let admitted = self.keeping.admit(active, published, unnamed, batches);
        admitted.map_err(nothing)?;
        let due = std::mem::take(&mut self.due) && active.segment.contents().frames > 0;
        if let Some(room) = active.segment.room_for(first.bytes()) {
            let rotated = if due {
                self.rotate(active, published)
            } else {
                Ok(())
            };
            // One that was only useful may fail where there is room in what is there.
            match rotated {
                Ok(()) => return Ok(active.segment.room_for(first.bytes()).unwrap_or(room)),
                Err(_) if !active.is_poisoned() && !active.segment.is_sealed() => return Ok(room),
                Err(error) if !(first.only_deletes() && found_no_room(&error)) => {
                    return Err(nothing(error));
                }
                // It is half done, and goes on below.
                Err(_no_room) => {}
            }
        }
        let mut rotated = self.rotate(active, published);
        // Where the number of segments is the matter, room would not help.
        let spends = first.only_deletes() && !self.has_all_segments();
        if spends && rotated.as_ref().err().is_some_and(found_no_room) {
            let start = SEGMENT_HEADER_BYTES + GROW_BYTES_MIN + PARTS_OF_BLOCKS_BYTES;
            self.keeping.reserve.spend_some(Quota::Deletes, start);
            let reserve = Arc::clone(&self.keeping.reserve);
            let again = || self.rotate(active, published);
            rotated = reserve.spending(Quota::Close, found_no_room, again);
        }
        rotated.map_err(nothing)?;
        Ok(active
            .segment
            .room_for(first.bytes())
            .unwrap_or_else(|| first.bytes()))
    }

    /// Looks whether the names of the segment and of LOCK still lead to this store, unless that was done just now. A store
    /// whose directory was removed goes on to be written and synced, and no later open finds any of it.
    ///
    /// # Errors
    /// They do not: poisoned, effect *unknown*.
    pub(super) fn look_at_names(&mut self, active: &Active) -> Result<()> {
        let now = active.host.now();
        let seen = self.names_seen;
        if seen.is_some_and(|seen| now.saturating_sub(seen) < NAMES_LOOKED_AT) {
            return Ok(());
        }
        let storage = self.files.storage();
        let named = active
            .segment
            .is_named(storage)
            .and_then(|segment| Ok(segment && self.lock.is_ours(storage)?));
        match named {
            Ok(true) => self.names_seen = Some(now),
            Ok(false) => return Err(active.poisoned_by(self.replaced())),
            // Nobody can say: the next group asks again.
            Err(_cannot_look) => {}
        }
        Ok(())
    }

    fn replaced(&self) -> Error {
        let message = format!(
            "the store in {} was removed or replaced while it was open",
            self.files.directory().display()
        );
        Error::new(ErrorKind::Locked, message)
    }

    /// Whether the store may be written, and the open has left nothing to be done before.
    pub(super) const fn is_settled(&self) -> bool {
        self.unsettled.is_none() && self.must_not_write.is_none()
    }

    /// The next group is to go into a new segment.
    pub(super) const fn rotate_soon(&mut self) {
        self.due = true;
    }

    /// The first change after an open pays what the open did not have to, or could not.
    fn settle(&mut self, active: &Active) -> Result<()> {
        if let Some(refusal) = &self.must_not_write {
            return Err(refusal.clone());
        }
        let Some(mut settlement) = self.unsettled.take() else {
            return Ok(());
        };
        let settled = self.check_lock(active).and_then(|()| {
            let finished = settlement.finish(&self.files, &self.catalog);
            known(active, finished)
        });
        if settled.is_err() {
            self.unsettled = Some(settlement);
        }
        settled
    }

    /// Rotates if that is due, so that chores can give back what runs cover of the active segment, if need be at the cost of
    /// their quota. What cannot be done now is tried with the next group.
    pub(super) fn rotate_for_chores(&mut self, active: &mut Active, published: &Published) {
        let due = std::mem::take(&mut self.due) && active.segment.contents().frames > 0;
        if !due || self.has_all_segments() {
            return;
        }
        let reserve = Arc::clone(&self.keeping.reserve);
        let rotate = || self.rotate(active, published);
        let rotated = reserve.spending(Quota::Maintenance, found_no_room, rotate);
        self.due = rotated.is_err();
    }

    fn has_all_segments(&self) -> bool {
        let segments = self.catalog.read(|manifest| manifest.segments.len());
        segments >= self.segments_max
    }

    fn rotate(&mut self, active: &mut Active, published: &Published) -> Result<()> {
        if self.has_all_segments() {
            let segments = self.segments_max;
            let message = format!(
                "the store has {segments} segments, as many as it can have; export it into one with larger segments"
            );
            return Err(Error::new(ErrorKind::StorageFull, message));
        }
        self.discard_stale_segment(active);
        if self.prepared.is_none() {
            self.prepared = Some(self.create_segment(active)?);
        }
        if !active.segment.is_sealed() {
            let attempt = active.next_attempt();
            let sealed = active.segment.seal(attempt);
            sealed.map_err(|failed| active.failed(failed))?;
            active.show_end();
        }
        let Some(next) = self.prepared.take() else {
            return Ok(());
        };
        let edit = self.rotation_to(active, &next);
        if let Err(error) = self.apply(active, &edit) {
            self.prepared = Some(next);
            return Err(error);
        }
        published.add_segment(next.segment());
        let sealed = active.segment.end().offset;
        active
            .followers
            .rotate(sealed, next.segment(), next.base_seqno(), next.end());
        active.segment = next;
        active.show_end();
        add(&active.counters.rotations, 1);
        Ok(())
    }

    /// A segment prepared by a rotation that failed half way is of use only while no record came in between: its header
    /// says which seqno it begins with.
    fn discard_stale_segment(&mut self, active: &Active) {
        let next_seqno = active.segment.end().next_seqno;
        if let Some(stale) = self.prepared.take_if(|p| p.base_seqno() != next_seqno) {
            // Its id is never used again.
            self.files.give_up(stale.path().to_path_buf());
        }
    }

    /// Makes a new segment with an id that no file ever had.
    fn create_segment(&self, active: &Active) -> Result<SegmentWriter> {
        let base_seqno = active.segment.end().next_seqno;
        let mut tries = 0;
        loop {
            let id = known(active, self.catalog.allocate())?;
            let salt = random_salt(&*active.host)?;
            let (header, segment_bytes) = self.catalog.read(|manifest| {
                let header = SegmentHeader {
                    kind: SegmentKind::Log,
                    store_id: manifest.store_id,
                    incarnation: manifest.incarnation,
                    salt,
                    id,
                    base_seqno,
                    edit: manifest.edit,
                };
                (header, manifest.segment_bytes)
            });
            match SegmentWriter::create(&self.files, &header, segment_bytes) {
                Err(error) if name_taken(&error) && tries < FOREIGN_NAMES_MAX => tries += 1,
                created => return created,
            }
        }
    }

    /// The edit of a rotation: the sealed segment with its length and chain, the new one with its header as floor.
    fn rotation_to(&self, active: &Active, next: &SegmentWriter) -> Edit {
        let mut edit = Edit::default();
        let end = active.segment.end();
        let (min_seqno, max_seqno) = active.segment.contents().seqno_range(end.next_seqno);
        if let Some(entry) = self.active_entry(active) {
            edit.segment(&SegmentEntry {
                state: SegmentState::Sealed,
                min_seqno,
                max_seqno,
                ..entry
            });
        }
        let start = next.end();
        edit.segment(&SegmentEntry {
            id: next.segment().id,
            salt: next.segment().salt,
            state: SegmentState::Active,
            base_seqno: next.base_seqno(),
            end: start.offset,
            chain: start.chain,
            min_seqno: start.next_seqno,
            max_seqno: start.next_seqno.previous(),
        });
        edit.counters(end.next_seqno, self.catalog.raised_file_id());
        edit
    }

    /// What the manifest says of the active segment, with the floor raised to END.
    fn active_entry(&self, active: &Active) -> Option<SegmentEntry> {
        let end = active.segment.end();
        let known = self.catalog.read(|manifest| manifest.active().copied());
        known.map(|entry| SegmentEntry {
            end: end.offset,
            chain: end.chain,
            ..entry
        })
    }

    /// One change of the manifest. A failure that leaves it in doubt poisons.
    fn apply(&self, active: &Active, edit: &Edit) -> Result<()> {
        self.check_lock(active)?;
        known(active, self.catalog.apply(edit))
    }

    fn check_lock(&self, active: &Active) -> Result<()> {
        let files = &self.files;
        if self.lock.is_ours(files.storage())? {
            return Ok(());
        }
        Err(active.poisoned_by(self.replaced()))
    }

    /// Proves the end, and marks it. The caller holds the lead and keeps it.
    ///
    /// # Errors
    /// Everything acknowledged is safe: effect *nothing*. `Poisoned`: nothing was written. Effect *unknown*: somebody
    /// removed or replaced the store.
    pub(super) fn close(&mut self, active: &mut Active, published: &Published) -> Result<()> {
        if let Some(refusal) = active.refusal() {
            return Err(refusal);
        }
        self.names_seen = None;
        self.look_at_names(active)?;
        if self.is_settled() {
            self.keeping.trim_at_end(active, published);
        }
        self.close_steps(active)
            .map_err(|error| error.with_effect(Effect::Nothing))
    }

    /// The floor first, then the mark: it names the manifest's last edit, and the open that finds it has to write nothing.
    fn close_steps(&mut self, active: &mut Active) -> Result<()> {
        if self.unsettled.is_some() || self.must_not_write.is_some() {
            // Nothing was changed: the store ends as the close before left it, or as the open had to leave it.
            return Ok(());
        }
        let reserve = Arc::clone(&self.keeping.reserve);
        if let Some(edit) = self.floor_to_raise(active) {
            match reserve.spending(Quota::Close, found_no_room, || self.apply(active, &edit)) {
                // A full disk costs the next open some proof, not this one its success.
                Err(error) if error.kind() == ErrorKind::StorageFull && !active.is_poisoned() => {}
                applied => applied?,
            }
        }
        if active.segment.is_sealed() {
            return Ok(());
        }
        let last_edit = self.catalog.last_edit();
        let marked = reserve.spending(Quota::Close, Failed::is_full, || {
            let attempt = active.next_attempt();
            active.segment.close_mark(attempt, last_edit)
        });
        active.show_end();
        match marked {
            // Without room for a mark the next open has to do more.
            Ok(()) | Err(Failed::Undone(_)) => Ok(()),
            Err(failed) => Err(active.failed(failed)),
        }
    }

    /// The edit that makes END the floor; `None`: it is.
    fn floor_to_raise(&self, active: &Active) -> Option<Edit> {
        let raised = self.active_entry(active)?;
        let next_seqno = active.segment.end().next_seqno;
        let (entry, known_seqno, next_file_id) = self.catalog.read(|manifest| {
            let entry = manifest.active().copied();
            (entry, manifest.next_seqno, manifest.next_file_id)
        });
        if entry == Some(raised) && known_seqno == next_seqno {
            return None;
        }
        let mut edit = Edit::default();
        edit.segment(&raised);
        edit.counters(next_seqno, next_file_id);
        Some(edit)
    }
}

/// What a failed change of the manifest means: in doubt, it poisons.
fn known<T>(active: &Active, changed: std::result::Result<T, EditError>) -> Result<T> {
    changed.map_err(|error| match error {
        EditError::Nothing(error) => error,
        EditError::InDoubt(error) => active.poisoned_by(error),
    })
}

/// Whether a step failed for want of room, with effect *nothing*. What a rotation has done by then stays, and it goes on from
/// there.
fn found_no_room(error: &Error) -> bool {
    error.kind() == ErrorKind::StorageFull && error.effect() == Effect::Nothing
}

fn name_taken(error: &Error) -> bool {
    use std::error::Error as _;
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::AlreadyExists)
}

/// A salt that nobody can guess.
///
/// # Errors
/// `Io`: the machine has no random bits to give.
pub(crate) fn random_salt(host: &dyn crate::host::Host) -> Result<Salt> {
    let random = host.random().map_err(|source| {
        Error::new(ErrorKind::Io, "cannot get random bits").with_source(source)
    })?;
    Ok(Salt(random))
}
