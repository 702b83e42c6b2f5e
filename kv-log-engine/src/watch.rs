//! Watching: the changes of a store, in the order of writes, as soon as they are durable.

use crate::engine::Engine;
use crate::fault;
use crate::format::ids::Seqno;
use crate::format::record::{Record, RecordKind};
use crate::log::follow::Place;
use crate::log::followers::{Begin, Followers, Following};
use kv_trait::{Error, ErrorKind, EventKind, KeyRange, Result};
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The changes of a range of keys, one after the other in the order of writes, each once it is durable and visible. Made by
/// [`crate::Engine::watch`].
///
/// It begins with what is written from its making on, or behind a version that somebody remembers ([`Watch::after`]), and
/// follows the store's log: no change is left out, however often a key is written. What it shows no power cut can take back,
/// and a `get` behind it finds that change or a later one.
///
/// Owned, `Send`, and independent of the store's handles: it does not keep the store open. Reading blocks: a change is read
/// from the disk or the page cache, and verified. Nobody who writes waits for it, however slow it is.
///
/// ```
/// # use kv_log_engine::{Engine, Options, storage::sim::SimDisk};
/// # use kv_trait::EventKind;
/// # fn main() -> kv_trait::Result<()> {
/// # let store = Engine::open("/db", Options::new().storage(SimDisk::new().storage()))?;
/// store.put(b"before", b"is not shown")?;
/// let mut watch = store.watch(b"")?;
/// store.put(b"key", b"value")?;
/// store.remove(b"key")?;
/// let first = watch.next_blocking().transpose()?.expect("the store is open");
/// assert_eq!(first.kind, EventKind::put(b"key".to_vec(), b"value".to_vec()));
/// let second = watch.next_blocking().transpose()?.expect("the store is open");
/// assert_eq!(second.kind, EventKind::Remove { key: b"key".to_vec() });
/// assert!(watch.try_next().is_none()); // nothing more, so far
///
/// // Later, or in another process: whatever came behind a version.
/// let mut again = store.watch(b"")?.after(first.version)?;
/// assert_eq!(again.try_next().transpose()?, Some(second));
///
/// store.close()?;
/// assert!(watch.next_blocking().is_none()); // the end
/// # Ok(()) }
/// ```
///
/// # Too slow
/// What it has not read yet stays on disk for it, beyond the store's own need, up to
/// [`crate::Options::watch_bytes_max`] for all watches together; on a full disk not at all. One that needs more misses
/// changes: its next step is an error of the kind `TooOld` which says which ([`Missed::of`]), and it goes on behind them. The
/// rest of a batch that was shown in part may be among them.
///
/// # Errors
/// `TooOld`: see above. `Io`: the disk refused; the next step tries the same again. `Corrupt`, `UnsupportedFormat`: what
/// stands in the log is not what was written; this ends the watch.
///
/// # The end
/// Once the store is closed, its last handle dropped, or the keyspace dropped, it shows what was durable by then, and then it
/// has ended: `None`. If
/// whoever opened the store next has removed a file that it needs, it ends with `Closed` instead. A store that was poisoned
/// shows nothing new until it is closed.
///
/// # Drop
/// Costs nothing, and lets go of what it kept.
#[derive(Debug)]
pub struct Watch {
    following: Following,
    place: Place,
    /// Records before this one are not asked for.
    from: Seqno,
    keys: Keys,
    /// Changes that were read and not handed out.
    ready: VecDeque<Result<Change>>,
    /// A change of a batch that may have another one for this watch.
    held: Option<Change>,
    /// There is nothing behind `ready`.
    over: bool,
}

impl Engine {
    /// The changes of the keys that begin with these bytes and are written from now on, one after the other, each once it is
    /// durable: [`Watch`]. With [`Watch::after`] those behind a version that is remembered.
    ///
    /// # Errors
    /// `Closed`; `NotFound`: this keyspace was dropped.
    pub fn watch(&self, prefix: &[u8]) -> Result<Watch> {
        self.watch_keys(KeyRange::encoded_prefix(prefix.to_vec()))
    }

    /// The same for the keys in a range.
    ///
    /// # Errors
    /// As for [`Engine::watch`].
    pub fn watch_range(&self, range: impl RangeBounds<[u8]>) -> Result<Watch> {
        let bound = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        let range = KeyRange::encoded(bound(range.start_bound()), bound(range.end_bound()));
        self.watch_keys(range)
    }

    pub(crate) fn watch_keys(&self, range: KeyRange) -> Result<Watch> {
        self.view_of_keyspace()?;
        let handle = self.handle();
        let keys = Keys::new(self.keyspace_id(), range);
        Ok(Watch::new(&handle.followers, keys, handle.host.now()))
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Its place in the order of writes, which is the key's version from then on.
    pub version: Seqno,
    /// What changed.
    pub kind: EventKind<Vec<u8>, Vec<u8>>,
    /// It is the last of its batch, among those that this watch shows: a mirror that applies everything up to here in one
    /// step shows each batch whole or not at all.
    pub ends_batch: bool,
}

/// What a watch could not show, because it was too slow or began too late: the source of its error `TooOld`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// The first version that is missing. Whether it is of a key that is watched nobody knows any more.
    pub first: Seqno,
    /// The last one. The watch goes on behind it.
    pub last: Seqno,
}

