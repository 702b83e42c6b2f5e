//! How fast an open reads a log: whole [`Engine::open`]s of a store of so many records of 116 bytes (keys of 16 in random
//! order, values of 76), from a warm page cache.
//!
//! ```sh
//! cargo run --release -p kv-log-engine --example open_cost -- 1000000 [DIRECTORY]
//! ```
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and prints"
)]

use kv_log_engine::{Batch, Engine, Options};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const OPENS: usize = 5;

fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&scattered.to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

fn fill(directory: &Path, records: u64, batch_records: u64) -> Result<u64, Box<dyn Error>> {
    let store = Engine::open(directory, Options::new())?;
    let mut submitted = Vec::new();
    for first in (0..records).step_by(usize::try_from(batch_records)?) {
        let mut batch = Batch::new();
        for number in first..records.min(first + batch_records) {
            batch.put(&key(number), &[7; 76])?;
        }
        submitted.push(store.submit(batch)?);
        if submitted.len() >= 10_000 {
            submitted
                .drain(..)
                .try_for_each(|one| one.wait().map(drop))?;
        }
    }
    submitted
        .into_iter()
        .try_for_each(|one| one.wait().map(drop))?;
    let bytes = store
        .stats()
        .segments
        .iter()
        .map(|segment| segment.bytes)
        .sum();
    store.close()?;
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments
        .next()
        .map_or(Ok(1_000_000), |count| count.parse())?;
    let temporary = tempfile::tempdir_in(arguments.next().unwrap_or_else(|| ".".to_owned()))?;
    for batch_records in [1, 10, 1_000] {
        let directory = temporary.path().join(batch_records.to_string());
        let bytes = fill(&directory, records, batch_records)?;
        let mut fastest = Duration::MAX;
        for _ in 0..OPENS {
            let start = Instant::now();
            let store = Engine::open(&directory, Options::new())?;
            fastest = fastest.min(start.elapsed());
            assert_eq!(store.stats().live_keys, records);
            store.close()?;
        }
        let seconds = fastest.as_secs_f64();
        println!(
            "batches of {batch_records:4}: {:4.0} MB in {seconds:.3} s: {:4.0} MB/s, {:4.0} ns a record",
            bytes as f64 / 1e6,
            bytes as f64 / 1e6 / seconds,
            seconds * 1e9 / records as f64,
        );
    }
    Ok(())
}
