//! One point of the order of writes, kept: whatever is read from it, and whenever, is as it was there.

use crate::batch::check_length;
use crate::engine::Engine;
use crate::fault;
use crate::format::ids::Seqno;
use crate::format::run::full_key;
use crate::index::source::Interval;
use crate::index::views::{Pinning, Registration};
use crate::index::{Lookup, View};
use crate::scan::{Deadline, Scan, too_old};
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, KEY_BYTES_MAX, Result};
use std::ops::RangeBounds;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

/// The store as it is at one point of the order of writes: later writes do not show. Made by [`Engine::snapshot`].
///
/// It takes no lock and copies nothing, whatever the store's size; there may be any number. Clones share the point. It is
/// `Send` and `Sync`, and independent of the store's handles: it pins what it reads. All keyspaces are of the same point:
/// [`Snapshot::of`] reads another one. Reading blocks: what is not in memory is read from the disk or the page cache.
///
/// ```
/// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
/// # fn main() -> kv_trait::Result<()> {
/// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
/// store.put(b"apples", b"3")?;
/// let before = store.snapshot()?;
/// store.put(b"apples", b"2")?;
/// store.put(b"pears", b"1")?;
/// assert_eq!(before.get(b"apples")?.as_deref(), Some(&b"3"[..]));
/// assert_eq!(before.get(b"pears")?, None);
/// assert_eq!(before.scan(..)?.count(), 1);
/// # Ok(()) }
/// ```
///
/// # Limits
/// As for a [`Scan`]: it keeps files on the disk, and where it keeps too much or is too old it is ended, which whoever reads
/// from it next is told: `TooOld`. A snapshot and its scans end together. Behind the store's end it goes on as long as its files
/// are there, and then answers `Closed`.
///
/// # Drop
/// As for a [`Scan`], with the last clone and the last scan of it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    shared: Arc<Shared>,
    keyspace: u32,
}

#[derive(Debug)]
struct Shared {
    pins: Arc<Pins>,
    at: Seqno,
    now_ms: u64,
    directory: PathBuf,
    until: Option<Deadline>,
    entry: Registration,
    #[cfg(feature = "planted-faults")]
    published: Weak<crate::index::Published>,
}

/// What a snapshot holds, until it is dropped or has to let go of it.
#[derive(Debug)]
struct Pins {
    /// `None`: it was ended. Held for the cloning of the `Arc`: whoever reads holds that meanwhile, and nobody waits.
    view: Mutex<Option<Arc<View>>>,
}

impl Pinning for Pins {
    fn expire(&self) -> bool {
        let view = lock(&self.view).take();
        drop(view);
        true
    }
}

impl Engine {
    /// Everything there is, of all keyspaces, as it is now. Costs next to nothing, and does not block.
    ///
    /// # Errors
    /// `Closed`; `NotFound`: this keyspace was dropped.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let view = self.view_of_keyspace()?;
        let handle = &**self.handle();
        let (now, until) = handle.view_terms();
        let (at, now_ms) = (view.last(), view.now_ms());
        let pins = Arc::new(Pins {
            view: Mutex::new(Some(Arc::new(view))),
        });
        let weak: Weak<Pins> = Arc::downgrade(&pins);
        let shared = Shared {
            entry: handle.views.enter(now, weak),
            pins,
            at,
            now_ms,
            directory: handle.path.clone(),
            until,
            #[cfg(feature = "planted-faults")]
            published: Arc::downgrade(&handle.published),
        };
        Ok(Snapshot {
            shared: Arc::new(shared),
            keyspace: self.keyspace_id(),
        })
    }
}

impl Snapshot {
    /// The same point, read in the keyspace of this handle.
    ///
    /// # Errors
    /// `InvalidInput`: the handle is one of another store, or of another opening of it.
    pub fn of(&self, keyspace: &Engine) -> Result<Self> {
        let (views, _) = self.shared.entry.origin();
        if !Arc::ptr_eq(views, &keyspace.handle().views) {
            let message = "the handle is not one of the store that the snapshot is of";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(Self {
            shared: Arc::clone(&self.shared),
            keyspace: keyspace.keyspace_id(),
        })
    }

    /// The place of the last record that it shows, in the order of writes.
    #[must_use]
    pub fn at(&self) -> Seqno {
        self.shared.at
    }

    /// The value of `key`, or `None`. Blocks.
    ///
    /// # Errors
    /// `TooLarge`, `TooOld`, `Closed`, `Io`, `Corrupt`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let lookup = self.lookup(key)?;
        self.settle(lookup.read())
    }

    /// The value of `key` with its version: what [`crate::Batch::expect`] takes. Blocks.
    ///
    /// # Errors
    /// As for [`Snapshot::get`].
    pub fn get_versioned(&self, key: &[u8]) -> Result<Option<(Seqno, Vec<u8>)>> {
        let lookup = self.lookup(key)?;
        self.settle(lookup.read_versioned())
    }

    /// The keys and values in a range, in order of the keys. Owns what it reads from; blocks when it is iterated.
    ///
    /// # Errors
    /// `TooOld`.
    pub fn scan(&self, range: impl RangeBounds<[u8]>) -> Result<Scan> {
        let view = self.view()?.another();
        let interval = Interval::of_keyspace(self.keyspace, &range);
        let shared = &*self.shared;
        let directory = shared.directory.clone();
        let until = shared.until.clone();
        Ok(Scan::new(
            view,
            interval,
            directory,
            shared.entry.origin(),
            until,
        ))
    }

    pub(crate) const fn keyspace(&self) -> u32 {
        self.keyspace
    }

    /// The reading of the store's clock that decides what has expired in it.
    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.now_ms
    }

    /// What memory says of `key`, with a pin on what is to be read for the rest. Never blocks.
    pub(crate) fn lookup(&self, key: &[u8]) -> Result<Lookup> {
        check_length("key", key.len(), KEY_BYTES_MAX)?;
        let view = self.view()?;
        Ok(view.lookup(&full_key(self.keyspace, key)))
    }

    /// What a reading came to: nobody keeps files for a store that is closed, and it is no damage that one is gone.
    pub(crate) fn settle<T>(&self, read: Result<T>) -> Result<T> {
        match read {
            Err(_) if self.shared.entry.is_closed() => Err(fault::closed()),
            read => read,
        }
    }

    fn view(&self) -> Result<Arc<View>> {
        let shared = &*self.shared;
        if let Some((host, until)) = &shared.until
            && host.now() > *until
        {
            shared.pins.expire();
        }
        #[cfg(feature = "planted-faults")]
        if planted!(SnapshotMoves)
            && let Some(published) = shared.published.upgrade()
        {
            return Ok(Arc::new(published.view()));
        }
        let view = lock(&shared.pins.view).clone();
        view.ok_or_else(|| too_old("snapshot"))
    }
}
