//! Histories that break a store which lacks one rule each. The rules are those of docs/DURABILITY.md; each test says
//! which one it is about. Crash enumeration covers most of them by brute force; here they stand by name.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::{
    CrashPolicy, EACCES, EFBIG, EIO, EMFILE, ENOSPC, EROFS, Fault, FaultKind, OpKind, SimDisk,
};
use kv_log_engine::{Batch, Create, Engine, Options, SimHost, verify};
use kv_tests::crash::images;
use kv_tests::workload::{STORE, contents_of, options};
use kv_trait::{Effect, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SEGMENT: &str = "/db/00000001.seg";

fn open(disk: &SimDisk, seed: u64) -> Engine {
    Engine::open(STORE, options(disk, seed, 64 * 1024)).unwrap()
}

fn fail(disk: &SimDisk, kind: OpKind, errno: i32) {
    disk.inject(
        Fault::new(FaultKind::Errno(errno))
            .on(kind)
            .path_contains(".seg"),
    );
}

fn policy() -> CrashPolicy {
    CrashPolicy {
        garbled: 24,
        ..CrashPolicy::default()
    }
}

/// Flips one bit, durably.
fn flip(disk: &SimDisk, path: &str, at: usize) {
    let mut bytes = disk.read_file(path).unwrap();
    bytes[at] ^= 0x10;
    disk.write_file(path, &bytes).unwrap();
}

/// Where the last frame byte of a segment stands.
fn last_byte(disk: &SimDisk, path: &str) -> usize {
    disk.read_file(path)
        .unwrap()
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap()
}

// R1
#[test]
fn a_group_whose_sync_failed_is_written_again_before_it_is_served() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", b"1").unwrap();
    fail(&disk, OpKind::Sync, EIO);
    let error = store.put(b"b", b"2").unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Io, Effect::Unknown)
    );
    let error = store.put(b"c", b"3").unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Poisoned, Effect::Nothing)
    );
    assert_eq!(
        store.get(b"a").unwrap().as_deref(),
        Some(&b"1"[..]),
        "reads go on"
    );
    assert_eq!(
        store.get(b"b").unwrap(),
        None,
        "what may not be durable is not visible"
    );
    let error = store.close().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Poisoned, Effect::Nothing)
    );
    drop(store);

    let store = open(&disk, 2);
    let seen = contents_of(&store);
    assert!(seen.contains_key(&b"b"[..]), "the page cache still had it");
    assert!(store.recovery_report().rewritten_bytes > 0);
    store.put(b"d", b"4").unwrap();
    disk.power_cut_losing_all();
    drop(store);
    let after = contents_of(&open(&disk, 3));
    assert_eq!(after.len(), 3, "{after:?}");
    assert!(
        seen.iter()
            .all(|(key, value)| after.get(key) == Some(value))
    );
}

// R1, found by the model: seed 1
#[test]
fn a_length_whose_sync_failed_is_changed_again_before_it_is_relied_on() {
    // The failed group made the file longer. What the next open keeps of it, and what it writes where the page cache
    // shows a file that long already, must not end behind the durable length.
    for long in [500_usize, 3_900, 9_000] {
        let disk = SimDisk::new();
        let store = open(&disk, 1);
        store.put(b"a", b"1").unwrap();
        fail(&disk, OpKind::Sync, EIO);
        store.put(b"b", &vec![2; long]).unwrap_err();
        drop(store);
        let store = open(&disk, 2);
        let seen = contents_of(&store);
        disk.set_capacity(Some(disk.used_bytes()));
        let more = store.put(b"c", &[3; 900]).is_ok();
        disk.power_cut_losing_all();
        disk.set_capacity(None);
        drop(store);
        let after = contents_of(&open(&disk, 3));
        assert_eq!(after.len(), seen.len() + usize::from(more), "{long} bytes");
    }
    // The same where nothing of the failed group is kept: its write and its undo failed.
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 3_000]).unwrap();
    drop(store);
    // This open proves every byte, so that the next one has nothing to write again.
    let store = open(&disk, 7);
    disk.inject(
        Fault::new(FaultKind::PartThenErrno(100, EIO))
            .on(OpKind::Write)
            .path_contains(".seg")
            .skip(1),
    );
    fail(&disk, OpKind::Sync, EIO);
    assert_eq!(
        store.put(b"b", &[2; 6_000]).unwrap_err().effect(),
        Effect::Unknown
    );
    drop(store);
    let store = open(&disk, 2);
    assert_eq!(store.recovery_report().rewritten_bytes, 0);
    for number in 0..2_u8 {
        store.put(&[number], &[number; 900]).unwrap();
    }
    disk.power_cut_losing_all();
    drop(store);
    assert_eq!(contents_of(&open(&disk, 3)).len(), 3);
}

