//! Futures that are dropped after their batch was admitted: it finishes, without another call.

use super::{Counted, Log, Number, Pool, Queue, poll_on, queue, queue_with};
use crate::commit::Limits;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn order(log: &Log) -> Vec<u64> {
    log.order.lock().unwrap().clone()
}

/// Submits a batch, as a future does at its first poll.
fn polled<'a>(
    queue: &Queue,
    number: u64,
    pool: &'a Pool,
    waker: &Arc<Counted>,
) -> super::Awaited<'a, super::Writer, Pool> {
    let mut awaited = queue.submit(Number(number)).unwrap().on(pool);
    assert!(poll_on(&mut awaited, waker).is_pending());
    awaited
}

/// While the group of batch 1 is held under a synchronous leader, `meanwhile` happens.
fn behind_a_synchronous_leader(queue: &Queue, log: &Log, meanwhile: impl FnOnce()) {
    log.hold();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| queue.submit(Number(1)).unwrap().wait().unwrap());
        log.wait_until_held();
        meanwhile();
        log.release();
        assert_eq!(leader.join().unwrap(), 1);
    });
}

// A synchronous leader leaves once its own ticket resolved. Nobody was woken: the only one who waited had gone.
#[test]
fn a_batch_whose_future_was_dropped_behind_a_synchronous_leader_is_written() {
    let (queue, log) = queue();
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    behind_a_synchronous_leader(&queue, &log, || drop(polled(&queue, 2, &pool, &waker)));
    assert_eq!(order(&log), [1, 2]);
    let third = queue.submit(Number(3)).unwrap().wait().unwrap();
    assert_eq!(third, 3, "and then it resigned");
    assert_eq!(
        log.idles.load(Ordering::SeqCst),
        0,
        "a caller that leads leaves the mark to others"
    );
}

// It came when the leader had found nothing to do, and before the lead was given back: there is nobody to offer it to.
#[test]
fn a_batch_whose_future_was_dropped_before_an_idle_leader_resigned_is_written() {
    let (queue, log) = queue();
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    let mut first = polled(&queue, 1, &pool, &waker);
    let (same_queue, same_pool) = (Arc::clone(&queue), pool.clone());
    *log.in_idle.lock().unwrap() = Some(Box::new(move || {
        drop(polled(&same_queue, 2, &same_pool, &Arc::default()));
        Ok(())
    }));
    pool.run_all();
    assert_eq!(order(&log), [1, 2]);
    assert!(poll_on(&mut first, &waker).is_ready());
}

/// While a leader on a pool, whose term is one group, holds the group of batch 1, `meanwhile` happens.
fn behind_a_leader_on_a_pool(
    queue: &Queue,
    log: &Log,
    pool: &Pool,
    waker: &Arc<Counted>,
    meanwhile: impl FnOnce(),
) {
    let mut first = polled(queue, 1, pool, waker);
    log.hold();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| pool.run_all());
        log.wait_until_held();
        meanwhile();
        log.release();
        leader.join().unwrap();
    });
    assert!(poll_on(&mut first, waker).is_ready());
}

fn short_terms() -> Limits {
    Limits {
        queue_batches: 1,
        term_groups: 1,
        linger: Duration::ZERO,
        ..Limits::default()
    }
}

#[test]
fn a_batch_whose_future_was_dropped_at_the_end_of_a_term_is_written() {
    let (queue, log) = queue_with(short_terms());
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    behind_a_leader_on_a_pool(&queue, &log, &pool, &waker, || {
        drop(polled(&queue, 2, &pool, &waker));
        drop(polled(&queue, 3, &pool, &waker)); // in line: nothing happens
    });
    assert_eq!(order(&log), [1, 2]);
}

// What presses takes longer than a term, and nobody is left to take the lead that is offered then.
#[test]
fn a_batch_whose_future_was_dropped_while_chores_press_is_written() {
    let (queue, log) = queue_with(Limits {
        term: Duration::ZERO,
        linger: Duration::ZERO,
        ..Limits::default()
    });
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    log.slices.store(5, Ordering::SeqCst);
    drop(polled(&queue, 1, &pool, &waker));
    pool.run_all();
    assert_eq!(order(&log), [1]);
    assert_eq!(log.slices.load(Ordering::SeqCst), 0);
}

// Somebody waits, so a term ends as it should, and what was dropped is behind an offer: then he goes, too.
#[test]
fn a_future_dropped_in_line_hands_on_the_lead_for_those_before_it() {
    let (queue, log) = queue_with(short_terms());
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    let mut in_line = None;
    behind_a_leader_on_a_pool(&queue, &log, &pool, &waker, || {
        drop(polled(&queue, 2, &pool, &waker));
        in_line = Some(polled(&queue, 3, &pool, &waker));
    });
    assert_eq!((order(&log), pool.queued()), (vec![1], 0));
    drop(in_line);
    pool.run_all();
    assert_eq!(order(&log), [1, 2]);
}

