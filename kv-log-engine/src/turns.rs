//! Turns for those who have been in each other's way too often: one at a time.
//!
//! A turn is held through work that ends by itself, and through nothing else: one poll of foreign code, and the writing of a
//! batch, which carries it and which the leader ends, whoever polls. So nobody waits here for a future that nobody polls, nor
//! for a task that waits for him. When it ends all who wait are woken, the first that came first, and whoever is polled first
//! has it next. It is no lock: whoever does without decides nothing wrong, and only loses more often.

use crate::sync::lock_std as lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// The turns of a store.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Held for a moment; no waker is called, cloned or dropped under it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    taken: bool,
    waiting: BTreeMap<u64, Waker>,
}

/// Somebody who waits for a turn, or may come to it.
#[derive(Debug)]
pub(crate) struct Place {
    turns: Arc<Turns>,
    number: u64,
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
}

impl Turns {
    /// A place behind all that there are.
    pub(crate) fn take_place(self: &Arc<Self>) -> Place {
        let mut state = lock(&self.state);
        let number = state.next;
        state.next += 1;
        drop(state);
        Place {
            turns: Arc::clone(self),
            number,
        }
    }
}

impl Place {
    /// Ready where nobody has a turn.
    pub(crate) fn poll_turn(&self, cx: &Context<'_>) -> Poll<Turn> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.turns.state);
        let taken = std::mem::replace(&mut state.taken, true);
        let replaced = if taken {
            state.waiting.insert(self.number, waker)
        } else {
            state.waiting.remove(&self.number)
        };
        drop(state);
        drop(replaced);
        if taken {
            return Poll::Pending;
        }
        Poll::Ready(Turn {
            turns: Arc::clone(&self.turns),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = lock(&self.turns.state).waiting.remove(&self.number);
        drop(left);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.turns.state);
        state.taken = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(place: &Place, woken: &Arc<Woken>) -> Option<Turn> {
        let waker = Waker::from(Arc::clone(woken));
        match place.poll_turn(&Context::from_waker(&waker)) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_has_a_turn_at_a_time_and_its_end_wakes_who_waits() {
        let turns = Arc::<Turns>::default();
        let woken: [Arc<Woken>; 3] = Default::default();
        let times = || woken.each_ref().map(|woken| woken.0.load(Ordering::SeqCst));
        let places = [(); 3].map(|()| turns.take_place());
        let first = poll(&places[0], &woken[0]);
        assert!(first.is_some());
        assert!(poll(&places[1], &woken[1]).is_none());
        assert!(poll(&places[2], &woken[2]).is_none());
        drop(first);
        assert_eq!(times(), [0, 1, 1]);
        // The first of them is not polled any more, and holds nobody up.
        let third = poll(&places[2], &woken[2]);
        assert!(third.is_some() && poll(&places[0], &woken[0]).is_none());
        drop(third);
        assert_eq!(times(), [1, 1, 1]);
    }

    #[test]
    fn who_has_left_is_not_woken() {
        let turns = Arc::<Turns>::default();
        let woken: [Arc<Woken>; 2] = Default::default();
        let [first, second] = [(); 2].map(|()| turns.take_place());
        let turn = poll(&first, &woken[0]);
        assert!(poll(&second, &woken[1]).is_none());
        drop(second);
        assert!(turns.state.lock().unwrap().waiting.is_empty());
        drop(turn);
        assert_eq!(woken[1].0.load(Ordering::SeqCst), 0);
        assert!(poll(&first, &woken[0]).is_some());
    }
}
