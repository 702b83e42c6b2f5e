//! Walking keys and values in order, at one point of the order of writes.

use crate::fault;
use crate::format::ids::Seqno;
use crate::format::run::block::Version;
use crate::format::run::{name_range, split_key};
use crate::host::Host;
use crate::index::View;
use crate::index::lookup::read_version;
use crate::index::merge::{Merge, Met, Yield};
use crate::index::source::{Direction, Interval};
use crate::index::views::{Pinning, Registration, Views};
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::time::Duration;

/// The keys and values of one consistent point, in order of the keys. Made by [`crate::Engine::scan`].
///
/// Owned, `Send`, and independent of the store's handles: it pins what it reads. Iterating blocks: what is not in memory is
/// read from the disk or the page cache, and verified. After an error the iterator goes on behind what could not be read;
/// keys that are lost are one error, which names their range.
///
/// Double-ended: the last record first, and from both ends until they meet.
///
/// ```
/// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
/// # fn main() -> kv_trait::Result<()> {
/// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
/// for key in [b"a", b"b", b"c"] {
///     store.put(key, b"value")?;
/// }
/// let mut scan = store.scan(..)?;
/// assert_eq!(scan.next_back().transpose()?, Some((b"c".to_vec(), b"value".to_vec())));
/// assert_eq!(scan.next_key().transpose()?, Some(b"a".to_vec()));
/// assert_eq!(scan.count(), 1);
/// # Ok(()) }
/// ```
///
/// # Limits
/// It keeps the files that it may read on the disk, whatever becomes of them meanwhile. Where open scans keep more than
/// [`crate::Options::pinned_bytes_max`], or one is open for longer than [`crate::Options::view_age_max`], the oldest is ended:
/// its next step is an error of the kind `TooOld`, and there is no other behind it. Behind the store's end it goes on as long
/// as its files are there; once whoever opened the store next has removed one, its next step is `Closed`, and the last.
///
/// # Drop
/// What only this scan still held of an older state of the index is not freed by the thread that drops it, but for a few
/// nodes: the next write, [`crate::Engine::close`], or later reads free it. Behind the store's end nobody is left to do that,
/// and it is freed with the last scan.
#[derive(Debug)]
pub struct Scan {
    pins: Arc<Pins>,
    directory: PathBuf,
    /// How long it may be open, by the host's clock: nobody else may be there to end it.
    until: Option<Deadline>,
    entry: Registration,
}

/// By whose clock it ends, and when.
pub(crate) type Deadline = (Arc<dyn Host>, Duration);

/// A record of a scan, as callers of every kind may need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    /// Empty where it was not asked for.
    pub(crate) value: Vec<u8>,
    /// The place of its write in the order.
    pub(crate) version: Seqno,
}

/// What a scan holds, until it is dropped or has to let go of it.
#[derive(Debug)]
struct Pins {
    /// Taken for a step of the scan, which may read; whoever would end it goes away meanwhile.
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Held {
    Open(Box<Walks>),
    /// It was ended from outside, and has to say so.
    Expired,
    Ended,
}

impl Pinning for Pins {
    fn expire(&self) -> bool {
        let mut held = match self.held.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        // One that has to say so already must not forget it: it would look like one that has come to its end.
        if matches!(*held, Held::Open(_)) {
            let walks = std::mem::replace(&mut *held, Held::Expired);
            drop(held);
            drop(walks);
        }
        true
    }
}

#[derive(Debug)]
struct Walks {
    /// Dropped first: whoever goes last knows where to leave nodes, and that is the view.
    walks: [Option<Merge>; 2],
    /// The last keys that both walks have come to: where they meet.
    reached: [Option<Vec<u8>>; 2],
    interval: Interval,
    view: View,
}

/// Which end is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front = 0,
    Back = 1,
}

