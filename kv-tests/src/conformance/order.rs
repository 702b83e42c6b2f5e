//! One order of all writes: that of their first polls.

use super::help::{Write, key, poll_once, value, with_store};
use crate::any::Place;
use crate::fixture::{Key, Value};
use crate::shown::{Show, assert_same};
use crate::workload::Random;
use kv_trait::{KVStore, Result};
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// Futures of one round: more than any machine has threads, so that some of them have to wait.
const FUTURES: u64 = 64;
/// So many that threads of a busy machine, too, change places in one of them.
const ROUNDS: u64 = 60;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<Value>>> + Send + 'a>>;

/// A value that is its number; some are longer, so that writes take different times.
fn of_any_length(number: u64, random: &mut Random) -> Value {
    let mut v = value(number);
    let longest = if random.below(16) == 0 { 1_500 } else { 20 };
    let length = usize::try_from(random.below(longest)).expect("small");
    v.resize(v.len() + length, b'.');
    v
}

/// Polls each once with the waker of the task, in the order given, and answers what was ready.
async fn first_polls<'a>(writes: &mut [Answer<'a>]) -> Vec<Option<Result<Option<Value>>>> {
    std::future::poll_fn(|cx| {
        let polled = writes
            .iter_mut()
            .map(|write| match write.as_mut().poll(cx) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            });
        Poll::Ready(polled.collect())
    })
    .await
}

/// Futures of one task are polled first in an order, and awaited in another one: each is told the value that the one
/// polled before it wrote, or that it deleted it.
pub fn prior_values_follow_the_order_of_first_polls(place: &Place) {
    with_store(place, async |_, store| {
        let k = key("k");
        let mut random = Random::new(5);
        let mut before: Option<Value> = None;
        for round in 0..ROUNDS {
            let values: Vec<Value> = (0..FUTURES)
                .map(|number| of_any_length(round * 1_000 + number, &mut random))
                .collect();
            let deletes = |at: usize| round % 3 == 2 && at % 5 == 4;
            let mut writes: Vec<Answer<'_>> = values
                .iter()
                .enumerate()
                .map(|(at, v)| {
                    if deletes(at) {
                        store.delete(&k)
                    } else {
                        store.set(&k, v)
                    }
                })
                .collect();
            let mut answers = first_polls(&mut writes).await;
            // Some rounds await the last one first.
            let backwards = round % 2 == 1;
            for step in 0..writes.len() {
                let at = if backwards {
                    writes.len() - 1 - step
                } else {
                    step
                };
                if answers[at].is_none() {
                    answers[at] = Some(writes[at].as_mut().await);
                }
            }
            for (at, answer) in answers.into_iter().enumerate() {
                let prior = answer.expect("each was awaited").unwrap();
                assert_same!(
                    prior,
                    before,
                    "round {round}: the prior value of the write polled as number {at}"
                );
                before = (!deletes(at)).then(|| values[at].clone());
            }
            assert_same!(
                store.get(&k).await.unwrap(),
                before,
                "round {round}: what the last one left"
            );
        }
    });
}

/// The same of writes that are not asked for a prior value, and of ones that nobody awaits: of each two writes of a key,
/// the one that was polled last is there at the end.
pub fn the_write_that_was_polled_last_wins(place: &Place) {
    with_store(place, async |_, store| {
        let mut random = Random::new(6);
        for round in 0..ROUNDS * 3 / 4 {
            let keys: Vec<Key> = (0..FUTURES)
                .map(|number| key(&format!("k{number}")))
                .collect();
            let values: Vec<Value> = (0..2 * FUTURES)
                .map(|number| of_any_length(round * 1_000 + number, &mut random))
                .collect();
            let removes = |at: usize| at % 7 == 3;
            let start = |at: usize| -> Write<'_> {
                let (k, v) = (&keys[at / 2], &values[at]);
                if removes(at) {
                    store.remove(k)
                } else {
                    store.put(k, v)
                }
            };
            let mut writes: Vec<Write<'_>> = (0..values.len()).map(start).collect();
            let polled: Vec<_> = writes.iter_mut().map(poll_once).collect();
            // Who is dropped now keeps its place in the order.
            let is_dropped = |at: usize| at.is_multiple_of(6);
            for (at, (write, polled)) in writes.into_iter().zip(polled).enumerate().rev() {
                match polled {
                    Poll::Ready(outcome) => outcome.unwrap(),
                    Poll::Pending if is_dropped(at) => drop(write),
                    Poll::Pending => write.await.unwrap(),
                }
            }
            for (number, k) in keys.iter().enumerate() {
                let last = 2 * number + 1;
                let left = (!removes(last)).then(|| values[last].clone());
                let found = store.get(k).await.unwrap();
                assert_same!(
                    found,
                    left,
                    "round {round}: what the second write of {} left",
                    k.show()
                );
            }
        }
    });
}