// R2
#[test]
fn a_refused_write_is_not_resurrected_by_a_retry_of_its_neighbour() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"before", b"0").unwrap();
    disk.start_trace();
    let submit = |key: &[u8]| {
        let mut batch = Batch::new();
        batch.put(key, &[b'v'; 700]).unwrap();
        store.submit(batch).unwrap()
    };
    disk.inject(Fault::new(FaultKind::PartThenErrno(1500, ENOSPC)).on(OpKind::Write));
    let (a, b) = (submit(b"a"), submit(b"b"));
    for refused in [a.wait().unwrap_err(), b.wait().unwrap_err()] {
        assert_eq!(
            (refused.kind(), refused.effect()),
            (ErrorKind::StorageFull, Effect::Nothing)
        );
    }
    assert!(disk.fault_hits() > 0);
    let refused_at = disk.op_count();
    for image in images(&disk, &policy()) {
        assert_eq!(
            contents_of(&open(&image, 4)).len(),
            1,
            "both were refused: neither is there"
        );
    }
    submit(b"a").wait().unwrap();
    let trace = disk.trace().unwrap();
    for point in trace
        .crash_points()
        .filter(|point| point.op() >= refused_at)
    {
        for choice in point.choices(&policy()) {
            let contents = contents_of(&open(&point.image(&choice), 5));
            assert!(
                !contents.contains_key(&b"b"[..]),
                "{}: {choice:?}",
                trace.describe(point.op())
            );
        }
    }
}

// R2
#[test]
fn the_effect_follows_the_step_that_failed_not_the_errno() {
    for errno in [EIO, ENOSPC, EFBIG, EROFS, EACCES, EMFILE] {
        // grow: nothing, and the store takes writes again
        let disk = SimDisk::new();
        let store = open(&disk, 1);
        fail(&disk, OpKind::Write, errno);
        assert_eq!(
            store.put(b"k", b"v").unwrap_err().effect(),
            Effect::Nothing,
            "grow {errno}"
        );
        store.put(b"k", b"v").unwrap();
        // write, undone: nothing, and the store takes writes again
        let part = Fault::new(FaultKind::PartThenErrno(9, errno))
            .on(OpKind::Write)
            .skip(0);
        disk.inject(part.path_contains(".seg"));
        assert_eq!(
            store.put(b"l", b"v").unwrap_err().effect(),
            Effect::Nothing,
            "write {errno}"
        );
        store.put(b"l", b"v").unwrap();
        // write, not undone: unknown, poisoned
        let both = Fault::new(FaultKind::Errno(errno))
            .on(OpKind::Write)
            .times(2);
        disk.inject(both.path_contains(".seg"));
        assert_eq!(
            store.put(b"m", b"v").unwrap_err().effect(),
            Effect::Unknown,
            "undo {errno}"
        );
        assert_eq!(
            store.put(b"n", b"v").unwrap_err().kind(),
            ErrorKind::Poisoned
        );
        // sync: unknown, poisoned, whatever the errno
        let disk = SimDisk::new();
        let store = open(&disk, 1);
        fail(&disk, OpKind::Sync, errno);
        assert_eq!(
            store.put(b"k", b"v").unwrap_err().effect(),
            Effect::Unknown,
            "sync {errno}"
        );
        let syncs = disk.calls()[&OpKind::Sync];
        assert_eq!(
            store.put(b"k", b"v").unwrap_err().kind(),
            ErrorKind::Poisoned
        );
        assert_eq!(
            disk.calls()[&OpKind::Sync],
            syncs,
            "a failed sync is never tried again"
        );
    }
}

