//! How long one poll of a write or a read keeps its executor from everything else, for large values.
//!
//! `cargo run --release -p kv-runtime-tokio --example longest_poll [MEBIBYTES] [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "what it is for")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use kv_runtime_tokio::{Codec, KVLog, Postcard, Raw};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

/// The longest poll, and all of it together.
async fn watched<T>(future: impl Future<Output = T>) -> (T, Duration, Duration) {
    let mut future = pin!(future);
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let answer = poll_fn(|cx| {
        let polled = Instant::now();
        let poll = future.as_mut().poll(cx);
        longest = longest.max(polled.elapsed());
        poll
    })
    .await;
    (answer, longest, begun.elapsed())
}

/// The medians of the longest poll and of the whole call.
fn median(mut times: Vec<(Duration, Duration)>) -> String {
    times.sort_unstable();
    let (longest, _) = times[times.len() / 2];
    times.sort_unstable_by_key(|(_, whole)| *whole);
    let (_, whole) = times[times.len() / 2];
    format!(
        "{:>9.3} ms of {:>7.1} ms",
        longest.as_secs_f64() * 1e3,
        whole.as_secs_f64() * 1e3
    )
}

async fn measure<C: Codec<Vec<u8>>>(
    name: &str,
    directory: &str,
    bytes: usize,
) -> kv_runtime_tokio::Result<()> {
    let path = format!("{directory}/longest_poll-{}-{name}.kv", std::process::id());
    let store: KVLog<String, Vec<u8>, C> = KVLog::load(&path).await?;
    let value: Vec<u8> = (0..=250).cycle().take(bytes).collect();
    let (mut puts, mut owned_puts, mut gets) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (put, longest, whole) = watched(store.put("k", &value)).await;
        put?;
        puts.push((longest, whole));
        let owned = value.clone();
        let (put, longest, whole) = watched(store.put_owned("k", owned)).await;
        put?;
        owned_puts.push((longest, whole));
        let (found, longest, whole) = watched(store.get("k")).await;
        assert!(found?.is_some_and(|found| found == value));
        gets.push((longest, whole));
    }
    println!("{name:>9} put       {}", median(puts));
    println!("{name:>9} put_owned {}", median(owned_puts));
    println!("{name:>9} get       {}", median(gets));
    store.close().await?;
    if let Err(error) = std::fs::remove_dir_all(&path) {
        println!("cannot remove {path}: {error}");
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mebibytes: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let directory = arguments.next().unwrap_or_else(|| "/tmp".to_owned());
    println!("the longest poll, of the whole call; values of {mebibytes} MiB; medians of {ROUNDS}");
    measure::<Postcard>("postcard", &directory, mebibytes << 20).await?;
    measure::<Raw>("raw", &directory, mebibytes << 20).await?;
    Ok(())
}
