//! The shipped queue, ticket and lead under loom: every interleaving of small cases, up to a bound on preemptions.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p kv-log-engine --lib commit::model`. A waiter that nobody wakes
//! is a deadlock, which loom reports. Three planted bugs show that it would.

use super::planted;
use super::seam::{GroupEnd, GroupWriter, Request};
use super::{CommitQueue, Limits, Ticket};
use kv_trait::{BlockingWork, Effect, Error, ErrorKind, PoolId, Result, Runtime};
use loom::thread;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// One planted bug, or none, at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Debug)]
struct Number(u64);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Request for Number {
    type Answer = u64;

    fn bytes(&self) -> u64 {
        1
    }
}

/// Shared by the writer and the test; plain memory, because only one leader at a time may touch it.
#[derive(Default)]
struct Log {
    written: Mutex<Vec<u64>>,
    groups: AtomicU64,
    poison: bool,
    /// Told of each group.
    watcher: Option<Arc<Parker>>,
}

#[derive(Debug)]
struct Writer {
    log: Arc<Log>,
    refusal: Option<Error>,
}

impl GroupWriter for Writer {
    type Request = Number;

    fn prepare(&mut self, _first: &Number) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn commit(&mut self, group: Vec<Number>, resolve: impl FnOnce(Vec<Result<u64>>, GroupEnd)) {
        thread::yield_now();
        self.log.groups.fetch_add(1, Ordering::SeqCst);
        if self.log.poison {
            let error = Error::new(ErrorKind::Io, "sync").with_effect(Effect::Unknown);
            let outcomes = group.iter().map(|_| Err(error.clone())).collect();
            let refusal = Error::new(ErrorKind::Poisoned, "poisoned");
            self.refusal = Some(refusal.clone());
            return resolve(outcomes, GroupEnd::Poisoned(refusal));
        }
        self.log
            .written
            .lock()
            .unwrap()
            .extend(group.iter().map(|number| number.0));
        if let Some(watcher) = &self.log.watcher {
            Arc::clone(watcher).wake();
        }
        let outcomes = group.iter().map(|number| Ok(number.0)).collect();
        resolve(outcomes, GroupEnd::Good);
    }

    fn refusal(&self) -> Option<Error> {
        self.refusal.clone()
    }

    fn idle(&mut self) {}

    fn panicked(&mut self) -> Error {
        Error::new(ErrorKind::Poisoned, "panicked")
    }
}

type Queue = Arc<CommitQueue<Writer>>;

fn queue(limits: Limits, poison: bool) -> (Queue, Arc<Log>) {
    let log = Arc::new(Log {
        poison,
        ..Log::default()
    });
    let writer = Writer {
        log: Arc::clone(&log),
        refusal: None,
    };
    (
        CommitQueue::new(writer, limits, Arc::new(|| Duration::ZERO)),
        log,
    )
}

fn limits() -> Limits {
    Limits {
        linger: Duration::ZERO,
        gather: Duration::ZERO,
        ..Limits::default()
    }
}

fn explore(bug: u8, preemptions: Option<usize>, case: impl Fn() + Send + Sync + 'static) {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    planted::plant(bug);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(case);
}

/// A pool whose work the test runs on a thread of its own, or drops.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<VecDeque<BlockingWork>>>);

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Runtime for Pool {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::new(1))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        self.0.lock().unwrap().push_back(work);
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Pool {
    fn take(&self) -> Option<BlockingWork> {
        self.0.lock().unwrap().pop_front()
    }
}

/// Wakes the one thread that waits for it, also if it comes first.
struct Parker {
    woken: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Parker {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            woken: loom::sync::Mutex::new(false),
            changed: loom::sync::Condvar::new(),
        })
    }

    fn park(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// Polls a ticket to its end on this thread, and runs the closures it hands out on threads of their own.
fn finish(mut ticket: Ticket<Writer>, pool: &Pool) -> Result<u64> {
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    loop {
        match ticket.poll(&mut Context::from_waker(&waker), pool) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => {
                if let Some(work) = pool.take() {
                    thread::spawn(work);
                }
                parker.park();
            }
        }
    }
}

fn two_synchronous_writers() {
    let (queue, log) = queue(limits(), false);
    let other = Arc::clone(&queue);
    let writer = thread::spawn(move || other.submit(Number(1)).unwrap().wait().unwrap());
    assert_eq!(queue.submit(Number(2)).unwrap().wait().unwrap(), 2);
    assert_eq!(writer.join().unwrap(), 1);
    assert_eq!(log.written.lock().unwrap().len(), 2);
}