// D7
#[test]
fn a_full_disk_refuses_with_effect_nothing_and_takes_writes_again() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"small", b"1").unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let error = store.put(b"large", &[1; 30_000]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::StorageFull, Effect::Nothing)
    );
    store.close().unwrap();
    drop(store);
    let store = open(&disk, 2);
    assert_eq!(store.get(b"small").unwrap().as_deref(), Some(&b"1"[..]));
    disk.set_capacity(None);
    store.put(b"large", &[1; 30_000]).unwrap();
    // A thin device says so only when it syncs: then nobody can know.
    disk.set_capacity(Some(disk.used_bytes()));
    disk.set_no_space_at_sync(true);
    let error = store.put(b"more", &[1; 30_000]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::StorageFull, Effect::Unknown)
    );
}

// R8
#[test]
fn a_manifest_older_than_the_data_is_corruption_and_nothing_is_deleted() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 300]).unwrap();
    let older = disk.read_file("/db/MANIFEST").unwrap();
    for number in 0..9_u8 {
        store.put(&[number], &[number; 300]).unwrap();
    }
    store.close().unwrap();
    let names = disk.files();
    disk.write_file("/db/MANIFEST", &older).unwrap();
    let error = Engine::open(STORE, options(&disk, 2, 1024)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("older than the data"), "{error}");
    assert_eq!(disk.files(), names);
}

// R8
#[test]
fn foreign_files_are_left_alone_and_debris_is_deleted() {
    let disk = SimDisk::new();
    open(&disk, 1).close().unwrap();
    disk.write_file("/db/notes.txt", b"mine").unwrap();
    disk.write_file("/db/MANIFEST.new", b"half").unwrap();
    disk.write_file("/db/00000009.seg", b"never finished")
        .unwrap();
    let other = SimDisk::new();
    let store = open(&other, 99);
    store.put(b"k", b"v").unwrap();
    drop(store);
    disk.write_file("/db/00000007.seg", &other.read_file(SEGMENT).unwrap())
        .unwrap();
    let store = open(&disk, 2);
    let report = store.recovery_report();
    assert_eq!(report.foreign, ["00000007.seg", "notes.txt"]);
    assert_eq!(report.debris, ["00000009.seg", "MANIFEST.new"]);
    let files = disk.files();
    assert!(files.contains(&"/db/notes.txt".into()) && files.contains(&"/db/00000007.seg".into()));
    assert!(
        !files.contains(&"/db/00000009.seg".into()) && !files.contains(&"/db/MANIFEST.new".into())
    );
    // Rotation goes around the name that is taken.
    drop(store);
    let store = Engine::open(STORE, options(&disk, 3, 1024)).unwrap();
    for number in 0..40_u8 {
        store.put(&[number], &[number; 300]).unwrap();
    }
    store.close().unwrap();
    assert_eq!(contents_of(&open(&disk, 4)).len(), 40);
}

// R10, D3
#[test]
fn two_successive_reads_never_see_a_group_half() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    let write = |number: u64| {
        let mut batch = Batch::new();
        batch.put(b"a", &number.to_le_bytes()).unwrap();
        batch.put(b"b", &number.to_le_bytes()).unwrap();
        store.write(batch).unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    let read =
        |key: &[u8]| u64::from_le_bytes(store.get(key).unwrap().unwrap().try_into().unwrap());
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::SeqCst) {
                        let a = read(b"a");
                        let b = read(b"b");
                        assert!(b >= a && a >= last, "a {a}, then b {b}, after {last}");
                        last = b;
                    }
                })
            })
            .collect();
        (1..400).for_each(write);
        done.store(true, Ordering::SeqCst);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
}

