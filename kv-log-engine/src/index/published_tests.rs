//! The exchange: what readers see while a group is built, after a panic, and who frees what was replaced.

use super::*;
use crate::format::ids::Location;
use crate::format::run::full_key;
use crate::format::{Salt, StoreId};
use crate::host::SimHost;
use crate::index::cache::PieceCache;
use crate::index::memtable::Value;
use crate::index::source::Item;
use crate::log::files::SegmentFiles;
use crate::storage::sim::SimDisk;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MANY: u64 = 20_000;

fn files() -> Arc<SegmentFiles> {
    SegmentFiles::new(SimDisk::new().storage(), "/db".into())
}

fn segment(number: u64) -> Arc<Segment> {
    Segment::new(SegmentId::new(number), Salt([0; 16]), files())
}

fn no_levels() -> Levels {
    Levels::open(&[], StoreId([1; 16]), files(), PieceCache::new(1000))
}

fn published() -> Published {
    let segments = Segments::from([(SegmentId::FIRST, segment(1))]);
    Published::new(
        Memtable::new(100),
        Seqno::ZERO,
        Seqno::ZERO,
        no_levels(),
        segments,
        Tables::default(),
        Arc::new(Clock::new(Arc::new(SimHost::new(1)), 0)),
    )
}

/// A put of a value that says its seqno.
fn put(key: &[u8], seqno: u64) -> Change<'_> {
    Change {
        value: Some(Value {
            bytes: &[b'v'; 99][..(seqno % 100) as usize],
            len: (seqno % 100) as usize,
        }),
        ..delete(key, seqno)
    }
}

fn delete(key: &[u8], seqno: u64) -> Change<'_> {
    Change {
        keyspace: 0,
        key,
        seqno: Seqno::new(seqno),
        location: Location {
            segment: SegmentId::FIRST,
            offset: seqno,
            record_bytes: 40,
        },
        expiry_ms: None,
        value: None,
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:08}").into_bytes()
}

fn lookup(published: &Published, number: u64) -> Lookup {
    published.lookup(&full_key(0, &key(number))).unwrap()
}

fn seqno_in(found: Lookup) -> Option<u64> {
    found.read().unwrap().map(|value| value.len() as u64)
}

fn put_all(published: &Published, seqno: u64, mut between: impl FnMut()) -> Vec<Option<u64>> {
    let keys: Vec<_> = (0..MANY).map(key).collect();
    let changes = keys.iter().map(|key| {
        between();
        (Step::Key(put(key, seqno)), true)
    });
    let replaced = published.publish(changes, 0);
    replaced.into_iter().map(seqno_in).collect()
}

fn seqno_of(published: &Published, number: u64) -> Option<u64> {
    seqno_in(lookup(published, number))
}

fn live_bytes(published: &Published) -> u64 {
    let view = published.view();
    view.memtable().live_bytes().values().sum()
}

fn count(view: &View, direction: Direction) -> u64 {
    let mut walk = view.walk(&Interval::ALL, direction, Yield::Live(view.now_ms()));
    let mut count = 0;
    while let Some(merged) = walk.next().unwrap() {
        assert!(matches!(merged.item, Item::Entry(_)));
        count += 1;
    }
    count
}

fn checkpoint(seqno: u64) -> Checkpoint {
    Checkpoint {
        seqno: Seqno::new(seqno),
        segment: SegmentId::FIRST,
        offset: 104,
        chain: 0,
        frames: 0,
        records: 0,
        min_seqno: None,
    }
}

/// A reader that asks from inside the group's building: behind a lock that the building holds, it would never return.
#[test]
fn readers_go_on_while_a_group_is_built_and_see_none_of_it() {
    let published = published();
    assert!(put_all(&published, 1, || ()).iter().all(Option::is_none));
    let mut asked = 0;
    let replaced = put_all(&published, 2, || {
        assert_eq!(seqno_of(&published, asked), Some(1));
        asked += 1;
    });
    assert_eq!(asked, MANY);
    assert_eq!(replaced, vec![Some(1); usize::try_from(MANY).unwrap()]);
    assert!((0..MANY).all(|number| seqno_of(&published, number) == Some(2)));
    assert_eq!(live_bytes(&published), MANY * (28 + 8 + 2));
}

#[test]
fn a_panic_while_a_group_is_built_shows_nothing_of_it() {
    let published = published();
    put_all(&published, 1, || ());
    let mut seen = 0;
    let building = catch_unwind(AssertUnwindSafe(|| {
        put_all(&published, 2, || {
            seen += 1;
            assert!(seen < MANY / 2, "planted");
        });
    }));
    assert!(building.is_err());
    assert!((0..MANY).all(|number| seqno_of(&published, number) == Some(1)));
    assert_eq!(live_bytes(&published), MANY * (28 + 8 + 1));
    put_all(&published, 3, || ());
    assert_eq!(seqno_of(&published, 0), Some(3));
}

