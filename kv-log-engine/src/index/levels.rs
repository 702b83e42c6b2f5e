//! All runs of a store as readers see them: levels, the newest first.
//!
//! One consistent point, made of one state of the manifest without any I/O. What is newer is in memory and not known here.

use super::cache::PieceCache;
use super::run::level::{Level, LiveRun};
use super::run::named::Run;
use super::source::{Direction, Interval, Item, Shared, Source, hidden};
use crate::format::StoreId;
use crate::format::erasures::Erasures;
use crate::format::ids::Seqno;
use crate::format::manifest::RunEntry;
use crate::format::run::RunId;
use crate::format::run::block::Version;
use crate::format::run::filter::KeyHash;
use crate::log::files::SegmentFiles;
use kv_trait::Result;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Levels, the newest first. A clone shares everything.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    levels: Arc<[Level]>,
    store_id: StoreId,
    files: Arc<SegmentFiles>,
    cache: Arc<PieceCache>,
}

impl Levels {
    /// The runs of a manifest.
    pub(crate) fn open(
        entries: &[RunEntry],
        store_id: StoreId,
        files: Arc<SegmentFiles>,
        cache: Arc<PieceCache>,
    ) -> Self {
        let none = Self {
            levels: Arc::new([]),
            store_id,
            files,
            cache,
        };
        none.after(entries)
    }

    /// The runs of a later manifest: those that are known already are gone on with, footers and all.
    pub(crate) fn after(&self, entries: &[RunEntry]) -> Self {
        let known: BTreeMap<RunId, &LiveRun> =
            self.runs().map(|live| (live.run.id(), live)).collect();
        let mut levels: BTreeMap<_, Vec<LiveRun>> = BTreeMap::new();
        for entry in entries {
            let live = self.live_run(entry, known.get(&entry.id).copied());
            levels.entry(Reverse(entry.level)).or_default().push(live);
        }
        let levels = levels.into_iter().map(|(Reverse(id), mut runs)| {
            runs.sort_by(|a, b| a.from.cmp(&b.from));
            Level::new(id, runs)
        });
        Self {
            levels: levels.collect(),
            store_id: self.store_id,
            files: Arc::clone(&self.files),
            cache: Arc::clone(&self.cache),
        }
    }

    fn live_run(&self, entry: &RunEntry, known: Option<&LiveRun>) -> LiveRun {
        let run = match known {
            Some(known) => Arc::clone(&known.run),
            None => Run::of(entry, self.store_id, &self.files, &self.cache),
        };
        // Most runs keep their interval from one state to the next: they keep these bytes, too.
        match known {
            Some(known)
                if *known.from == *entry.from
                    && known.to.as_deref() == entry.to.as_deref()
                    && known.taken == entry.taken =>
            {
                known.clone()
            }
            _ => LiveRun {
                taken: entry.taken,
                run,
                from: Arc::from(&*entry.from),
                to: entry.to.as_deref().map(Arc::from),
            },
        }
    }

    /// How many levels there are.
    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// The levels, the newest first.
    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// All runs, level by level.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &LiveRun> {
        self.levels.iter().flat_map(Level::runs)
    }

    /// Bytes of runs of which nothing counts.
    pub(crate) fn erased_bytes(&self, erasures: &Erasures) -> u64 {
        let erased = self.runs().filter(|live| {
            let highest = live.run.entry().highest;
            erasures.cover_all(&live.from, live.to.as_deref(), highest)
        });
        erased.map(|live| live.run.entry().file_bytes).sum()
    }

    /// Bytes of memory that the footers take which were read so far.
    pub(crate) fn footer_bytes(&self) -> u64 {
        self.runs().map(|live| live.run.footer_bytes()).sum()
    }

    /// What the newest level that knows a key says of it.
    ///
    /// # Errors
    /// `Corrupt`: that level, or a newer one, may know it and cannot be read there: an older version is not the answer.
    /// `Io`: a read failed.
    pub(crate) fn get(&self, full_key: &[u8]) -> Result<Option<Version<Shared>>> {
        self.get_above(full_key, Seqno::ZERO)
    }

    /// The same, where what was written to the key at this place or before it is erased.
    ///
    /// # Errors
    /// As for [`Levels::get`].
    pub(crate) fn get_above(
        &self,
        full_key: &[u8],
        floor: Seqno,
    ) -> Result<Option<Version<Shared>>> {
        let hash = KeyHash::of(self.store_id, full_key);
        for level in &*self.levels {
            if let Some(version) = level.get(full_key, hash, floor)? {
                return Ok(Some(version).filter(|version| version.seqno > floor));
            }
        }
        Ok(None)
    }

    /// A key of an interval that one of the runs has with a seqno above this one. Runs without such an entry are not read.
    ///
    /// # Errors
    /// `Corrupt`: what cannot be read may be such a key. `Io`: a read failed.
    pub(crate) fn changed_above(
        &self,
        interval: &Interval,
        above: Seqno,
    ) -> Result<Option<Vec<u8>>> {
        for level in &*self.levels {
            let newer = level.runs().iter();
            let newer = newer.filter(|live| live.run.entry().highest > above);
            let mut source = Level::new(level.id(), newer.cloned().collect())
                .range(interval, Direction::Forward);
            while let Some(item) = source.next()? {
                match item {
                    Item::Entry(entry) if entry.version.seqno > above => {
                        return Ok(Some(entry.key));
                    }
                    Item::Entry(_) => {}
                    Item::Hole(hole) => return Err(hidden(self.files.directory(), &hole)),
                }
            }
        }
        Ok(None)
    }

    /// A source for each level, the newest first. Nothing is read before they are asked; what is erased need not be.
    pub(crate) fn sources(
        &self,
        interval: &Interval,
        direction: Direction,
        erasures: &Erasures,
    ) -> Vec<Box<dyn Source>> {
        let levels = self.levels.iter();
        let range = |level: &Level| level.range(interval, direction).around(erasures.clone());
        levels
            .map(|level| Box::new(range(level)) as Box<dyn Source>)
            .collect()
    }
}
