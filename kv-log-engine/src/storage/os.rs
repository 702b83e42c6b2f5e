//! The operating system's files. The only place in the workspace that calls the file system.
#![expect(
    clippy::disallowed_methods,
    reason = "this file is where the storage seam meets the file system"
)]

use super::{DirEntry, Directory, FileId, FileKind, OpenMode, Storage, StorageFile};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};

/// The operating system's files.
///
/// The standard library repeats an `fdatasync` that a signal interrupted before it did anything. That is no retry of a
/// failed sync: the kernel restarts the same call, and a write-back error that it has seen is reported by it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct OsStorage;

#[derive(Debug)]
struct OsFile(File);

impl Storage for OsStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
                #[cfg(unix)]
                options.mode(0o600);
            }
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        builder.mode(0o700);
        builder.create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let kind = if kind.is_file() {
                FileKind::File
            } else if kind.is_dir() {
                FileKind::Directory
            } else {
                FileKind::Other
            };
            names.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                kind,
            });
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Windows has no such call: its file systems journal names by themselves.
    #[cfg(not(unix))]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::metadata(path).map(drop)
    }

    #[cfg(unix)]
    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        Ok(Arc::new(OsDirectory(File::open(path)?)))
    }

    #[cfg(not(unix))]
    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        std::fs::metadata(path)?;
        Ok(Arc::new(OsDirectory))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    fn file_id(&self, path: &Path) -> io::Result<FileId> {
        std::fs::metadata(path).map(|metadata| identity(&metadata))
    }
}

#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> FileId {
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    }
}

/// Best effort without the handle's index: creation time and length tell most files apart.
#[cfg(windows)]
fn identity(metadata: &std::fs::Metadata) -> FileId {
    use std::os::windows::fs::MetadataExt;
    FileId {
        device: 0,
        inode: metadata.creation_time(),
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct OsDirectory(File);

#[cfg(not(unix))]
#[derive(Debug)]
struct OsDirectory;

impl Directory for OsDirectory {
    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for OsFile {
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn file_id(&self) -> io::Result<FileId> {
        self.0.metadata().map(|metadata| identity(&metadata))
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