impl Missed {
    /// What was missed, if this is the error of a watch that says so.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        use std::error::Error as _;
        error.source()?.downcast_ref()
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions {} to {} are not kept", self.first, self.last)
    }
}

impl std::error::Error for Missed {}

/// The keys that are watched.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    keyspace: u32,
    range: KeyRange,
}

impl Keys {
    pub(crate) const fn new(keyspace: u32, range: KeyRange) -> Self {
        Self { keyspace, range }
    }

    /// What a record does to the keys that are watched; `None`: nothing.
    fn change(&self, record: &Record<'_>) -> Option<EventKind<Vec<u8>, Vec<u8>>> {
        if record.keyspace != self.keyspace {
            return None;
        }
        match record.kind {
            RecordKind::Put if self.range.contains(record.key) => Some(EventKind::Put {
                key: record.key.to_vec(),
                value: record.value.to_vec(),
                // A moment that this system cannot say does not come.
                expires_at: record.expiry_ms.and_then(instant),
            }),
            RecordKind::Tombstone if self.range.contains(record.key) => Some(EventKind::Remove {
                key: record.key.to_vec(),
            }),
            RecordKind::Erase => {
                let keys = erased(record.key, record.value);
                self.overlaps(&keys).then_some(EventKind::Erase { keys })
            }
            RecordKind::Drop => Some(EventKind::Drop),
            RecordKind::Put | RecordKind::Tombstone | RecordKind::Create => None,
        }
    }

    /// Whether a key may lie in both.
    fn overlaps(&self, keys: &KeyRange) -> bool {
        let either = |own: Bound<&[u8]>, other: Bound<&[u8]>| {
            !KeyRange::encoded(own.map(<[u8]>::to_vec), other.map(<[u8]>::to_vec)).is_empty()
        };
        let range = &self.range;
        !range.is_empty() && either(keys.from(), range.to()) && either(range.from(), keys.to())
    }
}

fn instant(expiry_ms: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(expiry_ms))
}

/// The keys that an erasure's record is about.
fn erased(from: &[u8], to: &[u8]) -> KeyRange {
    let to = match to {
        [] => Bound::Unbounded,
        to => Bound::Excluded(to.to_vec()),
    };
    KeyRange::encoded(Bound::Included(from.to_vec()), to)
}

/// What a look at the log came to.
enum Look {
    /// Something was read, or passed over: there may be more.
    Again,
    /// It is read to its end.
    Waits,
    /// And nothing will come.
    Ended,
}

impl Watch {
    /// From the end of the log on; `now`: by the host's clock.
    pub(crate) fn new(followers: &Arc<Followers>, keys: Keys, now: Duration) -> Self {
        let (following, segment, end) = followers.enter(now);
        Self {
            following,
            place: Place::at(segment, end),
            from: end.next_seqno,
            keys,
            ready: VecDeque::new(),
            held: None,
            over: false,
        }
    }

