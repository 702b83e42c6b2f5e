//! What is kept for a full disk: deletes, a close and an open go on when puts are refused, and puts go on when there is room.

use super::space::reserve_bytes;
use super::*;

fn open_on(disk: &SimDisk, seed: u64) -> Engine {
    Engine::open(STORE, options(disk, seed, 32 * 1024)).unwrap()
}

fn key(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// Puts until one is refused, with effect *nothing*. Returns how many there were since `from`.
fn fill(store: &Engine, from: u64) -> u64 {
    let mut next = from;
    loop {
        match store.put(&key(next), &[7; 500]) {
            Ok(()) => next += 1,
            Err(refused) => {
                assert_eq!(
                    (refused.kind(), refused.effect()),
                    (ErrorKind::StorageFull, Effect::Nothing)
                );
                return next;
            }
        }
    }
}

fn full(copies: bool) -> (SimDisk, Engine, u64) {
    let disk = SimDisk::new();
    disk.set_copy_on_write(copies);
    disk.set_capacity(Some(400 * 1024));
    let store = open_on(&disk, 1);
    let written = fill(&store, 0);
    assert!(written > 100, "{written}");
    (disk, store, written)
}

#[test]
fn a_store_of_a_few_keys_keeps_64_kib_and_one_that_is_only_read_nothing_more() {
    let disk = SimDisk::new();
    let store = open_on(&disk, 1);
    for number in 0..20 {
        store.put(&key(number), b"value").unwrap();
    }
    assert_eq!(reserve_bytes(&disk), 64 * 1024);
    store.close().unwrap();
    drop(store);
    let before = (disk.written_bytes(), disk.files());
    let store = open_on(&disk, 2);
    assert_eq!(contents_of(&store).len(), 20);
    assert!(store.recovery_report().foreign.is_empty());
    store.close().unwrap();
    // The text of LOCK.
    assert!(disk.written_bytes() - before.0 < 512);
    assert_eq!(disk.files(), before.1);
}

// The loop refuse, delete, close, open again: the process closes, dies, or the power is cut. Chores are to come in between.
#[test]
fn on_a_full_disk_deletes_closes_and_opens_go_on_and_puts_do_not() {
    let (disk, mut store, written) = full(false);
    let mut deleted = 0;
    for life in 0..9_u64 {
        for _ in 0..5 {
            store.remove(&key(deleted)).unwrap();
            deleted += 1;
        }
        // What the reserve need not keep any more may do for one.
        match store.put(b"more", &[8; 500]) {
            Ok(()) => store.remove(b"more").unwrap(),
            Err(refused) => assert_eq!(refused.effect(), Effect::Nothing, "life {life}"),
        }
        if life % 3 == 0 {
            store.close().unwrap();
        }
        drop(store);
        match life % 3 {
            1 => disk.kill_process(),
            2 => disk.power_cut_losing_all(),
            _ => {}
        }
        store = open_on(&disk, 2 + life);
        assert_eq!(contents_of(&store).len() as u64, written - deleted);
    }
    // Somebody makes room: the reserve first, then puts.
    disk.set_capacity(Some(800 * 1024));
    store.put(b"more", &[8; 500]).unwrap();
    assert!(reserve_bytes(&disk) >= 64 * 1024);
    assert!(fill(&store, written) > written);
    store.remove(&key(deleted)).unwrap();
    store.close().unwrap();
}

#[test]
fn deletes_in_a_group_with_puts_go_on_when_those_are_refused() {
    let (_disk, store, written) = full(false);
    let put = |number: u64| {
        let mut batch = Batch::new();
        batch.put(&key(number), &[9; 600]).unwrap();
        batch
    };
    let delete = |number: u64| {
        let mut batch = Batch::new();
        batch.delete(&key(number)).unwrap();
        batch
    };
    // The condition holds only because the put before it never comes.
    let mut conditional = delete(1);
    conditional.expect(&key(written + 1), None).unwrap();
    let mut mixed = delete(2);
    mixed.put(&key(3), &[9; 600]).unwrap();
    let batches = [
        delete(0),
        put(written + 1),
        conditional,
        Batch::new(),
        mixed,
        delete(4),
    ];
    let submitted: Vec<_> = batches
        .into_iter()
        .map(|batch| store.submit(batch).unwrap())
        .collect();
    let groups = store.stats().groups;
    let outcomes: Vec<_> = submitted.into_iter().map(|one| one.wait()).collect();
    assert_eq!(store.stats().groups, groups + 1, "they shared a group");
    let refused: Vec<_> = outcomes.iter().map(|outcome| outcome.is_err()).collect();
    assert_eq!(refused, [false, true, false, false, true, false]);
    for outcome in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(
            (outcome.kind(), outcome.effect()),
            (ErrorKind::StorageFull, Effect::Nothing)
        );
    }
    let contents = contents_of(&store);
    assert_eq!(contents.len() as u64, written - 3);
    assert!(contents.contains_key(&key(2)[..]));
    let first = |at: usize| outcomes[at].as_ref().unwrap().first_seqno().get();
    assert_eq!((first(2), first(5)), (first(0) + 1, first(0) + 2));
    drop(store);
    let store = open_on(&_disk, 2);
    assert_eq!(contents_of(&store), contents);
}

