//! The merge of many sources against plain maps: newest wins, both ways, around holes, through failing reads.

use super::run::testing::{TINY, entry, header, live, open_with, path, run};
use crate::format::ids::LevelId;
use crate::format::run::footer::Hole;
use crate::format::run::full_key;
use crate::index::cache::PieceCache;
use crate::index::merge::{Merge, Merged, Yield};
use crate::index::run::level::Level;
use crate::index::run::reader::RunReader;
use crate::index::run::writer::RunWriter;
use crate::index::source::{Chunk, Direction, Entry, Filled, Interval, Item, Source};
use crate::storage::sim::{EIO, Fault, FaultKind, OpKind, SimDisk};
use crate::storage::{OpenMode, Storage};
use kv_trait::{ErrorKind, Result};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// A source of given items: what a memtable will be.
struct Listed(VecDeque<Item>);

impl Source for Listed {
    fn fill(&mut self, chunk: &mut Chunk, enough: usize) -> Result<Filled> {
        for _ in 0..enough {
            match self.0.pop_front() {
                Some(Item::Entry(entry)) => {
                    chunk.push_copy(&entry.key, &super::run::testing::borrowed(&entry.version));
                }
                Some(Item::Hole(hole)) if chunk.is_empty() => return Ok(Filled::Hole(hole)),
                Some(hole) => {
                    self.0.push_front(hole);
                    break;
                }
                None => break,
            }
        }
        Ok(if chunk.is_empty() {
            Filled::End
        } else {
            Filled::Entries
        })
    }
}

fn listed(items: impl IntoIterator<Item = Item>) -> Box<dyn Source> {
    Box::new(Listed(items.into_iter().collect()))
}

fn drain(mut merge: Merge) -> Vec<Merged> {
    let mut all = Vec::new();
    while let Some(merged) = merge.next().unwrap() {
        all.push(merged);
    }
    all
}

fn entries(merged: &[Merged]) -> Vec<Entry> {
    let entries = merged.iter().filter_map(|merged| match &merged.item {
        Item::Entry(entry) => Some(entry.clone()),
        Item::Hole(_) => None,
    });
    entries.collect()
}

/// Layers, the newest first; `None` is a tombstone. Seqnos fall with age.
type Layers = Vec<BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

fn layer_entries(layers: &Layers, age: usize) -> Vec<Entry> {
    let base = (layers.len() - age) as u64 * 1000;
    let numbered = layers[age].iter().zip(base..);
    numbered
        .map(|((key, value), seqno)| entry(key, seqno, value.as_deref()))
        .collect()
}

fn layers() -> impl Strategy<Value = Layers> {
    // The walk compares first bytes first: some keys have more in common than it takes.
    let front = prop_oneof![3 => Just(0), 1 => Just(11_usize), 1 => Just(20)];
    let tail = vec(
        prop_oneof![Just(0), Just(b'a'), Just(b'b'), Just(b'c')],
        0..4,
    );
    let key = (front, tail).prop_map(|(front, tail)| [vec![b'b'; front], tail].concat());
    let value = prop_oneof![3 => vec(any::<u8>(), 0..20).prop_map(Some), 1 => Just(None)];
    vec(btree_map(key, value, 1..30), 1..6)
}

fn bounds() -> impl Strategy<Value = (Bound<Vec<u8>>, Bound<Vec<u8>>)> {
    let bound = || {
        let key = vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'c')], 0..4);
        (0..3, key).prop_map(|(kind, key)| match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(full_key(0, &key)),
            _ => Bound::Excluded(full_key(0, &key)),
        })
    };
    (bound(), bound())
}

