//! The order of batches, and the line for want of room.

use super::{Counted, Number, Pool, poll, queue, queue_with};
use crate::commit::{Limits, Ticket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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

#[test]
fn those_who_give_up_leave_the_others_in_order() {
    let limits = Limits {
        queue_batches: 3,
        linger: Duration::ZERO,
        ..Limits::default()
    };
    let (queue, log) = queue_with(limits);
    let (dying, waker) = (Pool::new(1), Arc::new(Counted::default()));
    let mut tickets: Vec<_> = (0..12)
        .map(|n| Some(queue.submit(Number(n)).unwrap()))
        .collect();
    // One that was admitted is withdrawn, which admits the head of the line.
    let mut withdrawn = tickets[1].take().unwrap();
    assert!(poll(&mut withdrawn, &dying, &waker).is_pending());
    dying.drop_all();
    assert!(poll(&mut withdrawn, &dying, &waker).is_ready());
    for gone in [11, 3, 8, 5, 4] {
        tickets[gone] = None; // 3 was admitted by then
    }
    let answers = tickets.into_iter().flatten().rev().map(Ticket::wait);
    assert_eq!(answers.filter(Result::is_ok).count(), 6);
    assert_eq!(*log.order.lock().unwrap(), [0, 2, 3, 6, 7, 9, 10]);
}
