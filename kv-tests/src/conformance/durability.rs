//! Power cuts: what was told, shown or implied is there afterwards.

use super::help::{
    chain, get, key, number, opened, poll_once, poll_until_held, put, value, with_store,
};
use crate::any::{AnyFixture, AnyStore, Place};
use crate::executor::yield_now;
use crate::fixture::{Key, PowerCut, Value};
use crate::shown::{Show, assert_same};
use kv_trait::KVStore;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a power cut may leave, from nothing to everything that is not durable.
fn cuts(seed: u64) -> [PowerCut; 4] {
    [
        PowerCut::LosingAll,
        PowerCut::KeepingAll,
        PowerCut::Some(seed),
        PowerCut::Some(seed ^ 0x5555),
    ]
}

async fn after(fixture: &AnyFixture, cut: PowerCut) -> (AnyFixture, AnyStore) {
    let after = fixture.after_power_cut(cut);
    let store = opened(after.open().await);
    (after, store)
}

/// After each answer, whatever the cut: all that was acknowledged so far is there.
pub fn acknowledged_is_durable(place: &Place) {
    with_store(place, async |fixture, store| {
        let mut map: BTreeMap<Key, Value> = BTreeMap::new();
        for step in 0..40_u64 {
            let k = key(&format!("key {}", step % 6));
            match step % 5 {
                0 => drop(store.set(&k, &value(step)).await.unwrap()),
                1 => store.put(&k, &vec![b'v'; 3_000]).await.unwrap(),
                2 => drop(store.delete(&k).await.unwrap()),
                3 => store.remove(&k).await.unwrap(),
                _ => store.put(&k, &value(step)).await.unwrap(),
            }
            match step % 5 {
                1 => drop(map.insert(k, vec![b'v'; 3_000])),
                2 | 3 => drop(map.remove(&k)),
                _ => drop(map.insert(k, value(step))),
            }
            for cut in cuts(step) {
                let (_fixture, store) = after(fixture, cut).await;
                for number in 0..6 {
                    let k = key(&format!("key {number}"));
                    let found = store.get(&k).await.unwrap();
                    assert_same!(
                        found.as_ref(),
                        map.get(&k),
                        "step {step}, {cut:?}, {}",
                        k.show()
                    );
                }
            }
        }
    });
}

/// Whatever a reader saw is there after a power cut at that instant, although a writer is at work all the time.
pub fn visible_is_durable(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 0).await;
        let done = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let (store, done) = (store.clone(), Arc::clone(&done));
                fixture.spawn(async move {
                    let mut count = 0;
                    while !done.load(Ordering::SeqCst) {
                        count += 1;
                        put(&store, &format!("k{writer}"), count).await;
                    }
                })
            })
            .collect();
        for round in 0..60_u64 {
            let mut seen = Vec::new();
            for writer in 0..3_u64 {
                let name = format!("k{writer}");
                seen.push(get(&store, &name).await.as_ref().map_or(0, number));
            }
            let cut = match round % 3 {
                0 => PowerCut::LosingAll,
                1 => PowerCut::KeepingAll,
                _ => PowerCut::Some(round),
            };
            let after_cut = fixture.after_power_cut(cut);
            let reopened = opened(after_cut.open().await);
            for (writer, seen) in seen.into_iter().enumerate() {
                let name = format!("k{writer}");
                let found = get(&reopened, &name).await.as_ref().map_or(0, number);
                assert!(
                    found >= seen,
                    "{cut:?}: {name} was seen as {seen}, and is {found}"
                );
            }
            yield_now().await;
        }
        done.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await;
        }
    });
}