proptest! {
    #[test]
    fn the_newest_version_of_each_key_is_yielded_in_order(layers in layers(), (lower, upper) in bounds()) {
        let runs: Vec<Arc<RunReader>> = (0..layers.len())
            .map(|age| run(age as u64 + 1, &layer_entries(&layers, age), TINY))
            .collect();
        let interval = Interval { lower, upper };
        let inside = |entry: &Entry| !interval.is_above(&entry.key) && !interval.is_below(&entry.key);
        let mut newest: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        let mut every = Vec::new();
        for age in 0..layers.len() {
            for entry in layer_entries(&layers, age).into_iter().filter(inside) {
                every.push((age, entry.clone()));
                newest.entry(entry.key.clone()).or_insert(entry);
            }
        }
        let newest: Vec<Entry> = newest.into_values().collect();
        let live: Vec<Entry> = newest.iter().filter(|entry| !entry.version.is_tombstone()).cloned().collect();
        for direction in [Direction::Forward, Direction::Backward] {
            let merge = |wanted| {
                // The newest layer as what a memtable yields, the others as runs.
                let mut first = layer_entries(&layers, 0);
                first.retain(inside);
                if direction == Direction::Backward {
                    first.reverse();
                }
                let first = listed(first.into_iter().map(Item::Entry));
                let others = runs[1..].iter().map(|run| -> Box<dyn Source> {
                    Box::new(run.range(interval.clone(), direction))
                });
                drain(Merge::new(std::iter::once(first).chain(others), direction, wanted))
            };
            let turned = |mut entries: Vec<Entry>| {
                if direction == Direction::Backward {
                    entries.reverse();
                }
                entries
            };
            prop_assert_eq!(entries(&merge(Yield::Newest)), turned(newest.clone()));
            prop_assert_eq!(entries(&merge(Yield::Live(0))), turned(live.clone()));
            let mut sorted = every.clone();
            sorted.sort_by(|a, b| {
                let keys = a.1.key.cmp(&b.1.key);
                let keys = if direction == Direction::Backward { keys.reverse() } else { keys };
                keys.then(a.0.cmp(&b.0))
            });
            let all: Vec<_> = merge(Yield::All).into_iter().map(|merged| match merged.item {
                Item::Entry(entry) => (merged.age, entry),
                Item::Hole(hole) => panic!("{hole:?}"),
            }).collect();
            prop_assert_eq!(all, sorted);
        }
    }

    /// A level of runs, each cut to an interval, says what its entries there say.
    #[test]
    fn a_level_is_its_runs_within_their_intervals(
        layers in layers(),
        cuts in proptest::collection::btree_set("[abc]{1,3}", 1..5),
        (lower, upper) in bounds(),
        asked in vec("[abc]{0,3}", 1..20),
    ) {
        // Run number n answers for the keys between two cuts, whatever else it holds.
        let mut cuts: Vec<Vec<u8>> = cuts.iter().map(|cut| full_key(0, cut.as_bytes())).collect();
        cuts.insert(0, full_key(0, b""));
        let mut lives = Vec::new();
        let mut expected = Vec::new();
        for (at, from) in cuts.iter().enumerate() {
            let to = cuts.get(at + 1).cloned();
            let age = at % layers.len();
            let kept = layer_entries(&layers, age).into_iter().filter(|entry| {
                entry.key >= *from && to.as_ref().is_none_or(|to| entry.key < *to)
            });
            expected.extend(kept);
            let run = run(at as u64 + 1, &layer_entries(&layers, age), TINY);
            lives.push(live(&run, from, to.as_deref()));
        }
        let level = Level::new(LevelId(1), lives);
        for key in asked.iter().map(|key| full_key(0, key.as_bytes())) {
            let found = level.get(&key, super::run::testing::hash(&key), crate::format::ids::Seqno::ZERO).unwrap();
            let known = expected.iter().find(|entry| entry.key == key);
            prop_assert_eq!(found, known.map(|entry| entry.version.clone()));
        }
        let interval = Interval { lower, upper };
        expected.retain(|entry| !interval.is_above(&entry.key) && !interval.is_below(&entry.key));
        for direction in [Direction::Forward, Direction::Backward] {
            let source: [Box<dyn Source>; 1] = [Box::new(level.range(&interval, direction))];
            let found = entries(&drain(Merge::new(source, direction, Yield::Newest)));
            prop_assert_eq!(&found, &expected);
            expected.reverse();
        }
    }

    /// A hole of one layer hides older layers there, and nothing of newer ones, nor anything outside.
    #[test]
    fn a_hole_hides_what_is_older_and_nothing_else(
        layers in layers(), age in any::<prop::sample::Index>(), bounds in btree_map("[abc]{1,3}", any::<bool>(), 2..3),
    ) {
        let age = age.index(layers.len());
        let mut keys = bounds.keys().map(|key| full_key(0, key.as_bytes()));
        let (from, to) = (keys.next().unwrap(), keys.next().unwrap());
        let hole = Hole { from, to, cause: "lost".into() };
        let mut expected: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        for at in 0..layers.len() {
            for entry in layer_entries(&layers, at) {
                if at < age || !hole.covers(&entry.key) {
                    expected.entry(entry.key.clone()).or_insert(entry);
                }
            }
        }
        let expected: Vec<Entry> = expected.into_values().collect();
        for direction in [Direction::Forward, Direction::Backward] {
            let sources = (0..layers.len()).map(|at| {
                let entries = layer_entries(&layers, at);
                // Entries of the layer itself that lie in its hole are what was lost.
                let kept = entries.into_iter().filter(|entry| at != age || !hole.covers(&entry.key));
                let mut items: Vec<Item> = kept.map(Item::Entry).collect();
                if at == age {
                    items.push(Item::Hole(hole.clone()));
                }
                items.sort_by(|a, b| direction.order(a, b));
                listed(items)
            });
            let merged = drain(Merge::new(sources, direction, Yield::Newest));
            let mut found = entries(&merged);
            if direction == Direction::Backward {
                found.reverse();
            }
            prop_assert_eq!(&found, &expected);
            let holes: Vec<_> = merged.iter().filter(|merged| matches!(merged.item, Item::Hole(_))).collect();
            prop_assert_eq!(holes.len(), 1);
            prop_assert_eq!(holes[0].age, age);
        }
    }
}

