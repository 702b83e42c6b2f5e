//! How long a thread that only reads stands still while a large batch is written.
//!
//! One thread does lookups in a loop, of absent keys, as an executor's thread does them without a hop, and keeps the
//! times between two of them: while one batch of so many records is written; for as long as that took, while another
//! thread computes; and while nothing else happens. What the operating system takes away from the thread is in all three.
//! On Linux it also counts how often the reader went to sleep by itself: that is waiting, for a lock or the disk.
//!
//! ```sh
//! cargo run --release -p kv-log-engine --example publish_pause -- 1000000 [DIRECTORY]
//! ```
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and prints"
)]

use kv_log_engine::{Batch, Engine, Options};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&scattered.to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// What a reader saw while something else ran.
struct Seen {
    /// The longest times between two lookups, longest first.
    longest: Vec<Duration>,
    lookups: u64,
    waits: Option<u64>,
    took: Duration,
}

/// How often this thread has gone to sleep by itself, where the system says so.
fn waits() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

fn while_reading(store: &Engine, work: impl FnOnce() + Send) -> Seen {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut longest = vec![Duration::ZERO; 3];
            let mut lookups = 0;
            let before = waits();
            let mut last = Instant::now();
            while !done.load(Ordering::Relaxed) {
                let found = store.get(b"absent").expect("memory only");
                assert_eq!(found, None);
                let now = Instant::now();
                longest.push(now - last);
                longest.sort_unstable_by(|a, b| b.cmp(a));
                longest.truncate(3);
                last = now;
                lookups += 1;
            }
            let waited = waits().zip(before).map(|(after, before)| after - before);
            (longest, lookups, waited)
        });
        let start = Instant::now();
        work();
        let took = start.elapsed();
        done.store(true, Ordering::Relaxed);
        let (longest, lookups, waits) = reader.join().expect("the reader does not panic");
        Seen {
            longest,
            lookups,
            waits,
            took,
        }
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments
        .next()
        .map_or(Ok(1_000_000), |count| count.parse())?;
    let temporary = tempfile::tempdir()?;
    let directory = arguments
        .next()
        .map_or_else(|| temporary.path().join("store"), Into::into);
    let store = Engine::open(directory, Options::new())?;
    for round in 1..=ROUNDS {
        let mut batch = Batch::new();
        for number in 0..records {
            batch.put(&key(number), &[7; 16])?;
        }
        let written = while_reading(&store, || {
            store.write(batch).map(drop).expect("the disk has room");
        });
        let took = written.took;
        let busy = while_reading(&store, || {
            let end = Instant::now() + took;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
        });
        let quiet = while_reading(&store, || std::thread::sleep(took));
        println!("round {round}: {records} records in {took:.0?}");
        for (what, seen) in [("written", written), ("busy", busy), ("quiet", quiet)] {
            let Seen {
                longest, lookups, ..
            } = seen;
            let waits = seen
                .waits
                .map_or_else(|| "?".to_owned(), |waits| waits.to_string());
            println!(
                "  {what:8} longest pauses {longest:9.2?} of {lookups:8} lookups, {waits} waits"
            );
        }
    }
    store.close()?;
    Ok(())
}
