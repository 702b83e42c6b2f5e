//! Parts of the engine for the benchmarks of this workspace to measure by themselves. No promise of any kind: what is
//! here changes with the parts. Only with the feature `internals`, which nothing that ships turns on.

mod runs;

pub use runs::MicroRuns;

use crate::fault;
use crate::format::Salt;
use crate::format::frame::{FrameBuffer, Place};
use crate::format::ids::Seqno;
use crate::format::record::RecordKind;
use crate::index::Tree;
use crate::log::scan::{self, Boundary};
use crate::storage::window::Window;
use crate::storage::{FileId, StorageFile};
use kv_trait::Result;
use std::io;
use std::ops::Bound;
use std::path::Path;

/// The index by itself: keys to places in a log, which are made of a number here.
#[derive(Clone, Debug, Default)]
pub struct MicroIndex {
    tree: Tree,
}

impl MicroIndex {
    /// An empty one. Cloning one is a snapshot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key's number; returns the one before.
    pub fn insert(&mut self, key: &[u8], number: u64) -> Option<u64> {
        let mut before = None;
        // As long as a location is.
        let mut payload = [0; 12];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        self.tree
            .insert(key, &payload, 0, |old| before = number_of(old));
        before
    }

    /// A key's number.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<u64> {
        self.tree.get(key).and_then(number_of)
    }

    /// Takes a key out; returns its number.
    pub fn remove(&mut self, key: &[u8]) -> Option<u64> {
        let number = self.get(key);
        self.tree.remove(key);
        number
    }

    /// Keys and numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = (Box<[u8]>, u64)> + use<> {
        let mut range = self.tree.range(Bound::Unbounded, Bound::Unbounded);
        std::iter::from_fn(move || {
            let (key, payload) = range.next()?;
            Some((key, number_of(payload).unwrap_or_default()))
        })
    }

    /// The number of keys.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tree.len() == 0
    }

    /// What [`crate::Stats::index_bytes`] says of an index like this one.
    #[must_use]
    pub const fn approximate_bytes(&self) -> usize {
        self.tree.approximate_bytes()
    }
}

fn number_of(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().copied().map(u64::from_le_bytes)
}

const SALT: Salt = Salt([0x5a; 16]);

/// Frames one behind the other, as in a segment without its header: what a caller encodes and the leader finishes.
#[derive(Clone, Debug, Default)]
pub struct MicroLog {
    bytes: Vec<u8>,
    next_seqno: u64,
    chain: u64,
}

impl MicroLog {
    /// No frames.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes a batch of puts into a frame, sums and finishes it, and appends it. Returns the frame's bytes.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> u64 {
        let mut frame = FrameBuffer::new();
        for (key, value) in records {
            frame.push(RecordKind::Put, 0, key, value);
        }
        let offset = self.bytes.len() as u64;
        let place = Place {
            salt: SALT,
            offset,
            mark: offset,
            attempt: 1,
            chain: self.chain,
            first_seqno: Seqno::new(self.next_seqno + 1),
        };
        self.chain = frame.finish(&place);
        self.next_seqno += u64::from(frame.record_count());
        self.bytes.extend_from_slice(frame.bytes());
        frame.frame_bytes()
    }

    /// The frames.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Walks the frames as a recovery does, verifying everything, and hands on each record's key and value.
    ///
    /// # Errors
    /// `Corrupt`: not all of it verifies.
    pub fn walk(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let limit = self.bytes.len() as u64;
        let start = Boundary {
            offset: 0,
            chain: 0,
            next_seqno: Seqno::ZERO.next(),
        };
        let path = Path::new("in memory");
        let walk = scan::walk(
            &mut Window::new(self, path, limit),
            &SALT,
            start,
            |_| Ok(()),
            |_, record, _| visit(record.key, record.value),
        )?;
        if walk.end.offset == limit {
            Ok(())
        } else {
            Err(fault::corrupt(path, "a frame does not verify"))
        }
    }
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

impl StorageFile for MicroLog {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
        Err(unsupported())
    }

    fn sync(&self) -> io::Result<()> {
        Err(unsupported())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(unsupported())
    }

    fn file_id(&self) -> io::Result<FileId> {
        Err(unsupported())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Err(unsupported())
    }
}