// The offer woke one task, and that task is dropped before it looks.
#[test]
fn a_dropped_future_hands_on_the_lead_that_it_was_offered() {
    let (queue, log) = queue();
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    let mut woken = None;
    behind_a_synchronous_leader(&queue, &log, || {
        drop(polled(&queue, 2, &pool, &waker));
        woken = Some(polled(&queue, 3, &pool, &waker));
    });
    assert_eq!((waker.0.load(Ordering::SeqCst), order(&log)), (1, vec![1]));
    drop(woken);
    pool.run_all();
    assert_eq!(order(&log), [1, 2, 3]);
}

/// The only one who could hand on the lead cannot: its runtime is going away.
fn dropped_with_its_runtime(going: impl FnOnce(&Pool)) {
    let (queue, log) = queue();
    let (dying, alive) = (Pool::new(1), Pool::new(2));
    let (mine, others) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
    let (mut last, mut other) = (None, None);
    behind_a_synchronous_leader(&queue, &log, || {
        last = Some(polled(&queue, 2, &dying, &mine));
        other = Some(polled(&queue, 3, &alive, &others));
    });
    // The other one looks outside its runtime, where it has no pool.
    alive.outside.store(true, Ordering::SeqCst);
    let mut other = other.unwrap();
    assert!(poll_on(&mut other, &others).is_pending());
    alive.outside.store(false, Ordering::SeqCst);
    let before = others.0.load(Ordering::SeqCst);
    going(&dying);
    drop(last);
    assert_eq!(others.0.load(Ordering::SeqCst), before + 1);
    assert!(poll_on(&mut other, &others).is_pending());
    alive.run_all();
    assert_eq!(order(&log), [1, 2, 3]);
}

#[test]
fn a_future_dropped_with_its_runtime_wakes_another_waiter() {
    dropped_with_its_runtime(|dying| dying.gone.store(true, Ordering::SeqCst));
    dropped_with_its_runtime(|dying| dying.outside.store(true, Ordering::SeqCst));
}

/// Whenever room is made for a group, one more batch is submitted, and nobody waits for it.
fn keep_coming(log: &Arc<Log>, left: u64, one_more: Arc<dyn Fn() + Send + Sync>) {
    let again = Arc::clone(log);
    let hook = move || {
        one_more();
        if left > 0 {
            keep_coming(&again, left - 1, one_more);
        }
        Ok(())
    };
    *log.in_prepare.lock().unwrap() = Some(Box::new(hook));
}

fn groups_of_one() -> Limits {
    Limits {
        group_bytes: 10,
        linger: Duration::ZERO,
        gather: Duration::ZERO,
        ..Limits::default()
    }
}

// Whoever leads comes to an end, whatever others throw away meanwhile.
#[test]
fn a_leader_is_not_kept_for_ever_by_futures_that_are_dropped() {
    let (queue, log) = queue_with(groups_of_one());
    let (pool, waker) = (Pool::new(1), Arc::new(Counted::default()));
    let (others, mine) = (Arc::clone(&queue), pool.clone());
    let dropped = Arc::clone(&waker);
    let one_more = Arc::new(move || drop(polled(&others, 7, &mine, &dropped)));
    keep_coming(&log, 10_000, one_more);
    assert_eq!(queue.submit(Number(1)).unwrap().wait().unwrap(), 1);
    let groups = log.groups.load(Ordering::SeqCst);
    let term = u64::from(Limits::default().term_groups);
    assert!(groups > 2 && groups <= term + 3, "{groups} groups");
    // What is left is written by whoever comes, or goes, next.
    log.in_prepare.lock().unwrap().take();
    drop(polled(&queue, 8, &pool, &waker));
    pool.run_all();
    assert_eq!(order(&log).last(), Some(&8));
}

// Nobody was promised that a leader is found for what was submitted and not waited for.
#[test]
fn a_leader_is_not_kept_by_what_nobody_has_waited_for() {
    let (queue, log) = queue_with(groups_of_one());
    let others = Arc::clone(&queue);
    let one_more = Arc::new(move || drop(others.submit(Number(7)).unwrap()));
    keep_coming(&log, 10_000, one_more);
    assert_eq!(queue.submit(Number(1)).unwrap().wait().unwrap(), 1);
    assert_eq!(log.groups.load(Ordering::SeqCst), 1);
    log.in_prepare.lock().unwrap().take();
    assert_eq!(queue.submit(Number(2)).unwrap().wait().unwrap(), 2);
    assert_eq!(order(&log), [1, 7, 2]);
}
