//! Queue, ticket and lead over a writer of a few lines: order, room, hand-over, panics, runtimes that go away.

use super::queue::Limits;
use super::{CommitQueue, GroupEnd, GroupWriter, Request, Ticket};
use kv_trait::{BlockingWork, Effect, Error, ErrorKind, PoolId, Result, Runtime};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[derive(Debug)]
struct Number(u64);

impl Request for Number {
    type Answer = u64;

    fn bytes(&self) -> u64 {
        10
    }
}

/// What the writers of one test did.
#[derive(Debug, Default)]
struct Log {
    order: Mutex<Vec<u64>>,
    groups: AtomicU64,
    idles: AtomicU64,
    held: Mutex<bool>,
    released: Condvar,
    waiting: AtomicBool,
    panic_at: AtomicU64,
    poison_at: AtomicU64,
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

    fn prepare(&mut self, _first_bytes: u64) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn commit(&mut self, group: &mut [Number], outcomes: &mut Vec<Result<u64>>) -> GroupEnd {
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
            outcomes.extend(group.iter().map(|_| Err(error.clone())));
            let refusal = Error::new(ErrorKind::Poisoned, "poisoned");
            self.refusal = Some(refusal.clone());
            return GroupEnd::Poisoned(refusal);
        }
        self.log
            .order
            .lock()
            .unwrap()
            .extend(group.iter().map(|number| number.0));
        outcomes.extend(group.iter().map(|number| Ok(number.0)));
        GroupEnd::Good
    }

    fn refusal(&self) -> Option<Error> {
        self.refusal.clone()
    }

    fn idle(&mut self) {
        self.log.idles.fetch_add(1, Ordering::SeqCst);
    }

    fn panicked(&mut self) -> Error {
        Error::new(ErrorKind::Poisoned, "panicked").with_effect(Effect::Unknown)
    }
}

type Queue = Arc<CommitQueue<Writer>>;

