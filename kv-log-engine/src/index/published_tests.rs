//! The exchange: what readers see while a group is built, after a panic, and who frees what was replaced.

use super::*;
use crate::format::Salt;
use crate::format::ids::Location;
use crate::log::files::SegmentFiles;
use crate::storage::sim::SimDisk;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MANY: u64 = 20_000;

fn segment(number: u64) -> Arc<Segment> {
    let files = SegmentFiles::new(SimDisk::new().storage(), "/db".into());
    Segment::new(SegmentId::new(number), Salt([0; 16]), files)
}

fn published() -> Published {
    let segments = Segments::from([(SegmentId::FIRST, segment(1))]);
    Published::new(Tree::new(), segments, BTreeMap::new())
}

fn entry(number: u64) -> Entry {
    let location = Location {
        segment: SegmentId::FIRST,
        offset: number,
        record_bytes: 10,
    };
    Entry {
        location,
        seqno: Seqno::new(number),
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:08}").into_bytes()
}

fn put_all(published: &Published, seqno: u64, replaced: impl FnMut(Option<(Entry, Arc<Segment>)>)) {
    let keys: Vec<_> = (0..MANY).map(key).collect();
    let changes = keys.iter().map(|key| Change::Put(key, entry(seqno)));
    published.publish(changes, replaced);
}

fn seqno_of(published: &Published, number: u64) -> Option<u64> {
    let found = published.lookup(&key(number)).unwrap();
    found.map(|(entry, _)| entry.seqno.get())
}

/// A reader that asks from inside the group's building: behind a lock that the building holds, it would never return.
#[test]
fn readers_go_on_while_a_group_is_built_and_see_none_of_it() {
    let published = published();
    put_all(&published, 1, |_| ());
    let mut asked = 0;
    put_all(&published, 2, |before| {
        assert_eq!(before.map(|(entry, _)| entry.seqno.get()), Some(1));
        assert_eq!(seqno_of(&published, asked), Some(1));
        asked += 1;
    });
    assert_eq!(asked, MANY);
    assert!((0..MANY).all(|number| seqno_of(&published, number) == Some(2)));
    assert_eq!(published.segments(), [(SegmentId::FIRST, 0, MANY * 10)]);
}

#[test]
fn a_panic_while_a_group_is_built_shows_nothing_of_it() {
    let published = published();
    put_all(&published, 1, |_| ());
    let mut seen = 0;
    let building = catch_unwind(AssertUnwindSafe(|| {
        put_all(&published, 2, |_| {
            seen += 1;
            assert!(seen < MANY / 2, "planted");
        });
    }));
    assert!(building.is_err());
    assert!((0..MANY).all(|number| seqno_of(&published, number) == Some(1)));
    assert_eq!(published.segments(), [(SegmentId::FIRST, 0, MANY * 10)]);
    put_all(&published, 3, |_| ());
    assert_eq!(seqno_of(&published, 0), Some(3));
}

/// Leader and others replace parts of one view: none may put back what another has replaced meanwhile.
#[test]
fn an_exchange_replaces_its_own_part_of_the_view_that_is_current() {
    let published = published();
    let mut added = false;
    put_all(&published, 1, |_| {
        if !added {
            published.add_segment(&segment(2));
            added = true;
        }
    });
    let segments: Vec<_> = published
        .segments()
        .into_iter()
        .map(|(id, _, _)| id.get())
        .collect();
    assert_eq!(segments, [1, 2]);
    assert_eq!(seqno_of(&published, 0), Some(1));
}

#[test]
fn the_last_reader_of_a_replaced_tree_leaves_it_to_the_leader() {
    let published = published();
    put_all(&published, 1, |_| ());
    let view = published.view();
    put_all(&published, 2, |_| ());
    assert!(
        published.retired.is_empty(),
        "the view still holds all of it"
    );
    assert_eq!(
        view.range(Bound::Unbounded, Bound::Unbounded).count() as u64,
        MANY
    );
    drop(view);
    assert!(!published.retired.is_empty(), "freed by a reader");
    let changes = [Change::Remove(b"absent")];
    published.publish(changes.into_iter(), |_| ());
    assert!(published.retired.is_empty(), "left by the leader");
}

#[test]
fn readers_free_a_little_at_a_time_where_nobody_writes() {
    let published = published();
    put_all(&published, 1, |_| ());
    let view = published.view();
    put_all(&published, 2, |_| ());
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
    put_all(&published, 1, |_| ());
    assert!(published.is_large());
    let view = published.view();
    published.close();
    assert!(published.lookup(&key(0)).is_err(), "closed, not absent");
    assert!(published.view().is_closed() && !view.is_closed());
    assert_eq!(published.view().len() as u64, MANY, "statistics stay");
    assert!(!published.is_large());
    assert_eq!(
        view.range(Bound::Unbounded, Bound::Unbounded).rev().count() as u64,
        MANY
    );
}