/// A prior value, or any answer, implies writes: they are there after a power cut at that instant.
pub fn an_answer_is_durable(place: &Place) {
    with_store(place, async |fixture, store| {
        let tasks: Vec<_> = (0..6_u64)
            .map(|task| {
                let store = store.clone();
                fixture.spawn(async move {
                    let mut writes = Vec::new();
                    for step in 0..15 {
                        let own = task * 100 + step;
                        let prior = store.set(&key("k"), &value(own)).await.unwrap();
                        writes.push((own, prior.as_ref().map(number)));
                    }
                    writes
                })
            })
            .collect();
        let (mut own, mut shown) = (Vec::new(), Vec::new());
        for step in 0..40_u64 {
            let mine = 1_000 + step;
            let prior = store.set(&key("k"), &value(mine)).await.unwrap();
            own.push((mine, prior.as_ref().map(number)));
            let (_fixture, reopened) = after(fixture, PowerCut::LosingAll).await;
            shown.push((mine, get(&reopened, "k").await.as_ref().map(number)));
        }
        for task in tasks {
            own.extend(task.await);
        }
        let last = get(&store, "k").await.as_ref().map(number);
        let order = chain(&own, last);
        let place = |wanted: u64| order.iter().position(|written| *written == wanted);
        for (mine, found) in shown {
            let found = found.expect("a write was acknowledged");
            assert!(
                place(found) >= place(mine),
                "answered {mine}, a cut left {found}"
            );
        }
    });
}

/// While a write's sync is held nobody sees the write: no reader, and no other writer's answer.
pub fn nothing_is_visible_before_it_is_durable(place: &Place) {
    with_store(place, async |fixture, store| {
        put(&store, "k", 1).await;
        for round in 0..10_u64 {
            let before = get(&store, "k").await;
            let gate = fixture.hold_syncs();
            let (k, v, w) = (key("k"), value(100 + round), value(200 + round));
            let mut first = store.set(&k, &v);
            assert!(poll_once(&mut first).is_pending());
            poll_until_held(&mut first, &*gate).await;
            let mut second = store.set(&k, &w);
            let mut absent = store.delete(&k);
            for _ in 0..20 {
                assert_same!(get(&store, "k").await, before, "seen before its sync");
                assert!(
                    poll_once(&mut second).is_pending(),
                    "an answer before the sync"
                );
                assert!(
                    poll_once(&mut absent).is_pending(),
                    "an answer before the sync"
                );
                yield_now().await;
            }
            gate.open();
            assert_same!(first.await.unwrap(), before);
            assert_same!(second.await.unwrap(), Some(v));
            assert_same!(absent.await.unwrap(), Some(w));
            put(&store, "k", 300 + round).await;
        }
    });
}

async fn all<S: KVStore<Key, Value>>(store: &S, keys: u64) -> Vec<Option<Value>> {
    let mut found = Vec::new();
    for number in 0..keys {
        found.push(get(store, &format!("key {number}")).await);
    }
    found
}

/// What an open showed, of writes that nobody was told of, is still there after the next cut, and the one after.
pub fn what_recovery_showed_stays(place: &Place) {
    with_store(place, async |fixture, store| {
        for step in 0..12_u64 {
            // In flight, never awaited: a cut may keep them or not.
            let names: Vec<_> = (0..4).map(|number| key(&format!("key {number}"))).collect();
            let v = value(step);
            let mut writes: Vec<_> = names.iter().map(|k| store.set(k, &v)).collect();
            for write in &mut writes {
                drop(poll_once(write));
            }
            drop(writes);
            yield_now().await;
            for cut in cuts(step * 7 + 1) {
                let (first, reopened) = after(fixture, cut).await;
                let seen = all(&reopened, 4).await;
                let second = first.after_power_cut(PowerCut::LosingAll);
                let reopened = opened(second.open().await);
                assert_same!(all(&reopened, 4).await, seen, "step {step}, {cut:?}");
                put(&reopened, "more", step).await;
                let third = second.after_power_cut(PowerCut::Some(step));
                let reopened = opened(third.open().await);
                assert_same!(all(&reopened, 4).await, seen, "step {step}, {cut:?}, third");
                assert_same!(get(&reopened, "more").await, Some(value(step)));
            }
        }
    });
}