fn queue_with(limits: Limits) -> (Queue, Arc<Log>) {
    let log = Arc::new(Log::default());
    let writer = Writer {
        log: Arc::clone(&log),
        refusal: None,
    };
    let clock = AtomicU64::new(0);
    let now = move || Duration::from_micros(clock.fetch_add(1, Ordering::SeqCst));
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
        Ok(PoolId::new(self.id))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
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

#[test]
fn the_order_is_the_order_of_submission_through_queue_and_line() {
    let (queue, log) = queue_with(Limits {
        queue_batches: 3,
        queue_bytes: 25,
        linger: Duration::ZERO,
        ..Limits::default()
    });
    let tickets: Vec<_> = (0..10).map(|n| queue.submit(Number(n)).unwrap()).collect();
    // The last one waits first: nobody is overtaken all the same.
    for (number, ticket) in tickets.into_iter().enumerate().rev() {
        assert_eq!(ticket.wait().unwrap(), number as u64);
    }
    assert_eq!(*log.order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_head_of_the_line_that_nobody_polls_holds_nobody_up() {
    let limits = Limits {
        queue_batches: 1,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    let abandoned: Vec<_> = (0..5).map(|n| queue.submit(Number(n)).unwrap()).collect();
    assert_eq!(queue.submit(Number(5)).unwrap().wait().unwrap(), 5);
    assert_eq!(log.order.lock().unwrap().len(), 6);
    drop(abandoned);
}

#[test]
fn dropped_in_line_is_nothing_dropped_later_is_whole() {
    let limits = Limits {
        queue_batches: 2,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    let mut tickets: Vec<_> = (0..5)
        .map(|n| Some(queue.submit(Number(n)).unwrap()))
        .collect();
    tickets[1] = None; // admitted
    tickets[3] = None; // in line
    let last = tickets[4].take().unwrap();
    assert_eq!(last.wait().unwrap(), 4);
    assert_eq!(*log.order.lock().unwrap(), [0, 1, 2, 4]);
}

#[test]
fn a_closure_is_handed_once_for_a_pool_however_many_wait() {
    let (queue, log) = queue();
    let pool = Pool::new(1);
    let waker = Arc::new(Counted::default());
    let mut tickets: Vec<_> = (0..50).map(|n| queue.submit(Number(n)).unwrap()).collect();
    for ticket in &mut tickets {
        assert!(poll(ticket, &pool, &waker).is_pending());
    }
    assert_eq!(pool.queued(), 1);
    pool.run_all();
    assert_eq!(log.groups.load(Ordering::SeqCst), 1);
    assert_eq!(waker.0.load(Ordering::SeqCst), 50);
    for ticket in &mut tickets {
        assert!(poll(ticket, &pool, &waker).is_ready());
    }
    assert_eq!(log.idles.load(Ordering::SeqCst), 1);
}

#[test]
fn an_abandoned_runtime_strands_nobody() {
    let (queue, log) = queue();
    let (dead, alive) = (Pool::new(1), Pool::new(2));
    let waker = Arc::new(Counted::default());
    let mut first = queue.submit(Number(1)).unwrap();
    assert!(poll(&mut first, &dead, &waker).is_pending());
    // The first runtime never runs its closure. Another one, and a thread, get through all the same.
    let mut second = queue.submit(Number(2)).unwrap();
    assert!(poll(&mut second, &alive, &waker).is_pending());
    alive.run_all();
    assert!(matches!(
        poll(&mut second, &alive, &waker),
        Poll::Ready(Ok(2))
    ));
    assert!(matches!(
        poll(&mut first, &dead, &waker),
        Poll::Ready(Ok(1))
    ));
    assert_eq!(queue.submit(Number(3)).unwrap().wait().unwrap(), 3);
    assert_eq!(dead.queued(), 1);
    dead.run_all();
    assert_eq!(log.order.lock().unwrap().len(), 3);
}

#[test]
fn a_runtime_that_drops_the_closure_costs_its_own_waiter_only() {
    let (queue, log) = queue();
    let (dying, alive) = (Pool::new(1), Pool::new(2));
    let (mine, others) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
    let mut first = queue.submit(Number(1)).unwrap();
    assert!(poll(&mut first, &dying, &mine).is_pending());
    let mut second = queue.submit(Number(2)).unwrap();
    // The second waiter's pool holds a closure too; it is the first one's that goes.
    assert!(poll(&mut second, &alive, &others).is_pending());
    dying.drop_all();
    assert!(mine.0.load(Ordering::SeqCst) > 0, "the waiter learns of it");
    assert!(
        others.0.load(Ordering::SeqCst) > 0,
        "and so does everybody who could lead"
    );
    let Poll::Ready(Err(error)) = poll(&mut first, &dying, &mine) else {
        panic!("not refused")
    };
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Unavailable, Effect::Nothing)
    );
    alive.run_all();
    assert!(matches!(
        poll(&mut second, &alive, &others),
        Poll::Ready(Ok(2))
    ));
    assert_eq!(*log.order.lock().unwrap(), [2]);
}

#[test]
fn a_pool_full_of_blocked_waiters_makes_progress() {
    let (queue, log) = queue();
    let pool = Pool::new(1);
    let waker = Arc::new(Counted::default());
    let mut stuck = queue.submit(Number(0)).unwrap();
    assert!(poll(&mut stuck, &pool, &waker).is_pending());
    // The pool's closure cannot run: its threads are these, and each of them waits.
    std::thread::scope(|scope| {
        for number in 1..5 {
            let queue = &queue;
            scope.spawn(move || queue.submit(Number(number)).unwrap().wait().unwrap());
        }
    });
    assert_eq!(log.order.lock().unwrap().len(), 5);
    assert!(poll(&mut stuck, &pool, &waker).is_ready());
}

#[test]
fn a_term_ends_and_the_lead_goes_to_a_synchronous_waiter() {
    let limits = Limits {
        queue_batches: 1,
        term_groups: 4,
        linger: Duration::ZERO,
        gather: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    let pool = Pool::new(1);
    let waker = Arc::new(Counted::default());
    let mut tickets: Vec<_> = (0..10).map(|n| queue.submit(Number(n)).unwrap()).collect();
    assert!(poll(&mut tickets[0], &pool, &waker).is_pending());
    pool.run_all();
    assert_eq!(log.groups.load(Ordering::SeqCst), 4, "one term");
    assert_eq!(tickets.pop().unwrap().wait().unwrap(), 9);
    assert_eq!(log.order.lock().unwrap().len(), 10);
}

#[test]
fn a_panicking_writer_poisons_and_wakes_everybody() {
    let limits = Limits {
        queue_batches: 1,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    log.panic_at.store(1, Ordering::SeqCst);
    let first = queue.submit(Number(1)).unwrap();
    let second = queue.submit(Number(2)).unwrap();
    let error = first.wait().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Poisoned, Effect::Unknown)
    );
    let error = second.wait().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Poisoned, Effect::Nothing)
    );
    assert_eq!(
        queue.submit(Number(3)).unwrap_err().kind(),
        ErrorKind::Poisoned
    );
}

#[test]
fn poison_reaches_every_waiter() {
    let limits = Limits {
        queue_batches: 1,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    log.poison_at.store(1, Ordering::SeqCst);
    let pool = Pool::new(1);
    let waker = Arc::new(Counted::default());
    let mut tickets: Vec<_> = (0..4).map(|n| queue.submit(Number(n)).unwrap()).collect();
    tickets
        .iter_mut()
        .for_each(|ticket| assert!(poll(ticket, &pool, &waker).is_pending()));
    pool.run_all();
    let effects: Vec<_> = tickets
        .iter_mut()
        .map(|ticket| match poll(ticket, &pool, &waker) {
            Poll::Ready(Err(error)) => error.effect(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        effects,
        [
            Effect::Unknown,
            Effect::Nothing,
            Effect::Nothing,
            Effect::Nothing
        ]
    );
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("planned");
    }
}

#[test]
fn a_panicking_waker_keeps_nobody_asleep() {
    let (queue, _log) = queue();
    let pool = Pool::new(1);
    let waker = Arc::new(Counted::default());
    let mut first = queue.submit(Number(1)).unwrap();
    let mut second = queue.submit(Number(2)).unwrap();
    let panicking = Waker::from(Arc::new(Panicking));
    assert!(
        first
            .poll(&mut Context::from_waker(&panicking), &pool)
            .is_pending()
    );
    assert!(poll(&mut second, &pool, &waker).is_pending());
    pool.run_all();
    assert!(poll(&mut first, &pool, &waker).is_ready());
    assert!(poll(&mut second, &pool, &waker).is_ready());
    assert_eq!(queue.submit(Number(3)).unwrap().wait().unwrap(), 3);
}

struct Reentrant(Queue, AtomicBool);

impl Wake for Reentrant {
    fn wake(self: Arc<Self>) {
        let refused = self.0.refuse_if_leading().unwrap_err();
        self.1
            .store(refused.kind() == ErrorKind::InvalidInput, Ordering::SeqCst);
    }
}

#[test]
fn a_blocking_call_from_a_waker_on_the_leading_thread_is_refused() {
    let (queue, _log) = queue();
    let pool = Pool::new(1);
    let reentrant = Arc::new(Reentrant(Arc::clone(&queue), AtomicBool::new(false)));
    let mut ticket = queue.submit(Number(1)).unwrap();
    let waker = Waker::from(Arc::clone(&reentrant));
    assert!(
        ticket
            .poll(&mut Context::from_waker(&waker), &pool)
            .is_pending()
    );
    pool.run_all();
    assert!(reentrant.1.load(Ordering::SeqCst));
    queue.refuse_if_leading().unwrap();
}

#[test]
fn close_finishes_what_was_admitted_and_tells_the_line() {
    let limits = Limits {
        queue_batches: 2,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    let tickets: Vec<_> = (0..4).map(|n| queue.submit(Number(n)).unwrap()).collect();
    let closer = queue.begin_close().unwrap();
    assert!(closer.writer.is_some());
    let outcomes: Vec<_> = tickets.into_iter().map(Ticket::wait).collect();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    for refused in &outcomes[2..] {
        let error = refused.as_ref().unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Closed, Effect::Nothing)
        );
    }
    assert_eq!(
        queue.submit(Number(9)).unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(queue.begin_close().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*log.order.lock().unwrap(), [0, 1]);
}

#[test]
fn close_waits_for_a_running_leader_and_gets_the_lead() {
    let (queue, log) = queue();
    log.hold();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| queue.submit(Number(1)).unwrap().wait());
        log.wait_until_held();
        let closing = scope.spawn(|| queue.begin_close().map(|closer| closer.writer.is_some()));
        log.release();
        assert_eq!(first.join().unwrap().unwrap(), 1);
        assert!(closing.join().unwrap().unwrap());
    });
}