#[test]
fn deletes_end_when_their_quota_does_and_the_close_has_its_own() {
    let (disk, store, written) = full(false);
    let mut deleted = 0;
    let refused = loop {
        match store.remove(&key(deleted)) {
            Ok(()) => deleted += 1,
            Err(refused) => break refused,
        }
        assert!(deleted < written, "there is no end to it");
    };
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::StorageFull, Effect::Nothing)
    );
    assert!(deleted > 60, "{deleted}");
    let left = |name: &str| disk.read_file(name).unwrap().len();
    assert_eq!(left(RESERVES[1]), 0);
    assert!(left(RESERVES[0]) >= 8 * 1024 && left(RESERVES[2]) >= 32 * 1024);
    drop(store);
    disk.kill_process();
    let store = open_on(&disk, 2);
    assert_eq!(store.recovery_report().read_only, None);
    assert_eq!(contents_of(&store).len() as u64, written - deleted);
    store.close().unwrap();
}

// Where a batch of deletes begins a new segment, that and the edit of the manifest need room too.
#[test]
fn deletes_on_a_full_disk_go_on_in_a_new_segment() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(200 * 1024));
    let open = |seed| Engine::open(STORE, options(&disk, seed, 2048)).unwrap();
    let store = open(1);
    let written = fill(&store, 0);
    let segments = store.stats().segments.len();
    let mut deleted = 0;
    while store.stats().segments.len() == segments {
        store.remove(&key(deleted)).unwrap();
        deleted += 1;
    }
    drop(store);
    assert_eq!(contents_of(&open(2)).len() as u64, written - deleted);
}

#[test]
fn a_delete_of_the_longest_key_finds_room() {
    let disk = SimDisk::new();
    let store = open_on(&disk, 1);
    let long = vec![1; 60_000];
    store.put(&long, b"value").unwrap();
    store.put(b"more", b"value").unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    store.remove(&long).unwrap();
    assert_eq!(contents_of(&store).len(), 1);
}

#[test]
fn a_short_torn_tail_is_kept_at_the_cost_of_the_reserve() {
    let disk = SimDisk::new();
    let store = open_on(&disk, 1);
    for number in 0..5 {
        store.put(&key(number), &[1; 300]).unwrap();
    }
    let contents = contents_of(&store);
    let end = usize::try_from(store.stats().segments[0].bytes).unwrap();
    drop(store);
    let mut bytes = disk.read_file(SEGMENT).unwrap();
    bytes[end..end + 2_000].fill(0xee);
    disk.write_file(SEGMENT, &bytes).unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let store = open_on(&disk, 2);
    let report = store.recovery_report();
    assert_eq!(report.read_only, None);
    assert!(report.torn_tail.as_ref().unwrap().quarantine.is_some());
    assert_eq!(contents_of(&store), contents);
    store.remove(&key(0)).unwrap();
}

// A file system that copies on write needs room for what an open writes in place. It was refused until some was free.
#[test]
fn a_full_disk_that_copies_on_write_is_opened_after_an_unclean_end() {
    for value_bytes in [100, 3_000, 50_000] {
        for cut in [false, true] {
            let disk = SimDisk::new();
            disk.set_copy_on_write(true);
            let store = Engine::open(STORE, options(&disk, 1, 1 << 20)).unwrap();
            for number in 0..6 {
                store.put(&key(number), &vec![7; value_bytes]).unwrap();
            }
            let contents = contents_of(&store);
            drop(store);
            if cut {
                disk.power_cut_keeping_all();
            } else {
                disk.kill_process();
            }
            disk.set_capacity(Some(disk.used_bytes()));
            for life in 0..3 {
                let opened = Engine::open(STORE, options(&disk, 2 + life, 1 << 20));
                let context = format!("{value_bytes} bytes, power cut {cut}, life {life}");
                let store = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(contents_of(&store), contents, "{context}");
                drop(store);
                disk.kill_process();
            }
        }
    }
}

