//! What scans cost: processor time of a record in a walk over all of them, both ways, of one in a range of 300 from a random
//! key on, and of the last key; with everything in runs, and with a tenth of the keys written again since. And that of a
//! record loaded in a batch of 1,000.
//!
//! ```sh
//! cargo run --release -p kv-log-engine --example scan_cost -- 1000000 [DIRECTORY]
//! ```
//!
//! Keys are 16 random bytes, values 100.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and prints"
)]

use kv_log_engine::{Batch, Engine, Options};
use std::error::Error;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::time::Instant;

const RANGES: u64 = 2_000;
const ROWS: usize = 300;

/// A sequence that is the same in each run (splitmix64).
fn random(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn key(number: u64) -> Vec<u8> {
    let words = [random(number), random(!number)];
    words.map(u64::to_be_bytes).concat()
}

/// Nanoseconds that this thread has had a processor for: what else the machine does counts less. Only Linux says them; elsewhere
/// those since `start`.
fn processor_time(start: Instant) -> u128 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = said.and_then(|said| said.split(' ').next()?.parse().ok());
    nanos.unwrap_or_else(|| start.elapsed().as_nanos())
}

/// Prints nanoseconds of the processor for each of the operations that `work` counts.
fn time(name: &str, work: impl FnOnce() -> kv_trait::Result<u64>) -> kv_trait::Result<()> {
    let start = Instant::now();
    let before = processor_time(start);
    let count = work()?;
    let nanos = processor_time(start) - before;
    println!("{name:>40} {:>8} ns", nanos / u128::from(count.max(1)));
    Ok(())
}

fn load(store: &Engine, numbers: impl Iterator<Item = u64>) -> kv_trait::Result<u64> {
    let (mut batch, mut count) = (Batch::new(), 0);
    for number in numbers {
        batch.put(&key(number), &[number.to_le_bytes()[0]; 100])?;
        count += 1;
        if count % 1000 == 0 {
            store.write(std::mem::take(&mut batch))?;
        }
    }
    store.write(batch)?;
    Ok(count)
}

fn scans(store: &Engine, keys: u64, state: &str) -> kv_trait::Result<()> {
    for _ in 0..3 {
        time(&format!("{state}: all"), || {
            store
                .scan(..)?
                .try_fold(0, |count, row| row.map(|_| count + 1))
        })?;
    }
    time(&format!("{state}: all, backwards"), || {
        let mut rows = store.scan(..)?.rev();
        rows.try_fold(0, |count, row| row.map(|_| count + 1))
    })?;
    time(&format!("{state}: all, keys only"), || {
        let (mut scan, mut count) = (store.scan(..)?, 0);
        while scan.next_key().transpose()?.is_some() {
            count += 1;
        }
        Ok(count)
    })?;
    time(&format!("{state}: {ROWS} from a key on, each row"), || {
        let mut count = 0;
        for range in 0..RANGES {
            let from = key(random(range) % keys);
            for row in store
                .scan((Bound::Included(&*from), Bound::Unbounded))?
                .take(ROWS)
            {
                row?;
                count += 1;
            }
        }
        Ok(count)
    })?;
    time(&format!("{state}: the last key"), || {
        for _ in 0..RANGES {
            store.scan(..)?.next_back().transpose()?;
        }
        Ok(RANGES)
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments
        .next()
        .map_or(Ok(1_000_000), |keys| keys.parse())?;
    let place = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = place.join(format!("scan-cost-{}", std::process::id()));
    let store = Engine::open(&directory, Options::new())?;
    time("load", || load(&store, 0..keys))?;
    store.compact(|_| ControlFlow::Continue(()))?;
    scans(&store, keys, "runs")?;
    load(&store, (0..keys).step_by(10))?;
    scans(&store, keys, "a tenth written again")?;
    store.close()?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
