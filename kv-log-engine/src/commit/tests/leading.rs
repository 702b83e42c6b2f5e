//! Who is asked to lead, and when a lead ends.

use super::{Counted, Log, Number, Pool, poll, queue, queue_with};
use crate::commit::Limits;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

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
    assert_eq!(mine.0.load(Ordering::SeqCst), 1, "the waiter learns of it");
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

/// The waiter of a batch learns that its runtime is gone, just when the leader makes room for that batch.
fn withdrawn_while_room_is_made(
    prepared: Result<()>,
) -> (Poll<Result<u64>>, Result<u64>, Arc<Log>) {
    let limits = Limits {
        group_bytes: 50,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    let (dying, waker) = (Pool::new(1), Arc::new(Counted::default()));
    let first = Arc::new(Mutex::new(queue.submit(Number(1)).unwrap()));
    assert!(poll(&mut first.lock().unwrap(), &dying, &waker).is_pending());
    let larger = queue.submit(Number(100)).unwrap();
    let hook = {
        let (first, dying, waker) = (Arc::clone(&first), dying.clone(), Arc::clone(&waker));
        move || {
            dying.drop_all();
            assert!(poll(&mut first.lock().unwrap(), &dying, &waker).is_pending());
            prepared
        }
    };
    *log.in_prepare.lock().unwrap() = Some(Box::new(hook));
    let larger = larger.wait();
    let first = poll(&mut first.lock().unwrap(), &dying, &waker);
    (first, larger, log)
}

#[test]
fn a_batch_is_not_withdrawn_once_room_is_made_for_it() {
    let (first, larger, log) = withdrawn_while_room_is_made(Ok(()));
    assert!(matches!(first, Poll::Ready(Ok(1))));
    assert_eq!(larger.unwrap(), 100);
    assert_eq!(
        *log.prepared.lock().unwrap(),
        [10, 100],
        "each in room of its own"
    );
}

#[test]
fn a_refusal_for_want_of_room_reaches_the_batch_that_it_is_about() {
    let full = Error::new(ErrorKind::StorageFull, "no room");
    let (first, larger, log) = withdrawn_while_room_is_made(Err(full));
    assert!(matches!(first, Poll::Ready(Err(error)) if error.kind() == ErrorKind::StorageFull));
    assert_eq!(larger.unwrap(), 100);
    assert_eq!(*log.order.lock().unwrap(), [100]);
}