// Whatever the power cut leaves of the reserve: nothing acknowledged is lost, and the store goes on.
#[test]
fn the_power_may_be_cut_wherever_the_reserve_is_spent_and_filled() {
    let (disk, store, written) = full(false);
    disk.start_trace();
    let mut acknowledged = Vec::new();
    for number in 0..6 {
        store.remove(&key(number)).unwrap();
        acknowledged.push(disk.op_count());
    }
    store.close().unwrap();
    drop(store);
    let store = open_on(&disk, 2);
    store.remove(&key(6)).unwrap();
    acknowledged.push(disk.op_count());
    disk.set_capacity(Some(800 * 1024));
    store.put(b"more", &[8; 500]).unwrap();
    let put_at = disk.op_count();
    let mut images = 0;
    for point in disk.trace().unwrap().crash_points() {
        let gone = acknowledged.iter().filter(|at| **at <= point.op()).count() as u64;
        for choice in point.choices(&CrashPolicy {
            exhaustive_units_max: 3,
            seeded: 2,
            garbled: 2,
            seed: 5,
        }) {
            let image = point.image(&choice);
            images += 1;
            let context = format!("op {}, {choice:.200?}", point.op());
            // As full as it was, or fuller: what the cut took of the reserve somebody else has by now.
            image.set_capacity(Some(image.used_bytes()));
            let store = Engine::open(STORE, options(&image, 3, 32 * 1024)).unwrap();
            let contents = contents_of(&store);
            let more = u64::from(contents.contains_key(&b"more"[..]));
            assert!(more == 1 || point.op() < put_at, "{context}");
            let left = contents.len() as u64 - more;
            assert!(
                left == written - gone || left == written - gone - 1,
                "{context}: {left} of {written}, {gone} are gone"
            );
            image.set_capacity(None);
            store.put(b"again", b"1").unwrap();
            assert!(reserve_bytes(&image) >= 64 * 1024, "{context}");
        }
    }
    assert!(images > 100, "{images}");
}

// Every call of every kind finds no room, once and from then on, while a full store is deleted from, closed and opened.
#[test]
fn whatever_call_finds_no_room_a_full_store_loses_nothing_and_goes_on() {
    let with_chores = |disk: &SimDisk, seed| workload::options(disk, seed, 32 * 1024);
    // Filled with garbage that chores can give back in what follows.
    let (full_disk, store, written) = full(false);
    drop(store);
    full_disk.kill_process();
    for kind in OpKind::ALL {
        for forever in [false, true] {
            for skip in 0..u64::MAX {
                let disk = full_disk.fork();
                disk.set_capacity(Some(disk.used_bytes()));
                let fault = Fault::new(FaultKind::Errno(ENOSPC)).on(kind).skip(skip);
                disk.inject(if forever { fault.forever() } else { fault });
                let context = format!("{kind:?} {skip}, forever: {forever}");
                let mut gone = 0;
                let mut in_doubt = 0;
                for life in 0..2 {
                    let Ok(store) = Engine::open(STORE, with_chores(&disk, 2 + life)) else {
                        disk.kill_process();
                        continue;
                    };
                    for number in 0..3 {
                        match store.remove(&key(life * 3 + number)) {
                            Ok(()) => gone += 1,
                            Err(error) => in_doubt += u64::from(error.effect() != Effect::Nothing),
                        }
                    }
                    drop(store.put(b"more", &[1; 9_000]));
                    drop(store.close());
                    drop(store);
                    disk.kill_process();
                }
                let hit = disk.fault_hits() > 0;
                disk.clear_faults();
                disk.set_capacity(None);
                for cut in [false, true] {
                    let disk = disk.fork();
                    if cut {
                        disk.power_cut_losing_all();
                    }
                    let store = Engine::open(STORE, with_chores(&disk, 9))
                        .unwrap_or_else(|error| panic!("{context}, cut: {cut}: {error}"));
                    let mut contents = contents_of(&store);
                    contents.remove(&b"more"[..]);
                    let left = contents.len() as u64;
                    let expected = written - gone;
                    assert!(
                        left <= expected && left + in_doubt >= expected,
                        "{context}: {left} of {expected}, {in_doubt} in doubt"
                    );
                    store.put(b"again", b"1").unwrap();
                    store.close().unwrap();
                }
                if !hit {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_reserve_that_cannot_be_made_is_no_reason_to_refuse() {
    for errno in [EACCES, EIO, EMFILE] {
        let disk = SimDisk::new();
        let reserve = Fault::new(FaultKind::Errno(errno)).on(OpKind::Create);
        disk.inject(reserve.path_contains("RESERVE").forever());
        let store = open_on(&disk, 1);
        store.put(b"k", b"v").unwrap();
        assert_eq!(reserve_bytes(&disk), 0);
        disk.clear_faults();
        store.put(b"k", b"w").unwrap();
        assert_eq!(reserve_bytes(&disk), 64 * 1024);
    }
}

// A store's own are made behind its first manifest.
#[test]
fn a_file_of_a_reserves_name_that_was_there_before_the_store_is_somebodys() {
    for name in RESERVES {
        let disk = SimDisk::new();
        drop(open_on(&disk, 1));
        let mut files = disk.files();
        files.retain(|file| !file.ends_with('/'));
        for file in files {
            disk.erase_file(&file).unwrap();
        }
        disk.write_file(name, b"a letter").unwrap();
        let refused = Engine::open(STORE, options(&disk, 2, 1024)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        assert!(
            refused.to_string().ends_with("in it is in the way"),
            "{refused}"
        );
        assert_eq!(disk.read_file(name).unwrap(), b"a letter");
    }
}
