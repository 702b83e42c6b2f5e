//! What sorted runs cost, with and without compression, for values that compress and values that do not: processor time of
//! an entry that is written (and MB/s as they passed, syncs included), of a lookup from memory and from the page cache, of
//! a key that is not there, of an entry in a walk over four runs and in their merge; and the bytes of an entry in a file.
//!
//! ```sh
//! cargo run --release -p kv-log-engine --features internals --example run_cost -- 250000 [DIRECTORY]
//! ```
//!
//! Keys are of 16 bytes, values of about 100; the four runs share the range of keys, every fourth each.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and prints"
)]

use kv_log_engine::internals::MicroRuns;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const RUNS: u64 = 4;
const LOOKUPS: u64 = 200_000;
const AMPLE: u64 = 1 << 30;

/// A sequence that is the same in each run (splitmix64).
fn random(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn key(number: u64) -> Vec<u8> {
    format!("user:{number:011}").into_bytes()
}

fn json(number: u64) -> Vec<u8> {
    let (a, b) = (random(number), random(!number));
    format!(
        r#"{{"id":{number},"name":"user {}","email":"u{}@example.org","age":{},"active":{},"score":{}.5}}"#,
        a % 100_000,
        a % 1_000_000,
        18 + b % 60,
        b % 3 == 0,
        b % 1000,
    )
    .into_bytes()
}

fn noise(number: u64) -> Vec<u8> {
    let words = (0..13).map(|word| random(number * 13 + word).to_le_bytes());
    let mut value = words.collect::<Vec<_>>().concat();
    value.truncate(100);
    value
}

/// Nanoseconds that this thread has had a processor for: what else the machine does counts less. Only Linux says them; elsewhere
/// those since `start`.
fn processor_time(start: Instant) -> u128 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = said.and_then(|said| said.split(' ').next()?.parse().ok());
    nanos.unwrap_or_else(|| start.elapsed().as_nanos())
}

/// Nanoseconds of the processor for each of `count` operations, and what came of them.
fn time<T>(count: u64, work: impl FnOnce() -> T) -> (u128, T) {
    let start = Instant::now();
    let before = processor_time(start);
    let done = work();
    let nanos = processor_time(start) - before;
    (nanos / u128::from(count.max(1)), done)
}

struct Row {
    write: u128,
    megabytes: u128,
    file_bytes: u64,
    memory: u128,
    absent: u128,
    page_cache: u128,
    walk: u128,
    walk_allocations: u64,
    merge: u128,
}

/// Looks random keys up; `step` 1 asks for those that are there, and none is the key of a number between two.
fn look_up(runs: &MicroRuns, keys: u64, there: bool, seed: u64) -> kv_trait::Result<()> {
    for at in 0..LOOKUPS {
        let mut wanted = key(random(seed + at) % keys);
        if !there {
            wanted.push(b'x');
        }
        assert_eq!(black_box(runs.has(&wanted)?), there);
    }
    Ok(())
}

fn measure(
    directory: &Path,
    compress: bool,
    count: u64,
    value: fn(u64) -> Vec<u8>,
) -> Result<Row, Box<dyn Error>> {
    let directory = tempfile::tempdir_in(directory)?;
    let mut runs = MicroRuns::new(directory.path().to_path_buf(), compress, AMPLE);
    let (mut write, mut file_bytes, mut content, mut elapsed) = (0, 0, 0, 0);
    for run in 0..RUNS {
        let numbers = (0..count).map(|at| at * RUNS + run);
        let entries: Vec<_> = numbers.map(|number| (key(number), value(number))).collect();
        content += entries
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>();
        let borrowed = entries.iter().map(|(key, value)| (&**key, &**value));
        let start = Instant::now();
        let (nanos, bytes) = time(count, || runs.write(borrowed));
        elapsed += start.elapsed().as_nanos();
        write += nanos / u128::from(RUNS);
        file_bytes += bytes?;
    }
    let all = count * RUNS;
    // The newest run alone, so that a lookup costs one filter, one fence and one block.
    let mut one = MicroRuns::new(directory.path().join("one"), compress, AMPLE);
    std::fs::create_dir(directory.path().join("one"))?;
    let entries: Vec<_> = (0..count)
        .map(|number| (key(number), value(number)))
        .collect();
    one.write(entries.iter().map(|(key, value)| (&**key, &**value)))?;
    drop(entries);
    look_up(&one, count, true, 1)?;
    one.walk()?;
    let (memory, looked) = time(LOOKUPS, || look_up(&one, count, true, 1));
    looked?;
    let (absent, looked) = time(LOOKUPS, || look_up(&one, count, false, 1));
    looked?;
    one.set_cache_bytes(1 << 20);
    let (page_cache, looked) = time(LOOKUPS, || look_up(&one, count, true, 7));
    looked?;
    runs.set_cache_bytes(1 << 20);
    let (walk, walked) = time(all, || runs.walk());
    assert_eq!(walked?, all);
    let allocated = allocation_counter::measure(|| {
        assert!(runs.walk().is_ok());
    });
    let (merge, merged) = time(all, || runs.merge());
    let (entries, _) = merged?;
    assert_eq!(entries, all);
    Ok(Row {
        write,
        megabytes: content as u128 * 1000 / elapsed,
        file_bytes: file_bytes / all,
        memory,
        absent,
        page_cache,
        walk,
        walk_allocations: allocated.count_total * 100 / all,
        merge,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments
        .next()
        .map_or(Ok(250_000), |count| count.parse())?;
    let directory = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    println!("{RUNS} runs of {count} entries");
    println!(
        "values  codec   write ns (MB/s)  file bytes  memory ns  absent ns  page cache ns  walk ns (allocations)  merge ns"
    );
    for (name, value) in [("json", json as fn(u64) -> Vec<u8>), ("noise", noise)] {
        for compress in [false, true] {
            let row = measure(&directory, compress, count, value)?;
            let codec = if compress { "lz4" } else { "none" };
            println!(
                "{name:7} {codec:6} {:9} ({:4})  {:10}  {:9}  {:9}  {:13}  {:7} ({}.{:02})        {:8}",
                row.write,
                row.megabytes,
                row.file_bytes,
                row.memory,
                row.absent,
                row.page_cache,
                row.walk,
                row.walk_allocations / 100,
                row.walk_allocations % 100,
                row.merge,
            );
        }
    }
    Ok(())
}
