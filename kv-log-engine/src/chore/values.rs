//! Values on their way out of victims, into segments of their own kind.
//!
//! Those that were copied before are not mixed with those that were not: what has lived so long lives on, and the rest dies
//! sooner. A large one gets a segment to itself, which goes when it does.

use super::ground::Ground;
use super::output::{NewFiles, make};
use crate::fault;
use crate::format::ids::{Entry, Location, SegmentId, Seqno};
use crate::format::manifest::{SegmentEntry, SegmentState};
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::log::files::Segment;
use crate::log::values::ValueWriter;
use crate::storage::exact::has_too_many_open_files;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// A value of more than this part of a segment is alone in one.
const LARGE_PART: u64 = 8;

/// What became of a value.
#[derive(Debug)]
pub(super) enum Copied {
    To(Location),
    /// It cannot be read, and is where it was.
    Stays(Error),
}

/// The value segments of one unit.
#[derive(Debug)]
pub(super) struct Values {
    /// The segments to be emptied, and whether a merge has written them.
    victims: BTreeMap<SegmentId, bool>,
    /// By whether what goes in was copied before.
    open: BTreeMap<bool, ValueWriter>,
    done: Vec<SegmentEntry>,
    segment_bytes: u64,
    bytes: u64,
}

impl Values {
    pub(super) fn new(ground: &Ground, victims: &BTreeSet<SegmentId>) -> Self {
        ground.catalog.read(|manifest| {
            let named = manifest.segments.iter();
            let victims = named.filter(|segment| victims.contains(&segment.id));
            Self {
                victims: victims
                    .map(|segment| (segment.id, segment.state == SegmentState::Values))
                    .collect(),
                open: BTreeMap::new(),
                done: Vec::new(),
                segment_bytes: manifest.segment_bytes,
                bytes: 0,
            }
        })
    }

    /// Bytes of records that were copied.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies a value, with its key, seqno and expiry, and only if it verifies.
    ///
    /// # Errors
    /// What keeps the copy from being written. What keeps the value from being read is no error, but for a process that may
    /// open no more files.
    pub(super) fn copy(
        &mut self,
        ground: &Ground,
        files: &mut NewFiles,
        full_key: &[u8],
        (seqno, expiry_ms): (Seqno, Option<u64>),
        location: Location,
    ) -> Result<Copied> {
        let before = self.victims.get(&location.segment).copied();
        let segment = ground.layers.segment(location.segment);
        let (Some(before), Some(segment)) = (before, segment) else {
            let path = ground.files.path(location.segment);
            return Ok(Copied::Stays(fault::corrupt(
                &path,
                "it is not part of the store",
            )));
        };
        let value = match segment.read_value(&Entry { location, seqno }, full_key) {
            Ok(value) => value,
            Err(error) if may_pass(&error) => return Err(error),
            Err(error) => return Ok(Copied::Stays(error)),
        };
        let record_bytes = u64::from(location.record_bytes);
        self.bytes += record_bytes;
        if record_bytes > self.segment_bytes / LARGE_PART {
            let mut alone = begin(ground, files)?;
            let location = alone.copy(full_key, seqno, expiry_ms, &value)?;
            self.done.push(alone.finish()?);
            return Ok(Copied::To(location));
        }
        let full = |open: &ValueWriter| open.file_bytes() + record_bytes > self.segment_bytes;
        if self.open.get(&before).is_some_and(full)
            && let Some(open) = self.open.remove(&before)
        {
            self.done.push(open.finish()?);
        }
        let open = match self.open.remove(&before) {
            Some(open) => open,
            None => begin(ground, files)?,
        };
        let open = self.open.entry(before).or_insert(open);
        Ok(Copied::To(open.copy(full_key, seqno, expiry_ms, &value)?))
    }

    /// Finishes and syncs all of them.
    pub(super) fn finish(&mut self) -> Result<()> {
        for open in std::mem::take(&mut self.open).into_values() {
            self.done.push(open.finish()?);
        }
        Ok(())
    }

    /// What the manifest is to say of them.
    pub(super) fn entries(&self) -> &[SegmentEntry] {
        &self.done
    }

    /// The segments as readers see them.
    pub(super) fn segments(&self, ground: &Ground) -> Vec<Arc<Segment>> {
        let segments = self.done.iter().map(|entry| {
            Segment::of_values(entry.id, entry.salt, Arc::clone(&ground.files), entry.end)
        });
        segments.collect()
    }
}

fn begin(ground: &Ground, files: &mut NewFiles) -> Result<ValueWriter> {
    let (store_id, incarnation) = ground
        .catalog
        .read(|manifest| (manifest.store_id, manifest.incarnation));
    let path = |id| ground.files.path(id);
    let (_, writer) = make(ground, files, path, |identity| {
        let header = SegmentHeader {
            kind: SegmentKind::Values,
            store_id,
            incarnation,
            salt: identity.salt,
            id: identity.id,
            base_seqno: Seqno::ZERO,
            edit: identity.edit,
        };
        ValueWriter::create(&ground.files, header, ground.tuning.values)
    })?;
    Ok(writer)
}

/// Whether it is not the value that is the matter, but how many files this process has open.
fn may_pass(error: &Error) -> bool {
    use std::error::Error as _;
    let source = error.source().and_then(|source| source.downcast_ref());
    error.kind() == ErrorKind::Io
        && source.is_some_and(|source: &io::Error| has_too_many_open_files(source))
}
