//! Files that are shorter than a manifest says. What the store keeps for a full disk follows what its files take, and a
//! manifest may be an enemy's: so where its numbers ask for much, the files are asked as well.

use super::layout::DataFile;
use crate::format::ids::SegmentId;
use crate::format::manifest::{Manifest, RunEntry, SegmentEntry};
use crate::storage::{OpenMode, Storage};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Lengths of files that are shorter than they should be, by number.
#[derive(Debug, Default)]
pub(crate) struct Shorter(BTreeMap<SegmentId, u64>);

impl Shorter {
    /// Looks at each file that is named, but for the one that is written to: what that has was read. One that does not
    /// answer counts as empty: less is kept for it.
    pub(crate) fn of(storage: &dyn Storage, directory: &Path, manifest: &Manifest) -> Self {
        let length = |file: DataFile| -> io::Result<u64> {
            let path = directory.join(file.name());
            storage.open(&path, OpenMode::Read)?.len()
        };
        let active = manifest.active().map(|segment| segment.id);
        let segments = manifest.segments.iter();
        let segments = segments.filter(|segment| Some(segment.id) != active);
        let segments = segments.map(|segment| (DataFile::Segment(segment.id), segment.end));
        let runs = manifest.runs.iter();
        let runs = runs.map(|run| (DataFile::Run(run.id), run.file_bytes));
        let shorter = segments.chain(runs).filter_map(|(file, said)| {
            let found = length(file).unwrap_or(0);
            (found < said).then_some((file.id(), found))
        });
        Self(shorter.collect())
    }

    /// What a segment takes of the disk.
    pub(super) fn segment_bytes(&self, segment: &SegmentEntry) -> u64 {
        self.bytes(segment.id, segment.end)
    }

    /// What a run takes.
    pub(super) fn run_bytes(&self, run: &RunEntry) -> u64 {
        self.bytes(run.id.into(), run.file_bytes)
    }

    fn bytes(&self, id: SegmentId, said: u64) -> u64 {
        self.0.get(&id).map_or(said, |found| said.min(*found))
    }
}
