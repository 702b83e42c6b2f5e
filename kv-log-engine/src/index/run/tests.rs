//! Runs against a plain map: what is written is found, by key and in both directions, at the stated price.

use super::testing::{
    TINY, borrowed, entry, hash, open_with, path, run, sample, verify, write, writer,
};
use super::writer::{HOLES_MAX, RunLayout};
use crate::format::ids::{Location, SegmentId, Seqno};
use crate::format::run::block::{Held, Version};
use crate::format::run::footer::{Expiring, Hole};
use crate::format::run::tests::note;
use crate::format::run::{FULL_KEY_BYTES_MAX, full_key, successor};
use crate::index::cache::PieceCache;
use crate::index::source::{Direction, Entry, Interval, Item, Source};
use crate::storage::sim::SimDisk;
use kv_trait::{ErrorKind, Result};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;

pub(super) fn all(mut source: impl Source) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    while let Some(item) = source.next()? {
        items.push(item);
    }
    Ok(items)
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    let bytes = vec(
        prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(255)],
        0..5,
    );
    (0_u32..2, bytes).prop_map(|(keyspace, key)| full_key(keyspace, &key))
}

fn versions() -> impl Strategy<Value = Version<Vec<u8>>> {
    let held = prop_oneof![
        4 => vec(any::<u8>(), 0..30).prop_map(Held::Here),
        1 => Just(Held::Tombstone),
        2 => (1_u64..4, 80_u64..5000, 24_u32..2000).prop_map(|(segment, offset, record_bytes)| {
            Held::Separated(Location { segment: SegmentId::new(segment), offset, record_bytes })
        }),
    ];
    (1_u64..1000, any::<Option<u64>>(), held).prop_map(|(seqno, expiry_ms, held)| Version {
        seqno: Seqno::new(seqno),
        expiry_ms,
        held,
    })
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        keys().prop_map(Bound::Included),
        keys().prop_map(Bound::Excluded),
    ]
}

fn layouts() -> impl Strategy<Value = RunLayout> {
    (1_usize..200, 1_usize..60, 1_usize..40, any::<bool>()).prop_map(
        |(block, fence, filter, compress)| RunLayout {
            block_bytes: block,
            fence_bytes: fence,
            filter_bytes: filter,
            compress,
            ..TINY
        },
    )
}

proptest! {
    #[test]
    fn a_run_says_what_a_map_says(
        model in btree_map(keys(), versions(), 1..70),
        asked in vec(keys(), 0..20),
        bounds in vec((bound(), bound()), 1..8),
        layout in layouts(),
    ) {
        let entries: Vec<Entry> = model
            .iter()
            .map(|(key, version)| Entry { key: key.clone(), version: version.clone().map(Into::into) })
            .collect();
        let run = run(3, &entries, layout);
        for key in asked.iter().chain(model.keys()) {
            let expected = model.get(key).map(|version| version.clone().map(Into::into));
            prop_assert_eq!(run.get(key, hash(key)).unwrap(), expected);
        }
        for (lower, upper) in bounds.into_iter().chain([(Bound::Unbounded, Bound::Unbounded)]) {
            let interval = Interval { lower, upper };
            let inside = |entry: &&Entry| !interval.is_above(&entry.key) && !interval.is_below(&entry.key);
            let mut expected: Vec<_> = entries.iter().filter(inside).cloned().map(Item::Entry).collect();
            prop_assert_eq!(&all(run.range(interval.clone(), Direction::Forward)).unwrap(), &expected);
            expected.reverse();
            prop_assert_eq!(&all(run.range(interval.clone(), Direction::Backward)).unwrap(), &expected);
        }
        let report = verify(&run).unwrap();
        prop_assert!(report.damage.is_empty(), "{:?}", report.damage);
        prop_assert_eq!(report.entries, model.len() as u64);
        let facts = &run.footer().facts;
        prop_assert_eq!(Some(&facts.smallest), model.keys().next());
        prop_assert_eq!(Some(&facts.largest), model.keys().last());
        let mut referred = BTreeMap::new();
        for version in model.values() {
            if let Held::Separated(location) = version.held {
                *referred.entry(location.segment).or_insert(0) += u64::from(location.record_bytes);
            }
        }
        let said: BTreeMap<_, _> = facts.referred.iter().map(|(id, referred)| (*id, referred.bytes)).collect();
        prop_assert_eq!(said, referred);
        let mut expiring = None;
        model.values().filter_map(|version| version.expiry_ms).for_each(|ms| Expiring::add(&mut expiring, ms));
        prop_assert_eq!(facts.expiring, expiring);
    }
}

