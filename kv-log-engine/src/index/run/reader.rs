//! Reading a run: one key at the price of a filter, a fence and one block.
//!
//! A reader keeps the run's footer in memory; everything else is read when it is asked for, checked, and kept in the cache
//! that all runs share. It holds no file: the table of open ones has it, or opens it again. What does not verify is named
//! with file, offset and the keys that it hides; other keys are answered as ever.

use crate::fault;
use crate::format::run::block::{Stored, Version};
use crate::format::run::fence::{Part, Place};
use crate::format::run::filter::{Filter, KeyHash};
use crate::format::run::footer::{Footer, TRAILER_BYTES, Trailer};
use crate::format::run::header::RUN_HEADER_BYTES;
use crate::format::run::piece::{self, PieceKind};
use crate::format::run::table::{Entries, Table};
use crate::format::run::{RunId, name_range, successor};
use crate::format::{Defect, Salt, StoreId};
use crate::index::cache::{Cached, PieceCache};
use crate::index::source::{Shared, hidden};
use crate::log::files::SegmentFiles;
use crate::storage::{StorageFile, exact};
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Damaged filters of a run that are kept to be told: each by itself is as good as any other.
const DAMAGED_FILTERS_MAX: usize = 16;

/// Which run a file has to be: what the manifest says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunIdentity {
    pub(crate) store_id: StoreId,
    pub(crate) salt: Salt,
    pub(crate) id: RunId,
}

/// How often something was asked for or read.
#[derive(Debug, Default)]
pub(crate) struct RunReads {
    /// Blocks that a lookup looked into, whether they were in memory or not.
    pub(crate) blocks_asked: AtomicU64,
    /// Pieces that were read from the disk.
    pub(crate) pieces_read: AtomicU64,
}

/// A run whose footer was read.
#[derive(Debug)]
pub(crate) struct RunReader {
    pub(super) files: Arc<SegmentFiles>,
    path: PathBuf,
    identity: RunIdentity,
    footer: Footer,
    trailer: Trailer,
    file_bytes: u64,
    pub(super) cache: Arc<PieceCache>,
    pub(crate) reads: RunReads,
    /// Filters that did not verify, by offset: lookups went on without them. Nothing is called under the lock.
    damaged_filters: Mutex<BTreeMap<u64, Error>>,
}

impl RunReader {
    /// Opens a finished run of so many bytes: reads one trailer and one footer, the second copies only where the first do
    /// not verify.
    ///
    /// # Errors
    /// `Corrupt`: no copy verifies (the run was not finished, or is damaged), it is another run, or there is none.
    /// `UnsupportedFormat`: it is of a later version. `Io`: it could not be read.
    pub(crate) fn open(
        files: Arc<SegmentFiles>,
        identity: RunIdentity,
        file_bytes: u64,
        cache: Arc<PieceCache>,
    ) -> Result<Arc<Self>> {
        let file = files.run_file(identity.id)?;
        let path = files.run_path(identity.id);
        let (trailer, footer) = read_footer(&*file, &path, &identity, file_bytes)?;
        Ok(Arc::new(Self {
            files,
            path,
            identity,
            footer,
            trailer,
            file_bytes,
            cache,
            reads: RunReads::default(),
            damaged_filters: Mutex::default(),
        }))
    }

