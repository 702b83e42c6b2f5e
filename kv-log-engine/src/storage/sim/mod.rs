//! A simulated disk: a file system in memory that can lose power, fail calls, and hold them at a gate.
//!
//! It keeps apart what is readable (the page cache) and what is durable, for every 512-byte sector, every length and
//! every name, and it does exactly what this medium may do:
//!
//! - An interrupted write leaves each sector of its range old, new, as it was between two writes, or garbled in the
//!   bytes that the writes change. Bytes outside the range keep their value.
//! - A successful sync covers everything written to that file before, its length included. Lengths after a crash are
//!   anything between old and new.
//! - A created, renamed or removed name is volatile until its directory is synced; volatile names survive a crash
//!   independently of each other; a rename is one step for its target.
//! - A failed sync leaves the pages clean and readable, and a second sync says `Ok`: but the device may have any version of
//!   them, and **nothing short of writing them again** decides which. The same for lengths and names.
//! - A process may die without a power cut: what is readable stays.
//!
//! Everything follows from seeds. Use it to cut the power in your own tests:
//!
//! ```
//! use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
//! # fn main() -> kv_trait::Result<()> {
//! let disk = SimDisk::new();
//! let options = || Options::new().storage(disk.storage());
//! let store = Engine::open("/db", options())?;
//! store.put(b"key", b"value")?;
//! disk.power_cut(42);
//! drop(store);
//! assert_eq!(Engine::open("/db", options())?.get(b"key")?.as_deref(), Some(&b"value"[..]));
//! # Ok(()) }
//! ```

mod calls;
mod crash;
mod fault;
mod medium;

pub use crash::{Choice, CrashPoint, CrashPolicy, Trace};
pub use fault::{EACCES, EFBIG, EINTR, EIO, EMFILE, ENOSPC, EROFS, Fault, FaultKind, Gate, OpKind};

use super::Storage;
use crate::sync::lock_std as lock;
use fault::GateShared;
use medium::{FileNode, Medium, Op, Overwriting};
use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Numbers the disks of a process, so that the registry of open stores tells their files apart.
static NEXT_DEVICE: AtomicU64 = AtomicU64::new(1 << 40);

/// A handle to a simulated disk. Clones share the disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Innermost of all locks: nothing is called under it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    medium: Medium,
    device: u64,
    /// Raised by every death of the process: open files of an earlier one are dead.
    process: u64,
    next_handle: u64,
    /// Which open file holds the lock of an inode.
    locks: BTreeMap<u64, u64>,
    trace: Option<Trace>,
    faults: Vec<Fault>,
    gates: Vec<Weak<GateShared>>,
    capacity: Option<u64>,
    overwriting: Overwriting,
    no_space_at_sync: bool,
    calls: BTreeMap<OpKind, u64>,
    written_bytes: u64,
    open_files: u64,
    open_files_max: u64,
}

impl State {
    /// # Errors
    /// `EMFILE`.
    fn may_open(&self) -> io::Result<()> {
        if self.open_files < self.open_files_max {
            Ok(())
        } else {
            Err(fault::os_error(EMFILE))
        }
    }

    fn used_bytes(&self) -> u64 {
        self.medium.allocated_bytes(self.overwriting)
    }