#[test]
fn the_last_drop_discards_what_nobody_waits_for() {
    let (queue, log) = queue();
    let pool = Pool::new(1);
    let waker = Arc::new(Counted::default());
    let mut ticket = queue.submit(Number(1)).unwrap();
    assert!(poll(&mut ticket, &pool, &waker).is_pending());
    queue.drop_last();
    let Poll::Ready(Err(error)) = poll(&mut ticket, &pool, &waker) else {
        panic!("not told")
    };
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Closed, Effect::Nothing)
    );
    pool.run_all();
    assert!(log.order.lock().unwrap().is_empty());
    let weak = Arc::downgrade(&queue);
    drop((queue, ticket));
    assert!(
        weak.upgrade().is_none(),
        "a closure that has not run keeps no store open"
    );
}

#[test]
fn sixty_four_that_arrive_during_a_group_need_at_most_two_more() {
    let (queue, log) = queue();
    log.hold();
    std::thread::scope(|scope| {
        scope.spawn(|| queue.submit(Number(0)).unwrap().wait().unwrap());
        log.wait_until_held();
        let waiting: Vec<_> = (1..65)
            .map(|number| {
                let ticket = queue.submit(Number(number)).unwrap();
                scope.spawn(move || ticket.wait().unwrap())
            })
            .collect();
        log.release();
        for thread in waiting {
            thread.join().unwrap();
        }
    });
    assert!(log.groups.load(Ordering::SeqCst) <= 3);
    assert_eq!(*log.order.lock().unwrap(), (0..65).collect::<Vec<_>>());
}
