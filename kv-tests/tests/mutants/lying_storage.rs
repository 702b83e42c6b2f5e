//! A storage that stands before the good one and lies.

use kv_log_engine::storage::{DirEntry, Directory, FileId, OpenMode, Storage, StorageFile};
use kv_tests::executor::thread;
use kv_tests::kvlog::Between;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Syncs of files do nothing and say that they did.
pub(crate) enum SyncLies {}
/// Syncs of directories do nothing and say that they did.
pub(crate) enum NameSyncLies {}
/// Syncs of files say that they did, and are made a moment later: what is written is published before it is durable, and
/// answers come before the sync that they depend on.
pub(crate) enum SyncsLater {}
/// Long writes lose their end and say that they were whole.
pub(crate) enum WritesGetLost {}

#[derive(Debug)]
struct Wrapped<const LIE: u8>(Arc<dyn Storage>);

#[derive(Debug)]
struct WrappedDirectory<const LIE: u8>(Arc<dyn Directory>);

#[derive(Debug)]
struct WrappedFile<const LIE: u8>(Arc<dyn StorageFile>);

const SYNC: u8 = 1;
const NAMES: u8 = 2;
const WRITES: u8 = 3;
const LATER: u8 = 4;

macro_rules! between {
    ($($lie:ident: $number:ident),+) => {$(
        impl Between for $lie {
            fn wrap(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
                Arc::new(Wrapped::<$number>(storage))
            }
        }
    )+};
}

between!(SyncLies: SYNC, NameSyncLies: NAMES, WritesGetLost: WRITES, SyncsLater: LATER);

impl<const LIE: u8> Storage for Wrapped<LIE> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.0.open(path, mode)?;
        Ok(Arc::new(WrappedFile::<LIE>(file)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if LIE == NAMES {
            Ok(())
        } else {
            self.0.sync_dir(path)
        }
    }

    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        let directory = self.0.open_dir(path)?;
        Ok(Arc::new(WrappedDirectory::<LIE>(directory)))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.resolve(path)
    }

    fn file_id(&self, path: &Path) -> io::Result<FileId> {
        self.0.file_id(path)
    }
}

impl<const LIE: u8> Directory for WrappedDirectory<LIE> {
    fn sync(&self) -> io::Result<()> {
        if LIE == NAMES { Ok(()) } else { self.0.sync() }
    }
}

impl<const LIE: u8> StorageFile for WrappedFile<LIE> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if LIE == WRITES && bytes.len() > 5_000 && bytes.iter().any(|byte| *byte != 0) {
            self.0.write_at(&bytes[..5_000], offset)?;
            return Ok(bytes.len());
        }
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        match LIE {
            SYNC => Ok(()),
            LATER => {
                let file = Arc::clone(&self.0);
                // Nobody learns what becomes of it.
                drop(thread(move || drop(file.sync())));
                Ok(())
            }
            _ => self.0.sync(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn file_id(&self) -> io::Result<FileId> {
        self.0.file_id()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
}
