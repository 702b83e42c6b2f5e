//! The replay of a log by an open, with the log in the page cache.

use super::{Row, megabytes_a_second, timed};
use crate::args::MicroOptions;
use crate::keys::Values;
use crate::store::Outcome;
use crate::system::disk_bytes;
use kv_log_engine::{Batch, Engine, Options};
use std::path::Path;
use tempfile::TempDir;

/// Megabytes of keys and values a second.
const REPLAY_MIN: f64 = 200.0;
/// Batches that wait for one another.
const IN_FLIGHT: usize = 10_000;
const RECORD_BYTES: u64 = 116;

pub(super) fn measure(options: &MicroOptions, directory: &TempDir) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (batch_records, name) in [(1000, "batches of 1,000"), (1, "batches of 1")] {
        let path = directory.path().join(format!("replay-{batch_records}"));
        fill(&path, options.keys, batch_records)?;
        let (mut rates, mut log_rates) = (Vec::new(), Vec::new());
        for round in 0..=options.rounds {
            let (time, opened) = timed(|| Engine::open(&path, Options::new()));
            let store = opened?;
            if store.stats().live_keys != options.keys {
                return Err("the replay has missed records".into());
            }
            if round > 0 {
                // The first one warms the page cache.
                rates.push(megabytes_a_second(options.keys * RECORD_BYTES, time));
                log_rates.push(megabytes_a_second(disk_bytes(&path)?, time));
            }
            store.close()?;
        }
        let row = Row::new(
            format!("replay: keys and values of 116 bytes, {name}"),
            "MB/s",
            rates,
        );
        rows.push(row.at_least(REPLAY_MIN));
        rows.push(Row::new(
            format!("replay: the same by blocks of the log, {name}"),
            "MB/s",
            log_rates,
        ));
        std::fs::remove_dir_all(&path)?;
    }
    Ok(rows)
}

fn fill(path: &Path, keys: u64, batch_records: u64) -> Outcome {
    let store = Engine::open(path, Options::new())?;
    let values = Values::new(100);
    let mut batch = Batch::new();
    let mut submitted = Vec::new();
    for number in 0..keys {
        let (key, value) = values.record(0, number);
        batch.put(&key, &value)?;
        if batch.len() as u64 == batch_records || number + 1 == keys {
            submitted.push(store.submit(std::mem::take(&mut batch))?);
        }
        if submitted.len() == IN_FLIGHT || number + 1 == keys {
            for one in submitted.drain(..) {
                one.wait()?;
            }
        }
    }
    Ok(store.close()?)
}
