//! A moving window over a file that is read from front to back.
//!
//! Memory is bounded by the longest single request, and that by the file's own length: no length found on disk is
//! believed before the file was seen to be that long.

use super::{StorageFile, exact};
use crate::fault;
use kv_trait::{Error, ErrorKind, Result};
use std::path::Path;

/// Read at least this much at a time, where the file has it.
const READ_BYTES: usize = 256 * 1024;

/// The bytes `[0, limit)` of a file.
#[derive(Debug)]
pub(crate) struct Window<'f> {
    file: &'f dyn StorageFile,
    path: &'f Path,
    limit: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'f> Window<'f> {
    /// `limit` must not exceed the file's length.
    pub(crate) const fn new(file: &'f dyn StorageFile, path: &'f Path, limit: u64) -> Self {
        Self {
            file,
            path,
            limit,
            start: 0,
            bytes: Vec::new(),
        }
    }

    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) const fn path(&self) -> &'f Path {
        self.path
    }

    /// Up to `count` bytes at `offset`: fewer only at the limit.
    pub(crate) fn up_to(&mut self, offset: u64, count: usize) -> Result<&[u8]> {
        let count = bounded(count, self.limit.saturating_sub(offset));
        let buffered =
            offset >= self.start && offset + count as u64 <= self.start + self.bytes.len() as u64;
        if !buffered {
            self.fill(offset, count)?;
        }
        let from = usize::try_from(offset - self.start)
            .map_err(|source| Error::new(ErrorKind::Io, "window offset").with_source(source))?;
        Ok(&self.bytes[from..from + count])
    }

    fn fill(&mut self, offset: u64, count: usize) -> Result<()> {
        let length = bounded(count.max(READ_BYTES), self.limit.saturating_sub(offset));
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(length, 0);
        match exact::read_exact(self.file, &mut self.bytes, offset) {
            Err(_taken_for_zeros) if planted!(ReadErrorAsTorn) => {
                self.bytes.fill(0);
                Ok(())
            }
            read => read.map_err(|source| fault::io_at("read", self.path, offset, source)),
        }
    }
}

fn bounded(count: usize, available: u64) -> usize {
    usize::try_from(available).map_or(count, |available| available.min(count))
}
