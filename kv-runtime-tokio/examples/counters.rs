//! Counters that a hundred tasks raise at once, without a lock of their own.
//!
//! `cargo run --release -p kv-runtime-tokio --example counters [STORE]`
#![expect(clippy::print_stdout, reason = "what it is for")]

use kv_runtime_tokio::{KVLog, Result};
use std::path::Path;
use tokio::task::JoinSet;

const TASKS: u64 = 100;
const TIMES: u64 = 100;
const PAGES: [&str; 4] = ["/", "/about", "/login", "/search"];

/// What the counter shows then, on disk when this returns. Each call counts once, whoever else counts; those that wait at the
/// same time are one write.
async fn raise(counters: &KVLog<String, u64>, name: &str) -> Result<u64> {
    let raised = counters.update(name, |count| Some(count.unwrap_or(0) + 1));
    Ok(raised.await?.unwrap_or(0))
}

/// One task counts what it serves; what it was told never goes back.
async fn serve(counters: KVLog<String, u64>) -> Result<()> {
    let mut shown = [0; PAGES.len()];
    for _ in 0..TIMES / PAGES.len() as u64 {
        for (page, shown) in PAGES.iter().zip(&mut shown) {
            let raised = raise(&counters, page).await?;
            assert!(raised > *shown);
            *shown = raised;
        }
    }
    Ok(())
}

async fn total(counters: &KVLog<String, u64>) -> Result<u64> {
    let all = counters.range(..).collect().await?;
    Ok(all.iter().map(|(_, count)| count).sum())
}

pub(crate) async fn run(path: &Path) -> Result<()> {
    let counters: KVLog<String, u64> = KVLog::load(path).await?;
    let before = total(&counters).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(serve(counters.clone()));
    }
    for end in tasks.join_all().await {
        end?;
    }
    drop(counters);

    let counters: KVLog<String, u64> = KVLog::load(path).await?;
    for (page, count) in counters.range(..).collect().await? {
        println!("{count:>6} {page}");
    }
    assert_eq!(total(&counters).await? - before, TASKS * TIMES);
    counters.close().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1);
    run(Path::new(&path.unwrap_or_else(|| "counters.kv".into()))).await
}