/// What a merge passes on is what a run of its output says: a hole goes through, and newer entries in it hold.
#[test]
fn a_hole_goes_through_a_merge_into_the_next_run() {
    let old: Vec<Entry> = (0..40_u64)
        .map(|at| {
            entry(
                format!("key-{at:02}").as_bytes(),
                at + 1,
                Some(b"an old value"),
            )
        })
        .collect();
    let disk = SimDisk::new();
    super::run::testing::write(&disk, 1, &old, TINY).unwrap();
    let file = disk.open(&path(1), OpenMode::ReadWrite).unwrap();
    file.write_at(&[0xa5], 400).unwrap(); // in one of the first blocks
    let cache = PieceCache::new(1 << 20);
    let older = open_with(&disk, 1, &cache).unwrap();
    let lost: Vec<&Entry> = old
        .iter()
        .filter(|entry| {
            older
                .get(&entry.key, super::run::testing::hash(&entry.key))
                .is_err()
        })
        .collect();
    assert!(lost.len() > 2 && lost.len() < 20);
    let rescued = entry(&lost[1].key[4..], 1000, Some(b"new"));
    let newer = run(2, std::slice::from_ref(&rescued), TINY);
    let sources = [&newer, &older]
        .map(|run| -> Box<dyn Source> { Box::new(run.range(Interval::ALL, Direction::Forward)) });
    let mut merge = Merge::new(sources, Direction::Forward, Yield::Newest);
    let file = disk.open(&path(3), OpenMode::CreateNew).unwrap();
    let mut writer = RunWriter::create(file, path(3), header(3), TINY).unwrap();
    while let Some(merged) = merge.next().unwrap() {
        match merged.item {
            Item::Entry(entry) => writer
                .push(&entry.key, &super::run::testing::borrowed(&entry.version))
                .unwrap(),
            Item::Hole(hole) => writer.push_hole(hole),
        }
    }
    writer.finish().unwrap();
    let output = open_with(&disk, 3, &cache).unwrap();
    for entry in &old {
        let found = output.get(&entry.key, super::run::testing::hash(&entry.key));
        if entry.key == rescued.key {
            assert_eq!(found.unwrap().as_ref(), Some(&rescued.version));
        } else if lost.iter().any(|lost| lost.key == entry.key) {
            let error = found.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("/00000001.run"), "{error}");
        } else {
            assert_eq!(found.unwrap().as_ref(), Some(&entry.version));
        }
    }
}