#[test]
fn a_tiny_run_has_several_parts_of_several_blocks() {
    let run = run(3, &sample(), TINY);
    let parts = run.footer().parts.len();
    let report = verify(&run).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    assert!(
        parts >= 3 && report.blocks >= 2 * parts as u64,
        "{parts} {}",
        report.blocks
    );
}

/// The stated price of a lookup, over a run of the usual layout: at most 1 block in 100 absent lookups over eight levels,
/// so at most 1 in 800 here, and 1.1 for a present key; here it is exactly 1.
#[test]
fn a_lookup_costs_one_block_if_the_key_is_there_and_almost_none_if_not() {
    const KEYS: u64 = 40_000;
    let key = |at: u64| full_key(0, format!("user/{:08}/name", at * 2).as_bytes());
    let entries: Vec<Entry> = (0..KEYS)
        .map(|at| Entry {
            key: key(at),
            ..entry(b"", at + 1, Some(&[b'v'; 60]))
        })
        .collect();
    let run = run(3, &entries, RunLayout::default());
    let asked = || run.reads.blocks_asked.load(Ordering::Relaxed);
    for at in (0..KEYS).step_by(3) {
        assert!(run.get(&key(at), hash(&key(at))).unwrap().is_some());
    }
    assert_eq!(asked(), KEYS.div_ceil(3));
    let before = asked();
    for at in 0..KEYS {
        let absent = full_key(0, format!("user/{:08}/name", at * 2 + 1).as_bytes());
        assert!(run.get(&absent, hash(&absent)).unwrap().is_none());
    }
    let wasted = asked() - before;
    note(&format!("{wasted} blocks for {KEYS} absent keys"));
    assert!(wasted * 800 < KEYS, "{wasted}");
}

#[test]
fn what_is_in_memory_is_not_read_again_and_the_cache_keeps_to_its_budget() {
    let disk = SimDisk::new();
    write(&disk, 3, &sample(), TINY).unwrap();
    let cache = PieceCache::new(1 << 20);
    let run = open_with(&disk, 3, &cache).unwrap();
    let look = || {
        for entry in sample() {
            assert_eq!(
                run.get(&entry.key, hash(&entry.key)).unwrap(),
                Some(entry.version)
            );
        }
    };
    look();
    let read = run.reads.pieces_read.load(Ordering::Relaxed);
    assert!(read > 0 && cache.bytes() > 0);
    look();
    assert_eq!(run.reads.pieces_read.load(Ordering::Relaxed), read);
    cache.set_budget(2_000);
    look();
    assert!(cache.bytes() <= 2_000, "{}", cache.bytes());
    assert!(run.reads.pieces_read.load(Ordering::Relaxed) > read);
}

#[test]
fn the_longest_keys_make_a_run_like_any_others() {
    let long = |first: u8, last: u8| {
        let mut key = vec![b'k'; FULL_KEY_BYTES_MAX];
        (key[6], key[FULL_KEY_BYTES_MAX - 1]) = (first, last);
        key
    };
    // Pairs that differ in their last byte only: separators as long as keys.
    let entries: Vec<Entry> = (0..40_u8)
        .map(|at| Entry {
            key: long(at / 2, at % 2),
            ..entry(b"", at.into(), Some(b"v"))
        })
        .collect();
    for layout in [TINY, RunLayout::default()] {
        let run = run(3, &entries, layout);
        for entry in &entries {
            assert_eq!(
                run.get(&entry.key, hash(&entry.key)).unwrap().as_ref(),
                Some(&entry.version)
            );
        }
        let items: Vec<_> = entries.iter().cloned().map(Item::Entry).collect();
        assert_eq!(
            all(run.range(Interval::ALL, Direction::Forward)).unwrap(),
            items
        );
        assert!(verify(&run).unwrap().damage.is_empty());
    }
}

