//! Several changes as one write, as code meets them that holds a trait object.

use super::help::{get, key, put, value, with_store};
use crate::any::{AnyStore, Place};
use crate::fixture::{Key, Value};
use crate::shown::assert_same;
use kv_trait::{Batches, Changes, Effect, ErrorKind, KVStore};
use std::pin::pin;
use std::task::{Context, Waker};

fn batches(store: &AnyStore) -> &dyn Batches<Key, Value> {
    store.batches().expect("the fixture names it")
}

/// A batch says what each of its changes replaced, its own earlier changes included, if it is asked.
pub fn a_batch_tells_what_its_changes_replaced(place: &Place) {
    with_store(place, async |_fixture, store| {
        put(&store, "a", 1).await;
        let mut changes = Changes::new();
        changes.want_priors();
        changes.put(key("a"), value(2)).put(key("b"), value(3));
        changes
            .delete(key("a"))
            .delete(key("absent"))
            .put(key("b"), value(4));
        let written = batches(&store).write(changes).await.unwrap();
        let priors = vec![Some(value(1)), None, Some(value(2)), None, Some(value(3))];
        assert_same!(written.priors, priors);
        assert_same!(get(&store, "a").await, None);
        assert_same!(get(&store, "b").await, Some(value(4)));
        let mut unasked = Changes::new();
        unasked.put(key("b"), value(5));
        let written = batches(&store).write(unasked).await.unwrap();
        assert!(written.priors.is_empty(), "told without being asked");
    });
}

/// A batch whose condition does not hold is refused whole, with effect *nothing*; one whose conditions hold is applied.
pub fn a_batch_is_refused_where_a_condition_does_not_hold(place: &Place) {
    with_store(place, async |_fixture, store| {
        let versions = store.versions().expect("named");
        put(&store, "there", 1).await;
        let first = versions
            .get_versioned(&key("there"))
            .await
            .unwrap()
            .unwrap();
        let batch = |there, absent| {
            let mut changes = Changes::new();
            changes
                .expect(key("there"), there)
                .expect(key("absent"), absent);
            changes
                .put(key("there"), value(2))
                .put(key("other"), value(2));
            changes
        };
        // What is there is not absent; what is absent has no version.
        for (there, absent) in [(None, None), (Some(first.version), Some(first.version))] {
            let error = batches(&store).write(batch(there, absent)).await;
            let error = error.expect_err("a condition did not hold");
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
            assert_eq!(error.effect(), Effect::Nothing, "{error:?}");
            assert_same!(get(&store, "there").await, Some(value(1)));
            assert_same!(get(&store, "other").await, None);
        }
        let written = batches(&store)
            .write(batch(Some(first.version), None))
            .await
            .unwrap();
        assert_same!(get(&store, "there").await, Some(value(2)));
        let second = versions
            .get_versioned(&key("there"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(written.versions.first(), Some(&second.version));
        // The same value again is another version.
        let error = batches(&store)
            .write(batch(Some(first.version), None))
            .await;
        assert_eq!(error.expect_err("it is old").kind(), ErrorKind::Conflict);
        let question = batches(&store).write({
            let mut changes = Changes::new();
            changes.expect(key("there"), Some(second.version));
            changes
        });
        question.await.unwrap();
    });
}

/// A batch whose future is dropped is whole or absent.
pub fn a_dropped_batch_is_whole_or_nothing(place: &Place) {
    with_store(place, async |_fixture, store| {
        for number in 1..40_u64 {
            let mut changes = Changes::new();
            changes
                .put(key("a"), value(number))
                .put(key("b"), value(number));
            {
                let mut write = pin!(batches(&store).write(changes));
                let mut polls = number % 5;
                let mut cx = Context::from_waker(Waker::noop());
                while polls > 0 && write.as_mut().poll(&mut cx).is_pending() {
                    polls -= 1;
                }
            }
            // Behind whatever became of it.
            put(&store, "behind", number).await;
            let (a, b) = (get(&store, "a").await, get(&store, "b").await);
            assert_same!(a, b, "batch {number} was dropped");
        }
    });
}
