//! The state that a manifest describes: which files make up the store, and what else must be known of it. FORMAT.md,
//! "Manifest".
//!
//! An image and an edit are the same thing, a list of *items*: an image's items lead from nothing to the state, an edit's
//! from the state before it to the one after it. Both are applied by the same code, here, by the writer as by the reader.

mod check;
mod item;
mod run;
mod segment;

#[cfg(test)]
mod tests;

pub(crate) use item::Edit;
pub(crate) use run::{Checkpoint, PassEntry, RunEntry, SEPARATOR_BYTES_MAX};
pub(crate) use segment::{KeyspaceEntry, SegmentEntry, SegmentState};

use crate::format::cursor::Cursor;
use crate::format::edit::ENTRY_CONTENT_BYTES_MAX;
use crate::format::erasures::{ERASURES_BYTES_MAX, Erasures};
use crate::format::ids::{EditNumber, SegmentId, Seqno};
use crate::format::keyspaces::{KEYSPACES_BYTES_MAX, Keyspaces};
use crate::format::run::RunId;
use crate::format::tables::Tables;
use crate::format::{Class, Defect, StoreId};
use item::{
    ITEM_CHECKPOINT, ITEM_CLOCK, ITEM_COUNTERS, ITEM_CUT, ITEM_ERASURES, ITEM_GONE,
    ITEM_HEADER_BYTES, ITEM_KEYSPACE, ITEM_KEYSPACES, ITEM_PASSES, ITEM_RUN, ITEM_SEGMENT,
    ITEM_SETTINGS, ITEM_STORE,
};
use run::{Cut, RUN_BODY_BYTES_MAX};
use segment::SEGMENT_BODY_BYTES;
use std::cmp::Reverse;

/// The segments of a store: an image that names them all can be read.
pub(crate) const SEGMENTS_MAX: usize = 128 * 1024;
/// The runs of a store. What an image can hold is the bound that is met first where runs refer to many segments: the
/// catalog refuses an edit whose state no image could be written of.
pub(crate) const RUNS_MAX: usize = 16 * 1024;
/// All but the segments and the runs: what is of fixed length, the longest fingerprint, keyspaces and what is erased.
const REST_BYTES_MAX: usize = 512 + u16::MAX as usize + KEYSPACES_BYTES_MAX + ERASURES_BYTES_MAX;
const _: () = assert!(
    SEGMENTS_MAX * (ITEM_HEADER_BYTES + SEGMENT_BODY_BYTES) + REST_BYTES_MAX
        <= ENTRY_CONTENT_BYTES_MAX
        && RUNS_MAX * (ITEM_HEADER_BYTES + RUN_BODY_BYTES_MAX) + REST_BYTES_MAX
            <= ENTRY_CONTENT_BYTES_MAX,
    "a store with as many segments, or as many runs, as it may have can be opened"
);

/// Bits for what a store uses beyond this version, in the three classes. Version 0 has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Whoever does not know one of these must not read the store.
    pub(crate) incompatible: u64,
    /// Whoever does not know one of these must not write to it.
    pub(crate) read_only: u64,
    /// Whoever does not know one of these carries it on.
    pub(crate) compatible: u64,
}

