//! How much of the reserve a store needs: plain numbers in, plain numbers out. `docs/DURABILITY.md`, "A full disk".

use super::catalog::MANIFEST_ROOM_BYTES;
use super::shorter::Shorter;
use crate::format::ids::LevelId;
use crate::format::manifest::{Manifest, SegmentState};
use std::collections::BTreeMap;

/// What the smallest store keeps for each quota: together 64 KiB.
pub(crate) const CLOSE_BYTES_MIN: u64 = 16 * 1024;
pub(crate) const DELETES_BYTES_MIN: u64 = 16 * 1024;
pub(crate) const MAINTENANCE_BYTES_MIN: u64 = 32 * 1024;

/// What the quota of deletes keeps at most, beside room for the longest key.
pub(crate) const DELETES_BYTES_MAX: u64 = 1024 * 1024;

/// A torn tail of no more than this is kept at the cost of the quota of the close.
pub(crate) const SPARED_TAIL_BYTES_MAX: u64 = 4 * 1024;

/// One part in so many of what is stored is kept for deletes.
const STORED_FOR_EACH_DELETED: u64 = 64;

/// What becomes of a tail that is kept: the file, and the directory that it stands in.
const TAIL_BYTES: u64 = 2 * MANIFEST_ROOM_BYTES;

/// What a store holds, as far as the reserve follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// An image of the manifest.
    pub(crate) image_bytes: u64,
    /// Segments and runs.
    pub(crate) stored_bytes: u64,
    /// The longest key that this process has written.
    pub(crate) key_bytes: u64,
    /// What a checkpoint of the memtables writes, the frozen one included.
    pub(crate) memtable_bytes: u64,
    /// What one merge unit writes, copies of values included.
    pub(crate) unit_bytes: u64,
    /// The longest run of each level, together: what a pass of merges must keep beside its output, because a prefix that is
    /// cut off a run gives nothing back before the run's last key is merged.
    pub(crate) upper_bytes: u64,
}

impl Held {
    /// What a manifest names, of a store whose active segment ends at `end` and whose units write so many bytes; of files
    /// that are shorter than it says, what they have. What is in memory is not known here.
    pub(crate) fn of(manifest: &Manifest, shorter: &Shorter, end: u64, unit_bytes: u64) -> Self {
        let whole = manifest.segments.iter();
        let whole = whole.filter(|segment| segment.state != SegmentState::Active);
        let segments: u64 = whole.map(|segment| shorter.segment_bytes(segment)).sum();
        let runs = manifest.runs.iter();
        let runs: u64 = runs.map(|run| shorter.run_bytes(run)).sum();
        let mut longest: BTreeMap<LevelId, u64> = BTreeMap::new();
        for run in &manifest.runs {
            let longest = longest.entry(run.level).or_default();
            *longest = shorter.run_bytes(run).max(*longest);
        }
        Self {
            image_bytes: manifest.image_bytes_max(),
            stored_bytes: segments + runs + end,
            unit_bytes: full_unit_bytes(segments + runs, unit_bytes, manifest.segment_bytes),
            upper_bytes: longest.into_values().sum(),
            ..Self::default()
        }
    }
}

/// What a unit may write on a full disk, in a store that has so many bytes in runs and whole segments: enough to empty half a
/// segment, or what a unit writes else, but no more than an eighth of it all.
pub(crate) fn full_unit_bytes(merged_bytes: u64, unit_bytes: u64, segment_bytes: u64) -> u64 {
    unit_bytes.max(segment_bytes / 2).min(merged_bytes / 8)
}

impl Held {
    /// A new generation of both copies of the manifest with one more edit in it, and a short torn tail.
    pub(crate) fn close_bytes(&self) -> u64 {
        let copy = self.image_bytes + self.image_bytes / 16 + 512;
        let copies = 2 * copy.next_multiple_of(MANIFEST_ROOM_BYTES);
        (copies + TAIL_BYTES).max(CLOSE_BYTES_MIN)
    }

    /// Tombstones, and the start of a segment for them.
    pub(crate) fn deletes_bytes(&self) -> u64 {
        let share = self.stored_bytes / STORED_FOR_EACH_DELETED;
        share.clamp(DELETES_BYTES_MIN, DELETES_BYTES_MAX) + whole_blocks(self.key_bytes)
    }

    /// One checkpoint, one merge unit, their edits, and what a pass of merges keeps beside its output.
    pub(crate) fn maintenance_bytes(&self) -> u64 {
        // Deletes go into the memtables when no put does, and nothing is sized for them then.
        let memtables = self.memtable_bytes + self.deletes_bytes();
        let runs = memtables + self.unit_bytes + self.upper_bytes;
        // Blocks, fences and filters are a little longer than what they hold.
        let edits = 2 * (self.image_bytes / 4).next_multiple_of(MANIFEST_ROOM_BYTES);
        let edits = edits.max(2 * MANIFEST_ROOM_BYTES);
        (runs + runs / 16 + edits).max(MAINTENANCE_BYTES_MIN)
    }
}

/// Keys of some hundred bytes are part of what each store keeps anyway.
fn whole_blocks(key_bytes: u64) -> u64 {
    if key_bytes < MANIFEST_ROOM_BYTES / 4 {
        return 0;
    }
    (2 * key_bytes).next_multiple_of(MANIFEST_ROOM_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(held: &Held) -> u64 {
        held.close_bytes() + held.deletes_bytes() + held.maintenance_bytes()
    }

    #[test]
    fn a_store_of_a_few_keys_keeps_64_kib() {
        let few = Held {
            image_bytes: 500,
            stored_bytes: 10_000,
            key_bytes: 100,
            memtable_bytes: 5_000,
            ..Held::default()
        };
        assert_eq!(total(&Held::default()), 64 * 1024);
        assert_eq!(total(&few), 64 * 1024);
    }

    #[test]
    fn each_quota_follows_what_it_is_for_and_nothing_else() {
        let start = Held::default();
        let longer_image = Held {
            image_bytes: 1 << 20,
            ..start
        };
        assert!(longer_image.close_bytes() > 2 << 20);
        assert_eq!(longer_image.deletes_bytes(), start.deletes_bytes());
        // A unit's edits may name as many segments as an image does.
        assert!(longer_image.maintenance_bytes() > 512 << 10);
        let more_stored = Held {
            stored_bytes: 10 << 30,
            ..start
        };
        assert_eq!(more_stored.deletes_bytes(), DELETES_BYTES_MAX);
        assert_eq!(more_stored.close_bytes(), start.close_bytes());
        let long_keys = Held {
            key_bytes: 65_536,
            ..start
        };
        assert!(long_keys.deletes_bytes() > start.deletes_bytes() + 65_536);
        let busy = Held {
            memtable_bytes: 8 << 20,
            unit_bytes: 16 << 20,
            upper_bytes: 4 << 20,
            ..start
        };
        assert!(busy.maintenance_bytes() > 28 << 20);
        assert_eq!(busy.close_bytes(), start.close_bytes());
        assert_eq!(busy.deletes_bytes(), start.deletes_bytes());
    }
}
