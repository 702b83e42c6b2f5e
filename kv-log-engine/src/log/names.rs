//! Syncs of a store's directory, whoever makes them.
//!
//! A directory sync that fails may leave any name that was made before it in the cache only, and a later sync says `Ok`
//! and decides nothing about it. So the failures are counted, where all calls to the storage come by: a file may be named
//! only if its own sync succeeded and none has failed since before the file was made; else it is given up, and another is
//! made. One sync at a time: of two at once only one may hear of a failure.

use crate::sync::lock_std as lock;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many syncs of a directory had failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameEpoch(u64);

/// The names of a store's files.
#[derive(Debug)]
pub(super) struct Names {
    failed: AtomicU64,
    /// Held across the sync: the leader may wait here for one of a chore, and nobody who reads.
    syncing: Mutex<()>,
    /// Files that nothing names and nothing will: for whoever unlinks. Taken alone.
    given_up: Mutex<Vec<PathBuf>>,
}

impl Names {
    pub(super) const fn new() -> Self {
        Self {
            failed: AtomicU64::new(0),
            syncing: Mutex::new(()),
            given_up: Mutex::new(Vec::new()),
        }
    }

    /// To be asked before a file is made.
    pub(super) fn epoch(&self) -> NameEpoch {
        NameEpoch(self.failed.load(Ordering::Acquire))
    }

    /// Counts a sync if it fails, before anybody else's can say that all is well.
    pub(super) fn syncing(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _one_at_a_time = lock(&self.syncing);
        sync().inspect_err(|_failed| {
            self.failed.fetch_add(1, Ordering::Release);
        })
    }

    pub(super) fn give_up(&self, path: PathBuf) {
        lock(&self.given_up).push(path);
    }

    pub(super) fn take_given_up(&self) -> Vec<PathBuf> {
        std::mem::take(&mut lock(&self.given_up))
    }
}
