//! Sorted runs by themselves: written, asked and merged as checkpoints, readers and merges do.

use crate::format::erasures::Erasures;
use crate::format::ids::{EditNumber, LevelId, Seqno};
use crate::format::manifest::RunEntry;
use crate::format::run::block::{Held, Version};
use crate::format::run::header::RunHeader;
use crate::format::run::{RunId, full_key};
use crate::format::{Salt, StoreId};
use crate::index::cache::PieceCache;
use crate::index::levels::Levels;
use crate::index::merge::{Merge, Yield};
use crate::index::run::writer::{RunLayout, RunWriter};
use crate::index::source::{Direction, Interval, Item, Shared};
use crate::log::files::SegmentFiles;
use crate::storage::OsStorage;
use kv_trait::Result;
use std::path::PathBuf;
use std::sync::Arc;

const STORE: StoreId = StoreId([0x5a; 16]);

/// Runs in a directory, each a level of its own.
#[derive(Debug)]
pub struct MicroRuns {
    files: Arc<SegmentFiles>,
    cache: Arc<PieceCache>,
    layout: RunLayout,
    entries: Vec<RunEntry>,
    levels: Levels,
    seqno: u64,
}

impl MicroRuns {
    /// No runs. Blocks are compressed or not; so many bytes of what is read stay in memory.
    #[must_use]
    pub fn new(directory: PathBuf, compress: bool, cache_bytes: u64) -> Self {
        let files = SegmentFiles::new(Arc::new(OsStorage), directory);
        let cache = PieceCache::new(cache_bytes);
        Self {
            levels: Levels::open(&[], STORE, Arc::clone(&files), Arc::clone(&cache)),
            files,
            cache,
            layout: RunLayout {
                compress,
                ..RunLayout::default()
            },
            entries: Vec::new(),
            seqno: 0,
        }
    }

    /// Keeps fewer or more bytes in memory.
    pub fn set_cache_bytes(&self, bytes: u64) {
        self.cache.set_budget(bytes);
    }

    fn header(&self) -> RunHeader {
        let id = self.entries.last().map_or(1, |newest| newest.id.get() + 1);
        RunHeader {
            store_id: STORE,
            incarnation: STORE,
            salt: Salt([0x5a; 16]),
            id: RunId::new(id),
            edit: EditNumber::ZERO,
        }
    }

    /// Writes the newest run: keys in ascending order. Returns the length of its file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<u64> {
        let header = self.header();
        let mut writer = RunWriter::begin(&self.files, header, self.layout)?;
        for (key, value) in entries {
            self.seqno += 1;
            let version = Version {
                seqno: Seqno::new(self.seqno),
                expiry_ms: None,
                held: Held::Here(value),
            };
            writer.push(&full_key(0, key), &version)?;
        }
        self.name(header, writer)
    }

    fn name(&mut self, header: RunHeader, writer: RunWriter) -> Result<u64> {
        let written = writer.finish()?;
        let level = LevelId(header.id.get());
        let entry = written.entry(&header, level, Vec::new(), None);
        self.entries.push(entry);
        self.levels = self.levels.after(&self.entries);
        Ok(written.file_bytes)
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// What the file system says, or `Corrupt`.
    pub fn has(&self, key: &[u8]) -> Result<bool> {
        Ok(self.levels.get(&full_key(0, key))?.is_some())
    }

    /// Walks all keys that have a value, the newest versions; returns their number.
    ///
    /// # Errors
    /// What the file system says, or `Corrupt`.
    pub fn walk(&self) -> Result<u64> {
        let sources = self
            .levels
            .sources(&Interval::ALL, Direction::Forward, &Erasures::default());
        let mut merge = Merge::new(sources, Direction::Forward, Yield::Live(0));
        let mut count = 0;
        while let Some(merged) = merge.next()? {
            count += u64::from(matches!(merged.item, Item::Entry(_)));
        }
        Ok(count)
    }

    /// Merges all runs into one that takes their place. Returns the number of entries and the length of its file.
    ///
    /// # Errors
    /// What the file system says, or `Corrupt`.
    pub fn merge(&mut self) -> Result<(u64, u64)> {
        let sources = self
            .levels
            .sources(&Interval::ALL, Direction::Forward, &Erasures::default());
        let mut merge = Merge::new(sources, Direction::Forward, Yield::Live(0));
        let header = self.header();
        let mut writer = RunWriter::begin(&self.files, header, self.layout)?;
        let mut count = 0;
        while let Some(merged) = merge.next()? {
            match merged.item {
                Item::Entry(entry) => writer.push(&entry.key, &borrowed(&entry.version))?,
                Item::Hole(hole) => writer.push_hole(hole),
            }
            count += 1;
        }
        self.entries.clear();
        let bytes = self.name(header, writer)?;
        Ok((count, bytes))
    }
}

fn borrowed(version: &Version<Shared>) -> Version<&[u8]> {
    version.as_ref().map(|value| &**value)
}
