//! Faults that a simulated disk injects, and gates at which it holds calls.

use crate::sync::lock_std as lock;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The kinds of calls a store makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OpKind {
    /// Opening a file that exists.
    Open,
    /// Creating a file.
    Create,
    /// Creating a directory.
    CreateDir,
    /// Listing a directory.
    List,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Syncing a directory.
    SyncDir,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Syncing a file.
    Sync,
    /// Changing a file's length.
    SetLen,
    /// Taking a file's lock.
    Lock,
    /// Asking for a length or an identity.
    Look,
}

impl OpKind {
    /// Every kind, for loops that fail each call once.
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::Create,
        Self::CreateDir,
        Self::List,
        Self::Rename,
        Self::Remove,
        Self::SyncDir,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::SetLen,
        Self::Lock,
        Self::Look,
    ];
}

/// What happens instead of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The operating system's error of this number, and no effect. A failed sync leaves the pages clean, readable and
    /// not durable; a failed directory sync does the same to the names.
    Errno(i32),
    /// A read or write does at most this many bytes (at least one).
    Short(usize),
    /// A write does this many bytes before each error of this number: a short write, then the error.
    PartThenErrno(usize, i32),
    /// A sync says `Ok` and makes nothing durable.
    Lie,
}

/// `EINTR`: interrupted by a signal.
pub const EINTR: i32 = 4;
/// `EIO`: the device failed.
pub const EIO: i32 = 5;
/// `EACCES`: not permitted.
pub const EACCES: i32 = 13;
/// `EMFILE`: too many open files.
pub const EMFILE: i32 = 24;
/// `EFBIG`: the file would be too large.
pub const EFBIG: i32 = 27;
/// `ENOSPC`: the disk is full.
pub const ENOSPC: i32 = 28;
/// `EROFS`: the file system is read-only.
pub const EROFS: i32 = 30;

/// A fault: which calls, how many of them, and what happens instead.
#[derive(Clone, Debug)]
#[must_use]
pub struct Fault {
    pub(super) kind: FaultKind,
    on: Option<OpKind>,
    path_contains: String,
    skip: u64,
    times: u64,
    seen: u64,
    pub(super) hits: u64,
}

impl Fault {
    /// A fault of every call, from the first on, once.
    pub const fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            on: None,
            path_contains: String::new(),
            skip: 0,
            times: 1,
            seen: 0,
            hits: 0,
        }
    }

    /// Only calls of this kind.
    pub const fn on(mut self, kind: OpKind) -> Self {
        self.on = Some(kind);
        self
    }

    /// Only calls on paths that contain this text.
    pub fn path_contains(mut self, text: &str) -> Self {
        text.clone_into(&mut self.path_contains);
        self
    }

    /// Lets so many matching calls pass first.
    pub const fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Hits so many matching calls.
    pub const fn times(mut self, calls: u64) -> Self {
        self.times = calls;
        self
    }

    /// Hits every matching call from there on.
    pub const fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    pub(super) fn strike(&mut self, kind: OpKind, path: &Path) -> Option<FaultKind> {
        if self.on.is_some_and(|on| on != kind)
            || !path.to_string_lossy().contains(&self.path_contains)
        {
            return None;
        }
        self.seen += 1;
        let due = self.seen > self.skip && self.seen - self.skip <= self.times;
        self.hits += u64::from(due);
        due.then_some(self.kind)
    }
}

pub(super) fn os_error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

#[derive(Debug, Default)]
struct GateState {
    waiting: usize,
    passes: usize,
    open: bool,
}

#[derive(Debug)]
pub(super) struct GateShared {
    kind: OpKind,
    path_contains: String,
    state: Mutex<GateState>,
    changed: Condvar,
}

impl GateShared {
    pub(super) fn is_for(&self, kind: OpKind, path: &Path) -> bool {
        self.kind == kind && path.to_string_lossy().contains(&self.path_contains)
    }

    /// Called by the disk, with none of its locks held.
    pub(super) fn stand(&self) {
        let mut state = lock(&self.state);
        state.waiting += 1;
        self.changed.notify_all();
        while !state.open && state.passes == 0 {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.passes = state.passes.saturating_sub(1);
        state.waiting -= 1;
        self.changed.notify_all();
    }
}

/// Holds calls of one kind inside the disk until they are let through. Dropping it opens it.
#[derive(Debug)]
#[must_use = "a gate that is dropped is open"]
pub struct Gate {
    pub(super) shared: Arc<GateShared>,
}

impl Gate {
    pub(super) fn new(kind: OpKind, path_contains: &str) -> Self {
        let shared = GateShared {
            kind,
            path_contains: path_contains.to_owned(),
            state: Mutex::new(GateState::default()),
            changed: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Blocks until so many calls stand at the gate.
    pub fn wait_until_held(&self, calls: usize) {
        let mut state = lock(&self.shared.state);
        while state.waiting < calls {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many calls stand at the gate now.
    #[must_use]
    pub fn held(&self) -> usize {
        lock(&self.shared.state).waiting
    }

    /// Lets so many calls through, now or later.
    pub fn pass(&self, calls: usize) {
        lock(&self.shared.state).passes += calls;
        self.shared.changed.notify_all();
    }

    /// Lets every call through from now on.
    pub fn open(&self) {
        lock(&self.shared.state).open = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}