// R11, D6
#[test]
fn after_a_clean_close_a_flip_or_a_cut_is_corruption_not_a_torn_tail() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 100]).unwrap();
    store.put(b"b", &[2; 100]).unwrap();
    store.close().unwrap();
    drop(store);
    let end = last_byte(&disk, SEGMENT);
    for at in (80..=end).step_by(5) {
        let disk = disk.fork();
        let before = disk.read_file(SEGMENT).unwrap();
        flip(&disk, SEGMENT, at);
        let error = Engine::open(STORE, options(&disk, 2, 65536)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "flip at {at}");
        assert!(error.to_string().contains("00000001.seg"), "{error}");
        assert_eq!(disk.read_file(SEGMENT).unwrap().len(), before.len());
    }
    for length in (0..=end).step_by(7) {
        let disk = disk.fork();
        let bytes = disk.read_file(SEGMENT).unwrap();
        disk.write_file(SEGMENT, &bytes[..length]).unwrap();
        let error = Engine::open(STORE, options(&disk, 2, 65536)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut to {length}");
    }
    let store = open(&disk, 3);
    assert_eq!(store.recovery_report().rewritten_bytes, 0);
    assert_eq!(store.recovery_report().torn_tail, None);
}

// R11
#[test]
fn an_idle_mark_proves_the_last_group_and_a_torn_one_harms_nobody() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 100]).unwrap();
    store.put(b"b", &[2; 100]).unwrap();
    drop(store);
    // The idle mark stands behind the last group, in the page cache: a flip in that group is corruption.
    let damaged = disk.fork();
    let at = damaged
        .read_file(SEGMENT)
        .unwrap()
        .windows(100)
        .position(|w| w == [2; 100])
        .unwrap();
    flip(&damaged, SEGMENT, at);
    let error = Engine::open(STORE, options(&damaged, 2, 65536)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // However the mark itself is torn, both groups are there.
    for image in images(&disk, &policy()) {
        assert_eq!(contents_of(&open(&image, 3)).len(), 2);
    }
}

// R11
#[test]
fn an_error_while_scanning_is_never_taken_for_a_torn_tail() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", b"1").unwrap();
    drop(store);
    let before = disk.read_file(SEGMENT).unwrap();
    for skip in 0..3 {
        let fault = Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::Read)
            .path_contains(".seg");
        disk.inject(fault.skip(skip));
        if let Err(error) = Engine::open(STORE, options(&disk, 2, 65536)) {
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
        disk.clear_faults();
        assert_eq!(disk.read_file(SEGMENT).unwrap(), before);
    }
    assert_eq!(contents_of(&open(&disk, 3)).len(), 1);
}

// R12
#[test]
fn a_manifest_whose_rename_was_not_synced_is_written_again_before_it_is_believed() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 400]).unwrap();
    // The rotation's last step fails: the names are there, are not durable, and no later sync covers them.
    disk.inject(
        Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::SyncDir)
            .skip(1),
    );
    let error = store.put(b"b", &[2; 400]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Io, Effect::Nothing)
    );
    assert_eq!(
        store.put(b"c", b"3").unwrap_err().kind(),
        ErrorKind::Poisoned
    );
    drop(store);
    disk.clear_faults();
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    store.put(b"d", b"4").unwrap();
    disk.power_cut_losing_all();
    drop(store);
    let contents = contents_of(&Engine::open(STORE, options(&disk, 3, 1024)).unwrap());
    assert!(contents.contains_key(&b"a"[..]) && contents.contains_key(&b"d"[..]));
}

