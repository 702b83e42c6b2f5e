//! Closing, dropping, dying, and opening again.

use super::help::{get, key, opened, poll_once, put, value, with_store};
use crate::any::{AnyFixture, AnyStore, Place};
use crate::executor::yield_now;
use crate::fixture::{Key, Value};
use crate::shown::{Show, assert_same, assert_same_list};
use crate::workload::Random;
use kv_trait::{Effect, ErrorKind, KVStore};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

async fn reopen(fixture: &AnyFixture) -> AnyStore {
    opened(fixture.open().await)
}

async fn assert_holds(store: &AnyStore, map: &BTreeMap<Key, Value>, keys: u64) {
    for number in 0..keys {
        let k = key(&format!("key {number}"));
        assert_same!(
            store.get(&k).await.unwrap().as_ref(),
            map.get(&k),
            "{}",
            k.show()
        );
    }
}

/// Everything is there after a close, several times over.
pub fn close_and_reopen(place: &Place) {
    with_store(place, async |fixture, store| {
        let mut map = BTreeMap::new();
        let mut store = store;
        for life in 0..4_u64 {
            for number in 0..40 {
                let k = key(&format!("key {number}"));
                if (number + life) % 5 == 0 {
                    store.remove(&k).await.unwrap();
                    map.remove(&k);
                } else {
                    let v = value(life * 100 + number);
                    store.put(&k, &v).await.unwrap();
                    map.insert(k, v);
                }
            }
            fixture.close(&store).await.unwrap();
            drop(store);
            store = reopen(fixture).await;
            assert_holds(&store, &map, 40).await;
        }
    });
}

/// Dropped without close at any moment, with operations in flight or without: what was acknowledged is there, what was
/// given up is whole or absent.
pub fn rude_restart(place: &Place) {
    with_store(place, async |fixture, store| {
        let mut random = Random::new(11);
        let mut map: BTreeMap<Key, Value> = BTreeMap::new();
        let mut store = store;
        let mut serial = 0;
        for life in 0..25_u64 {
            for _ in 0..random.below(12) {
                serial += 1;
                let k = key(&format!("key {}", random.below(10)));
                if random.below(4) == 0 {
                    assert_same!(store.delete(&k).await.unwrap(), map.remove(&k));
                } else {
                    let prior = store.set(&k, &value(serial)).await.unwrap();
                    assert_same!(prior, map.insert(k, value(serial)), "life {life}");
                }
            }
            // Given up after the first poll: on a key of its own, so that nothing else depends on it.
            serial += 1;
            let (k, v) = (key("given up"), value(serial));
            let before = store.get(&k).await.unwrap();
            let mut write = store.set(&k, &v);
            drop(poll_once(&mut write));
            drop(write);
            drop(store);
            store = reopen(fixture).await;
            assert_holds(&store, &map, 10).await;
            let after = store.get(&k).await.unwrap();
            assert!(
                after == before || after == Some(v),
                "life {life}: {}",
                after.show()
            );
        }
    });
}

/// Deletes survive: alone, after overwrites, and when the key is set again in between.
pub fn what_was_deleted_stays_deleted(place: &Place) {
    with_store(place, async |fixture, store| {
        for number in 0..30 {
            let name = format!("key {number}");
            put(&store, &name, number).await;
            put(&store, &name, number + 1).await;
            store.remove(&key(&name)).await.unwrap();
            if number % 3 == 0 {
                put(&store, &name, 99).await;
            }
        }
        drop(store);
        let store = reopen(fixture).await;
        for number in 0..30 {
            let expected = (number % 3 == 0).then(|| value(99));
            assert_same!(
                get(&store, &format!("key {number}")).await,
                expected,
                "key {number}"
            );
        }
    });
}

/// After a close every handle is refused as `Closed`, effect *nothing*.
pub fn a_closed_store_refuses_everything(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 1).await;
        let other = store.clone();
        fixture.close(&store).await.unwrap();
        let (k, v) = (key("k"), value(2));
        for (operation, outcome) in [
            ("set", store.set(&k, &v).await.map(drop)),
            ("put, on another handle,", other.put(&k, &v).await),
            ("get", store.get(&k).await.map(drop)),
            (
                "delete, on another handle,",
                other.delete(&k).await.map(drop),
            ),
            ("remove", store.remove(&k).await),
        ] {
            let Err(error) = outcome else {
                panic!("{operation} went well on a closed store");
            };
            assert_eq!(error.kind(), ErrorKind::Closed, "{operation}: {error:?}");
            assert_eq!(error.effect(), Effect::Nothing, "{operation}: {error:?}");
        }
    });
}

/// A close beside writers: each is answered `Ok` and is there afterwards, or is refused and is not.
pub fn close_finishes_what_was_accepted(place: &Place) {
    with_store(place, async |fixture, store| {
        let writers: Vec<_> = (0..40_u64)
            .map(|number| {
                let store = store.clone();
                fixture.spawn(async move {
                    let k = key(&format!("key {number}"));
                    store.put(&k, &value(number)).await
                })
            })
            .collect();
        yield_now().await;
        fixture.close(&store).await.unwrap();
        let mut outcomes = Vec::new();
        for writer in writers {
            outcomes.push(writer.await);
        }
        drop(store);
        let store = reopen(fixture).await;
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let found = get(&store, &format!("key {number}")).await;
            match outcome {
                Ok(()) => assert_same!(found, Some(value(number as u64)), "acknowledged"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
                    assert_eq!(error.effect(), Effect::Nothing, "{error:?}");
                    assert_same!(found, None, "refused with effect nothing");
                }
            }
        }
    });
}