/// What an image takes at most: beside its items, and for each of them with its head.
const IMAGE_HEAD_BYTES: usize = 512;
const SEGMENT_ITEM_BYTES: usize = SEGMENT_BODY_BYTES + 16;
const RUN_ITEM_BYTES: usize = 168;
/// A segment that a run refers to: three short numbers.
const REFERRED_BYTES: usize = 20;

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The entry that this is the state after.
    pub(crate) edit: EditNumber,
    pub(crate) features: Features,
    pub(crate) store_id: StoreId,
    /// Changes when a store is restored or salvaged; carried by each of its files.
    pub(crate) incarnation: StoreId,
    pub(crate) created_unix_ms: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) next_seqno: Seqno,
    /// Above every id whose file may have got a byte.
    pub(crate) next_file_id: SegmentId,
    /// What merges have dropped by: in milliseconds since 1970, the store's clock reads no less. 0: they have not.
    pub(crate) clock_ms: u64,
    pub(crate) keyspaces: Vec<KeyspaceEntry>,
    /// Ascending by id; exactly one is active.
    pub(crate) segments: Vec<SegmentEntry>,
    /// How far runs cover the log; `None`: not at all, and there is no run.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The newest level first, those of a level by the keys that are live in them.
    pub(crate) runs: Vec<RunEntry>,
    /// Keyspaces that have a name, and what is erased, as of the checkpoint.
    pub(crate) tables: Tables,
    /// Merges under way, the outer one first.
    pub(crate) passes: Vec<PassEntry>,
    /// Items of the class *compatible* that this version does not know, byte for byte and in order.
    pub(crate) carried: Vec<u8>,
    /// An item that is unknown and of the class *read-only*: its kind.
    pub(crate) unknown_item: Option<u16>,
}

impl Manifest {
    /// A store that was just made: no keyspace, no segment.
    pub(crate) fn new(
        store_id: StoreId,
        incarnation: StoreId,
        created_unix_ms: u64,
        segment_bytes: u64,
    ) -> Self {
        Self {
            edit: EditNumber::ZERO,
            features: Features {
                incompatible: 0,
                read_only: 0,
                compatible: 0,
            },
            store_id,
            incarnation,
            created_unix_ms,
            segment_bytes,
            next_seqno: Seqno::ZERO,
            next_file_id: SegmentId::FIRST,
            clock_ms: 0,
            keyspaces: Vec::new(),
            segments: Vec::new(),
            checkpoint: None,
            runs: Vec::new(),
            tables: Tables::default(),
            passes: Vec::new(),
            carried: Vec::new(),
            unknown_item: None,
        }
    }

    /// The content of an image.
    pub(crate) fn image(&self) -> Vec<u8> {
        let mut items = Edit::default();
        let features = self.features;
        for word in [
            features.incompatible,
            features.read_only,
            features.compatible,
        ] {
            items.word(word);
        }
        items.store(self.store_id, self.incarnation, self.created_unix_ms);
        items.settings(self.segment_bytes);
        items.counters(self.next_seqno, self.next_file_id);
        for keyspace in &self.keyspaces {
            items.keyspace(keyspace);
        }
        for segment in &self.segments {
            items.segment(segment);
        }
        for run in &self.runs {
            items.run(run);
        }
        if let Some(checkpoint) = &self.checkpoint {
            items.checkpoint(checkpoint);
        }
        let Tables {
            keyspaces,
            erasures,
        } = &self.tables;
        if *keyspaces != Keyspaces::default() {
            items.keyspaces(keyspaces);
        }
        if !erasures.is_empty() {
            items.erasures(erasures);
        }
        if !self.passes.is_empty() {
            items.passes(&self.passes);
        }
        if self.clock_ms > 0 {
            items.clock(self.clock_ms);
        }
        items.carried(&self.carried);
        items.into_content()
    }

    /// An image is no longer than this, and not much shorter: computed without making it.
    pub(crate) fn image_bytes_max(&self) -> u64 {
        let keyspaces = self.keyspaces.iter();
        let keyspaces = keyspaces.map(|keyspace| 32 + keyspace.fingerprint.len());
        let runs = self.runs.iter().map(|run| {
            let bounds = run.from.len() + run.to.as_ref().map_or(0, Vec::len);
            RUN_ITEM_BYTES + bounds + run.referred.len() * REFERRED_BYTES
        });
        let passes = self.passes.iter().map(|pass| 64 + 8 * pass.victims.len());
        let bytes = IMAGE_HEAD_BYTES
            + self.segments.len() * SEGMENT_ITEM_BYTES
            + self.carried.len()
            + self.tables.keyspaces.bytes()
            + self.tables.erasures.bytes()
            + keyspaces.chain(runs).chain(passes).sum::<usize>();
        bytes as u64
    }

