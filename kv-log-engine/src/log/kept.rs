//! A storage with files that are kept open for readers, as many as are allowed, and given up where the process may open
//! no more: whoever has to open a file goes before whoever may have to.

use super::names::Names;
use crate::storage::{
    DirEntry, Directory, FileId, OpenMode, Storage, StorageFile, exact::has_too_many_open_files,
};
use crate::sync::lock_std as lock;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Segments and runs kept open for readers. The active segment's writer holds one more.
pub(crate) const OPEN_SEGMENTS_MAX: usize = 64;

/// The storage, and the files that were read last.
#[derive(Debug)]
pub(super) struct KeptFiles {
    storage: Arc<dyn Storage>,
    /// By number, which files of all kinds share; the most recently used first. Guards nothing else, and no I/O happens
    /// under it.
    open: Mutex<VecDeque<(u64, Arc<dyn StorageFile>)>>,
    /// What becomes of names.
    pub(super) names: Names,
}

impl KeptFiles {
    pub(super) const fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            open: Mutex::new(VecDeque::new()),
            names: Names::new(),
        }
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<dyn StorageFile>> {
        let mut open = lock(&self.open);
        let at = open.iter().position(|(known, _)| *known == id)?;
        if at > 0 {
            let found = open.remove(at)?;
            open.push_front(found);
        }
        open.front().map(|(_, file)| Arc::clone(file))
    }

    /// Keeps a file open for readers; the one read longest ago is closed where there are too many.
    pub(super) fn keep(&self, id: u64, file: Arc<dyn StorageFile>) {
        let evicted = {
            let mut open = lock(&self.open);
            open.retain(|(known, _)| *known != id);
            open.push_front((id, file));
            if open.len() > OPEN_SEGMENTS_MAX {
                open.pop_back()
            } else {
                None
            }
        };
        drop(evicted); // closing a file is I/O: not under the lock
    }

    /// Closes a file, or lets the last one close it who reads it now.
    pub(super) fn forget(&self, id: u64) {
        let forgotten = {
            let mut open = lock(&self.open);
            let at = open.iter().position(|(known, _)| *known == id);
            at.and_then(|at| open.remove(at))
        };
        drop(forgotten); // as above
    }

    /// How many files are open for readers now.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Closes them all, but for those that are being read. Returns whether there was one.
    fn give_up(&self) -> bool {
        let given_up = std::mem::take(&mut *lock(&self.open));
        !given_up.is_empty()
    }

    /// A call that needs a descriptor for a file. Without one it has no effect, and is made again once others are free.
    fn sparing<T>(&self, call: impl Fn(&dyn Storage) -> io::Result<T>) -> io::Result<T> {
        match call(&*self.storage) {
            Err(error) if has_too_many_open_files(&error) && self.give_up() => call(&*self.storage),
            done => done,
        }
    }
}

impl Storage for KeptFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        self.sparing(|storage| storage.open(path, mode))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.storage.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.sparing(|storage| storage.list(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.storage.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.storage.remove_dir(path)
    }

    /// A directory is opened to be synced: where that was refused nothing was synced. Whoever syncs one, it is counted.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.names
            .syncing(|| self.sparing(|storage| storage.sync_dir(path)))
    }

    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        self.sparing(|storage| storage.open_dir(path))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.storage.resolve(path)
    }

    fn file_id(&self, path: &Path) -> io::Result<FileId> {
        self.storage.file_id(path)
    }
}
