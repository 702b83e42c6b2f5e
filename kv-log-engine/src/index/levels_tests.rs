//! Levels as a whole: what is lost hides its keys and no others, what may pass is tried again, and nothing is read before
//! it is needed.

use super::cache::PieceCache;
use super::levels::Levels;
use super::merge::{Merge, Yield};
use super::run::testing::{
    STORE, TINY, entry, files, header, named, open, path, sample, write, writer,
};
use super::source::{Direction, Entry, Interval, Item};
use crate::format::erasures::Erasures;
use crate::format::manifest::RunEntry;
use crate::format::run::footer::{Hole, TRAILER_BYTES};
use crate::format::run::full_key;
use crate::log::files::SegmentFiles;
use crate::log::kept::OPEN_SEGMENTS_MAX;
use crate::storage::sim::{EIO, EMFILE, Fault, FaultKind, OpKind, SimDisk};
use kv_trait::{Error, ErrorKind, Result};
use std::sync::{Arc, Barrier};

fn key(at: usize) -> Vec<u8> {
    full_key(0, format!("key-{at:03}").as_bytes())
}

/// The same keys as [`sample`], written before.
fn older() -> Vec<Entry> {
    let numbered = sample().into_iter().zip(1..);
    numbered
        .map(|(newer, seqno)| entry(&newer.key[4..], seqno, Some(b"an older value")))
        .collect()
}

/// Runs 2, 3 and 4 share the keys of the newer level, 20 each; run 1 is the older level.
fn stored() -> (SimDisk, Vec<RunEntry>) {
    let disk = SimDisk::new();
    let mut entries = Vec::new();
    for (id, keys) in [(2, 0..20), (3, 20..40), (4, 40..60)] {
        write(&disk, id, &sample()[keys.clone()], TINY).unwrap();
        let from = if keys.start == 0 {
            Vec::new()
        } else {
            key(keys.start)
        };
        let to = (keys.end < 60).then(|| key(keys.end));
        entries.push(named(&open(&disk, id).unwrap(), 9, &from, to.as_deref()));
    }
    write(&disk, 1, &older(), TINY).unwrap();
    entries.push(named(&open(&disk, 1).unwrap(), 1, b"", None));
    (disk, entries)
}

fn levels_on(files: Arc<SegmentFiles>, entries: &[RunEntry]) -> Levels {
    Levels::open(entries, STORE, files, PieceCache::new(1 << 20))
}

fn levels(disk: &SimDisk, entries: &[RunEntry]) -> Levels {
    levels_on(files(disk), entries)
}

fn walk(levels: &Levels, direction: Direction) -> Result<Vec<Item>> {
    let sources = levels.sources(&Interval::ALL, direction, &Erasures::default());
    let mut merge = Merge::new(sources, direction, Yield::Newest);
    let mut items = Vec::new();
    while let Some(merged) = merge.next()? {
        items.push(merged.item);
    }
    Ok(items)
}

fn holes(items: &[Item]) -> Vec<&Hole> {
    let holes = items.iter().filter_map(|item| match item {
        Item::Hole(hole) => Some(hole),
        Item::Entry(_) => None,
    });
    holes.collect()
}

fn kept(items: &[Item]) -> usize {
    items.len() - holes(items).len()
}

#[test]
fn runs_are_named_without_any_call_to_the_disk() {
    let (disk, entries) = stored();
    let calls = disk.calls();
    let levels = levels(&disk, &entries);
    assert_eq!(levels.len(), 2);
    assert_eq!(levels.runs().count(), 4);
    let sources = levels.sources(&Interval::ALL, Direction::Forward, &Erasures::default());
    assert_eq!((sources.len(), levels.footer_bytes()), (2, 0));
    assert_eq!(disk.calls(), calls);
    // A key of one run reads of that one only.
    assert!(levels.get(&key(25)).unwrap().is_some());
    let read = levels.runs().filter(|live| live.run.footer_bytes() > 0);
    let read: Vec<u64> = read.map(|live| live.run.id().get()).collect();
    assert_eq!(read, [3]);
}