#[test]
fn two_synchronous_writers_are_both_answered() {
    explore(0, None, two_synchronous_writers);
}

#[test]
fn three_synchronous_writers_are_all_answered() {
    explore(0, Some(2), || {
        let (queue, log) = queue(limits(), false);
        let writers: Vec<_> = (1..3)
            .map(|number| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.submit(Number(number)).unwrap().wait().unwrap())
            })
            .collect();
        assert_eq!(queue.submit(Number(0)).unwrap().wait().unwrap(), 0);
        writers
            .into_iter()
            .for_each(|writer| assert!(writer.join().unwrap() > 0));
        assert_eq!(log.written.lock().unwrap().len(), 3);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_planted_offer_that_wakes_nobody_is_found() {
    explore(planted::NO_WAKE_ON_OFFER, None, two_synchronous_writers);
}

#[test]
fn an_asynchronous_and_a_synchronous_writer_are_both_answered() {
    explore(0, Some(2), || {
        let (queue, log) = queue(limits(), false);
        let other = Arc::clone(&queue);
        let writer = thread::spawn(move || other.submit(Number(1)).unwrap().wait().unwrap());
        let ticket = queue.submit(Number(2)).unwrap();
        assert_eq!(finish(ticket, &Pool::default()).unwrap(), 2);
        assert_eq!(writer.join().unwrap(), 1);
        assert_eq!(log.written.lock().unwrap().len(), 2);
    });
}

#[test]
fn a_dropped_closure_costs_its_own_waiter_at_most() {
    explore(0, Some(2), || {
        let (queue, _log) = queue(limits(), false);
        let other = Arc::clone(&queue);
        let writer = thread::spawn(move || other.submit(Number(1)).unwrap().wait().unwrap());
        let pool = Pool::default();
        let mut ticket = queue.submit(Number(2)).unwrap();
        let parker = Parker::new();
        let waker = Waker::from(Arc::clone(&parker));
        let mut polled = ticket.poll(&mut Context::from_waker(&waker), &pool);
        drop(pool.take());
        while polled.is_pending() {
            parker.park();
            polled = ticket.poll(&mut Context::from_waker(&waker), &pool);
            drop(pool.take());
        }
        match polled {
            Poll::Ready(Ok(answer)) => assert_eq!(answer, 2),
            Poll::Ready(Err(error)) => {
                assert_eq!(
                    (error.kind(), error.effect()),
                    (ErrorKind::Unavailable, Effect::Nothing)
                );
            }
            Poll::Pending => unreachable!("the loop ends when it is ready"),
        }
        assert_eq!(writer.join().unwrap(), 1);
    });
}

fn a_lingering_leader() {
    // Loom's timed wait never times out: the leader lingers until it is told of work, or of the end.
    let limits = Limits {
        linger: Duration::from_secs(1),
        ..limits()
    };
    let parker = Parker::new();
    let log = Arc::new(Log {
        watcher: Some(Arc::clone(&parker)),
        ..Log::default()
    });
    let writer = Writer { log, refusal: None };
    let queue = CommitQueue::new(writer, limits, Arc::new(|| Duration::ZERO));
    let pool = Pool::default();
    let mut first = queue.submit(Number(1)).unwrap();
    let waker = Waker::noop();
    assert!(
        first
            .poll(&mut Context::from_waker(waker), &pool)
            .is_pending()
    );
    let leader = thread::spawn(pool.take().expect("the lead was handed out"));
    parker.park();
    assert_eq!(queue.submit(Number(2)).unwrap().wait().unwrap(), 2);
    queue.drop_last();
    leader.join().unwrap();
    assert!(first.is_done());
}

#[test]
fn a_lingering_leader_is_told_of_work() {
    explore(0, None, a_lingering_leader);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_planted_submit_that_does_not_wake_a_lingering_leader_is_found() {
    explore(
        planted::NO_WAKE_OF_LINGERING_LEADER,
        Some(2),
        a_lingering_leader,
    );
}

fn close_against_submit() {
    let (queue, log) = queue(limits(), false);
    let other = Arc::clone(&queue);
    let writer = thread::spawn(move || other.submit(Number(1)).and_then(Ticket::wait));
    let closed = queue.begin_close().unwrap();
    assert!(closed.writer.refusal.is_none());
    match writer.join().unwrap() {
        Ok(_) => assert_eq!(log.written.lock().unwrap().len(), 1),
        Err(error) => {
            assert_eq!(error.effect(), Effect::Nothing);
            assert!(log.written.lock().unwrap().is_empty());
        }
    }
}

#[test]
fn close_and_submit_agree_on_what_was_written() {
    explore(0, None, close_against_submit);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_planted_leader_that_does_not_tell_a_closer_is_found() {
    explore(planted::NO_WAKE_OF_CLOSER, None, close_against_submit);
}

#[test]
fn poison_reaches_everybody() {
    explore(0, Some(2), || {
        let (queue, _log) = queue(limits(), true);
        let other = Arc::clone(&queue);
        let writer = thread::spawn(move || other.submit(Number(1)).and_then(Ticket::wait));
        let mine = queue.submit(Number(2)).and_then(Ticket::wait).unwrap_err();
        let theirs = writer.join().unwrap().unwrap_err();
        let unknown = [&mine, &theirs]
            .iter()
            .filter(|e| e.effect() == Effect::Unknown)
            .count();
        assert!(unknown >= 1, "whoever was in the group does not know");
    });
}

#[test]
fn a_ticket_dropped_in_line_was_written_whole_or_not_at_all() {
    explore(0, Some(2), || {
        let limits = Limits {
            queue_batches: 1,
            ..limits()
        };
        let (queue, log) = queue(limits, false);
        let first = queue.submit(Number(1)).unwrap();
        let in_line = queue.submit(Number(2)).unwrap();
        let dropper = thread::spawn(move || drop(in_line));
        assert_eq!(first.wait().unwrap(), 1);
        dropper.join().unwrap();
        assert_eq!(queue.submit(Number(3)).unwrap().wait().unwrap(), 3);
        let written = log.written.lock().unwrap().clone();
        assert!(written == [1, 3] || written == [1, 2, 3], "{written:?}");
    });
}

/// A future that was polled once is dropped while another caller leads, or is about to: without any further call both
/// batches are written. Where the pool runs what it was handed, so do the leads that were offered.
#[test]
fn a_batch_whose_future_was_dropped_is_written_without_another_call() {
    explore(0, Some(2), || {
        let (queue, log) = queue(limits(), false);
        let other = Arc::clone(&queue);
        let writer = thread::spawn(move || other.submit(Number(1)).unwrap().wait().unwrap());
        let pool = Pool::default();
        let mut future = queue.submit(Number(2)).unwrap().on(&pool);
        drop(Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())));
        let mut closures: Vec<_> = pool.take().map(thread::spawn).into_iter().collect();
        drop(future);
        closures.extend(pool.take().map(thread::spawn));
        assert_eq!(writer.join().unwrap(), 1);
        for closure in closures {
            closure.join().unwrap();
        }
        let mut written = log.written.lock().unwrap().clone();
        written.sort_unstable();
        assert_eq!(written, [1, 2]);
    });
}

/// The task that an offer woke goes away instead of leading; the batch of another one that went before it is written.
#[test]
fn the_last_waiter_hands_on_the_lead_when_it_goes() {
    explore(0, Some(2), || {
        let limits = Limits {
            term_groups: 1,
            ..limits()
        };
        let (queue, log) = queue(limits, false);
        let pool = Pool::default();
        let waker = Waker::noop();
        let mut first = queue.submit(Number(1)).unwrap().on(&pool);
        assert!(
            Pin::new(&mut first)
                .poll(&mut Context::from_waker(waker))
                .is_pending()
        );
        let leader = thread::spawn(pool.take().expect("the lead was handed out"));
        let mut gone = queue.submit(Number(2)).unwrap().on(&pool);
        let mut last = queue.submit(Number(3)).unwrap().on(&pool);
        let mut closures = Vec::new();
        for future in [&mut gone, &mut last] {
            drop(Pin::new(future).poll(&mut Context::from_waker(waker)));
            closures.extend(pool.take().map(thread::spawn));
        }
        drop(gone);
        closures.extend(pool.take().map(thread::spawn));
        drop(last);
        closures.extend(pool.take().map(thread::spawn));
        leader.join().unwrap();
        for closure in closures {
            closure.join().unwrap();
        }
        drop(first);
        assert_eq!(*log.written.lock().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn the_last_drop_against_a_running_leader_leaves_nothing_behind() {
    explore(0, Some(2), || {
        let (queue, _log) = queue(limits(), false);
        let pool = Pool::default();
        let mut ticket = queue.submit(Number(1)).unwrap();
        assert!(
            ticket
                .poll(&mut Context::from_waker(Waker::noop()), &pool)
                .is_pending()
        );
        let leader = thread::spawn(pool.take().expect("the lead was handed out"));
        queue.drop_last();
        leader.join().unwrap();
        assert!(ticket.is_done());
        let weak = Arc::downgrade(&queue);
        drop((ticket, queue));
        assert!(weak.upgrade().is_none());
    });
}