    /// How many of these bytes can be written to a file before the disk is full.
    fn fits(&self, inode: u64, offset: u64, count: usize) -> io::Result<usize> {
        let file = self.medium.file(inode)?;
        let room = match self.capacity {
            Some(most) if !self.no_space_at_sync => most.saturating_sub(self.used_bytes()),
            _ => u64::MAX,
        };
        Ok(file.fits(offset, count, room, self.overwriting))
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk: the directory `/` is there and durable.
    #[must_use]
    pub fn new() -> Self {
        Self::from_medium(Medium::new())
    }

    fn from_medium(medium: Medium) -> Self {
        let state = State {
            medium,
            device: NEXT_DEVICE.fetch_add(1, Ordering::Relaxed),
            process: 0,
            next_handle: 1,
            locks: BTreeMap::new(),
            trace: None,
            faults: Vec::new(),
            gates: Vec::new(),
            capacity: None,
            overwriting: Overwriting::InPlace,
            no_space_at_sync: false,
            calls: BTreeMap::new(),
            written_bytes: 0,
            open_files: 0,
            open_files_max: u64::MAX,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// The disk as [`crate::Options::storage`] takes it.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// The process dies: its open files are dead, its locks free. What it wrote stays readable, durable or not.
    pub fn kill_process(&self) {
        let mut state = self.lock();
        state.process += 1;
        state.locks.clear();
    }

    /// The power is cut: one of the legal states, chosen by `seed`, is all that is left. Open files are dead.
    pub fn power_cut(&self, seed: u64) {
        self.cut(|point| point.random_choice(seed));
    }

    /// The power is cut, and nothing that was not synced is left.
    pub fn power_cut_losing_all(&self) {
        self.cut(|point| point.uniform_choice(false));
    }

    /// The power is cut, and everything that was written is left.
    pub fn power_cut_keeping_all(&self) {
        self.cut(|point| point.uniform_choice(true));
    }

    fn cut(&self, choose: impl FnOnce(&CrashPoint) -> Choice) {
        self.kill_process();
        let mut state = self.lock();
        let point = CrashPoint::new(state.medium.clone(), 0);
        state.medium = point.settle(&choose(&point));
        state.trace = None;
    }

    /// An independent copy, page cache and all, without open files, faults or trace.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_medium(self.lock().medium.clone())
    }

    /// The crash point that is now.
    #[must_use]
    pub fn crash_point(&self) -> CrashPoint {
        CrashPoint::new(self.lock().medium.clone(), 0)
    }

    /// Equal for disks with the same names and the same readable contents.
    #[must_use]
    pub fn image_hash(&self) -> u64 {
        let state = self.lock();
        let mut hasher = DefaultHasher::new();
        for (path, inode) in state.medium.files() {
            path.hash(&mut hasher);
            if let Ok(file) = state.medium.file(inode) {
                file.length.hash(&mut hasher);
                contents(file).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Records every change and sync from now on.
    pub fn start_trace(&self) {
        let mut state = self.lock();
        state.trace = Some(Trace {
            start: state.medium.clone(),
            ops: Vec::new(),
        });
    }

    /// How many changes and syncs the trace has recorded: the clock of an oracle.
    #[must_use]
    pub fn op_count(&self) -> usize {
        self.lock()
            .trace
            .as_ref()
            .map_or(0, |trace| trace.ops.len())
    }

    /// The clock just behind the last file sync that succeeded: the earliest moment at which a write can have been
    /// acknowledged.
    #[must_use]
    pub fn last_sync(&self) -> usize {
        let state = self.lock();
        let synced = state.trace.as_ref().and_then(|trace| {
            trace
                .ops
                .iter()
                .rposition(|op| matches!(op, Op::Sync { .. }))
                .map(|at| at + 1)
        });
        synced.unwrap_or_default()
    }

    /// What was recorded; `None` if no trace was started.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        self.lock().trace.clone()
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// How many calls the present faults have hit.
    #[must_use]
    pub fn fault_hits(&self) -> u64 {
        self.lock().faults.iter().map(|fault| fault.hits).sum()
    }

    /// Holds every call of a kind until the gate lets it through.
    pub fn hold(&self, kind: OpKind) -> Gate {
        self.hold_on(kind, "")
    }

    /// The same for calls on paths that contain this text.
    #[doc(hidden)]
    pub fn hold_on(&self, kind: OpKind, path_contains: &str) -> Gate {
        let gate = Gate::new(kind, path_contains);
        self.lock().gates.push(Arc::downgrade(&gate.shared));
        gate
    }

    /// Bytes of file data that fit on the disk; `None`: any number. Overwriting needs no new room, unless
    /// [`SimDisk::set_copy_on_write`] says so. A write ends where the disk is full; what a file was cut by is free at once.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// What is written again gets another place, and the old one is free when the file is synced: overwriting needs room,
    /// and so does cutting a file in the middle of a sector (as on btrfs).
    pub fn set_copy_on_write(&self, copies: bool) {
        self.lock().overwriting = if copies {
            Overwriting::Copies
        } else {
            Overwriting::InPlace
        };
    }

    /// On a full disk the write says `Ok`, and the sync fails for want of space (as on a thin device).
    pub fn set_no_space_at_sync(&self, at_sync: bool) {
        self.lock().no_space_at_sync = at_sync;
    }

    /// Bytes of file data on the disk now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// How many calls of each kind there were.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<OpKind, u64> {
        self.lock().calls.clone()
    }

    /// How many bytes were handed over by all writes.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.lock().written_bytes
    }

    /// How many files are open, by all processes together, the dead ones included until they drop them.
    #[must_use]
    pub fn open_files(&self) -> u64 {
        self.lock().open_files
    }

    /// No more files than this can be open: `EMFILE`. Listing and syncing a directory take one, too.
    pub fn set_open_files_max(&self, most: u64) {
        self.lock().open_files_max = most;
    }

    /// The paths of all files; directories end in a slash.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.lock().medium.files().into_keys().collect()
    }

    /// What can be read from a file now.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let inode = state.medium.find(path.as_ref())?;
        Ok(contents(state.medium.file(inode)?))
    }

    /// Makes a file hold these bytes, durably, as if it had always been so. Creates it if needed.
    ///
    /// # Errors
    /// `NotFound`: its directory is not there.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut state = self.lock();
        let (dir, name) = state.medium.find_parent(path)?;
        let inode = match state.medium.find(path) {
            Ok(inode) => inode,
            Err(_) => {
                let inode = state.medium.next_inode;
                state.medium.apply(&Op::Create {
                    dir,
                    name,
                    inode,
                    directory: false,
                });
                inode
            }
        };
        for op in [
            Op::SetLen { inode, length: 0 },
            Op::Write {
                inode,
                offset: 0,
                bytes: bytes.into(),
            },
            Op::Sync { inode },
            Op::SyncDir { dir },
        ] {
            state.medium.apply(&op);
        }
        Ok(())
    }

    /// Removes a file, durably.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn erase_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let mut state = self.lock();
        state.medium.find(path)?;
        let (dir, name) = state.medium.find_parent(path)?;
        state.medium.apply(&Op::Remove { dir, name });
        state.medium.apply(&Op::SyncDir { dir });
        Ok(())
    }
}

fn contents(file: &FileNode) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.length).unwrap_or_default()];
    file.read(&mut bytes, 0);
    bytes
}

#[cfg(test)]
mod tests;
