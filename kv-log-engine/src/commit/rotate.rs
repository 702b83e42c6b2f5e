//! ROTATE: sealing the active segment and going on in a new one. CLOSE: the mark and the floor of a clean end.
//!
//! Both under the lead, with nothing in flight. Each step of a rotation can be resumed: a crash before the manifest is
//! swapped leaves a file that nothing names, and an active segment that ends in a footer.

use super::active::Active;
use crate::format::Salt;
use crate::format::ids::SegmentId;
use crate::format::manifest::{Manifest, SegmentEntry, SegmentState};
use crate::index::Published;
use crate::log::files::SegmentFiles;
use crate::log::writer::{Failed, SegmentWriter};
use crate::stats::add;
use crate::store::lock::StoreLock;
use crate::store::manifest::{SwapError, swap};
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
    /// What MANIFEST says.
    manifest: Manifest,
    /// A power cut may bring back the one before: no group before it is written again.
    manifest_in_doubt: bool,
    /// As many as a manifest may name.
    segments_max: usize,
    lock: StoreLock,
    /// Above every id handed out, by this open or before.
    next_segment_id: SegmentId,
    /// A new segment whose file is durable and that the manifest does not name yet.
    prepared: Option<SegmentWriter>,
    /// When the names were looked at last, by the host's clock.
    names_seen: Option<Duration>,
}

impl Rotation {
    pub(crate) const fn new(
        files: Arc<SegmentFiles>,
        manifest: Manifest,
        manifest_in_doubt: bool,
        segments_max: usize,
        lock: StoreLock,
    ) -> Self {
        let next_segment_id = manifest.next_segment_id;
        Self {
            files,
            manifest,
            manifest_in_doubt,
            segments_max,
            lock,
            next_segment_id,
            prepared: None,
            names_seen: None,
        }
    }