// R12
#[test]
fn no_room_for_a_new_manifest_changes_nothing() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 400]).unwrap();
    let full = Fault::new(FaultKind::Errno(ENOSPC))
        .on(OpKind::Write)
        .path_contains("MANIFEST.new");
    disk.inject(full);
    let error = store.put(b"b", &[2; 400]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::StorageFull, Effect::Nothing)
    );
    store.put(b"b", &[2; 400]).unwrap();
    disk.power_cut_losing_all();
    drop(store);
    assert_eq!(
        contents_of(&Engine::open(STORE, options(&disk, 2, 1024)).unwrap()).len(),
        2
    );
}

// R13
#[test]
fn a_value_that_holds_frames_does_not_turn_a_crash_into_corruption() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", &[1; 64]).unwrap();
    store.put(b"b", &[2; 64]).unwrap();
    disk.start_trace();
    let forged = disk.read_file(SEGMENT).unwrap();
    let end = last_byte(&disk, SEGMENT) + 1;
    for shift in [0, 1, 7] {
        let mut value = vec![0; shift];
        value.extend_from_slice(&forged[80..end]);
        store.put(b"forged", &value).unwrap();
    }
    let trace = disk.trace().unwrap();
    for point in trace.crash_points() {
        for choice in point.choices(&policy()) {
            let store = open(&point.image(&choice), 2);
            assert!(contents_of(&store).len() >= 2);
        }
    }
}

// R14
#[test]
fn a_replaced_lock_file_stops_the_store_before_the_next_manifest() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 400]).unwrap();
    disk.erase_file("/db/LOCK").unwrap();
    disk.write_file("/db/LOCK", b"").unwrap();
    let error = store.put(b"b", &[2; 400]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Locked, Effect::Nothing)
    );
    assert_eq!(
        store.put(b"c", b"3").unwrap_err().kind(),
        ErrorKind::Poisoned
    );
}

// R14
#[test]
fn a_forked_child_is_refused_and_its_parent_goes_on() {
    let disk = SimDisk::new();
    let host = Arc::new(SimHost::new(1));
    let options = Options::new()
        .storage(disk.storage())
        .host(Arc::clone(&host) as _);
    let store = Engine::open(STORE, options).unwrap();
    store.put(b"a", b"1").unwrap();
    host.set_process_id(2);
    let error = store.put(b"b", b"2").unwrap_err();
    assert_eq!(error.effect(), Effect::Nothing);
    assert!(error.to_string().contains("fork"), "{error}");
    host.set_process_id(1);
    store.put(b"c", b"3").unwrap();
    assert_eq!(contents_of(&store).len(), 2);
}

// R14, D8
#[test]
fn a_store_held_by_another_process_is_refused_with_its_name() {
    let disk = SimDisk::new();
    open(&disk, 1).close().unwrap();
    disk.write_file("/db/LOCK", b"4711 1700000000000 other-program\n")
        .unwrap();
    let held = kv_log_engine::storage::Storage::open(
        &disk,
        std::path::Path::new("/db/LOCK"),
        kv_log_engine::storage::OpenMode::ReadWrite,
    )
    .unwrap();
    assert!(held.try_lock().unwrap());
    let error = Engine::open(STORE, options(&disk, 2, 65536)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(
        error.to_string().contains("process 4711 (other-program)"),
        "{error}"
    );
    drop(held);
    open(&disk, 3);
}

// D6
#[test]
fn missing_swapped_and_foreign_segments_are_named() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    for number in 0..9_u8 {
        store.put(&[number], &[number; 300]).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let refused = |disk: &SimDisk, name: &str, what: &str| {
        let error = Engine::open(STORE, options(disk, 2, 1024)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(what), "{text}");
    };
    let missing = disk.fork();
    missing.erase_file("/db/00000002.seg").unwrap();
    refused(&missing, "00000002.seg", "missing");
    let swapped = disk.fork();
    swapped
        .write_file("/db/00000002.seg", &disk.read_file(SEGMENT).unwrap())
        .unwrap();
    refused(
        &swapped,
        "00000002.seg",
        "not the segment that the manifest means",
    );
    let truncated = disk.fork();
    truncated
        .write_file(SEGMENT, &disk.read_file(SEGMENT).unwrap()[..500])
        .unwrap();
    refused(&truncated, "00000001.seg", "truncated");
    let other = SimDisk::new();
    open(&other, 9).close().unwrap();
    let foreign = disk.fork();
    foreign
        .write_file(SEGMENT, &other.read_file(SEGMENT).unwrap())
        .unwrap();
    refused(&foreign, "00000001.seg", "belongs to another store");
    let gone = disk.fork();
    gone.erase_file("/db/MANIFEST").unwrap();
    refused(&gone, "MANIFEST", "missing");
}

// D6
#[test]
fn a_read_checks_what_it_reads() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"key", &[7; 100]).unwrap();
    let at = disk
        .read_file(SEGMENT)
        .unwrap()
        .windows(100)
        .position(|w| w == [7; 100])
        .unwrap();
    flip(&disk, SEGMENT, at + 50);
    let error = store.get(b"key").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .to_string()
            .contains("00000001.seg is corrupt at offset"),
        "{error}"
    );
}