/// A task writes 1, 2, 3, ... to one key after the other. Whenever the power goes, what is there is whole and a prefix:
/// if a number is there, all before it are.
pub fn a_power_cut_in_a_burst_leaves_whole_writes_in_order(place: &Place) {
    with_store(place, async |fixture, store| {
        const KEYS: u64 = 90;
        let padded = |number: u64| {
            let mut padded = value(number);
            let length = usize::try_from(number * 37 % 1_500).expect("small");
            padded.resize(padded.len() + length, b' ');
            padded
        };
        let writer = {
            let store = store.clone();
            fixture.spawn(async move {
                for number in 0..KEYS {
                    let k = key(&format!("key {number}"));
                    store.put(&k, &padded(number)).await.unwrap();
                }
            })
        };
        for seed in 0..40_u64 {
            let (_fixture, reopened) = after(fixture, PowerCut::Some(seed)).await;
            let found = all(&reopened, KEYS).await;
            let there = found.iter().take_while(|value| value.is_some()).count();
            assert!(
                found[there..].iter().all(Option::is_none),
                "seed {seed}: a gap at {there}"
            );
            for (number, found) in found[..there].iter().enumerate() {
                assert_same!(
                    *found,
                    Some(padded(number as u64)),
                    "seed {seed}, key {number}"
                );
            }
            yield_now().await;
        }
        writer.await;
    });
}

/// Cut while it is created: the next open makes or finds an empty store.
pub fn a_power_cut_at_creation_leaves_a_store_that_opens(place: &Place) {
    let fixture = place.create();
    fixture.block_on(async {
        for seed in 0..8 {
            let (_fixture, store) = after(&fixture, PowerCut::Some(seed)).await;
            assert_same!(get(&store, "k").await, None);
        }
        let store = opened(fixture.open().await);
        for cut in cuts(3) {
            let (_fixture, reopened) = after(&fixture, cut).await;
            put(&reopened, "k", 1).await;
            assert_same!(get(&reopened, "k").await, Some(value(1)));
        }
        drop(store);
    });
}

/// After any cut in a run of batches, all keys of a batch tell the same number.
pub fn a_batch_is_whole_after_a_power_cut(place: &Place) {
    with_store(place, async |fixture, store| {
        let writer = {
            let changes = |number: u64| {
                let keys = ["a", "b", "c"].map(key);
                let padding = usize::try_from(number * 61 % 900).expect("small");
                let mut v = value(number);
                v.resize(v.len() + padding, b' ');
                keys.map(|k| (k, Some(v.clone()))).to_vec()
            };
            let batches: Vec<_> = (1..60_u64).map(changes).collect();
            let writes: Vec<_> = batches
                .into_iter()
                .map(|changes| fixture.write_batch(&store, changes))
                .collect();
            fixture.spawn(async move {
                for write in writes {
                    write.await.unwrap();
                }
            })
        };
        for seed in 0..50_u64 {
            let cut = if seed % 5 == 0 {
                PowerCut::LosingAll
            } else {
                PowerCut::Some(seed)
            };
            let (_fixture, reopened) = after(fixture, cut).await;
            let a = get(&reopened, "a").await;
            assert_same!(get(&reopened, "b").await, a, "{cut:?}: a batch in part");
            assert_same!(get(&reopened, "c").await, a, "{cut:?}: a batch in part");
            yield_now().await;
        }
        writer.await;
    });
}

/// An acknowledged delete is not undone by any cut.
pub fn a_deleted_key_stays_deleted_after_a_power_cut(place: &Place) {
    with_store(place, async |fixture, store| {
        for step in 0..15_u64 {
            let name = format!("key {}", step % 4);
            put(&store, &name, step).await;
            store.remove(&key(&name)).await.unwrap();
            for cut in cuts(step) {
                let (again, reopened) = after(fixture, cut).await;
                assert_same!(get(&reopened, &name).await, None, "step {step}, {cut:?}");
                drop(reopened);
                let reopened = opened(again.open().await);
                assert_same!(
                    get(&reopened, &name).await,
                    None,
                    "step {step}, {cut:?}, again"
                );
            }
        }
    });
}