    /// Makes room for a group that begins with `first_bytes`, and says how many bytes the group may have.
    ///
    /// # Errors
    /// Why there is no room; effect *nothing*. The store may be poisoned now.
    pub(super) fn make_room(
        &mut self,
        active: &mut Active,
        published: &Published,
        first_bytes: u64,
    ) -> Result<u64> {
        if let Some(refusal) = active.refusal() {
            return Err(refusal);
        }
        if self.manifest_in_doubt {
            self.swap(active, self.manifest_at_end(active))
                .map_err(|error| error.with_effect(Effect::Nothing))?;
        }
        if let Some(room) = active.segment.room_for(first_bytes) {
            return Ok(room);
        }
        self.rotate(active, published)
            .map_err(|error| error.with_effect(Effect::Nothing))?;
        Ok(active.segment.room_for(first_bytes).unwrap_or(first_bytes))
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

    fn rotate(&mut self, active: &mut Active, published: &Published) -> Result<()> {
        if self.manifest.segments.len() >= self.segments_max {
            let message = format!(
                "the store has {} segments, as many as it can have; export it into one with larger segments",
                self.manifest.segments.len()
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
        let manifest = self.manifest_with(active, &next);
        if let Err(error) = self.swap(active, manifest) {
            self.prepared = Some(next);
            return Err(error);
        }
        published.add_segment(next.segment());
        active.segment = next;
        active.show_end();
        add(&active.counters.rotations, 1);
        Ok(())
    }

    /// A segment prepared by a rotation that failed half way is of use only while no record came in between: its header
    /// says which seqno it begins with.
    fn discard_stale_segment(&mut self, active: &Active) {
        let next_seqno = active.segment.end().next_seqno;
        if let Some(stale) = self.prepared.take_if(|p| p.base_seqno() != next_seqno)
            && self.files.storage().remove_file(stale.path()).is_err()
        {
            // Its name stays in the way until the next open removes it as debris.
            self.next_segment_id = stale.segment().id.next();
        }
    }

    /// Makes a new segment with an id that was never handed out, unless its file was debris.
    fn create_segment(&mut self, active: &Active) -> Result<SegmentWriter> {
        let next_seqno = active.segment.end().next_seqno;
        let manifest = &self.manifest;
        let mut tries = 0;
        loop {
            let id = self.next_segment_id;
            let salt = random_salt(&*active.host)?;
            let created = SegmentWriter::create(
                &self.files,
                manifest.store_id,
                id,
                salt,
                next_seqno,
                manifest.segment_bytes,
            );
            match created {
                Err(error) if name_taken(&error) && tries < FOREIGN_NAMES_MAX => {
                    tries += 1;
                    self.next_segment_id = id.next();
                }
                created => return created,
            }
        }
    }

    /// The manifest of a rotation: the sealed segment with its length and chain, the new one with its header as floor.
    fn manifest_with(&self, active: &Active, next: &SegmentWriter) -> Manifest {
        let mut manifest = self.manifest_at_end(active);
        let end = active.segment.end();
        let (min_seqno, max_seqno) = active.segment.contents().seqno_range(end.next_seqno);
        if let Some(old) = manifest
            .segments
            .iter_mut()
            .find(|s| s.state == SegmentState::Active)
        {
            old.state = SegmentState::Sealed;
            old.min_seqno = min_seqno;
            old.max_seqno = max_seqno;
        }
        let start = next.end();
        manifest.segments.push(SegmentEntry {
            id: next.segment().id,
            salt: next.segment().salt,
            state: SegmentState::Active,
            base_seqno: next.base_seqno(),
            end: start.offset,
            chain: start.chain,
            min_seqno: start.next_seqno,
            max_seqno: start.next_seqno.previous(),
        });
        manifest.next_segment_id = next.segment().id.next();
        manifest
    }

    /// The manifest's contents with the floor raised to END.
    fn manifest_at_end(&self, active: &Active) -> Manifest {
        let mut manifest = self.manifest.clone();
        let end = active.segment.end();
        manifest.next_seqno = end.next_seqno;
        manifest.next_segment_id = manifest.next_segment_id.max(self.next_segment_id);
        if let Some(active) = manifest
            .segments
            .iter_mut()
            .find(|s| s.state == SegmentState::Active)
        {
            active.end = end.offset;
            active.chain = end.chain;
        }
        manifest
    }

    /// SWAP. A failure before the rename changes nothing; one after it poisons, because either manifest may survive.
    fn swap(&mut self, active: &Active, manifest: Manifest) -> Result<()> {
        let files = &self.files;
        if !self.lock.is_ours(files.storage())? {
            return Err(active.poisoned_by(self.replaced()));
        }
        match swap(files.storage(), files.directory(), &manifest) {
            Ok(()) => {
                self.next_segment_id = self.next_segment_id.max(manifest.next_segment_id);
                self.manifest = manifest;
                self.manifest_in_doubt = false;
                Ok(())
            }
            Err(SwapError::Before(error)) => Err(error),
            Err(SwapError::Between(error)) => Err(active.poisoned_by(error)),
        }
    }

    /// Marks the end and makes the manifest say so. The caller holds the lead and keeps it.
    ///
    /// # Errors
    /// Everything acknowledged is safe: effect *nothing*. `Poisoned`: nothing was written. Effect *unknown*: somebody
    /// removed or replaced the store.
    pub(super) fn close(&mut self, active: &mut Active) -> Result<()> {
        if let Some(refusal) = active.refusal() {
            return Err(refusal);
        }
        self.names_seen = None;
        self.look_at_names(active)?;
        self.close_steps(active)
            .map_err(|error| error.with_effect(Effect::Nothing))
    }

    fn close_steps(&mut self, active: &mut Active) -> Result<()> {
        if self.manifest_in_doubt {
            // No group was written meanwhile, and no mark may be: what only this manifest leads to would be lost with it.
            match self.swap(active, self.manifest_at_end(active)) {
                Err(error) if error.kind() == ErrorKind::StorageFull && !active.is_poisoned() => {
                    return Ok(());
                }
                swapped => swapped?,
            }
        }
        if self.is_proven(active) {
            return Ok(());
        }
        if !active.segment.is_sealed() {
            let attempt = active.next_attempt();
            match active.segment.close_mark(attempt) {
                // Without room for a mark the manifest may still raise the floor.
                Ok(()) | Err(Failed::Undone(_)) => {}
                Err(failed) => return Err(active.failed(failed)),
            }
            active.show_end();
        }
        match self.swap(active, self.manifest_at_end(active)) {
            // A full disk costs the next open some proof, not this one its success.
            Err(error) if error.kind() == ErrorKind::StorageFull && !active.is_poisoned() => Ok(()),
            swapped => swapped,
        }
    }

    /// The manifest on disk says already what a close would make it say, and the room that is kept behind END is there:
    /// nothing was written since the open. A store that is only read does not grow.
    fn is_proven(&self, active: &Active) -> bool {
        let end = active.segment.end();
        let manifest = &self.manifest;
        let floor = manifest
            .segments
            .iter()
            .find(|segment| segment.state == SegmentState::Active)
            .map(|active| (active.end, active.chain));
        active.segment.has_room_behind_end()
            && floor == Some((end.offset, end.chain))
            && manifest.next_seqno == end.next_seqno
    }
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