/// One owner at a time, and the refusal says who it is.
pub fn a_second_open_is_refused_with_the_holder_named(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 1).await;
        for _ in 0..3 {
            let Err(error) = fixture.open().await else {
                panic!("a second open of a store in use went well")
            };
            assert_eq!(error.kind(), ErrorKind::Locked, "{error:?}");
            let holder = std::process::id().to_string();
            assert!(
                error.to_string().contains(&holder),
                "no holder named: {error}"
            );
        }
        put(&store, "k", 2).await;
        assert_same!(get(&store, "k").await, Some(value(2)), "the owner goes on");
    });
}

/// Dropping the last handle is enough to open again in the same process, at once.
pub fn drop_then_open(place: &Place) {
    with_store(place, async |fixture, store| {
        let mut store = store;
        for life in 0..20_u64 {
            let prior = store.set(&key("life"), &value(life)).await.unwrap();
            assert_same!(prior, life.checked_sub(1).map(value));
            drop(store);
            store = reopen(fixture).await;
        }
    });
}

/// An open with a lock timeout gets the store when the other owner lets go.
pub fn a_lock_timeout_waits_for_the_other_owner(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 1).await;
        let held = fixture.open_within(Duration::from_millis(30)).await;
        let error = held.expect_err("the store is in use");
        assert_eq!(error.kind(), ErrorKind::Locked, "{error:?}");
        let mut waiting = Box::pin(fixture.open_within(Duration::from_secs(120)));
        for _ in 0..20 {
            let early =
                std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx)));
            assert!(
                early.await.is_pending(),
                "opened beside its owner, or refused at once"
            );
            yield_now().await;
        }
        put(&store, "k", 2).await;
        drop(store);
        let store = opened(waiting.await);
        assert_same!(get(&store, "k").await, Some(value(2)));
    });
}

/// A store is not read as something it does not hold; the refusal leaves it as it was.
pub fn wrong_types_are_refused(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 300).await;
        drop(store);
        let error = match fixture.open_as_other_types().await {
            Ok(()) => panic!("the store was opened with types that it does not hold"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error:?}");
        let store = reopen(fixture).await;
        assert_same!(get(&store, "k").await, Some(value(300)));
    });
}

/// What the store says is in it is what its files say, read by other code.
pub fn persistence_verification(place: &Place) {
    let fixture = place.create();
    let mut map: BTreeMap<Key, Value> = BTreeMap::new();
    for life in 0..4_u64 {
        fixture.block_on(async {
            let store = reopen(&fixture).await;
            for number in 0..60_u64 {
                let k = key(&format!("key {}", number % 25));
                if (number + life) % 7 == 0 {
                    store.remove(&k).await.unwrap();
                    map.remove(&k);
                } else {
                    let v = vec![b'v'; usize::try_from(number * 31 + life).expect("small")];
                    store.put(&k, &v).await.unwrap();
                    map.insert(k, v);
                }
            }
        });
        let found = match fixture.read_files() {
            Ok(found) => found,
            Err(error) => panic!("life {life}: the files cannot be read: {error}"),
        };
        let expected: Vec<_> = map.clone().into_iter().collect();
        assert_same_list(&found, &expected, &format!("life {life}"));
    }
}

/// Tells a process that it is the child, and where the store is.
const CHILD: &str = "KV_TESTS_CHILD_STORE";

/// A process that writes is killed (`SIGKILL` where there is one) after an answer of its choosing was heard: all that it
/// had said is there, and what is there is a prefix of what it wrote.
pub fn a_killed_process_loses_nothing_it_acknowledged(place: &Place) {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(&place.create_at(&PathBuf::from(path)));
    }
    let test = std::thread::current().name().map(str::to_owned);
    let test = test.expect("the harness names threads by their tests");
    let fixture = place.create();
    let mut least = 0;
    for round in 0..4_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args([&test, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, fixture.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this program starts again");
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let (mut heard, mut last) = (0, least);
        for line in lines {
            let line = line.expect("lines from the child");
            // The harness may print before it on the same line.
            if let Some((_, number)) = line.rsplit_once("acknowledged ") {
                last = number.parse().expect("a number from the child");
                heard += 1;
                if heard == 20 + round * 17 {
                    child.kill().expect("the child is ours to kill");
                }
            }
        }
        child.wait().expect("the child is dead");
        assert!(heard >= 20, "the child wrote only {heard} times");
        fixture.block_on(async {
            let store = reopen(&fixture).await;
            let newest = newest(&store).await;
            assert!(newest >= last, "told of {last}, found {newest}");
            least = newest;
        });
    }
}

const RING: u64 = 7;

fn write_until_killed(fixture: &AnyFixture) {
    fixture.block_on(async {
        let store = reopen(fixture).await;
        let first = newest(&store).await + 1;
        let mut out = std::io::stdout();
        for number in first..first + 1_000_000 {
            put(&store, &format!("slot {}", number % RING), number).await;
            writeln!(out, "acknowledged {number}").expect("the parent listens");
        }
    });
}

/// The highest number written; the slots must hold exactly the last few up to it.
async fn newest(store: &impl KVStore<Key, Value>) -> u64 {
    let mut found = BTreeMap::new();
    for slot in 0..RING {
        if let Some(seen) = get(store, &format!("slot {slot}")).await {
            let number = super::help::number(&seen);
            assert_eq!(number % RING, slot, "a value in another's place");
            found.insert(number, slot);
        }
    }
    let newest = found.last_key_value().map_or(0, |(number, _)| *number);
    let expected = newest.saturating_sub(RING - 1).max(1)..=newest;
    if newest > 0 {
        assert!(
            found.keys().copied().eq(expected),
            "not a prefix: {found:?}"
        );
    }
    newest
}