    /// Reads the content of the image with that number.
    ///
    /// # Errors
    /// What the format forbids, or what a later version wrote.
    pub(crate) fn from_image(number: EditNumber, content: &[u8]) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(content);
        let features = Features {
            incompatible: cursor.u64()?,
            read_only: cursor.u64()?,
            compatible: cursor.u64()?,
        };
        if features.incompatible != 0 {
            return Err(Defect::Unsupported {
                what: "manifest features",
                found: features.incompatible,
            });
        }
        let zero = StoreId([0; 16]);
        let mut manifest = Self::new(zero, zero, 0, 0);
        manifest.features = features;
        let items = cursor.take(cursor.remaining())?;
        manifest.apply(number, items)?;
        Ok(manifest)
    }

    /// Applies the items of an entry.
    ///
    /// # Errors
    /// What the format forbids, or what a later version wrote: the state is half changed then.
    pub(crate) fn apply(&mut self, number: EditNumber, items: &[u8]) -> Result<(), Defect> {
        let mut rest = items;
        while !rest.is_empty() {
            let mut cursor = Cursor::new(rest);
            let kind = cursor.u16()?;
            let class = cursor.u16()?;
            let length = cursor.u32()? as usize;
            let body = cursor.take(length)?;
            let (item, behind) = rest
                .split_at_checked(ITEM_HEADER_BYTES + length)
                .ok_or(Defect::Magic)?;
            self.apply_item(kind, class, body, item)?;
            rest = behind;
        }
        self.edit = number;
        Ok(())
    }

    fn apply_item(
        &mut self,
        kind: u16,
        class: u16,
        body: &[u8],
        item: &[u8],
    ) -> Result<(), Defect> {
        let mut cursor = Cursor::new(body);
        match kind {
            ITEM_STORE => {
                self.store_id = StoreId(cursor.array()?);
                self.incarnation = StoreId(cursor.array()?);
                self.created_unix_ms = cursor.u64()?;
            }
            ITEM_SETTINGS => self.segment_bytes = cursor.u64()?,
            ITEM_COUNTERS => {
                // Whoever writes them may have read them before another did: they never fall.
                self.next_seqno = self.next_seqno.max(Seqno::new(cursor.u64()?));
                self.next_file_id = self.next_file_id.max(SegmentId::new(cursor.u64()?));
            }
            ITEM_KEYSPACE => {
                let keyspace = KeyspaceEntry::decode(&mut cursor)?;
                match self.keyspaces.iter_mut().find(|k| k.id == keyspace.id) {
                    Some(known) => *known = keyspace,
                    None => self.keyspaces.push(keyspace),
                }
            }
            ITEM_SEGMENT => self.put_segment(SegmentEntry::decode(&mut cursor)?)?,
            ITEM_GONE => {
                while cursor.remaining() != 0 {
                    self.let_go(cursor.u64()?)?;
                }
            }
            ITEM_RUN => self.put_run(RunEntry::decode(&mut cursor)?)?,
            ITEM_CUT => self.cut_run(Cut::decode(&mut cursor)?)?,
            ITEM_CHECKPOINT => self.checkpoint = Some(Checkpoint::decode(&mut cursor)?),
            ITEM_CLOCK => self.clock_ms = self.clock_ms.max(cursor.u64()?),
            ITEM_KEYSPACES => self.tables.keyspaces = Keyspaces::decode(&mut cursor)?,
            ITEM_ERASURES => self.tables.erasures = Erasures::decode(&mut cursor)?,
            ITEM_PASSES => self.passes = run::decode_passes(&mut cursor)?,
            unknown => {
                match Class::of(class) {
                    Class::Compatible => self.carried.extend_from_slice(item),
                    Class::ReadOnly => self.unknown_item = Some(unknown),
                    Class::Incompatible => {
                        return Err(Defect::Unsupported {
                            what: "item of the manifest",
                            found: unknown.into(),
                        });
                    }
                }
                return Ok(());
            }
        }
        if cursor.remaining() != 0 {
            return Err(Defect::Unsupported {
                what: "length of the manifest's item",
                found: body.len() as u64,
            });
        }
        Ok(())
    }

    fn put_segment(&mut self, segment: SegmentEntry) -> Result<(), Defect> {
        match self.segments.binary_search_by_key(&segment.id, |s| s.id) {
            Ok(at) => {
                if let Some(known) = self.segments.get_mut(at) {
                    *known = segment;
                }
            }
            Err(at) if self.segments.len() < SEGMENTS_MAX => self.segments.insert(at, segment),
            Err(_) => return Err(too_many("number of segments", self.segments.len())),
        }
        Ok(())
    }

    /// Puts a run in its place, and takes it from where it was.
    fn put_run(&mut self, run: RunEntry) -> Result<(), Defect> {
        self.runs.retain(|known| known.id != run.id);
        if self.runs.len() >= RUNS_MAX {
            return Err(too_many("number of runs", self.runs.len()));
        }
        let at = self
            .runs
            .partition_point(|known| place_of(known) < place_of(&run));
        self.runs.insert(at, run);
        Ok(())
    }

    /// A prefix of what is live in a run is live no more.
    fn cut_run(&mut self, cut: Cut) -> Result<(), Defect> {
        let malformed = Err(Defect::Field {
            what: "cut of a run",
            found: cut.run.get(),
        });
        let Some(at) = self.runs.iter().position(|run| run.id == cut.run) else {
            return malformed;
        };
        let run = self.runs.remove(at);
        let goes_on = run.from <= cut.from && run.taken <= cut.taken;
        if !goes_on || run.to.as_ref().is_some_and(|to| cut.from > *to) {
            return malformed;
        }
        self.put_run(RunEntry {
            from: cut.from,
            taken: cut.taken,
            ..run
        })
    }

    /// A segment or a run is part of the store no more.
    fn let_go(&mut self, id: u64) -> Result<(), Defect> {
        let segment = self
            .segments
            .binary_search_by_key(&id, |segment| segment.id.get());
        let run = self.runs.iter().position(|run| run.id == RunId::new(id));
        match (segment, run) {
            (Ok(at), None) => drop(self.segments.remove(at)),
            (Err(_), Some(at)) => drop(self.runs.remove(at)),
            _ => {
                return Err(Defect::Field {
                    what: "file that is let go",
                    found: id,
                });
            }
        }
        Ok(())
    }

    /// Why this version must not write to the store, although it may read it.
    pub(crate) fn must_not_write(&self) -> Option<Defect> {
        let feature = (self.features.read_only != 0).then_some(Defect::Unsupported {
            what: "feature that only a later version may write with:",
            found: self.features.read_only,
        });
        feature.or_else(|| {
            self.unknown_item.map(|kind| Defect::Unsupported {
                what: "item of the manifest that only a later version may write with:",
                found: kind.into(),
            })
        })
    }

    /// The segment that takes frames.
    pub(crate) fn active(&self) -> Option<&SegmentEntry> {
        // The newest, where no later version says otherwise: looked for from behind.
        let mut newest_first = self.segments.iter().rev();
        newest_first.find(|segment| segment.state == SegmentState::Active)
    }
}

/// What the runs of a manifest are ordered by. One whose interval is used up stands before its neighbour.
fn place_of(run: &RunEntry) -> impl Ord + '_ {
    let end = (run.to.is_none(), run.to.as_deref());
    (Reverse(run.level), run.from.as_slice(), end, run.id)
}

const fn too_many(what: &'static str, found: usize) -> Defect {
    Defect::Field {
        what,
        found: found as u64,
    }
}
