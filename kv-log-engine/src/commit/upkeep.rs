//! What the leader and those who do a store's chores know of each other.
//!
//! The leader freezes a memtable when it is told to, and goes on; what becomes of it is a chore. Where chores fall behind,
//! the leader does them itself between two groups, a slice at a time: whoever waits for room is whoever makes it, so
//! nothing stops when nobody else is there to work.

use kv_trait::Error;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether the next group may come.
#[derive(Debug)]
pub(crate) enum Relief {
    /// Nothing presses that chores could do something about.
    Go,
    /// A slice of it was done: it may press no more.
    Again,
    /// What it would have to wait for fails, for this reason.
    Refuse(Error),
}

/// Those who do the chores of a store, as the leader knows them.
pub(crate) trait Upkeep: Debug + Send + Sync {
    /// The store may be changed: what the open left to be done before is done. Chores begin behind that.
    fn settled(&self);

    /// Whether the memtable should be frozen at this group's end. Memory only.
    fn wants_freeze(&self) -> bool;

    /// A segment of this length is sealed where a checkpoint begins, so that it can be let go. Memory only.
    fn rotates_at(&self) -> u64;

    /// Bytes of files that the manifest does not name: those that chores write, and those that nobody has removed yet.
    fn unnamed_bytes(&self) -> u64;

    /// Whether chores give room back when there is none: not where a test does them by hand.
    fn gives_room(&self) -> bool;

    /// Whether a checkpoint would lead to room: not while merges fail, for then it only takes some.
    fn checkpoint_gives_room(&self) -> bool;

    /// Somebody has no room: does one slice of whatever may give some back, or waits for whoever is at one. Blocks.
    fn give_room(&self) -> Relief;

    /// If something presses, does one slice of it, or waits for whoever is at one. Blocks.
    fn relieve(&self) -> Relief;
}

/// How far the log has come, how far it was when the memtable was frozen, and how far runs cover it: bytes of frames since
/// the replay start that the open found.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    written: AtomicU64,
    frozen: AtomicU64,
    covered: AtomicU64,
}

impl LogTail {
    /// With so many bytes behind the replay start.
    pub(crate) const fn new(bytes: u64) -> Self {
        Self {
            written: AtomicU64::new(bytes),
            frozen: AtomicU64::new(0),
            covered: AtomicU64::new(0),
        }
    }

    /// By the leader: a group was published.
    pub(crate) fn grow(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// By the leader: all of it belongs to the memtable that is frozen next. Before that one shows: a chore may write it at
    /// once.
    pub(crate) fn freeze(&self) {
        let written = self.written.load(Ordering::Relaxed);
        self.frozen.store(written, Ordering::Release);
    }

    /// How far the log had come then.
    pub(crate) fn frozen(&self) -> u64 {
        self.frozen.load(Ordering::Acquire)
    }

    /// By the chore that has named the run of the frozen memtable: runs have the log up to here.
    pub(crate) fn cover(&self, frozen: u64) {
        self.covered.store(frozen, Ordering::Relaxed);
    }

    /// Bytes behind the manifest's replay start.
    pub(crate) fn bytes(&self) -> u64 {
        let covered = self.covered.load(Ordering::Relaxed);
        self.written.load(Ordering::Relaxed).saturating_sub(covered)
    }
}
