//! What is kept of the disk for what must go on when it is full, and who is let in: by the reserve, and by the bound that the
//! owner has set.

use super::active::Active;
use crate::batch::Batch;
use crate::format::ids::{EditNumber, SegmentId};
use crate::index::Published;
use crate::log::writer::RESERVED_BYTES;
use crate::store::catalog::Catalog;
use crate::store::disk_bound;
use crate::store::quotas::Held;
use crate::store::reserve::{Quota, Reserve};
use kv_trait::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// The reserve is sized anew when the log is longer by a sixteenth of what is stored, between these.
const SIZED_EVERY_BYTES_MIN: u64 = 4 * 1024;
const SIZED_EVERY_BYTES_MAX: u64 = 1024 * 1024;

/// What a group may take of blocks beside its own bytes: it begins within one and ends within one.
pub(super) const PARTS_OF_BLOCKS_BYTES: u64 = 4 * 1024;

/// A segment that is begun beside the active one, and the edits for it.
const ROTATION_BYTES: u64 = 16 * 1024;

/// What the quotas were sized for.
#[derive(Debug)]
struct Sizes {
    held: Held,
    /// The state of the manifest, and where the active segment ended.
    edit: EditNumber,
    segment: SegmentId,
    end: u64,
}

/// The reserve of a store, as its leader keeps it.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(super) reserve: Arc<Reserve>,
    catalog: Arc<Catalog>,
    directory: PathBuf,
    /// What one merge unit writes.
    unit_bytes: u64,
    /// What all files of the store may take.
    bound: Option<u64>,
    sizes: Option<Sizes>,
    /// What memtables have held lately, at most: it follows them up at once, and down a step with each edit.
    memtable_bytes: u64,
}

/// One part in so many of what memtables held goes with each edit, if they hold less now.
const FORGOTTEN_WITH_EACH_EDIT: u64 = 8;

impl Keeping {
    pub(crate) const fn new(
        reserve: Arc<Reserve>,
        catalog: Arc<Catalog>,
        directory: PathBuf,
        unit_bytes: u64,
        bound: Option<u64>,
    ) -> Self {
        Self {
            reserve,
            catalog,
            directory,
            unit_bytes,
            bound,
            sizes: None,
            memtable_bytes: 0,
        }
    }

    /// Lets batches in, as far as room has a say: those that put, while all quotas of the reserve are whole, and the store
    /// stays within its bound. What the quotas lack is taken first. `beside`: bytes of files that the manifest does not name.
    ///
    /// # Errors
    /// `StorageFull`: only batches that only delete may go on.
    pub(super) fn admit(
        &mut self,
        active: &Active,
        published: &Published,
        beside: u64,
        batches: &[Batch],
    ) -> Result<()> {
        let puts = || batches.iter().filter(|batch| !batch.only_deletes());
        let Some(longest_key) = puts().map(Batch::longest_key).max() else {
            // Whoever empties a store needs less and less of it.
            if self.sizes.is_some() {
                self.size(active, published, 0, 0);
            }
            return Ok(());
        };
        let added = puts().map(Batch::memtable_bytes).sum();
        self.size(active, published, longest_key, added);
        if self.bound.is_some() {
            // What the reserve lacks is counted as if it were there: it may not take the store beyond its bound either.
            let stored = self.stored_bytes(active) + beside + self.reserve.bytes_when_whole();
            let group = batches.iter().map(Batch::bytes).sum();
            let added = active.segment.grows_by(group) + ROTATION_BYTES;
            disk_bound::admit_put(stored, added, self.bound)?;
        }
        match self.reserve.refill() {
            Ok(false) => {
                let message = format!(
                    "{} needs {} bytes more that it can keep for deletes, for its upkeep and for a close",
                    self.directory.display(),
                    self.reserve.missing_bytes()
                );
                Err(Error::new(ErrorKind::StorageFull, message))
            }
            // For another reason than room the reserve cannot be made: less is kept, and that is no reason to refuse.
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Gives up what is kept for deletes, as far as a group of so many bytes needs it. Says whether there was any.
    pub(super) fn spend_for_deletes(&self, bytes: u64) -> bool {
        let needed = bytes + RESERVED_BYTES + PARTS_OF_BLOCKS_BYTES;
        self.reserve.spend_some(Quota::Deletes, needed)
    }

    /// Gives up the same before a group of deletes, where a chore has given up its quota and is not done: what that has set
    /// free is not for them; and where the store takes all that it may.
    pub(super) fn spare_others(&self, active: &Active, beside: u64, bytes: u64) {
        let within = |bound| {
            let stored = self.stored_bytes(active) + beside + self.reserve.bytes_when_whole();
            stored + active.segment.grows_by(bytes) + ROTATION_BYTES <= bound
        };
        if self.reserve.is_lent(Quota::Maintenance) || !self.bound.is_none_or(within) {
            self.spend_for_deletes(bytes);
        }
    }

    /// Gives back what the quotas hold and need not, at the end of a life that wrote.
    pub(super) fn trim_at_end(&mut self, active: &Active, published: &Published) {
        if self.sizes.is_some() {
            self.trim(active, published);
        }
    }

    /// Gives back what the quotas hold and need not, for a disk that is full.
    pub(super) fn trim(&mut self, active: &Active, published: &Published) {
        let longest_key = self.sizes.as_ref().map_or(0, |sizes| sizes.held.key_bytes);
        self.sizes = None;
        self.memtable_bytes = 0;
        self.size(active, published, longest_key, 0);
        self.reserve.trim(1);
    }

    /// Says how large the quotas should be, from what the store holds and will hold with `added` bytes more in memory.
    fn size(&mut self, active: &Active, published: &Published, longest_key: u64, added: u64) {
        let (segment, end) = (active.segment.segment().id, active.segment.end().offset);
        let edit = self.catalog.last_edit();
        let memtables = published.memtable_bytes() + published.unwritten_bytes() + added;
        let mut key_bytes = longest_key;
        if let Some(sizes) = &self.sizes {
            let step = sizes.held.stored_bytes / 16;
            let step = step.clamp(SIZED_EVERY_BYTES_MIN, SIZED_EVERY_BYTES_MAX);
            let near = sizes.edit == edit && sizes.segment == segment && end < sizes.end + step;
            key_bytes = key_bytes.max(sizes.held.key_bytes);
            if near && key_bytes == sizes.held.key_bytes && memtables <= sizes.held.memtable_bytes {
                return;
            }
        }
        let was = self.sizes.as_ref().filter(|sizes| sizes.edit != edit);
        if was.is_some() {
            self.memtable_bytes -= self.memtable_bytes / FORGOTTEN_WITH_EACH_EDIT;
        }
        // A little ahead, so that not every group has it computed anew.
        self.memtable_bytes = self.memtable_bytes.max(memtables + memtables / 16);
        let named = |manifest: &_| self.reserve.held_by(manifest, end, self.unit_bytes);
        let held = Held {
            key_bytes,
            memtable_bytes: self.memtable_bytes,
            ..self.catalog.read(named)
        };
        self.reserve.want_for(&held);
        // What the same store may soon need again is not given back, or the same blocks go to and fro.
        self.reserve.trim(2);
        self.sizes = Some(Sizes {
            held,
            edit,
            segment,
            end,
        });
    }

    /// What the files that the manifest names take, and its own.
    fn stored_bytes(&self, active: &Active) -> u64 {
        let sized = self.sizes.as_ref();
        let sized = sized.map_or(0, |sizes| sizes.held.stored_bytes - sizes.end);
        sized + active.segment.length() + self.catalog.file_bytes()
    }
}