/// A hole of a run that is cut to an interval hides nothing outside of it.
#[test]
fn a_hole_does_not_reach_beyond_the_interval_that_is_live() {
    let all: Vec<Entry> = (0..40_u64)
        .map(|at| {
            entry(
                format!("key-{at:02}").as_bytes(),
                at + 1,
                Some(b"some value"),
            )
        })
        .collect();
    let disk = SimDisk::new();
    super::run::testing::write(&disk, 1, &all, TINY).unwrap();
    let file = disk.open(&path(1), OpenMode::ReadWrite).unwrap();
    file.write_at(&[0xa5], 150).unwrap(); // in the first block
    let damaged = super::run::testing::open(&disk, 1).unwrap();
    let whole = run(2, &all, TINY);
    let cut = all[1].key.clone();
    let lives = vec![live(&whole, b"", Some(&cut)), live(&damaged, &cut, None)];
    let level = Level::new(LevelId(1), lives);
    let get = |entry: &Entry| {
        level.get(
            &entry.key,
            super::run::testing::hash(&entry.key),
            crate::format::ids::Seqno::ZERO,
        )
    };
    assert_eq!(get(&all[0]).unwrap().as_ref(), Some(&all[0].version));
    assert!(get(&all[1]).is_err());
    for direction in [Direction::Forward, Direction::Backward] {
        let source: [Box<dyn Source>; 1] = [Box::new(level.range(&Interval::ALL, direction))];
        let merged = drain(Merge::new(source, direction, Yield::Newest));
        let holes: Vec<_> = merged
            .iter()
            .filter_map(|merged| match &merged.item {
                Item::Hole(hole) => Some(hole),
                Item::Entry(_) => None,
            })
            .collect();
        assert_eq!((holes.len(), &holes[0].from), (1, &cut));
        assert!(entries(&merged).contains(&all[0]));
    }
}

/// A source that cannot be read now is asked again: nothing is passed over.
#[test]
fn a_merge_goes_on_behind_a_read_that_failed() {
    let disk = SimDisk::new();
    let even: Vec<Entry> = (0..30_u64)
        .map(|at| {
            entry(
                format!("{:02}", at * 2).as_bytes(),
                at + 1,
                Some(b"an even value"),
            )
        })
        .collect();
    let odd: Vec<Entry> = (0..30_u64)
        .map(|at| entry(format!("{:02}", at * 2 + 1).as_bytes(), at + 101, None))
        .collect();
    super::run::testing::write(&disk, 1, &even, TINY).unwrap();
    super::run::testing::write(&disk, 2, &odd, TINY).unwrap();
    let mut expected = [even, odd].concat();
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    for call in 0..20 {
        let runs = [2, 1].map(|id| super::run::testing::open(&disk, id).unwrap());
        disk.inject(
            Fault::new(FaultKind::Errno(EIO))
                .on(OpKind::Read)
                .skip(call)
                .times(2),
        );
        let sources = runs.iter().map(|run| -> Box<dyn Source> {
            Box::new(run.range(Interval::ALL, Direction::Forward))
        });
        let mut merge = Merge::new(sources, Direction::Forward, Yield::Newest);
        let (mut found, mut failures) = (Vec::new(), 0);
        loop {
            match merge.next() {
                Ok(Some(merged)) => found.push(merged),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io);
                    failures += 1;
                }
            }
        }
        disk.clear_faults();
        assert_eq!(entries(&found), expected, "{failures} failures");
    }
}

/// Layers out of order are noticed where debug assertions are on.
#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "an older layer has a newer version")]
fn layers_in_the_wrong_order_are_noticed() {
    use crate::format::ids::Seqno;
    use crate::format::run::block::{Held, Version};

    let version = |seqno| Version {
        seqno: Seqno::new(seqno),
        expiry_ms: None,
        held: Held::Tombstone,
    };
    let one = |seqno| {
        let key = full_key(0, b"key");
        listed([Item::Entry(Entry {
            key,
            version: version(seqno),
        })])
    };
    drain(Merge::new(
        [one(1), one(2)],
        Direction::Forward,
        Yield::Newest,
    ));
}