// D11
#[test]
fn a_torn_tail_is_kept_reported_and_cut_once() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"a", b"1").unwrap();
    drop(store);
    let mut bytes = disk.read_file(SEGMENT).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.resize(end + 5000, 0);
    bytes[end + 8..end + 4000].fill(0xee);
    disk.write_file(SEGMENT, &bytes).unwrap();
    let report = verify(STORE, options(&disk, 2, 65536)).unwrap();
    assert!(report.is_clean() && report.torn_tail.is_some());
    assert_eq!(
        disk.read_file(SEGMENT).unwrap(),
        bytes,
        "verify changes nothing"
    );
    let store = open(&disk, 3);
    let torn = store.recovery_report().torn_tail.clone().unwrap();
    assert!(torn.bytes >= 3992, "{torn:?}");
    let kept = disk.read_file(torn.quarantine.unwrap()).unwrap();
    assert!(kept.ends_with(&[0xee; 3992]));
    drop(store);
    assert_eq!(open(&disk, 4).recovery_report().torn_tail, None);
}

// D8
#[test]
fn reading_a_path_without_a_store_makes_nothing() {
    let disk = SimDisk::new();
    let error = Engine::open(STORE, options(&disk, 1, 65536).create(Create::Never)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(disk.files().is_empty());
    assert_eq!(
        verify(STORE, options(&disk, 1, 65536)).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(disk.files().is_empty());
}

// D10: counted, not timed
#[test]
fn one_set_is_one_sync_and_sixty_four_that_meet_a_held_sync_need_at_most_two_more() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    let syncs = || disk.calls()[&OpKind::Sync];
    store.put(b"warm", b"up").unwrap();
    let before = syncs();
    store.put(b"alone", b"1").unwrap();
    assert_eq!(syncs(), before + 1);

    let gate = disk.hold(OpKind::Sync);
    let before = syncs();
    std::thread::scope(|scope| {
        scope.spawn(|| store.put(b"first", b"1").unwrap());
        gate.wait_until_held(1);
        let waiting: Vec<_> = (0..64_u8)
            .map(|number| {
                let mut batch = Batch::new();
                batch.put(&[number], b"1").unwrap();
                let submitted = store.submit(batch).unwrap();
                scope.spawn(move || submitted.wait().unwrap())
            })
            .collect();
        gate.open();
        waiting
            .into_iter()
            .for_each(|thread| drop(thread.join().unwrap()));
    });
    let more = syncs() - before - 1;
    assert!(more <= 2, "{more} more syncs for 64 writers");
}

// D2
#[test]
fn nothing_is_visible_while_its_sync_is_held() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"old").unwrap();
    let gate = disk.hold(OpKind::Sync);
    std::thread::scope(|scope| {
        scope.spawn(|| store.put(b"k", b"new").unwrap());
        gate.wait_until_held(1);
        assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(contents_of(&store).len(), 1);
        gate.open();
    });
    assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"new"[..]));
}
