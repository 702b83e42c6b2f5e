//! Writing a run: entries in order in, one synced file out.
//!
//! The caller syncs the directory; the header is synced before anything else, the rest in steps
//! of a few MiB, so that no sync takes long, and footer and trailers only once all that they stand for is durable: a file
//! that opens as a run is a whole one, whatever a power cut left. Until [`RunWriter::finish`] returns nothing may refer to
//! it.
//! After an error the file is worth nothing; whoever made it removes it.

use crate::fault;
use crate::format::ids::{LevelId, Seqno};
use crate::format::manifest::RunEntry;
use crate::format::run::block::{self, Held, Version};
use crate::format::run::fence::{Part, Place, push_place, separator};
use crate::format::run::filter::{BITS_PER_KEY, Filter, KeyHash};
use crate::format::run::footer::{
    self, CAUSE_BYTES_MAX, COPY_GAP, Expiring, Hole, RunFacts, Trailer,
};
use crate::format::run::header::RunHeader;
use crate::format::run::piece::{PieceKind, Sealer};
use crate::format::run::table::TableBuilder;
use crate::format::run::{FULL_KEY_BYTES_MAX, KEYS_END, split_key, successor};
use crate::log::files::SegmentFiles;
use crate::storage::{OpenMode, StorageFile, exact};
use kv_trait::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// The top level is in memory as long as the run is open: beyond this, parts grow instead.
const TOP_LEVEL_BYTES_MAX: usize = 8 << 20;
/// A fence that is longer is closed whatever the top level holds.
const FENCE_BYTES_MAX: usize = 64 << 20;
/// Holes of one run. Beyond, the last one grows: that hides more, and never less.
pub(crate) const HOLES_MAX: usize = 4096;

/// How a run is laid out. The sizes are those of contents: a block is closed behind the entry that reaches its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLayout {
    pub(crate) block_bytes: usize,
    pub(crate) fence_bytes: usize,
    pub(crate) filter_bytes: usize,
    pub(crate) compress: bool,
    /// Written in pieces of about this size, and synced after so many bytes.
    pub(crate) write_bytes: usize,
    pub(crate) sync_bytes: u64,
}

impl Default for RunLayout {
    fn default() -> Self {
        Self {
            block_bytes: 4096,
            fence_bytes: 4096,
            filter_bytes: 4096,
            compress: true,
            write_bytes: 256 << 10,
            sync_bytes: 2 << 20,
        }
    }
}

/// A run that is being written.
#[derive(Debug)]
pub(crate) struct RunWriter {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    header: RunHeader,
    layout: RunLayout,
    sealer: Sealer,
    /// Not written yet; begins at `written`.
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    last_key: Vec<u8>,
    block: TableBuilder,
    block_separator: Vec<u8>,
    fence: TableBuilder,
    part_separator: Vec<u8>,
    hashes: Vec<KeyHash>,
    top_level: TableBuilder,
    facts: RunFacts,
}

/// What was written, for whoever names it.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) facts: RunFacts,
    pub(crate) file_bytes: u64,
}

impl Written {
    /// The run as the manifest names it: whole, and live between two bounds.
    pub(crate) fn entry(
        &self,
        header: &RunHeader,
        level: LevelId,
        from: Vec<u8>,
        to: Option<Vec<u8>>,
    ) -> RunEntry {
        let facts = &self.facts;
        RunEntry {
            id: header.id,
            salt: header.salt,
            level,
            from,
            to,
            taken: 0,
            file_bytes: self.file_bytes,
            entries: facts.entries,
            tombstones: facts.tombstones,
            lowest: facts.lowest,
            highest: facts.highest,
            expiring: facts.expiring,
            erased_to: Seqno::ZERO,
            referred: facts.referred.clone(),
        }
    }
}

