//! Who follows the log, how far it may be followed, and which segments are kept for that.
//!
//! The leader shows where the log ends, behind the publish of each group: what lies before that is durable and visible, and
//! nobody who follows reads a byte behind it. Whoever does not keep up holds nobody: the leader sets a number and looks who
//! waits. A segment that the store lets go is kept as long as somebody has not read it, up to so many bytes; then it goes,
//! and who needed it finds a gap.
//!
//! The lock is taken alone, for a moment; under it nothing is read, woken or dropped that takes time, and the leader
//! allocates nothing but the place of a new segment.

use super::files::Segment;
use super::scan::Boundary;
use crate::format::ids::{SegmentId, Seqno};
use crate::sync::lock_std as lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// A store's log as those see it who follow it.
#[derive(Debug)]
pub(crate) struct Followers {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The log is durable and visible up to here: the end of a group, in the last segment.
    end: Boundary,
    /// The segments of the log, by id: the store's, and those that it has let go and somebody may not have read.
    log: Vec<Kept>,
    /// Copied on change, so that the leader takes all of them by one count.
    followers: Arc<Vec<Arc<Follower>>>,
    /// Nothing will be written any more.
    ended: bool,
}

/// A segment of the log.
#[derive(Debug)]
struct Kept {
    segment: Arc<Segment>,
    base_seqno: Seqno,
    /// Where its footer ends; of the last one [`State::end`] counts.
    end: u64,
    /// The store has let it go.
    released: bool,
}

impl Kept {
    fn id(&self) -> SegmentId {
        self.segment.id
    }
}

/// A segment of the log as the store has it when it is opened.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) segment: Arc<Segment>,
    pub(crate) base_seqno: Seqno,
    pub(crate) end: u64,
}

/// What may be read behind a place in a segment.
#[derive(Debug)]
pub(crate) struct Reach {
    /// The segment, and where what may be read of it ends; `None`: it is not kept any more.
    pub(crate) here: Option<(Arc<Segment>, u64)>,
    /// The segment that comes next, and its first seqno.
    pub(crate) next: Option<(SegmentId, Seqno)>,
    /// Nothing will come behind that.
    pub(crate) ended: bool,
}

/// Where to begin for what is behind a seqno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At the end: nothing is behind it yet.
    End(SegmentId, Boundary),
    /// With the first frame of this segment.
    With(SegmentId, Seqno),
    /// The log has not come so far; it ends with this one.
    Ahead(Seqno),
}

/// One who follows: where it is, and how it is woken.
#[derive(Debug)]
pub(crate) struct Follower {
    since: Duration,
    /// It needs this segment, and those behind it. Moved back only under the lock.
    segment: AtomicU64,
    /// The seqno that it reads next.
    next: AtomicU64,
    bell: Mutex<Bell>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Bell {
    waker: Option<Waker>,
    /// Since the thread that waits looked last.
    rung: bool,
}

impl Follower {
    /// There is more to read, perhaps.
    fn ring(&self) {
        let mut bell = lock(&self.bell);
        bell.rung = true;
        let waker = bell.waker.take();
        drop(bell);
        self.rung.notify_all();
        if let Some(waker) = waker
            && catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err()
        {
            // It belongs to somebody's executor, whose panic hook has spoken. Nobody else may suffer.
        }
    }
}

/// Those whom the leader has to tell, once its tickets are resolved.
#[derive(Debug)]
pub(crate) struct Told(Arc<Vec<Arc<Follower>>>);

impl Told {
    /// Wakes those who wait. No lock may be held: wakers are foreign code.
    pub(crate) fn wake(self) {
        self.0.iter().for_each(|follower| follower.ring());
    }
}

/// The one who is furthest behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slowest {
    pub(crate) next: Seqno,
    pub(crate) since: Duration,
    pub(crate) kept_bytes: u64,
    pub(crate) count: usize,
}

impl Followers {
    /// Of a log that ends at `end`, in the last of these segments. They ascend.
    pub(crate) fn new(log: impl IntoIterator<Item = Known>, end: Boundary) -> Arc<Self> {
        let log = log.into_iter().map(|known| Kept {
            segment: known.segment,
            base_seqno: known.base_seqno,
            end: known.end,
            released: false,
        });
        Arc::new(Self {
            state: Mutex::new(State {
                end,
                log: log.collect(),
                followers: Arc::default(),
                ended: false,
            }),
        })
    }

