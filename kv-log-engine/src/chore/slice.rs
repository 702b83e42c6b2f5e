//! How much one slice has done.

use super::tuning::Tuning;

/// A budget of output. Whatever else a step does is short.
#[derive(Debug)]
pub(super) struct Slice {
    bytes: u64,
    entries: u64,
    /// Files that were begun or ended: each costs a sync or two.
    files: u64,
}

/// A slice begins or ends so many files at most: their syncs take as long as a megabyte.
const FILES_MAX: u64 = 4;

impl Slice {
    pub(super) const fn new(tuning: &Tuning) -> Self {
        Self {
            bytes: tuning.slice_bytes,
            entries: tuning.slice_entries,
            files: FILES_MAX,
        }
    }

    /// An entry was taken, and so many bytes were written for it.
    pub(super) const fn wrote(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.entries = self.entries.saturating_sub(1);
    }

    pub(super) const fn wrote_file(&mut self) {
        self.files = self.files.saturating_sub(1);
    }

    pub(super) const fn is_used_up(&self) -> bool {
        self.bytes == 0 || self.entries == 0 || self.files == 0
    }
}