/// Leader and others replace parts of one view: none may put back what another has replaced meanwhile.
#[test]
fn an_exchange_replaces_its_own_part_of_the_view_that_is_current() {
    let published = published();
    let mut added = false;
    put_all(&published, 1, || {
        if !added {
            published.add_segment(&segment(2));
            added = true;
        }
    });
    let view = published.view();
    let segments = view.segments().keys().map(|id| id.get());
    assert_eq!(segments.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(seqno_of(&published, 0), Some(1));
}

#[test]
fn the_last_reader_of_a_replaced_tree_leaves_it_to_the_leader() {
    let published = published();
    put_all(&published, 1, || ());
    let view = published.view();
    put_all(&published, 2, || ());
    assert!(
        published.retired.is_empty(),
        "the view still holds all of it"
    );
    assert_eq!(count(&view, Direction::Forward), MANY);
    drop(view);
    assert!(!published.retired.is_empty(), "freed by a reader");
    published.publish([(Step::Key(delete(b"absent", 3)), false)].into_iter(), 0);
    assert!(published.retired.is_empty(), "left by the leader");
}

#[test]
fn readers_free_a_little_at_a_time_where_nobody_writes() {
    let published = published();
    put_all(&published, 1, || ());
    let view = published.view();
    put_all(&published, 2, || ());
    drop(view);
    let lookups = (0..MANY).take_while(|number| {
        assert_eq!(seqno_of(&published, *number), Some(2));
        !published.retired.is_empty()
    });
    let lookups = lookups.count();
    assert!((2..100).contains(&lookups), "{lookups} lookups");
}

#[test]
fn a_closed_index_says_so_and_is_freed_but_for_what_readers_hold() {
    let published = published();
    put_all(&published, 1, || ());
    assert!(published.is_large());
    let view = published.view();
    published.close();
    assert!(published.lookup(&key(0)).is_err(), "closed, not absent");
    assert!(published.view().is_closed() && !view.is_closed());
    assert_eq!(
        published.view().memtable().live() as u64,
        MANY,
        "statistics stay"
    );
    assert!(!published.is_large());
    assert_eq!(count(&view, Direction::Backward), MANY);
}

fn publish(published: &Published, change: Change<'_>) -> Lookup {
    let steps = [(Step::Key(change), true)];
    published.publish(steps.into_iter(), 0).remove(0)
}

#[test]
fn a_frozen_memtable_is_read_below_the_new_one_and_deletes_hide_what_it_has() {
    let published = published();
    publish(&published, put(b"00000001", 1));
    publish(&published, put(b"00000002", 2));
    publish(&published, put(b"00000003", 3));
    published.freeze(checkpoint(3));
    assert_eq!(published.memtable_bytes(), 0);
    assert_eq!(seqno_in(publish(&published, put(b"00000001", 4))), Some(1));
    assert_eq!(
        seqno_in(publish(&published, delete(b"00000002", 5))),
        Some(2)
    );
    let found = [1, 2, 3].map(|number| seqno_of(&published, number));
    assert_eq!(found, [Some(4), None, Some(3)]);
    assert_eq!(count(&published.view(), Direction::Forward), 2);
    assert_eq!(count(&published.view(), Direction::Backward), 2);
    assert_eq!(published.unwritten().unwrap().memtable.len(), 3);
}

/// What runs have is read there: segments that the frozen memtable points into may be gone. Versions it tells all the same,
/// so that the leader can judge what was looked up before.
#[test]
fn a_memtable_that_runs_have_answers_for_versions_and_no_more_for_values() {
    let published = published();
    publish(&published, put(b"00000001", 1));
    published.freeze(checkpoint(1));
    let before = published.view();
    published.install(no_levels());
    assert!(published.unwritten().is_none());
    assert_eq!(seqno_of(&published, 1), None, "these runs hold nothing");
    assert_eq!(count(&before, Direction::Forward), 1, "an older view does");
    assert_eq!(count(&published.view(), Direction::Forward), 0);
    let version = published.remembered(&full_key(0, b"00000001"), 0);
    assert_eq!(version, Remembered::Version(Some(Seqno::new(1))));
    published.freeze(checkpoint(1));
    let version = published.remembered(&full_key(0, b"00000001"), 0);
    assert_eq!(version, Remembered::Version(None), "forgotten by the next");
}

/// Every caller of a group waits for the leader that freezes, and the memtable that was frozen before may be large.
#[test]
fn a_leader_that_freezes_does_not_free_what_was_frozen_before() {
    let published = published();
    put_all(&published, 1, || ());
    published.freeze(checkpoint(1));
    published.install(no_levels());
    assert!(
        published.retired.is_empty(),
        "versions are asked of it until the next one"
    );
    publish(&published, put(b"00000001", 2));
    published.freeze(checkpoint(2));
    assert!(!published.retired.is_empty(), "freed by the leader");
    published.install(no_levels());
    assert!(published.retired.is_empty(), "left by the checkpoint");
}