    pub(crate) const fn id(&self) -> RunId {
        self.identity.id
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(crate) const fn identity(&self) -> &RunIdentity {
        &self.identity
    }

    pub(super) const fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    pub(super) fn file(&self) -> Result<Arc<dyn StorageFile>> {
        self.files.run_file(self.id())
    }

    /// The length that the file has, as far as it was given.
    pub(crate) const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// What the filters that did not verify said about themselves. Each is here once.
    pub(crate) fn damaged_filters(&self) -> Vec<Error> {
        lock(&self.damaged_filters).values().cloned().collect()
    }

    /// What this run says of a key; `None` if nothing.
    ///
    /// # Errors
    /// `Corrupt`: what it says cannot be read, or a merge could not read it. `Io`: a read failed.
    pub(crate) fn get(&self, key: &[u8], hash: KeyHash) -> Result<Option<Version<Shared>>> {
        let found = self.look_up(key, hash)?;
        match (found, self.footer.hole_over(key)) {
            (Some(version), _) => Ok(Some(version)),
            (None, Some(hole)) => Err(hidden(&self.path, hole)),
            (None, None) => Ok(None),
        }
    }

    fn look_up(&self, key: &[u8], hash: KeyHash) -> Result<Option<Version<Shared>>> {
        let facts = &self.footer.facts;
        if *key < *facts.smallest || *key > *facts.largest {
            return Ok(None);
        }
        let Some((at, part)) = self.footer.parts.floor(key) else {
            return Ok(None);
        };
        if !self.filter(&part)?.may_hold(hash) {
            return Ok(None);
        }
        let fence = self.fence(at, &part)?;
        let found = if planted!(FenceOffByOne) {
            let before = fence.seek(key).checked_sub(1);
            before.and_then(|at| Some((at, Entries::new(fence.clone()).entry(at)?.1)))
        } else {
            fence.floor(key)
        };
        let Some((ordinal, place)) = found else {
            return Ok(None);
        };
        self.reads.blocks_asked.fetch_add(1, Ordering::Relaxed);
        let block = self.block(at, &fence, ordinal, place)?;
        Ok(block.find(key).map(|stored| share(&block, stored)))
    }

    /// The keys that a part may have: from its separator up to the next one.
    pub(super) fn part_bounds(&self, at: usize) -> (Vec<u8>, Vec<u8>) {
        let end = successor(&self.footer.facts.largest);
        bounds(&self.footer.parts, at, &end)
    }

    pub(super) fn filter(&self, part: &Part) -> Result<Arc<Filter>> {
        let offset = part.filter.offset;
        if let Some(Cached::Filter(filter)) = self.cache.get(self.id(), offset) {
            return Ok(filter);
        }
        let filter = match self.read_filter(part) {
            Ok(filter) => filter,
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            // Without its filter a part is slower to read, and as right.
            Err(error) => {
                let mut noted = lock(&self.damaged_filters);
                if noted.len() < DAMAGED_FILTERS_MAX {
                    noted.insert(offset, error);
                }
                Filter::that_says_nothing()
            }
        };
        let filter = Arc::new(filter);
        let kept = Cached::Filter(Arc::clone(&filter));
        self.cache.keep(self.id(), offset, kept);
        Ok(filter)
    }

    /// Reads a filter from the disk, whatever the cache has.
    pub(super) fn read_filter(&self, part: &Part) -> Result<Filter> {
        let content = self.read_piece(part.filter, PieceKind::Filter)?;
        self.judge(part.filter.offset, Filter::decode(&content))
    }

    pub(super) fn fence(&self, at: usize, part: &Part) -> Result<Table<Place>> {
        let offset = part.fence.offset;
        if let Some(Cached::Fence(fence)) = self.cache.get(self.id(), offset) {
            return Ok(fence);
        }
        let fence = self.read_fence(at, part)?;
        let kept = Cached::Fence(fence.clone());
        self.cache.keep(self.id(), offset, kept);
        Ok(fence)
    }

    /// Reads a fence from the disk, whatever the cache has.
    pub(super) fn read_fence(&self, at: usize, part: &Part) -> Result<Table<Place>> {
        let (from, to) = self.part_bounds(at);
        let read = self.read_piece(part.fence, PieceKind::Fence);
        read.and_then(|content| {
            let parsed = Self::parse_fence(content, &from, &to, part);
            self.judge(part.fence.offset, parsed)
        })
        .map_err(|error| hides(error, &from, &to))
    }

    /// A fence whose blocks lie one behind the other before it, with separators in the part's bounds.
    fn parse_fence(
        content: Vec<u8>,
        from: &[u8],
        to: &[u8],
        part: &Part,
    ) -> Result<Table<Place>, Defect> {
        let mut end = RUN_HEADER_BYTES;
        let fence = Table::parse(Arc::from(content), |key, place: &Place| {
            place.check(end, part.fence.offset)?;
            end = place.offset + place.bytes;
            within(key, from, to)
        })?;
        let begins = Entries::new(fence.clone())
            .entry(0)
            .is_some_and(|(key, _)| *key == *from);
        if begins && end == part.fence.offset {
            return Ok(fence);
        }
        Err(Defect::Field {
            what: "reach of a fence",
            found: end,
        })
    }

    pub(super) fn block(
        &self,
        part: usize,
        fence: &Table<Place>,
        ordinal: usize,
        place: Place,
    ) -> Result<Table<Stored>> {
        if let Some(Cached::Block(block)) = self.cache.get(self.id(), place.offset) {
            return Ok(block);
        }
        let block = self.read_block(part, fence, ordinal, place)?;
        let kept = Cached::Block(block.clone());
        self.cache.keep(self.id(), place.offset, kept);
        Ok(block)
    }

    /// Reads a block from the disk, whatever the cache has.
    pub(super) fn read_block(
        &self,
        part: usize,
        fence: &Table<Place>,
        ordinal: usize,
        place: Place,
    ) -> Result<Table<Stored>> {
        let (from, to) = self.block_bounds(part, fence, ordinal);
        let read = self.read_piece(place, PieceKind::Block);
        read.and_then(|content| {
            let parsed = Table::parse(Arc::from(content), |key, stored: &Stored| {
                self.in_range(stored)?;
                within(key, &from, &to)
            });
            let parsed = parsed.and_then(|block| {
                if block.len() > 0 {
                    return Ok(block);
                }
                Err(Defect::Field {
                    what: "entries of a block",
                    found: 0,
                })
            });
            self.judge(place.offset, parsed)
        })
        .map_err(|error| hides(error, &from, &to))
    }

    /// Whether an entry is as old as the footer says that those of the run are. Along the layers a key's seqnos fall: one that
    /// is newer than its run would break that wherever it is read.
    fn in_range(&self, stored: &Stored) -> Result<(), Defect> {
        let facts = &self.footer.facts;
        if facts.lowest <= stored.seqno && stored.seqno <= facts.highest {
            return Ok(());
        }
        Err(Defect::Field {
            what: "seqno outside of those of the run:",
            found: stored.seqno.get(),
        })
    }

    /// The keys that a block may have: from its separator up to the next one.
    pub(super) fn block_bounds(
        &self,
        part: usize,
        fence: &Table<Place>,
        ordinal: usize,
    ) -> (Vec<u8>, Vec<u8>) {
        let (_, end) = self.part_bounds(part);
        bounds(fence, ordinal, &end)
    }

    /// The content of a piece whose place was checked against the file's length.
    pub(super) fn read_piece(&self, place: Place, kind: PieceKind) -> Result<Vec<u8>> {
        self.reads.pieces_read.fetch_add(1, Ordering::Relaxed);
        let file = self.file()?;
        read_piece(&*file, &self.path, &self.identity.salt, place, kind)
    }

    fn judge<T>(&self, offset: u64, found: Result<T, Defect>) -> Result<T> {
        found.map_err(|defect| fault::defect(&self.path, offset, defect))
    }
}

/// A version with its value, which shares the block.
pub(super) fn share(block: &Table<Stored>, stored: Stored) -> Version<Shared> {
    stored.map(|slice| Shared::new(Arc::clone(block.content()), slice.range()))
}

fn within(key: &[u8], from: &[u8], to: &[u8]) -> Result<(), Defect> {
    if from <= key && key < to {
        return Ok(());
    }
    Err(Defect::Field {
        what: "key outside of its separators: length",
        found: key.len() as u64,
    })
}

/// The keys from the separator of an entry up to that of the next one.
fn bounds<P: crate::format::run::table::Payload>(
    table: &Table<P>,
    at: usize,
    end: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let from = table.key(at).unwrap_or_default();
    (from, table.key(at + 1).unwrap_or_else(|| end.to_vec()))
}

/// The same error, saying which keys it hides, if it is one that hides any.
pub(super) fn hides(error: Error, from: &[u8], to: &[u8]) -> Error {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::UnsupportedFormat => {
            let message = format!("{error}, which hides the keys {}", name_range(from, to));
            Error::new(error.kind(), message).with_source(error)
        }
        _ => error,
    }
}

