//! Closing, and the last drop.

use super::{Counted, Number, Pool, poll, queue, queue_with};
use crate::commit::{Limits, Ticket};
use kv_trait::{Effect, ErrorKind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

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
    assert!(closer.writer.refusal.is_none());
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
        let closing = scope.spawn(|| {
            queue
                .begin_close()
                .map(|closer| closer.writer.refusal.is_none())
        });
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
