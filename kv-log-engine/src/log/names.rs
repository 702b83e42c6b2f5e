//! The one place where a store's directory is synced once it is open.
//!
//! A directory sync that fails may leave any name that was made before it in the cache only, and a later sync says `Ok`
//! and decides nothing about it. So the failures are counted, and a file may be named only if its own sync succeeded and
//! none has failed since before the file was made; else it is given up, and another is made. One sync at a time: of two
//! at once only one may hear of a failure.

use crate::fault;
use crate::storage::Storage;
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many syncs of the directory had failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameEpoch(u64);

/// The names of a store's files.
#[derive(Debug, Default)]
pub(super) struct Names {
    failed: AtomicU64,
    /// Held across the sync: the leader may wait here for one of a chore, and nobody who reads.
    syncing: Mutex<()>,
    /// Files that nothing names and nothing will: for whoever unlinks. Taken alone.
    given_up: Mutex<Vec<PathBuf>>,
}

impl Names {
    /// To be asked before a file is made.
    pub(super) fn epoch(&self) -> NameEpoch {
        NameEpoch(self.failed.load(Ordering::Acquire))
    }

    /// Makes the names durable that were made since `epoch`.
    ///
    /// # Errors
    /// They are not, and no later sync tells whether they are: the files must be given up.
    pub(super) fn sync(
        &self,
        storage: &dyn Storage,
        directory: &Path,
        epoch: NameEpoch,
    ) -> Result<()> {
        let _one_at_a_time = lock(&self.syncing);
        storage.sync_dir(directory).map_err(|source| {
            self.failed.fetch_add(1, Ordering::Release);
            fault::io("sync", directory, source)
        })?;
        if self.epoch() == epoch {
            return Ok(());
        }
        let message = format!(
            "cannot sync {}: that has failed since the file was made",
            directory.display()
        );
        Err(Error::new(ErrorKind::Io, message))
    }

    pub(super) fn give_up(&self, path: PathBuf) {
        lock(&self.given_up).push(path);
    }

    pub(super) fn take_given_up(&self) -> Vec<PathBuf> {
        std::mem::take(&mut lock(&self.given_up))
    }
}