    /// By the leader, behind the publish of a group: the log may be followed up to here.
    pub(crate) fn show(&self, end: Boundary) -> Told {
        let mut state = lock(&self.state);
        state.end = end;
        Told(Arc::clone(&state.followers))
    }

    /// By the leader, behind the edit that names it: the log goes on in this segment. The one before ends at `sealed`.
    pub(crate) fn rotate(
        &self,
        sealed: u64,
        next: &Arc<Segment>,
        base_seqno: Seqno,
        end: Boundary,
    ) {
        let mut state = lock(&self.state);
        if let Some(last) = state.log.last_mut() {
            last.end = sealed;
        }
        state.log.push(Kept {
            segment: Arc::clone(next),
            base_seqno,
            end: end.offset,
            released: false,
        });
        state.end = end;
    }

    /// Nothing will be written any more.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        let all = Told(Arc::clone(&state.followers));
        drop(state);
        all.wake();
    }

    /// The store has let these segments go. Those that nobody needs go here, too.
    pub(crate) fn release(&self, ids: &[SegmentId]) {
        let mut state = lock(&self.state);
        for id in ids {
            if let Ok(at) = state.log.binary_search_by_key(id, Kept::id) {
                state.log[at].released = true;
            }
        }
        let gone = state.take_unneeded();
        drop(state);
        drop(gone); // closing files is not for under the lock
    }

    /// Keeps no more than so many bytes of segments that the store has let go, the newest. Whether any had to go.
    pub(crate) fn limit(&self, bytes: u64) -> bool {
        let mut state = lock(&self.state);
        let mut gone = state.take_unneeded();
        let mut kept = state.kept_bytes();
        let mut lost = Vec::new();
        state.log.retain(|segment| {
            let goes = segment.released && kept > bytes;
            if goes {
                kept -= segment.end.min(kept);
                lost.push(Arc::clone(&segment.segment));
            }
            !goes
        });
        let any = !lost.is_empty();
        drop(state);
        gone.append(&mut lost);
        drop(gone);
        any
    }

    /// Bytes of segments that are here for followers alone.
    pub(crate) fn kept_bytes(&self) -> u64 {
        lock(&self.state).kept_bytes()
    }

    /// The one who is furthest behind, if there is one.
    pub(crate) fn slowest(&self) -> Option<Slowest> {
        let state = lock(&self.state);
        let (followers, kept_bytes) = (Arc::clone(&state.followers), state.kept_bytes());
        drop(state);
        let next = |follower: &Arc<Follower>| follower.next.load(Ordering::Relaxed);
        let slowest = followers
            .iter()
            .min_by_key(|it| (next(it), it.since))
            .map(|it| Slowest {
                next: Seqno::new(next(it)),
                since: it.since,
                kept_bytes,
                count: followers.len(),
            });
        drop(followers);
        slowest
    }

    /// One more, from the end on; where that is.
    pub(crate) fn enter(self: &Arc<Self>, since: Duration) -> (Following, SegmentId, Boundary) {
        let mut listed = Arc::clone(&lock(&self.state).followers);
        let follower = Arc::new(Follower {
            since,
            segment: AtomicU64::new(0),
            next: AtomicU64::new(0),
            bell: Mutex::default(),
            rung: Condvar::new(),
        });
        loop {
            // Built without the lock, which the leader takes.
            let longer = listed.iter().chain([&follower]).map(Arc::clone).collect();
            let longer = Arc::new(longer);
            let mut state = lock(&self.state);
            if !Arc::ptr_eq(&state.followers, &listed) {
                listed = Arc::clone(&state.followers);
                continue;
            }
            let replaced = std::mem::replace(&mut state.followers, longer);
            let (segment, end) = (state.last(), state.end);
            follower.set(segment, end.next_seqno);
            drop(state);
            drop((replaced, listed));
            let following = Following {
                followers: Arc::clone(self),
                follower,
            };
            return (following, segment, end);
        }
    }

    fn leave(&self, follower: &Arc<Follower>) {
        let mut listed = Arc::clone(&lock(&self.state).followers);
        loop {
            let others = listed.iter().filter(|it| !Arc::ptr_eq(it, follower));
            let shorter = Arc::new(others.map(Arc::clone).collect());
            let mut state = lock(&self.state);
            if !Arc::ptr_eq(&state.followers, &listed) {
                listed = Arc::clone(&state.followers);
                continue;
            }
            let replaced = std::mem::replace(&mut state.followers, shorter);
            let gone = state.take_unneeded();
            drop(state);
            drop((replaced, gone));
            return;
        }
    }
}