    /// Begins anew, behind this version: with the changes that were durable by now and come after it, as far as the log still
    /// has them. If it has not, the first step says so, and which are missing ([`Missed::of`]).
    ///
    /// A store keeps the log behind its last checkpoint, and of what is before it only what it needs for itself, or a watch
    /// does. [`Seqno::ZERO`] asks for everything. In the middle of a batch: the rest of it.
    ///
    /// # Errors
    /// `InvalidInput`: nothing of that version was written yet. Whoever remembers it remembers another store, or the future of
    /// one that was put back.
    pub fn after(mut self, version: Seqno) -> Result<Self> {
        self.place = match self.following.begin_behind(version) {
            Begin::End(segment, end) => Place::at(segment, end),
            Begin::With(segment, base_seqno) => Place::start_of(segment, base_seqno),
            Begin::Ahead(last) => {
                let message =
                    format!("version {version} is ahead of the store, whose last one is {last}");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        };
        self.from = version.next();
        self.ready.clear();
        self.held = None;
        self.note_missed(self.from, self.place.next_seqno);
        Ok(self)
    }

    /// The next change, if there is one that was not shown. Waits for nobody, but may read from the disk.
    pub fn try_next(&mut self) -> Option<Result<Change>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            match self.step() {
                Look::Again => {}
                Look::Waits | Look::Ended => return None,
            }
        }
    }

    /// The next change; `None`: the store was closed, and everything was shown. Waits until there is one. Not to be called by
    /// a waker: it may be on the thread that would write the change.
    pub fn next_blocking(&mut self) -> Option<Result<Change>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            self.following.listen();
            match self.step() {
                Look::Again => {}
                Look::Waits => self.following.wait(),
                Look::Ended => return None,
            }
        }
    }

    /// What is behind those that were taken, a piece at most, and whether there may ever be more. Nothing where there is nothing
    /// now, or where `stopped` says that nobody wants it any more. Blocks, but does not wait.
    pub(crate) fn piece(&mut self, stopped: &AtomicBool) -> (VecDeque<Result<Change>>, bool) {
        while self.ready.is_empty() && !stopped.load(Ordering::Relaxed) {
            match self.step() {
                Look::Again => {}
                Look::Waits | Look::Ended => break,
            }
        }
        (std::mem::take(&mut self.ready), !self.over)
    }

    /// Whether the store was closed and everything was shown.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over && self.ready.is_empty()
    }

    /// Ready when a step has something to do. Neither blocks nor reads.
    pub(crate) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_more() {
            return Poll::Ready(());
        }
        // The look behind it: whoever shows more before that is seen by it, and whoever does later finds the waker.
        self.following.wake_by(cx.waker());
        if self.has_more() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn has_more(&self) -> bool {
        if self.over || !self.ready.is_empty() {
            return true;
        }
        let reach = self.following.reach(self.place.segment);
        let here = reach.here.as_ref();
        reach.ended
            || reach.next.is_some()
            || here.is_none_or(|(_, end)| self.place.is_before(*end))
    }

    /// Reads a piece of the log, or looks where it goes on. What comes of it is in `ready`.
    fn step(&mut self) -> Look {
        if self.over {
            return Look::Ended;
        }
        let reach = self.following.reach(self.place.segment);
        let look = match (reach.here, reach.next) {
            (Some((segment, end)), _) if self.place.is_before(end) => {
                if let Err(error) = self.read(&segment, end) {
                    self.fail(error);
                }
                Look::Again
            }
            (here, Some((next, base_seqno))) => {
                self.go_on_in(next, base_seqno, here.is_none());
                Look::Again
            }
            (_, None) if reach.ended => {
                self.over = true;
                return Look::Ended;
            }
            (_, None) => Look::Waits,
        };
        self.following
            .moved(self.place.segment, self.place.next_seqno);
        look
    }

    fn read(&mut self, segment: &crate::log::files::Segment, end: u64) -> Result<()> {
        let Self {
            place,
            from,
            keys,
            ready,
            held,
            over,
            ..
        } = self;
        place.read_on(segment, end, *from, |record, is_last| {
            if *over {
                return;
            }
            if let Some(kind) = keys.change(record) {
                *over = kind == EventKind::Drop;
                let change = Change {
                    version: record.seqno,
                    kind,
                    ends_batch: false,
                };
                ready.extend(held.replace(change).map(Ok));
            }
            if (is_last || *over)
                && let Some(mut last) = held.take()
            {
                last.ends_batch = true;
                ready.push_back(Ok(last));
            }
        })
    }

    /// The log goes on in another segment; what is between it and this place is not there any more.
    fn go_on_in(&mut self, next: crate::SegmentId, base_seqno: Seqno, lost: bool) {
        let first = self.place.next_seqno.max(self.from);
        self.place = Place::start_of(next, base_seqno);
        let skipped = planted!(RotationSkipped) && !lost;
        self.note_missed(first, base_seqno);
        if skipped {
            let reach = self.following.reach(next);
            if let Some((further, base_seqno)) = reach.next {
                self.place = Place::start_of(further, base_seqno);
            }
        }
    }

    /// Whatever is between the next one that was asked for and the next one that there is.
    fn note_missed(&mut self, asked: Seqno, next: Seqno) {
        if next <= asked {
            return;
        }
        // The rest of its batch is among what is missing.
        self.ready.extend(self.held.take().map(Ok));
        if !planted!(MissedUntold) {
            let (first, last) = (asked, next.previous());
            self.ready.push_back(Err(too_old(Missed { first, last })));
        }
    }

    fn fail(&mut self, error: Error) {
        // Nobody keeps the files of a store that was closed: it is no damage that they are gone.
        let ended = self.following.reach(self.place.segment).ended;
        let error = if ended { fault::closed() } else { error };
        self.over = error.kind() != ErrorKind::Io;
        if self.over {
            self.ready.extend(self.held.take().map(Ok));
        }
        self.ready.push_back(Err(error));
    }
}

fn too_old(missed: Missed) -> Error {
    let message =
        "the watch was too slow, or began too late: the log does not have all of it any more";
    Error::new(ErrorKind::TooOld, message).with_source(missed)
}

/// Blocks until there is a change; ends when the store was closed and everything was shown.
impl Iterator for Watch {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_blocking()
    }
}

impl FusedIterator for Watch {}

#[cfg(test)]
mod tests;