#[test]
fn the_newest_level_that_knows_a_key_answers_tombstones_included() {
    let (disk, mut entries) = stored();
    entries.reverse(); // whatever the order in which they are named
    let levels = levels(&disk, &entries);
    for entry in sample() {
        assert_eq!(levels.get(&entry.key).unwrap(), Some(entry.version));
    }
    assert_eq!(levels.get(&key(60)).unwrap(), None);
    let expected: Vec<Item> = sample().into_iter().map(Item::Entry).collect();
    assert_eq!(walk(&levels, Direction::Forward).unwrap(), expected);
}

/// What happened to the file of run 3.
type Harm = (&'static str, fn(&SimDisk), &'static str);

const LAST_BYTES: usize = 2 * TRAILER_BYTES + 4096;

fn rewrite(disk: &SimDisk, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.read_file(path(3)).unwrap();
    change(&mut bytes);
    disk.erase_file(path(3)).unwrap();
    disk.write_file(path(3), &bytes).unwrap();
}

const HARMS: [Harm; 7] = [
    (
        "missing",
        |disk| disk.erase_file(path(3)).unwrap(),
        "its file is missing",
    ),
    (
        "empty",
        |disk| rewrite(disk, Vec::clear),
        "the run was not finished, or its end is lost",
    ),
    (
        "another run of this store",
        |disk| {
            let other = disk.read_file(path(4)).unwrap();
            rewrite(disk, |bytes| *bytes = other);
        },
        "the run was not finished, or its end is lost",
    ),
    (
        "cut in the middle",
        |disk| rewrite(disk, |bytes| bytes.truncate(bytes.len() / 2)),
        "the run was not finished, or its end is lost",
    ),
    (
        "no trailer verifies",
        |disk| {
            rewrite(disk, |bytes| {
                let at = bytes.len() - LAST_BYTES;
                bytes[at..].fill(0xa5);
            });
        },
        "the run was not finished, or its end is lost",
    ),
    (
        "no footer verifies",
        |disk| {
            rewrite(disk, |bytes| {
                let end = bytes.len() - LAST_BYTES;
                bytes[104 + 200..end].fill(0xa5);
            });
        },
        "is corrupt at offset",
    ),
    (
        "a shorter run of the same name and salt",
        |disk| {
            disk.erase_file(path(3)).unwrap();
            let mut other = writer(disk, 3, TINY).unwrap();
            let version = entry(b"", 1, None).version;
            let version = super::run::testing::borrowed(&version);
            other.push(&key(20), &version).unwrap();
            let written = other.finish().unwrap();
            assert!(written.file_bytes < disk.read_file(path(2)).unwrap().len() as u64);
        },
        "the run was not finished, or its end is lost",
    ),
];