impl State {
    /// The segment that takes frames.
    fn last(&self) -> SegmentId {
        let last = self.log.last();
        last.expect("a log has the segment that is written").id()
    }

    fn kept_bytes(&self) -> u64 {
        let released = self.log.iter().filter(|segment| segment.released);
        released.map(|segment| segment.end).sum()
    }

    /// Takes out what the store has let go and nobody needs.
    fn take_unneeded(&mut self) -> Vec<Arc<Segment>> {
        let needed = self.followers.iter();
        let needed = needed.map(|it| it.segment.load(Ordering::Acquire)).min();
        let needed = needed.map_or(SegmentId::END, SegmentId::new);
        let mut gone = Vec::new();
        if self.log.iter().any(|segment| segment.released) {
            self.log.retain(|segment| {
                let goes = segment.released && segment.id() < needed;
                if goes {
                    gone.push(Arc::clone(&segment.segment));
                }
                !goes
            });
        }
        gone
    }
}

impl Follower {
    fn set(&self, segment: SegmentId, next: Seqno) {
        self.segment.store(segment.get(), Ordering::Release);
        self.next.store(next.get(), Ordering::Relaxed);
    }
}

/// A follower's entry, taken out when this is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    followers: Arc<Followers>,
    follower: Arc<Follower>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.followers.leave(&self.follower);
    }
}

impl Following {
    /// What may be read behind a place in this segment.
    pub(crate) fn reach(&self, segment: SegmentId) -> Reach {
        let state = lock(&self.followers.state);
        let at = state.log.partition_point(|kept| kept.id() < segment);
        let here = state.log.get(at).filter(|kept| kept.id() == segment);
        let next = state.log.get(at + usize::from(here.is_some()));
        let here = here.map(|kept| {
            let is_last = at + 1 == state.log.len();
            let end = if is_last { state.end.offset } else { kept.end };
            (Arc::clone(&kept.segment), end)
        });
        Reach {
            next: next.map(|kept| (kept.id(), kept.base_seqno)),
            here,
            ended: state.ended,
        }
    }

    /// It reads behind this place from now on, and needs nothing before it.
    pub(crate) fn moved(&self, segment: SegmentId, next: Seqno) {
        let before = self.follower.segment.load(Ordering::Relaxed);
        self.follower.set(segment, next);
        if before != segment.get() {
            let gone = lock(&self.followers.state).take_unneeded();
            drop(gone);
        }
    }

    /// Begins anew with what is behind this seqno, as far as the log still has it.
    pub(crate) fn begin_behind(&self, seqno: Seqno) -> Begin {
        let state = lock(&self.followers.state);
        let last = state.end.next_seqno.previous();
        let begin = if seqno > last {
            return Begin::Ahead(last);
        } else if seqno == last {
            Begin::End(state.last(), state.end)
        } else {
            let behind = |kept: &Kept| kept.base_seqno.previous() > seqno;
            let at = state.log.partition_point(|kept| !behind(kept));
            let first = state.log.get(at.saturating_sub(1));
            let first = first.expect("a log has the segment that is written");
            Begin::With(first.id(), first.base_seqno)
        };
        let (segment, next) = match begin {
            Begin::End(segment, end) => (segment, end.next_seqno),
            Begin::With(segment, _) => (segment, seqno.next()),
            Begin::Ahead(_) => return begin,
        };
        // Under the lock: nothing may be let go between the look and this.
        self.follower.set(segment, next);
        drop(state);
        begin
    }

    /// This task is woken when there is more, until it is asked for again. Whoever calls this looks once more behind it.
    pub(crate) fn wake_by(&self, waker: &Waker) {
        // Cloning and dropping wakers is foreign code: not under the lock.
        let mine = waker.clone();
        let before = lock(&self.follower.bell).waker.replace(mine);
        drop(before);
    }

    /// Before a look that a [`Following::wait`] may follow.
    pub(crate) fn listen(&self) {
        lock(&self.follower.bell).rung = false;
    }

    /// Until there is more than at the look. Blocks.
    pub(crate) fn wait(&self) {
        let bell = lock(&self.follower.bell);
        let rung = self.follower.rung.wait_while(bell, |bell| !bell.rung);
        drop(rung.unwrap_or_else(PoisonError::into_inner));
    }
}
