//! Frames in memory: what a caller encodes and a recovery walks, without a file.

use super::{Row, megabytes_a_second, nanos_each, timed};
use crate::args::MicroOptions;
use crate::keys::Values;
use crate::store::{Outcome, Record};
use kv_log_engine::internals::MicroLog;
use tempfile::TempDir;

/// Records that are encoded in a round.
const RECORDS: u64 = 100_000;

pub(super) fn measure(options: &MicroOptions, _directory: &TempDir) -> Outcome<Vec<Row>> {
    let values = Values::new(100);
    let records: Vec<Record> = (0..RECORDS)
        .map(|number| values.record(0, number))
        .collect();
    let mut rows = Vec::new();
    for (batch_records, name) in [(1, "batches of 1"), (1000, "batches of 1,000")] {
        let (mut encoded, mut walked) = (Vec::new(), Vec::new());
        for _round in 0..options.rounds {
            let mut log = MicroLog::new();
            let (encoding, ()) = timed(|| {
                for batch in records.chunks(batch_records) {
                    log.append(batch.iter().map(|(key, value)| (&key[..], &value[..])));
                }
            });
            let mut count = 0;
            let (walking, done) = timed(|| log.walk(|_key, _value| count += 1));
            done?;
            if count != RECORDS {
                return Err("the walk has missed records".into());
            }
            encoded.push(nanos_each(encoding, RECORDS));
            walked.push(megabytes_a_second(log.bytes().len() as u64, walking));
        }
        rows.push(Row::new(
            format!("frame: encode and sum a record of 116 bytes, {name}"),
            "ns",
            encoded,
        ));
        rows.push(Row::new(
            format!("frame: walk and verify, {name}"),
            "MB/s",
            walked,
        ));
    }
    Ok(rows)
}