impl RunWriter {
    /// Makes the file of a run and begins it there.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn begin(
        files: &SegmentFiles,
        header: RunHeader,
        layout: RunLayout,
    ) -> Result<Self> {
        let path = files.run_path(header.id);
        let file = files.storage().open(&path, OpenMode::CreateNew);
        let file = file.map_err(|source| fault::io("create", &path, source))?;
        Self::create(file, path, header, layout)
    }

    /// Begins a run in an empty file: writes and syncs its header.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn create(
        file: Arc<dyn StorageFile>,
        path: PathBuf,
        header: RunHeader,
        layout: RunLayout,
    ) -> Result<Self> {
        let mut writer = Self {
            file,
            path,
            header,
            layout,
            sealer: Sealer::new(layout.compress),
            buffer: header.encode(),
            written: 0,
            synced: 0,
            last_key: Vec::new(),
            block: TableBuilder::default(),
            block_separator: Vec::new(),
            fence: TableBuilder::default(),
            part_separator: Vec::new(),
            hashes: Vec::new(),
            top_level: TableBuilder::default(),
            facts: RunFacts {
                entries: 0,
                tombstones: 0,
                lowest: Seqno::ZERO,
                highest: Seqno::ZERO,
                expiring: None,
                content_bytes: 0,
                smallest: Vec::new(),
                largest: Vec::new(),
                referred: std::collections::BTreeMap::new(),
                holes: Vec::new(),
            },
        };
        writer.write_out()?;
        writer.sync()?;
        Ok(writer)
    }

    /// Adds an entry, whose key must be above the last one. At most one write and one sync.
    ///
    /// # Errors
    /// `InvalidInput`: the key is out of order or too long; nothing was added. Else what the file system says.
    pub(crate) fn push(&mut self, key: &[u8], version: &Version<&[u8]>) -> Result<()> {
        self.check(key)?;
        if self.block.is_empty() {
            self.block_separator.clear();
            let separator = if self.facts.entries == 0 {
                &key[..key.len().min(4)]
            } else {
                separator(&self.last_key, key)
            };
            self.block_separator.extend_from_slice(separator);
            if self.fence.is_empty() {
                self.part_separator.clone_from(&self.block_separator);
            }
        }
        self.block
            .push(key, |payload| block::encode(payload, version));
        self.hashes.push(KeyHash::of(self.header.store_id, key));
        self.count(key, version);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        if self.block.content_bytes() >= self.layout.block_bytes {
            self.close_block();
        }
        if self.buffer.len() >= self.layout.write_bytes {
            self.write_out()?;
        }
        if self.written - self.synced >= self.layout.sync_bytes {
            self.sync()?;
        }
        Ok(())
    }

    fn check(&self, key: &[u8]) -> Result<()> {
        let what = if split_key(key).is_none() || key.len() > FULL_KEY_BYTES_MAX {
            "the length of a run's key is out of range"
        } else if key.starts_with(&KEYS_END) {
            "no keyspace has the last number"
        } else if self.facts.entries > 0 && *self.last_key >= *key {
            "the keys of a run must ascend"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidInput, what))
    }

    fn count(&mut self, key: &[u8], version: &Version<&[u8]>) {
        let facts = &mut self.facts;
        if facts.entries == 0 {
            (facts.lowest, facts.highest) = (version.seqno, version.seqno);
        }
        facts.entries += 1;
        facts.lowest = facts.lowest.min(version.seqno);
        facts.highest = facts.highest.max(version.seqno);
        facts.content_bytes += key.len() as u64;
        if let Some(expiry) = version.expiry_ms {
            Expiring::add(&mut facts.expiring, expiry);
        }
        match version.held {
            Held::Here(value) => facts.content_bytes += value.len() as u64,
            Held::Tombstone => facts.tombstones += 1,
            Held::Separated(location) => {
                let referred = facts.referred.entry(location.segment).or_default();
                referred.records += 1;
                referred.bytes += u64::from(location.record_bytes);
            }
        }
        let first = facts.entries == 1 && facts.holes.is_empty();
        if first || *key < *facts.smallest {
            facts.smallest = key.to_vec();
        }
    }

    /// Records that keys of this range were lost, unless this run has an entry for them. Ascending by the lower bound;
    /// where two overlap they become one.
    pub(crate) fn push_hole(&mut self, mut hole: Hole) {
        let facts = &mut self.facts;
        let mut cut = hole.cause.len().min(CAUSE_BYTES_MAX);
        while !hole.cause.is_char_boundary(cut) {
            cut -= 1;
        }
        hole.cause.truncate(cut);
        if facts.entries == 0 && facts.holes.is_empty() || hole.from < facts.smallest {
            facts.smallest.clone_from(&hole.from);
        }
        let full = facts.holes.len() >= HOLES_MAX;
        match facts.holes.last_mut() {
            Some(last) if full || hole.from < last.to => {
                if last.to < hole.to {
                    last.to = hole.to;
                }
            }
            _ => facts.holes.push(hole),
        }
    }

    /// Takes a key out of the holes that were recorded: it is known to be absent. `false` if there is no room for that; its
    /// tombstone then has to be written.
    pub(crate) fn cut_out_of_holes(&mut self, key: &[u8]) -> bool {
        let holes = &mut self.facts.holes;
        let above = holes.partition_point(|hole| *hole.from <= *key);
        let Some(at) = above.checked_sub(1).filter(|at| holes[*at].covers(key)) else {
            return true;
        };
        if holes.len() >= HOLES_MAX {
            return false;
        }
        let right = Hole {
            from: successor(key),
            ..holes[at].clone()
        };
        holes[at].to = key.to_vec();
        if right.from < right.to {
            holes.insert(at + 1, right);
        }
        if holes[at].from == holes[at].to {
            holes.remove(at);
        }
        true
    }

    /// Whether nothing was added: then there is nothing to finish.
    pub(crate) const fn is_empty(&self) -> bool {
        self.facts.entries == 0 && self.facts.holes.is_empty()
    }

    /// An estimate of the file's length so far: what decides where a unit ends.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.end() + self.block.content_bytes() as u64
    }

    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn seal(&mut self, kind: PieceKind, content: &[u8]) -> Place {
        let offset = self.end();
        let salt = &self.header.salt;
        let bytes = self
            .sealer
            .seal(&mut self.buffer, kind, content, salt, offset);
        Place { offset, bytes }
    }

    fn close_block(&mut self) {
        let content = self.block.finish();
        let place = self.seal(PieceKind::Block, &content);
        self.block.reuse(content);
        self.fence
            .push(&self.block_separator, |out| push_place(out, place));
        let fence_bytes = self.fence.content_bytes();
        let full = self.hashes.len() * BITS_PER_KEY / 8 >= self.layout.filter_bytes
            || fence_bytes >= self.layout.fence_bytes;
        let room = self.top_level.content_bytes() < TOP_LEVEL_BYTES_MAX;
        if full && room || fence_bytes >= FENCE_BYTES_MAX {
            self.close_part();
        }
    }

    fn close_part(&mut self) {
        let entries = self.hashes.len() as u64;
        let content = self.fence.finish();
        let fence = self.seal(PieceKind::Fence, &content);
        if planted!(FilterForgetsKey) && self.hashes.len() > 1 {
            self.hashes.pop();
        }
        let content = Filter::build(&self.hashes);
        let filter = self.seal(PieceKind::Filter, &content);
        let part = Part {
            entries,
            fence,
            filter,
        };
        self.hashes.clear();
        self.top_level
            .push(&self.part_separator, |out| part.push(out));
    }

    fn write_out(&mut self) -> Result<()> {
        exact::write_all(&*self.file, &self.buffer, self.written)
            .map_err(|source| fault::io_at("write", &self.path, self.written, source))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.file
            .sync()
            .map_err(|source| fault::io("sync", &self.path, source))?;
        self.synced = self.written;
        Ok(())
    }

    /// Writes what is left, footer and trailers, and syncs all. The directory entry is the caller's to sync.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn finish(mut self) -> Result<Written> {
        if !self.block.is_empty() {
            self.close_block();
        }
        if !self.fence.is_empty() {
            self.close_part();
        }
        if self.facts.entries > 0 {
            self.facts.largest = std::mem::take(&mut self.last_key);
        }
        if let Some(last) = self.facts.holes.last()
            && last.to > self.facts.largest
        {
            self.facts.largest.clone_from(&last.to);
        }
        // Footer and trailers come after the sync of what they stand for: where they are, all of it is.
        self.write_out()?;
        self.sync()?;
        let top_level = self.top_level.finish();
        let content = footer::encode(
            self.header.store_id,
            &self.header.salt,
            self.header.id,
            &self.facts,
            &top_level,
        );
        let first = self.seal(PieceKind::Footer, &content);
        self.buffer.extend_from_slice(&COPY_GAP);
        let second = self.seal(PieceKind::Footer, &content);
        let trailer = Trailer {
            footers: [first.offset, second.offset],
            footer_bytes: u32::try_from(first.bytes).expect("a footer is far below 4 GiB"),
        };
        for copy in 0..2 {
            if copy > 0 {
                self.buffer.extend_from_slice(&COPY_GAP);
            }
            let at = self.end();
            self.buffer
                .extend_from_slice(&trailer.encode(&self.header.salt, at));
        }
        self.write_out()?;
        if !planted!(RunNotSynced) {
            self.sync()?;
        }
        Ok(Written {
            facts: self.facts,
            file_bytes: self.written,
        })
    }
}