/// Fills `bytes` from `offset` on with what is there called. A file that ends before that is damaged.
pub(super) fn read_exact(
    file: &dyn StorageFile,
    path: &Path,
    bytes: &mut [u8],
    offset: u64,
    name: &str,
) -> Result<()> {
    exact::read_exact(file, bytes, offset).map_err(|source| {
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            let what = format!("the file ends before or inside the {name} at offset {offset}");
            fault::corrupt(path, what).with_source(source)
        } else {
            fault::io_at("read", path, offset, source)
        }
    })
}

/// Reads a piece whose place lies within the file, as far as anybody knows.
fn read_piece(
    file: &dyn StorageFile,
    path: &Path,
    salt: &Salt,
    place: Place,
    kind: PieceKind,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(place.bytes).unwrap_or(usize::MAX)];
    read_exact(file, path, &mut bytes, place.offset, kind.name())?;
    match piece::open(&bytes, kind, salt, place.offset) {
        Ok(content) => Ok(content.into_owned()),
        Err(defect) => Err(fault::defect(path, place.offset, defect)),
    }
}

/// The first trailer and the first footer that verify.
fn read_footer(
    file: &dyn StorageFile,
    path: &Path,
    identity: &RunIdentity,
    file_bytes: u64,
) -> Result<(Trailer, Footer)> {
    let unfinished = || fault::corrupt(path, "the run was not finished, or its end is lost");
    let offsets = Trailer::offsets(file_bytes).ok_or_else(unfinished)?;
    let trailer = first_good(offsets, |offset| {
        read_trailer(file, path, &identity.salt, offset)
    })
    .map_err(|error| match error.kind() {
        ErrorKind::Corrupt => unfinished().with_source(error),
        _ => error,
    })?;
    let [end, _] = trailer.footers;
    let footer = first_good(trailer.places(), |place| {
        let content = read_piece(file, path, &identity.salt, place, PieceKind::Footer)?;
        Footer::decode(&content, end).map_err(|defect| fault::defect(path, place.offset, defect))
    })?;
    let found = RunIdentity {
        store_id: footer.store_id,
        salt: footer.salt,
        id: footer.id,
    };
    if found != *identity {
        let what = format!(
            "this is run {} of store {}, not run {} of store {}",
            found.id, found.store_id, identity.id, identity.store_id
        );
        return Err(fault::corrupt(path, what));
    }
    Ok((trailer, footer))
}

pub(super) fn read_trailer(
    file: &dyn StorageFile,
    path: &Path,
    salt: &Salt,
    offset: u64,
) -> Result<Trailer> {
    let mut bytes = [0; TRAILER_BYTES];
    read_exact(file, path, &mut bytes, offset, "trailer")?;
    Trailer::decode(&bytes, salt, offset).map_err(|defect| fault::defect(path, offset, defect))
}

/// What the first of two copies gives that gives anything; else the first error.
fn first_good<C: Copy, T>(copies: [C; 2], mut read: impl FnMut(C) -> Result<T>) -> Result<T> {
    let [first, second] = copies;
    read(first).or_else(|error| read(second).map_err(|_second| error))
}
