//! Much of everything: long keys, large values, large batches, and more writes than a store counts to.

use super::help::{WRITES, get, key, opened, value, with_store};
use crate::any::{AnyFixture, AnyStore, Place};
use crate::executor::yield_now;
use crate::fixture::{Key, PowerCut, Value};
use crate::shown::{Show, assert_same};
use crate::workload::Random;
use kv_trait::KVStore;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The powers of two up to a bound, and their neighbours.
fn around_powers(bound: usize) -> impl Iterator<Item = usize> {
    let powers = (0..usize::BITS).map(|power| 1_usize << power);
    powers
        .take_while(move |power| *power <= bound)
        .flat_map(|power| [power - 1, power, power + 1])
        .filter(move |size| *size <= bound)
}

/// Bytes without a pattern, the same for the same number.
pub(super) fn noise(length: usize, number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Below the largest prime of 64 bits: all eight bytes vary.
        bytes.extend(random.below(0xffff_ffff_ffff_ffc5).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Keys of which each two are the same up to a place, from there on, or but for one byte.
fn alike(key_bytes_max: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    for place in around_powers(key_bytes_max - 1) {
        for last in [b'a', b'b'] {
            let mut bytes = vec![b'k'; place];
            bytes.push(last);
            keys.push(Key::from(bytes));
        }
        let mut longest = vec![b'k'; key_bytes_max];
        longest[place] = b'x';
        keys.push(Key::from(longest));
    }
    keys.sort();
    keys.dedup();
    keys
}

/// Keys that are the same for any number of bytes, up to the last one, are different keys: when they are written, read,
/// overwritten, deleted.
pub fn keys_that_differ_in_one_byte_do_not_mix(place: &Place) {
    with_store(place, async |_, store| {
        let keys = alike(place.key_bytes_max);
        for (number, k) in keys.iter().enumerate() {
            let prior = store.set(k, &value(number as u64)).await.unwrap();
            assert_same!(prior, None, "the prior value of {}", k.show());
        }
        for (number, k) in keys.iter().enumerate() {
            let found = store.get(k).await.unwrap();
            assert_same!(found, Some(value(number as u64)), "{}", k.show());
        }
        for (number, k) in keys.iter().enumerate().step_by(2) {
            let prior = store.delete(k).await.unwrap();
            assert_same!(prior, Some(value(number as u64)), "deleted: {}", k.show());
        }
        for (number, k) in keys.iter().enumerate() {
            let left = (number % 2 == 1).then(|| value(number as u64));
            assert_same!(store.get(k).await.unwrap(), left, "{}", k.show());
        }
    });
}

/// The same keys after a restart.
pub fn keys_that_differ_in_one_byte_survive_a_restart(place: &Place) {
    with_store(place, async |fixture, store| {
        let keys = alike(place.key_bytes_max);
        for (number, k) in keys.iter().enumerate() {
            store.put(k, &value(number as u64)).await.unwrap();
        }
        drop(store);
        let store = opened(fixture.open().await);
        for (number, k) in keys.iter().enumerate() {
            let found = store.get(k).await.unwrap();
            assert_same!(found, Some(value(number as u64)), "{}", k.show());
        }
    });
}

/// The sizes of values beyond what is one write: powers of two and their neighbours, and the largest that is tried.
fn large(place: &Place) -> Vec<usize> {
    const NEIGHBOURS_TO: usize = 1 << 20;
    let mut sizes: Vec<usize> = around_powers(place.large_value_bytes)
        .filter(|size| *size >= 16 * 1024)
        .filter(|size| *size <= NEIGHBOURS_TO || size % 2 == 1)
        .collect();
    sizes.push(place.large_value_bytes);
    sizes
}

fn assert_whole(found: Option<Value>, wanted: &Value, when: &str) {
    let size = wanted.len();
    let Some(found) = found else {
        panic!("{when}: a value of {size} bytes is not there");
    };
    if found == *wanted {
        return;
    }
    let same = found.iter().zip(wanted).take_while(|(a, b)| a == b);
    panic!(
        "{when}: of a value of {size} bytes, {} are there, and the first {} are right",
        found.len(),
        same.count()
    );
}

/// A large value is read whole, told whole as a prior value, and whole after others of its size.
pub fn large_values_are_whole(place: &Place) {
    with_store(place, async |_, store| {
        let mut before = Vec::new();
        let k = key("large");
        for (number, size) in large(place).into_iter().enumerate() {
            let v = noise(size, number as u64);
            let prior = store.set(&k, &v).await.unwrap();
            if number > 0 {
                assert_whole(prior, &before, "the prior value");
            }
            assert_whole(store.get(&k).await.unwrap(), &v, "overwritten");
            before = v;
        }
        assert_whole(store.delete(&k).await.unwrap(), &before, "deleted");
    });
}

/// The same after a restart, of values that are all there at once.
pub fn large_values_survive_a_restart(place: &Place) {
    with_store(place, async |fixture, store| {
        let sizes = large(place);
        for (number, size) in sizes.iter().enumerate() {
            let v = noise(*size, number as u64);
            store.put(&key(&format!("{number}")), &v).await.unwrap();
        }
        drop(store);
        let store = opened(fixture.open().await);
        for (number, size) in sizes.iter().enumerate() {
            let found = store.get(&key(&format!("{number}"))).await.unwrap();
            assert_whole(found, &noise(*size, number as u64), "after a restart");
        }
    });
}

fn batch(number: u64, changes: usize) -> Vec<(Key, Option<Value>)> {
    let all = 0..changes;
    all.map(|at| (key(&format!("{at:05}")), Some(value(number))))
        .collect()
}

/// A thousand changes are one batch like three are, and hold deletes beside values of any size.
pub fn a_large_batch_is_applied_whole(place: &Place) {
    with_store(place, async |fixture, store| {
        for changes in [1, 2, 64, 300, 1_000] {
            let number = changes as u64;
            let mut batch = batch(number, changes);
            for (at, (_, change)) in batch.iter_mut().enumerate() {
                match at % 10 {
                    3 => *change = None,
                    7 => *change = Some(noise(at * 3, number)),
                    _ => {}
                }
            }
            fixture.write_batch(&store, batch.clone()).await.unwrap();
            for (k, change) in batch {
                let found = store.get(&k).await.unwrap();
                assert_same!(found, change, "{changes} changes, {}", k.show());
            }
        }
    });
}

/// Reads keys of a batch one after the other, each with a read of its own, and knows the newest batch that any read has
/// shown: a read that begins later and shows an older one saw a batch in part.
async fn read_points(store: &AnyStore, changes: usize, shown: &AtomicU64, seed: u64) {
    let mut random = Random::new(seed);
    for round in 0..4_u64 {
        // Whichever end a store begins at, and in between.
        let at = match (seed + round) % 4 {
            0 => 0,
            1 => changes as u64 - 1,
            _ => random.below(changes as u64),
        };
        let before = shown.load(Ordering::SeqCst);
        let found = get(store, &format!("{at:05}")).await;
        let number = super::help::number(&found.expect("the first batch wrote it"));
        assert!(
            number >= before,
            "a batch in part: batch {before} was seen, and change {at} is still of batch {number}"
        );
        shown.fetch_max(number, Ordering::SeqCst);
    }
}

/// Point reads never see a batch in part, whatever its size: from this task, between the polls of the batch; from other
/// tasks; from threads, if the fixture has them.
pub fn a_batch_is_whole_to_point_reads(place: &Place) {
    use crate::fixture::Capability;

    with_store(place, async |fixture, store| {
        for (changes, batches) in [(2, 60_u64), (40, 40), (400, 25)] {
            fixture
                .write_batch(&store, batch(0, changes))
                .await
                .unwrap();
            let shown = Arc::new(AtomicU64::new(0));
            let done = Arc::new(AtomicBool::new(false));
            let reader = |seed: u64| {
                let (store, shown) = (store.clone(), Arc::clone(&shown));
                let done = Arc::clone(&done);
                async move {
                    let mut round = seed;
                    while !done.load(Ordering::SeqCst) {
                        round += 8;
                        read_points(&store, changes, &shown, round).await;
                        yield_now().await;
                    }
                }
            };
            let threads: Vec<_> = if place.capabilities.contains(&Capability::Threads) {
                (0..2)
                    .map(|seed| fixture.spawn_thread(reader(seed)))
                    .collect()
            } else {
                Vec::new()
            };
            let tasks: Vec<_> = (2..4).map(|seed| fixture.spawn(reader(seed))).collect();
            for number in 1..=batches {
                let mut write = fixture.write_batch(&store, batch(number, changes));
                let mut answer = None;
                while answer.is_none() {
                    answer = std::future::poll_fn(|cx| {
                        std::task::Poll::Ready(match write.as_mut().poll(cx) {
                            std::task::Poll::Ready(answer) => Some(answer),
                            std::task::Poll::Pending => None,
                        })
                    })
                    .await;
                    read_points(&store, changes, &shown, number).await;
                    yield_now().await;
                }
                answer.expect("it ended").unwrap();
                shown.fetch_max(number, Ordering::SeqCst);
                read_points(&store, changes, &shown, number).await;
            }
            done.store(true, Ordering::SeqCst);
            for task in tasks {
                task.await;
            }
            while !threads.iter().all(crate::any::AnyThread::is_finished) {
                yield_now().await;
            }
            for thread in threads {
                thread.join();
            }
        }
    });
}

/// A batch is one write to the disk's sync, too: while its syncs are let through one by one, nobody sees some of it.
pub fn a_batch_is_whole_at_each_of_its_syncs(place: &Place) {
    const CHANGES: usize = 6;
    with_store(place, async |fixture, store| {
        fixture
            .write_batch(&store, batch(0, CHANGES))
            .await
            .unwrap();
        for number in 1..4_u64 {
            let mut gate = fixture.hold_syncs();
            let write = fixture.write_batch(&store, batch(number, CHANGES));
            let ended = Arc::new(AtomicBool::new(false));
            let write = {
                let ended = Arc::clone(&ended);
                fixture.spawn(async move {
                    write.await.unwrap();
                    ended.store(true, Ordering::SeqCst);
                })
            };
            loop {
                while gate.held() == 0 && !ended.load(Ordering::SeqCst) {
                    yield_now().await;
                }
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let mut seen = Vec::new();
                for (k, _) in batch(0, CHANGES) {
                    seen.push(store.get(&k).await.unwrap());
                }
                let first = seen[0].clone();
                assert!(
                    seen.iter().all(|value| *value == first),
                    "a batch in part, while one of its syncs is held: {}",
                    seen.show()
                );
                // The next sync meets the next gate.
                let next = fixture.hold_syncs();
                gate.open();
                gate = next;
            }
            gate.open();
            write.await;
        }
    });
}

/// A write in one of the ways to write, and what it leaves. Keys come round after `keys` writes: each meets each way.
async fn write_nth(store: &AnyStore, k: &Key, number: u64, keys: u64) -> Option<Value> {
    let v = value(number);
    let write = WRITES[(number + number / keys) as usize % WRITES.len()];
    if let Err(error) = write.start(store, k, &v).await {
        panic!("write {number}, {write:?} {}: {error:?}", k.show());
    }
    write.leaves(&v)
}

/// After each of many writes, every way to write in turn, everything that is not durable is lost: the write is there. A
/// store that forgets a sync now and then is caught where no later sync makes up for it.
pub fn each_of_many_writes_is_durable_by_itself(place: &Place) {
    const KEYS: u64 = 8;
    with_store(place, async |fixture, store| {
        for number in 0..place.many_writes {
            // Few keys: what an open has to read stays little in most stores.
            let k = key(&format!("k{}", number % KEYS));
            let left = write_nth(&store, &k, number, KEYS).await;
            let cut = fixture.after_power_cut(PowerCut::LosingAll);
            let reopened = opened(cut.open().await);
            let found = reopened.get(&k).await.unwrap();
            assert_same!(found, left, "write {number}, after a power cut");
        }
    });
}

/// After many writes by many tasks, all of them are there when the store is opened again.
pub fn many_writes_survive_a_restart(place: &Place) {
    with_store(place, async |fixture, store| {
        let held = write_many(place, fixture, &store).await;
        drop(store);
        let store = opened(fixture.open().await);
        assert_holds(&store, &held, "after a restart").await;
    });
}

/// The same after a power cut.
pub fn many_writes_survive_a_power_cut(place: &Place) {
    with_store(place, async |fixture, store| {
        let held = write_many(place, fixture, &store).await;
        let cut = fixture.after_power_cut(PowerCut::LosingAll);
        let reopened = opened(cut.open().await);
        assert_holds(&reopened, &held, "after a power cut").await;
    });
}

async fn write_many(
    place: &Place,
    fixture: &AnyFixture,
    store: &AnyStore,
) -> BTreeMap<Key, Option<Value>> {
    const TASKS: u64 = 32;
    const KEYS: u64 = 50; // of each task
    let all = place.many_writes;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            fixture.spawn(async move {
                let mut held = Vec::new();
                for number in 0..all / TASKS {
                    let k = key(&format!("{task}, {}", number % KEYS));
                    let left = write_nth(&store, &k, number, KEYS).await;
                    held.push((k, left));
                }
                held
            })
        })
        .collect();
    let mut held = BTreeMap::new();
    for task in tasks {
        held.extend(task.await);
    }
    held
}

async fn assert_holds(store: &AnyStore, held: &BTreeMap<Key, Option<Value>>, when: &str) {
    for (k, left) in held {
        let found = store.get(k).await.unwrap();
        assert_same!(found, *left, "{when}: {}", k.show());
    }
}