fn is_lost(error: &Error, why: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let message = error.to_string();
    for part in [
        "/00000003.run",
        why,
        r#"hides the keys ["key-020", "key-040")"#,
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

/// Whatever became of one run's file: its keys are *corrupt* by name, not what an older level says, and all others are
/// served; a walk has one hole, of just these keys.
#[test]
fn a_lost_run_hides_its_interval_by_name_and_nothing_else() {
    for (what, harm, why) in HARMS {
        let (disk, entries) = stored();
        harm(&disk);
        let levels = levels(&disk, &entries);
        for (at, entry) in sample().into_iter().enumerate() {
            match levels.get(&entry.key) {
                Ok(found) => {
                    assert!(!(20..40).contains(&at), "{what}: {found:?} for key {at}");
                    assert_eq!(found, Some(entry.version), "{what}");
                }
                Err(error) => {
                    assert!((20..40).contains(&at), "{what}: {error}");
                    is_lost(&error, why);
                }
            }
        }
        for direction in [Direction::Forward, Direction::Backward] {
            let items = walk(&levels, direction).unwrap();
            let [hole] = holes(&items)[..] else {
                panic!("{what}: not one hole");
            };
            assert_eq!((&hole.from, &hole.to), (&key(20), &key(40)), "{what}");
            assert!(hole.cause.contains("/00000003.run"), "{}", hole.cause);
            assert_eq!(kept(&items), 40, "{what}");
        }
    }
}

/// Another thing that the manifest was told, and what is said of it.
type Change = (fn(&mut RunEntry), &'static str);

/// A footer that is whole and says something else than the manifest was told is that of another run.
#[test]
fn a_footer_that_the_manifest_does_not_know_is_refused_by_name() {
    let (disk, entries) = stored();
    let changes: [Change; 6] = [
        (
            |entry| entry.entries += 1,
            "the footer says 20 entries, and the manifest 21",
        ),
        (
            |entry| entry.tombstones += 1,
            "tombstones, and the manifest",
        ),
        (
            |entry| entry.lowest = entry.lowest.next(),
            "as lowest seqno",
        ),
        (
            |entry| entry.highest = entry.highest.next(),
            "as highest seqno",
        ),
        (
            |entry| {
                let segment = crate::format::ids::SegmentId::FIRST;
                entry.referred.entry(segment).or_default().records = 1;
            },
            "name other segments that it refers to",
        ),
        (|entry| entry.salt = header(4).salt, "its end is lost"),
    ];
    for (change, why) in changes {
        let mut entries = entries.clone();
        change(&mut entries[1]);
        let levels = levels(&disk, &entries);
        is_lost(&levels.get(&key(20)).unwrap_err(), why);
        assert!(levels.get(&key(19)).unwrap().is_some());
    }
}

/// The run to the end of all keys: the hole of a walk has an end all the same.
#[test]
fn a_lost_last_run_hides_all_keys_from_its_first_on() {
    let (disk, entries) = stored();
    disk.erase_file(path(4)).unwrap();
    let levels = levels(&disk, &entries);
    let error = levels.get(&key(999)).unwrap_err().to_string();
    assert!(
        error.contains(r#"hides the keys ["key-040", end)"#),
        "{error}"
    );
    for direction in [Direction::Forward, Direction::Backward] {
        let items = walk(&levels, direction).unwrap();
        let [hole] = holes(&items)[..] else {
            panic!("not one hole");
        };
        assert_eq!(hole.from, key(40));
        assert!(hole.covers(&full_key(7, &[0xff; 100])));
        assert_eq!(kept(&items), 40);
    }
    // What is asked for bounds the hole.
    let interval = Interval {
        lower: std::ops::Bound::Excluded(key(50)),
        upper: std::ops::Bound::Included(key(52)),
    };
    let mut source = levels
        .sources(&interval, Direction::Forward, &Erasures::default())
        .remove(0);
    let Some(Item::Hole(hole)) = source.next().unwrap() else {
        panic!("no hole");
    };
    assert!(!hole.covers(&key(50)) && hole.covers(&key(51)));
    assert!(hole.covers(&key(52)) && !hole.covers(&key(53)));
    assert_eq!(source.next().unwrap(), None);
}

/// A block that does not verify, and a hole that a merge recorded, in the newer level: the older one is not asked.
#[test]
fn what_a_newer_level_cannot_read_is_not_answered_by_an_older_one() {
    let (disk, mut entries) = stored();
    rewrite(&disk, |bytes| bytes[104 + 30] ^= 1); // the first block
    let mut newest = writer(&disk, 5, TINY).unwrap();
    let rescued = entry(b"key-021", 900, Some(b"newest"));
    let version = super::run::testing::borrowed(&rescued.version);
    newest.push(&rescued.key, &version).unwrap();
    newest.push_hole(Hole {
        from: key(50),
        to: key(52),
        cause: "a sector was lost".into(),
    });
    newest.finish().unwrap();
    entries.push(named(&open(&disk, 5).unwrap(), 12, b"", None));
    let levels = levels(&disk, &entries);
    assert_eq!(levels.len(), 3);
    let corrupt = |at: usize| match levels.get(&key(at)) {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            true
        }
    };
    let lost: Vec<usize> = (0..60).filter(|at| corrupt(*at)).collect();
    assert!(
        lost.starts_with(&[20, 22]) && lost.ends_with(&[50, 51]),
        "{lost:?}"
    );
    assert!(lost.len() < 10, "{lost:?}");
    assert_eq!(levels.get(&rescued.key).unwrap(), Some(rescued.version));
    let hidden = levels.get(&key(50)).unwrap_err().to_string();
    assert!(
        hidden.contains("/00000005.run") && hidden.contains("a sector was lost"),
        "{hidden}"
    );
}

/// An error of the device, or of a process that may open no more files, is neither damage nor the end, and the next call
/// tries again.
#[test]
fn an_error_that_may_pass_is_not_kept() {
    for (errno, op) in [
        (EIO, OpKind::Read),
        (EIO, OpKind::Open),
        (EMFILE, OpKind::Open),
    ] {
        for call in 0..30 {
            let (disk, entries) = stored();
            let levels = levels(&disk, &entries);
            let fault = Fault::new(FaultKind::Errno(errno)).on(op);
            disk.inject(fault.clone().skip(call));
            for entry in sample() {
                let found = levels.get(&entry.key).or_else(|error| {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                    levels.get(&entry.key)
                });
                assert_eq!(found.unwrap(), Some(entry.version));
            }
            disk.clear_faults();
            let levels = levels_on(files(&disk), &entries);
            disk.inject(fault.skip(call));
            let sources = levels.sources(&Interval::ALL, Direction::Forward, &Erasures::default());
            let mut merge = Merge::new(sources, Direction::Forward, Yield::Newest);
            let mut items = Vec::new();
            loop {
                match merge.next() {
                    Ok(Some(merged)) => items.push(merged.item),
                    Ok(None) => break,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
                }
            }
            let expected: Vec<Item> = sample().into_iter().map(Item::Entry).collect();
            assert_eq!(items, expected);
        }
    }
}

/// Nothing but success is remembered: a file that is put back is served.
#[test]
fn a_run_that_was_missing_is_served_once_it_is_back() {
    let (disk, entries) = stored();
    let bytes = disk.read_file(path(3)).unwrap();
    disk.erase_file(path(3)).unwrap();
    let levels = levels(&disk, &entries);
    assert!(levels.get(&key(30)).is_err());
    disk.write_file(path(3), &bytes).unwrap();
    assert!(levels.get(&key(30)).unwrap().is_some());
}

/// A run that disappears after its footer was read is told from one whose file may be opened later.
#[test]
fn a_run_that_is_unlinked_behind_our_back_is_missed_by_name() {
    let (disk, entries) = stored();
    let files = files(&disk);
    let levels = levels_on(Arc::clone(&files), &entries);
    assert!(levels.get(&key(20)).unwrap().is_some());
    files.forget(3);
    disk.erase_file(path(3)).unwrap();
    let error = levels.get(&key(39)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let message = error.to_string();
    assert!(
        message.contains("its file is missing") && message.contains("hides the keys [\""),
        "{message}"
    );
}

#[test]
fn threads_that_come_first_together_are_all_right() {
    const THREADS: usize = 4;
    let (disk, entries) = stored();
    for _ in 0..20 {
        let levels = levels(&disk, &entries);
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (levels, start) = (&levels, &start);
                scope.spawn(move || {
                    start.wait();
                    for at in 0..60 {
                        let at = (at + thread * 15) % 60;
                        let expected = sample().swap_remove(at).version;
                        assert_eq!(levels.get(&key(at)).unwrap(), Some(expected));
                    }
                });
            }
        });
    }
}

/// A view made of the next manifest goes on with the runs of the one before: only what is new is read.
#[test]
fn the_next_view_goes_on_with_the_runs_it_has() {
    let (disk, mut entries) = stored();
    let before = levels(&disk, &entries);
    for at in 0..60 {
        before.get(&key(at)).unwrap();
    }
    // A merge has taken the first ten keys off both levels: run 6 has them, in the oldest level.
    write(&disk, 6, &sample()[..10], TINY).unwrap();
    let merged = named(&open(&disk, 6).unwrap(), 1, b"", Some(&key(10)));
    for entry in &mut entries {
        if [1, 2].contains(&entry.id.get()) {
            entry.from = key(10);
            entry.taken = 10;
        }
    }
    entries.insert(3, merged);
    let after = before.after(&entries);
    let calls = disk.calls();
    for at in 10..60 {
        assert_eq!(after.get(&key(at)).unwrap(), before.get(&key(at)).unwrap());
    }
    assert_eq!(disk.calls(), calls);
    assert_eq!(after.footer_bytes(), before.footer_bytes());
    for old in before.runs() {
        let new = after
            .runs()
            .find(|new| new.run.id() == old.run.id())
            .unwrap();
        assert!(Arc::ptr_eq(&old.run, &new.run));
        assert_eq!(
            Arc::ptr_eq(&old.from, &new.from),
            ![1, 2].contains(&old.run.id().get())
        );
    }
    assert_eq!(
        after
            .levels()
            .iter()
            .map(|level| level.runs().len())
            .collect::<Vec<_>>(),
        [3, 2]
    );
    for entry in &sample()[..10] {
        assert_eq!(
            after.get(&entry.key).unwrap().as_ref(),
            Some(&entry.version)
        );
    }
    let expected: Vec<Item> = sample().into_iter().map(Item::Entry).collect();
    assert_eq!(walk(&after, Direction::Forward).unwrap(), expected);
    // Gone runs take their footers with them.
    let none = after.after(&[]);
    assert!(none.is_empty() && none.footer_bytes() == 0);
    assert_eq!(none.get(&key(1)).unwrap(), None);
}

/// Descriptors are the table's: however many runs there are, and also where the process may open hardly any.
#[test]
fn runs_share_the_table_of_open_files_with_segments_and_give_up_what_others_need() {
    let disk = SimDisk::new();
    let runs = OPEN_SEGMENTS_MAX + 10;
    let mut entries = Vec::new();
    for id in 1..=runs {
        let only = [entry(
            format!("key-{id:03}").as_bytes(),
            id as u64,
            Some(b"v"),
        )];
        write(&disk, id as u64, &only, TINY).unwrap();
        let run = open(&disk, id as u64).unwrap();
        let to = (id < runs).then(|| key(id + 1));
        entries.push(named(&run, 1, &key(id), to.as_deref()));
    }
    let files = files(&disk);
    let levels = levels_on(Arc::clone(&files), &entries);
    let look = || (1..=runs).all(|id| levels.get(&key(id)).unwrap().is_some());
    assert!(look());
    assert_eq!(files.open_count(), OPEN_SEGMENTS_MAX);
    assert_eq!(disk.open_files(), OPEN_SEGMENTS_MAX as u64);
    files.forget(runs as u64);
    files.forget(1); // not open any more
    assert_eq!(files.open_count(), OPEN_SEGMENTS_MAX - 1);
    assert_eq!(disk.open_files(), OPEN_SEGMENTS_MAX as u64 - 1);

    disk.set_open_files_max(3);
    let levels = levels_on(Arc::clone(&files), &entries);
    assert!((1..=runs).all(|id| levels.get(&key(id)).unwrap().is_some()));
    assert!(disk.open_files() <= 3);
    // Whoever else has to open a file goes first.
    let kept = files.open_count();
    assert!(kept > 0);
    let opened: Vec<_> = (1..=3)
        .map(|id| {
            files
                .storage()
                .open(&path(id), crate::storage::OpenMode::Read)
                .unwrap()
        })
        .collect();
    assert_eq!((opened.len(), files.open_count()), (3, 0));
}