#[test]
fn keys_out_of_order_or_range_are_refused_and_the_writer_goes_on() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk, 3, TINY).unwrap();
    let version = entry(b"", 1, None).version;
    assert!(writer.is_empty());
    writer
        .push(&full_key(0, b"b"), &borrowed(&version))
        .unwrap();
    let long = vec![0xff; FULL_KEY_BYTES_MAX + 1];
    for wrong in [&full_key(0, b"b")[..], &full_key(0, b"a"), b"zzz", &long] {
        let refused = writer.push(wrong, &borrowed(&version)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
    writer
        .push(&full_key(0, b"c"), &borrowed(&version))
        .unwrap();
    assert!(!writer.is_empty() && writer.file_bytes() > 96);
    let written = writer.finish().unwrap();
    assert_eq!((written.facts.entries, written.facts.tombstones), (2, 2));
    let run = super::testing::open(&disk, 3).unwrap();
    assert_eq!(run.file_bytes(), written.file_bytes);
    assert_eq!(run.path(), path(3));
}

fn hole(from: &[u8], to: &[u8]) -> Hole {
    Hole {
        from: full_key(0, from),
        to: full_key(0, to),
        cause: "lost".repeat(1000),
    }
}

/// A recorded hole answers *corrupt* where the run has no entry, and nothing else is harmed.
#[test]
fn a_recorded_hole_hides_what_it_covers_and_no_entry() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk, 3, TINY).unwrap();
    writer.push_hole(hole(b"b", b"d"));
    writer.push_hole(hole(b"c", b"e")); // becomes one with the first
    writer
        .push(
            &full_key(0, b"a"),
            &borrowed(&entry(b"", 1, Some(b"1")).version),
        )
        .unwrap();
    writer
        .push(
            &full_key(0, b"c"),
            &borrowed(&entry(b"", 2, Some(b"2")).version),
        )
        .unwrap();
    writer.push_hole(hole(b"x", b"z"));
    assert!(writer.cut_out_of_holes(&full_key(0, b"b"))); // a tombstone that went at the bottom
    assert!(writer.cut_out_of_holes(&full_key(0, b"d")));
    assert!(writer.cut_out_of_holes(&full_key(0, b"q"))); // covered by nothing
    writer.finish().unwrap();
    let run = super::testing::open(&disk, 3).unwrap();
    let get = |key: &[u8]| {
        let key = full_key(0, key);
        run.get(&key, hash(&key)).map(|found| found.is_some())
    };
    for (key, expected) in [
        ("a", true),
        ("b", false),
        ("c", true),
        ("d", false),
        ("e", false),
        ("w", false),
        ("z", false),
    ] {
        assert_eq!(get(key.as_bytes()).unwrap(), expected, "{key}");
    }
    for key in ["b\0", "bb", "cc", "d\0", "dd", "x", "yy"] {
        let error = get(key.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}");
        assert!(error.to_string().contains("keys [\""), "{error}");
    }
    let order = |direction| {
        let items = all(run.range(Interval::ALL, direction)).unwrap();
        let name = |item: &Item| match item {
            Item::Entry(entry) => String::from_utf8_lossy(&entry.key[4..]).into_owned(),
            Item::Hole(hole) => format!(
                "{}-{}",
                hole.from[4..].escape_ascii(),
                hole.to[4..].escape_ascii()
            ),
        };
        items.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(
        order(Direction::Forward),
        ["a", "b\\x00-d", "c", "d\\x00-e", "x-z"]
    );
    assert_eq!(
        order(Direction::Backward),
        ["x-z", "d\\x00-e", "b\\x00-d", "c", "a"]
    );
    assert!(verify(&run).unwrap().damage.is_empty());
    assert_eq!(run.footer().facts.largest, full_key(0, b"z"));
}

#[test]
fn holes_are_bounded_and_what_does_not_fit_is_hidden_with_the_last() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk, 3, TINY).unwrap();
    let key = |at: usize| full_key(0, format!("{at:06}").as_bytes());
    for at in 0..HOLES_MAX + 10 {
        writer.push_hole(Hole {
            from: key(2 * at),
            to: key(2 * at + 1),
            cause: "lost".into(),
        });
    }
    assert!(!writer.cut_out_of_holes(&key(0)));
    let written = writer.finish().unwrap();
    assert_eq!(written.facts.holes.len(), HOLES_MAX);
    let run = super::testing::open(&disk, 3).unwrap();
    let get = |key: &[u8]| run.get(key, hash(key));
    assert!(get(&key(2 * HOLES_MAX + 4)).is_err());
    assert!(get(&key(1)).unwrap().is_none());
    assert!(get(&successor(&key(0))).is_err());
}
