//! Queue, ticket and lead over a writer of a few lines. The tests are in the modules, by subject.

mod dropped;
mod ends;
mod failures;
mod leading;
mod order;

use super::seam::{GroupEnd, GroupWriter, Request};
use super::ticket::Awaited;
use super::{CommitQueue, Limits, Ticket};
use kv_trait::{BlockingWork, Effect, Error, ErrorKind, PoolId, Result, Runtime};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[derive(Debug)]
struct Number(u64);

impl Request for Number {
    type Answer = u64;

    /// Ten; a hundred from number 100 on.
    fn bytes(&self) -> u64 {
        if self.0 < 100 { 10 } else { 100 }
    }
}

type Hook = Box<dyn FnOnce() -> Result<()> + Send>;

/// What the writers of one test did.
#[derive(Default)]
struct Log {
    order: Mutex<Vec<u64>>,
    groups: AtomicU64,
    idles: AtomicU64,
    held: Mutex<bool>,
    released: Condvar,
    waiting: AtomicBool,
    panic_at: AtomicU64,
    poison_at: AtomicU64,
    panic_when_idle: AtomicBool,
    prepared: Mutex<Vec<u64>>,
    in_prepare: Mutex<Option<Hook>>,
    in_idle: Mutex<Option<Hook>>,
    /// What has to be done before the next group, in slices.
    slices: AtomicU64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn wait_until_held(&self) {
        while !self.waiting.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }
}

#[derive(Debug)]
struct Writer {
    log: Arc<Log>,
    refusal: Option<Error>,
}

impl GroupWriter for Writer {
    type Request = Number;

    fn prepare(&mut self, first: &Number) -> Result<u64> {
        self.log.prepared.lock().unwrap().push(first.bytes());
        let hook = self.log.in_prepare.lock().unwrap().take();
        hook.map_or(Ok(()), |hook| hook())?;
        Ok(u64::MAX)
    }

    fn relieve(&mut self) -> bool {
        let left = self.log.slices.load(Ordering::SeqCst);
        self.log
            .slices
            .store(left.saturating_sub(1), Ordering::SeqCst);
        left > 0
    }

    fn commit(&mut self, group: Vec<Number>, resolve: impl FnOnce(Vec<Result<u64>>, GroupEnd)) {
        let mut held = self.log.held.lock().unwrap();
        while *held {
            self.log.waiting.store(true, Ordering::SeqCst);
            held = self.log.released.wait(held).unwrap();
        }
        self.log.waiting.store(false, Ordering::SeqCst);
        drop(held);
        let number = self.log.groups.fetch_add(1, Ordering::SeqCst) + 1;
        assert_ne!(number, self.log.panic_at.load(Ordering::SeqCst), "planned");
        if number == self.log.poison_at.load(Ordering::SeqCst) {
            let error = Error::new(ErrorKind::Io, "sync failed").with_effect(Effect::Unknown);
            let outcomes = group.iter().map(|_| Err(error.clone())).collect();
            let refusal = Error::new(ErrorKind::Poisoned, "poisoned");
            self.refusal = Some(refusal.clone());
            return resolve(outcomes, GroupEnd::Poisoned(refusal));
        }
        self.log
            .order
            .lock()
            .unwrap()
            .extend(group.iter().map(|number| number.0));
        let outcomes = group.iter().map(|number| Ok(number.0)).collect();
        resolve(outcomes, GroupEnd::Good);
    }

    fn refusal(&self) -> Option<Error> {
        self.refusal.clone()
    }

    fn idle(&mut self) {
        self.log.idles.fetch_add(1, Ordering::SeqCst);
        let planned = self.log.panic_when_idle.load(Ordering::SeqCst);
        assert!(!planned, "planned");
        let hook = self.log.in_idle.lock().unwrap().take();
        hook.map_or(Ok(()), |hook| hook()).unwrap();
    }

    fn panicked(&mut self) -> Error {
        Error::new(ErrorKind::Poisoned, "panicked").with_effect(Effect::Unknown)
    }
}

type Queue = Arc<CommitQueue<Writer>>;

fn queue_with(limits: Limits) -> (Queue, Arc<Log>) {
    queue_with_clock(limits, |_| {})
}

/// `looked` is told how often the clock was looked at.
fn queue_with_clock(
    limits: Limits,
    looked: impl Fn(u64) + Send + Sync + 'static,
) -> (Queue, Arc<Log>) {
    let log = Arc::new(Log::default());
    let writer = Writer {
        log: Arc::clone(&log),
        refusal: None,
    };
    let clock = AtomicU64::new(0);
    let now = move || {
        let look = clock.fetch_add(1, Ordering::SeqCst);
        looked(look);
        Duration::from_micros(look)
    };
    (CommitQueue::new(writer, limits, Arc::new(now)), log)
}

fn queue() -> (Queue, Arc<Log>) {
    queue_with(Limits {
        linger: Duration::ZERO,
        gather: Duration::ZERO,
        ..Limits::default()
    })
}

/// A pool that runs what it is told to run.
#[derive(Clone, Debug)]
struct Pool {
    id: u64,
    work: Arc<Mutex<VecDeque<Work>>>,
    /// It has no threads any more.
    gone: Arc<AtomicBool>,
    /// It is not to be seen from here.
    outside: Arc<AtomicBool>,
}

struct Work(BlockingWork);

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

impl Pool {
    fn new(id: u64) -> Self {
        Self {
            id,
            work: Arc::default(),
            gone: Arc::default(),
            outside: Arc::default(),
        }
    }

    fn queued(&self) -> usize {
        self.work.lock().unwrap().len()
    }

    fn run_all(&self) {
        loop {
            let next = self.work.lock().unwrap().pop_front();
            let Some(Work(work)) = next else { return };
            work();
        }
    }

    fn drop_all(&self) {
        let dropped: Vec<_> = self.work.lock().unwrap().drain(..).collect();
        drop(dropped);
    }
}

impl Runtime for Pool {
    fn pool(&self) -> Result<PoolId> {
        if self.outside.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "outside"));
        }
        Ok(PoolId::new(self.id))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "gone"));
        }
        self.work.lock().unwrap().push_back(Work(work));
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(ticket: &mut Ticket<Writer>, pool: &Pool, waker: &Arc<Counted>) -> Poll<Result<u64>> {
    let waker = Waker::from(Arc::clone(waker));
    ticket.poll(&mut Context::from_waker(&waker), pool)
}

/// The same for a ticket that belongs to a future on a pool.
fn poll_on(awaited: &mut Awaited<'_, Writer, Pool>, waker: &Arc<Counted>) -> Poll<Result<u64>> {
    let waker = Waker::from(Arc::clone(waker));
    Pin::new(awaited).poll(&mut Context::from_waker(&waker))
}
