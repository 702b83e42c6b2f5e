//! The index by itself: random keys of 16 bytes, beside a map of the standard library.

use super::count::held_bytes;
use super::{Row, nanos_each, timed};
use crate::args::MicroOptions;
use crate::keys::{Random, key};
use crate::store::{Key, Outcome};
use kv_log_engine::internals::MicroIndex;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// The targets: nanoseconds, nanoseconds, bytes.
const INSERT_NS_MAX: f64 = 600.0;
const LOOKUP_NS_MAX: f64 = 400.0;
const KEY_BYTES_MAX: f64 = 60.0;

/// What is measured of either.
trait Map: Default {
    fn insert(&mut self, key: &[u8], number: u64);
    fn lookup(&self, key: &[u8]) -> Option<u64>;
}

impl Map for MicroIndex {
    fn insert(&mut self, key: &[u8], number: u64) {
        Self::insert(self, key, number);
    }

    fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.get(key)
    }
}

/// Three words: as much as a place in a log and its place in the order of writes.
impl Map for BTreeMap<Vec<u8>, [u64; 3]> {
    fn insert(&mut self, key: &[u8], number: u64) {
        Self::insert(self, key.to_vec(), [number; 3]);
    }

    fn lookup(&self, key: &[u8]) -> Option<u64> {
        self.get(key).map(|entry| entry[0])
    }
}

/// Rounds of insert, lookup, overwrite and memory.
#[derive(Default)]
struct Figures {
    insert_ns: Vec<f64>,
    lookup_ns: Vec<f64>,
    overwrite_ns: Vec<f64>,
    key_bytes: Vec<f64>,
}

pub(super) fn measure(options: &MicroOptions, _directory: &TempDir) -> Outcome<Vec<Row>> {
    let keys: Vec<Key> = (0..options.keys).map(|number| key(0, number)).collect();
    let mut order: Vec<u64> = (0..options.keys).collect();
    Random::new(2).shuffle(&mut order);
    // Copied, so that the wanted keys themselves are read one behind the other.
    let wanted: Vec<(Key, u64)> = order
        .iter()
        .map(|number| (key(0, *number), *number))
        .collect();
    let (mut own, mut other) = (Figures::default(), Figures::default());
    for _round in 0..options.rounds {
        run::<MicroIndex>(&keys, &wanted, &mut own)?;
        run::<BTreeMap<Vec<u8>, [u64; 3]>>(&keys, &wanted, &mut other)?;
    }
    let beside = "BTreeMap<Vec<u8>, _>";
    Ok(vec![
        Row::new("index: insert", "ns", own.insert_ns)
            .beside(beside, other.insert_ns)
            .at_most(INSERT_NS_MAX),
        Row::new("index: lookup", "ns", own.lookup_ns)
            .beside(beside, other.lookup_ns)
            .at_most(LOOKUP_NS_MAX),
        Row::new("index: overwrite", "ns", own.overwrite_ns).beside(beside, other.overwrite_ns),
        Row::new("index: memory", "bytes a key", own.key_bytes)
            .beside(beside, other.key_bytes)
            .at_most(KEY_BYTES_MAX),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
fn run<M: Map>(keys: &[Key], wanted: &[(Key, u64)], figures: &mut Figures) -> Outcome {
    let count = keys.len() as u64;
    let before = held_bytes();
    let mut map = M::default();
    let (inserting, ()) = timed(|| {
        for (number, key) in (0..).zip(keys) {
            map.insert(key, number);
        }
    });
    let held = held_bytes() - before;
    let (looking, found) = timed(|| {
        let found = wanted
            .iter()
            .filter(|(key, number)| map.lookup(key) == Some(*number));
        found.count() as u64
    });
    if found != count {
        return Err("a key is missing in the index".into());
    }
    let (overwriting, ()) = timed(|| {
        for (key, number) in wanted {
            map.insert(key, *number);
        }
    });
    figures.insert_ns.push(nanos_each(inserting, count));
    figures.lookup_ns.push(nanos_each(looking, count));
    figures.overwrite_ns.push(nanos_each(overwriting, count));
    figures.key_bytes.push(held as f64 / count as f64);
    Ok(())
}