impl End {
    const fn direction(self) -> Direction {
        match self {
            Self::Front => Direction::Forward,
            Self::Back => Direction::Backward,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

impl Scan {
    /// What `view` shows of an interval. `views` may end it later, and from `until` on it ends itself.
    pub(crate) fn new(
        view: View,
        interval: Interval,
        directory: PathBuf,
        (views, now): (&Arc<Views>, Duration),
        until: Option<Deadline>,
    ) -> Self {
        let walks = Walks {
            walks: [None, None],
            reached: [None, None],
            interval,
            view,
        };
        let pins = Arc::new(Pins {
            held: Mutex::new(Held::Open(Box::new(walks))),
        });
        let weak: Weak<Pins> = Arc::downgrade(&pins);
        Self {
            entry: views.enter(now, weak),
            pins,
            directory,
            until,
        }
    }

    /// Does a step, unless the scan was ended from outside.
    fn with<T>(
        &self,
        step: impl FnOnce(&mut Walks, &Path) -> Option<Result<T>>,
    ) -> Option<Result<T>> {
        if let Some((host, until)) = &self.until
            && host.now() > *until
        {
            self.pins.expire();
        }
        let mut held = lock(&self.pins.held);
        match &mut *held {
            Held::Open(walks) => match step(walks, &self.directory) {
                // Nobody has kept the file for this scan: it is no damage that it is gone.
                Some(Err(_)) if self.entry.is_closed() => {
                    *held = Held::Ended;
                    Some(Err(fault::closed()))
                }
                step => step,
            },
            Held::Expired => {
                *held = Held::Ended;
                Some(Err(too_old("scan")))
            }
            Held::Ended => None,
        }
    }

    /// The next key with its version and its value. The version is the place of the key's record in the order of writes: what
    /// [`crate::Batch::expect`] takes.
    ///
    /// ```
    /// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// store.put(b"a", b"first")?;
    /// store.put(b"a", b"second")?;
    /// let mut scan = store.scan(..)?;
    /// let found = scan.next_versioned().transpose()?;
    /// assert_eq!(found, Some((b"a".to_vec(), 2.into(), b"second".to_vec())));
    /// # Ok(()) }
    /// ```
    pub fn next_versioned(&mut self) -> Option<Result<Versioned>> {
        self.with(|walks, directory| walks.next(End::Front, directory))
    }

    /// The last key that is left, with its version and its value.
    pub fn next_back_versioned(&mut self) -> Option<Result<Versioned>> {
        self.with(|walks, directory| walks.next(End::Back, directory))
    }

    /// The next key with its value, and when that expires: the moment that [`crate::Batch::put_until`] takes, or `None` for a
    /// value that stays.
    ///
    /// ```
    /// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
    /// # fn main() -> kv_trait::Result<()> {
    /// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
    /// let tomorrow = store.expiry_after(std::time::Duration::from_secs(86_400))?;
    /// store.put_until(b"a", b"till then", tomorrow)?;
    /// store.put(b"b", b"for ever")?;
    /// let mut scan = store.scan(..)?;
    /// let first = scan.next_with_expiry().transpose()?;
    /// assert_eq!(first, Some((b"a".to_vec(), b"till then".to_vec(), Some(tomorrow))));
    /// let second = scan.next_with_expiry().transpose()?;
    /// assert_eq!(second, Some((b"b".to_vec(), b"for ever".to_vec(), None)));
    /// # Ok(()) }
    /// ```
    pub fn next_with_expiry(&mut self) -> Option<Result<Expiring>> {
        self.with(|walks, directory| {
            walks.step(End::Front, directory, |view, key, version| {
                let expiry_ms = version.expiry_ms;
                let value = read_version(key, version, view.segments())?;
                Ok((raw(key), value.unwrap_or_default(), expiry_ms))
            })
        })
    }

    /// The next record at the front or the back; its value only if `reads_value`, which may lie elsewhere.
    pub(crate) fn record(&mut self, end: End, reads_value: bool) -> Option<Result<Record>> {
        self.with(|walks, directory| {
            walks.step(end, directory, |view, key, version| {
                let seqno = version.seqno;
                let value = if reads_value {
                    read_version(key, version, view.segments())?.unwrap_or_default()
                } else {
                    Vec::new()
                };
                Ok(Record {
                    key: raw(key),
                    value,
                    version: seqno,
                })
            })
        })
    }

    /// The next key, without reading a value that lies elsewhere.
    pub fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.with(|walks, directory| walks.step(End::Front, directory, |_, key, _| Ok(raw(key))))
    }

    /// The last key that is left, without reading a value that lies elsewhere.
    pub fn next_back_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.with(|walks, directory| walks.step(End::Back, directory, |_, key, _| Ok(raw(key))))
    }
}

/// It was ended from outside, or by its age.
pub(crate) fn too_old(what: &str) -> Error {
    let message = format!(
        "the {what} was ended, because it kept too much of the disk or was open for too long; begin a new one"
    );
    Error::new(ErrorKind::TooOld, message)
}

impl Walks {
    /// Goes on at one end, until both ends have met. `take` makes of an entry what is wanted of it.
    fn step<T>(
        &mut self,
        end: End,
        directory: &Path,
        take: impl FnOnce(&View, &[u8], Version<&[u8]>) -> Result<T>,
    ) -> Option<Result<T>> {
        let Self {
            walks,
            reached,
            interval,
            view,
        } = self;
        let walk = walks[end as usize].get_or_insert_with(|| {
            view.walk(interval, end.direction(), Yield::Live(view.now_ms()))
        });
        let met = match walk.step() {
            Ok(None) => return None,
            Ok(Some(met)) => met,
            Err(error) => return Some(Err(error)),
        };
        let other = reached[end.other() as usize].as_deref();
        match met {
            Met::Entry(key, version) => {
                let met = other.is_some_and(|other| match end {
                    End::Front => *key >= *other,
                    End::Back => *key <= *other,
                });
                if met {
                    return None;
                }
                let reached = reached[end as usize].get_or_insert_default();
                reached.clear();
                reached.extend_from_slice(key);
                Some(take(view, key, version))
            }
            Met::Hole(hole) => {
                let met = other.is_some_and(|other| match end {
                    End::Front => *hole.from > *other,
                    End::Back => *hole.to <= *other,
                });
                if met {
                    return None;
                }
                let range = name_range(&hole.from, &hole.to);
                let what = format!("keys {range} are lost: {}", hole.cause);
                Some(Err(fault::corrupt(directory, what)))
            }
        }
    }

    fn next(&mut self, end: End, directory: &Path) -> Option<Result<Versioned>> {
        self.step(end, directory, |view, key, version| {
            let value = read_version(key, version, view.segments())?;
            Ok((raw(key), version.seqno, value.unwrap_or_default()))
        })
    }
}

/// A key with its version and its value.
pub(crate) type Versioned = (Vec<u8>, Seqno, Vec<u8>);

/// A key with its value, and the moment at which that expires.
pub(crate) type Expiring = (Vec<u8>, Vec<u8>, Option<u64>);

fn without_version(found: Result<Versioned>) -> Result<(Vec<u8>, Vec<u8>)> {
    found.map(|(key, _, value)| (key, value))
}

/// The key as callers have it.
fn raw(full_key: &[u8]) -> Vec<u8> {
    split_key(full_key)
        .map_or(full_key, |(_, key)| key)
        .to_vec()
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_versioned().map(without_version)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_back_versioned().map(without_version)
    }
}
