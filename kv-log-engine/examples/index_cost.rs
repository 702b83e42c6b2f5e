//! What the index costs beside the standard library's map, in one run: time of an insert and of a lookup, and memory,
//! for random and for rising keys of 16 bytes.
//!
//! ```sh
//! cargo run --release -p kv-log-engine --features internals --example index_cost -- 1000000
//! ```
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and prints"
)]

use kv_log_engine::internals::MicroIndex;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

type Key = [u8; 16];

/// A sequence that is the same in each run (splitmix64).
fn random(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn keys(count: u64, order: &str) -> Vec<Key> {
    let key = |number: u64| {
        let mut key = [0; 16];
        match order {
            "random" => {
                key[..8].copy_from_slice(&random(2 * number).to_le_bytes());
                key[8..].copy_from_slice(&random(2 * number + 1).to_le_bytes());
            }
            _ => key.copy_from_slice(format!("user:{number:011}").as_bytes()),
        }
        key
    };
    (1..=count).map(key).collect()
}

/// Nanoseconds for each of `count` operations.
fn time(count: usize, work: impl FnOnce()) -> u128 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() / count.max(1) as u128
}

struct Row {
    name: &'static str,
    insert: u128,
    lookup: u128,
    copied: u128,
    bytes: f64,
}

fn index(keys: &[Key], wanted: &[Key]) -> Row {
    let mut index = MicroIndex::new();
    let mut insert = 0;
    let memory = allocation_counter::measure(|| {
        insert = time(keys.len(), || {
            for (number, key) in (1..).zip(keys) {
                index.insert(key, number);
            }
        });
    });
    let lookup = time(wanted.len(), || {
        for key in wanted {
            assert!(black_box(index.get(key)).is_some());
        }
    });
    // As a leader that publishes after each write: all that changes is copied.
    let changed = &wanted[..wanted.len().min(100_000)];
    let copied = time(changed.len(), || {
        for key in changed {
            let before = index.clone();
            index.insert(key, 7);
            drop(before);
        }
    });
    Row {
        name: "index",
        insert,
        lookup,
        copied,
        bytes: memory.bytes_current as f64 / keys.len() as f64,
    }
}

fn map(keys: &[Key], wanted: &[Key]) -> Row {
    let mut map = BTreeMap::<Vec<u8>, [u64; 4]>::new();
    let mut insert = 0;
    let memory = allocation_counter::measure(|| {
        insert = time(keys.len(), || {
            for (number, key) in (1..).zip(keys) {
                map.insert(key.to_vec(), [number; 4]);
            }
        });
    });
    let lookup = time(wanted.len(), || {
        for key in wanted {
            assert!(black_box(map.get(&key[..])).is_some());
        }
    });
    Row {
        name: "BTreeMap",
        insert,
        lookup,
        copied: 0,
        bytes: memory.bytes_current as f64 / keys.len() as f64,
    }
}

fn main() {
    let count = std::env::args()
        .nth(1)
        .map_or(1_000_000, |count| count.parse().expect("a number of keys"));
    println!("{count} keys of 16 bytes");
    println!("order   map       insert ns  lookup ns  insert and publish ns  bytes a key");
    for order in ["random", "rising"] {
        if std::env::args().nth(2).is_some_and(|only| only != order) {
            continue;
        }
        let keys = keys(count, order);
        let mut wanted = keys.clone();
        for at in (1..wanted.len()).rev() {
            let other = random(at as u64) % (at as u64 + 1);
            wanted.swap(at, usize::try_from(other).expect("below a length"));
        }
        for Row {
            name,
            insert,
            lookup,
            copied,
            bytes,
        } in [index(&keys, &wanted), map(&keys, &wanted)]
        {
            println!("{order:7} {name:8} {insert:10} {lookup:10} {copied:22} {bytes:12.1}");
        }
    }
}
