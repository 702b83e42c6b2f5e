//! The seam between the store and the file system.
//!
//! Everything the store does to a disk goes through [`Storage`] and [`StorageFile`]: [`OsStorage`] answers with the
//! operating system, [`sim::SimDisk`] with a simulated disk that can lose power. Nothing above knows which it has.
//! The seam knows nothing of segments, records or recovery.

pub(crate) mod exact;
mod os;
pub mod sim;
pub(crate) mod window;

pub use os::OsStorage;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How [`Storage::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; it must not exist and is created with mode 0600.
    CreateNew,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a socket, a device.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name, without its directory. Names that are not UTF-8 arrive with replacement characters.
    pub name: String,
    /// What the name stands for.
    pub kind: FileKind,
}

/// Tells two files apart, whatever names they have: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct FileId {
    /// The device, or the simulated disk.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
}

/// A file system, as far as a store needs one.
///
/// Every method may block. None retries a sync. `EINTR` of anything but a sync is retried by the store, not here.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Opens a file. No name is durable before [`Storage::sync_dir`] of its directory.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` and `AlreadyExists` as in [`OpenMode`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates one directory (mode 0700), not its parents.
    ///
    /// # Errors
    /// What the operating system says; `AlreadyExists` included.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// What the operating system says: `NotFound`, `NotADirectory`, ...
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Renames a file, replacing the target in one step.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable (`fsync` of the directory).
    ///
    /// # Errors
    /// What the operating system says. A failed sync must never be retried. `EMFILE`, `ENFILE`: the directory could not be
    /// opened, so nothing was synced and nothing is in doubt.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a directory, so that its names can be made durable later without another file descriptor.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` included.
    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn Directory>>;

    /// The path to the same directory without symbolic links: its parent is the directory that holds the name.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` included.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// The identity of the file or directory that a path leads to now.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` included.
    fn file_id(&self, path: &Path) -> io::Result<FileId>;
}

/// An open directory; closing is dropping.
pub trait Directory: fmt::Debug + Send + Sync {
    /// Makes the names in the directory durable (`fsync`), as [`Storage::sync_dir`] does.
    ///
    /// # Errors
    /// What the operating system says. A failed sync must never be retried.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. Reads and writes are positioned; closing is dropping.
#[expect(
    clippy::len_without_is_empty,
    reason = "a file's length is a question to the disk"
)]
pub trait StorageFile: fmt::Debug + Send + Sync {
    /// Reads at most `buffer.len()` bytes at `offset`; 0 only at or behind the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at most `bytes.len()` bytes at `offset`, growing the file if needed. May be short.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// `fdatasync`: contents and length are durable when it returns `Ok` (the full flush on macOS).
    ///
    /// # Errors
    /// What the operating system says. A failed sync must never be retried.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) to `length` bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// The identity of this open file.
    ///
    /// # Errors
    /// What the operating system says.
    fn file_id(&self) -> io::Result<FileId>;

    /// Takes the exclusive lock on this file, without waiting: `false` if another open file holds it. It is freed
    /// by dropping the file, never explicitly.
    ///
    /// # Errors
    /// What the operating system says.
    fn try_lock(&self) -> io::Result<bool>;
}
