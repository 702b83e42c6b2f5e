//! What panics, and what poisons.

use super::{Counted, Number, Pool, Queue, poll, queue, queue_with, queue_with_clock};
use crate::commit::Limits;
use kv_trait::{Effect, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

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

// What panics is not the group, whose tickets are resolved by then, but the mark behind it, which asks the host.
#[test]
fn a_writer_that_panics_when_idle_leaves_nobody_waiting() {
    let (queue, log) = queue();
    log.panic_when_idle.store(true, Ordering::SeqCst);
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    let mut ticket = queue.submit(Number(1)).unwrap();
    assert!(poll(&mut ticket, &pool, &waker).is_pending());
    pool.run_all();
    assert!(matches!(
        poll(&mut ticket, &pool, &waker),
        Poll::Ready(Ok(1))
    ));
    let refused = queue.submit(Number(2)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned);
    queue.begin_close().unwrap();
}

/// The clock is the host's, and panics at one look, whichever: all are answered, and the store can be closed.
#[test]
fn a_clock_that_panics_leaves_nobody_waiting() {
    let limits = Limits {
        queue_batches: 2,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let mut poisoned = 0;
    for look in 0..12 {
        let (queue, log) = queue_with_clock(limits, move |at| assert_ne!(at, look, "planned"));
        let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
        let mut tickets: Vec<_> = (0..6).map(|n| queue.submit(Number(n)).unwrap()).collect();
        for ticket in &mut tickets {
            assert!(poll(ticket, &pool, &waker).is_pending());
        }
        pool.run_all();
        let written = log.order.lock().unwrap().len();
        for (number, ticket) in tickets.iter_mut().enumerate() {
            match poll(ticket, &pool, &waker) {
                Poll::Ready(Ok(_)) => assert!(number < written),
                Poll::Ready(Err(error)) => assert!(
                    number >= written || error.effect() == Effect::Unknown,
                    "look {look}: {error:?}"
                ),
                Poll::Pending => panic!("look {look}: {number} waits for ever"),
            }
        }
        let refused = queue.submit(Number(9)).err();
        poisoned += usize::from(refused.is_some_and(|e| e.kind() == ErrorKind::Poisoned));
        queue.begin_close().unwrap();
    }
    assert!(poisoned >= 6, "{poisoned} panics met");
}

#[test]
fn a_clock_that_panics_under_a_closer_is_told_and_closes() {
    let (queue, _log) = queue_with_clock(Limits::default(), |at| assert_ne!(at, 0, "planned"));
    let ticket = queue.submit(Number(1)).unwrap();
    queue.begin_close().unwrap();
    let error = ticket.wait().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Poisoned, Effect::Unknown)
    );
}
