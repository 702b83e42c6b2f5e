//! A disk that is full, and led out of there by deletes: a simulated one, and real file systems where this process may mount
//! them; elsewhere the test says that it was skipped.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like tests, and make a file system from outside"
)]

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Engine, Options, Tuning};
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BYTES: u64 = 48 * 1024 * 1024;

/// A small file system of its own, gone when it is dropped.
struct Mounted {
    at: PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[&self.at.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let done = Command::new(program).args(arguments).output();
    done.is_ok_and(|output| output.status.success())
}

fn mount(kind: &str) -> Option<Mounted> {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("mounted");
    std::fs::create_dir(&at).unwrap();
    let to = at.display().to_string();
    let mounted = if kind == "tmpfs" {
        let size = format!("size={BYTES}");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &to])
    } else {
        let image = directory.path().join("image");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(BYTES)
            .unwrap();
        let image = image.display().to_string();
        let mut arguments = vec!["-q", &image];
        if kind == "btrfs" {
            arguments.insert(1, "-M"); // data and metadata share what little there is
        }
        run(&format!("mkfs.{kind}"), &arguments)
            && run("mount", &["-t", kind, "-o", "loop", &image, &to])
    };
    mounted.then_some(Mounted {
        at,
        _directory: directory,
    })
}

fn open(path: &Path) -> Engine {
    let by_hand = Tuning {
        by_hand: true, // so that nothing is given back
        ..Tuning::default()
    };
    let options = Options::new().segment_bytes(4 << 20).tuning(by_hand);
    Engine::open(path, options).unwrap()
}

fn full(result: Result<()>) {
    let refused = result.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::StorageFull, Effect::Nothing),
        "{refused}"
    );
}

/// Not the macro: the test harness would swallow it.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

fn deletes_close_and_open_go_on(kind: &str) {
    let Some(mounted) = mount(kind) else {
        say(&format!("full: skipped, cannot mount {kind}\n"));
        return;
    };
    let path = mounted.at.join("store");
    let mut store = open(&path);
    let mut written = 0_u32;
    let refused = loop {
        match store.put(&written.to_le_bytes(), &[7; 10_000]) {
            Ok(()) => written += 1,
            Err(refused) => break Err(refused),
        }
    };
    full(refused);
    // Somebody else takes what is left.
    let mut other = std::fs::File::create(mounted.at.join("other")).unwrap();
    while other.write(&[1; 4096]).is_ok_and(|count| count > 0) {}
    let mut deleted = 0_u32;
    for life in 0..6_u32 {
        for _ in 0..10 {
            store.remove(&deleted.to_le_bytes()).unwrap();
            deleted += 1;
        }
        // What the reserve need not keep any more may do for one.
        match store.put(b"more", &[8; 10_000]) {
            Ok(()) => store.remove(b"more").unwrap(),
            refused => full(refused),
        }
        if life % 2 == 0 {
            store.close().unwrap();
        }
        drop(store);
        store = open(&path);
        assert_eq!(store.recovery_report().read_only, None, "life {life}");
        let held = store.scan(..).unwrap().count();
        assert_eq!(held, (written - deleted) as usize, "life {life}");
    }
    drop(other);
    std::fs::remove_file(mounted.at.join("other")).unwrap();
    store.close().unwrap();
    say(&format!("full: {kind}, {written} values of 10 kB\n"));
}

#[test]
fn on_a_full_tmpfs_deletes_closes_and_opens_go_on() {
    deletes_close_and_open_go_on("tmpfs");
}

#[test]
fn on_a_full_ext4_deletes_closes_and_opens_go_on() {
    deletes_close_and_open_go_on("ext4");
}

/// What a store must hold.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u32) -> Vec<u8> {
    // Not in the order of their writing.
    format!("key {:08x}", number.wrapping_mul(0x9e37_79b1)).into_bytes()
}

/// Values that move into runs, and such that stay in segments.
fn value(number: u32, times: usize) -> Vec<u8> {
    let length = [60, 300, 700, 2_500][number as usize % 4] * times;
    let fill = number.to_le_bytes();
    fill.iter().copied().cycle().take(length).collect()
}

fn compare(store: &Engine, model: &Model) {
    let mut scanned = store.scan(..).unwrap();
    for (key, value) in model {
        let (found, held) = scanned.next().unwrap().unwrap();
        assert!(found == *key && held == *value, "{found:?} {key:?}");
    }
    assert!(scanned.next().is_none());
    for (key, value) in model.iter().step_by(7) {
        assert_eq!(store.get(key).unwrap().as_ref(), Some(value));
    }
}

/// Puts until one is refused, which then is in no later state. Returns how many there were.
fn fill(
    store: &Engine,
    model: &mut Model,
    next: &mut u32,
    times: usize,
    check: &dyn Fn(Option<&Error>),
) -> usize {
    let before = model.len();
    loop {
        let (key, value) = (key(*next), value(*next, times));
        match store.put(&key, &value) {
            Ok(()) => drop(model.insert(key, value)),
            Err(refused) => {
                check(Some(&refused));
                full(Err(refused));
                assert_eq!(store.get(&key).unwrap(), None);
                return model.len() - before;
            }
        }
        *next += 1;
        check(None);
    }
}

/// Fill, read, close or drop, open, delete, and write again, and nobody does any chore by hand. How many fitted in each round.
fn rounds(
    count: usize,
    times: usize,
    open: &dyn Fn() -> Engine,
    check: &dyn Fn(Option<&Error>),
) -> Vec<usize> {
    let (mut model, mut next) = (Model::new(), 0);
    let mut store = open();
    let mut fitted = Vec::new();
    for round in 0..count {
        fitted.push(fill(&store, &mut model, &mut next, times, check));
        compare(&store, &model);
        if round % 2 == 0 {
            store.close().unwrap();
        }
        drop(store);
        store = open();
        assert_eq!(store.recovery_report().read_only, None, "round {round}");
        compare(&store, &model);
        // Most of it; in some rounds all.
        let kept = |at: usize| round % 3 != 2 && at % 4 == round % 4;
        let gone: Vec<Vec<u8>> = model
            .keys()
            .cloned()
            .enumerate()
            .filter(|(at, _)| !kept(*at))
            .map(|(_, key)| key)
            .collect();
        for key in gone {
            store.remove(&key).unwrap();
            model.remove(&key);
        }
        compare(&store, &model);
    }
    fitted.push(fill(&store, &mut model, &mut next, times, check));
    compare(&store, &model);
    store.close().unwrap();
    fitted
}

fn small(options: Options, segment_bytes: u64) -> Options {
    options.segment_bytes(segment_bytes).tuning(Tuning {
        memtable_bytes: Some(segment_bytes),
        log_bytes: Some(2 * segment_bytes),
        run_bytes: Some(segment_bytes),
        unit_bytes: Some(segment_bytes),
        slice_bytes: Some(segment_bytes / 4),
        ..Tuning::default()
    })
}

#[test]
fn a_full_disk_is_emptied_and_filled_again_and_again() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(1 << 20));
    let open = || {
        let options = Options::new().storage(disk.storage());
        Engine::open("/db", small(options, 64 * 1024)).unwrap()
    };
    let fitted = rounds(6, 1, &open, &|_| ());
    say(&format!("full: simulated, {fitted:?}\n"));
    let least = fitted[0] / 3;
    assert!(fitted.iter().all(|count| *count > least), "{fitted:?}");
}

#[test]
fn a_store_that_may_take_no_more_is_emptied_and_filled_again_and_again() {
    const BOUND: u64 = 1_600_000;
    let disk = SimDisk::new();
    let open = || {
        let options = Options::new().storage(disk.storage()).disk_bytes_max(BOUND);
        Engine::open("/db", small(options, 16 * 1024)).unwrap()
    };
    let length = |name: &String| disk.read_file(name).map_or(0, |file| file.len() as u64);
    let asked = std::cell::Cell::new(0_u32);
    let check = |refused: Option<&Error>| {
        asked.set(asked.get() + 1);
        if asked.get().is_multiple_of(16) {
            let used: u64 = disk.files().iter().map(length).sum();
            assert!(used <= BOUND, "{used} bytes are used");
        }
        if let Some(refused) = refused {
            assert!(refused.message().contains("1600000"), "{refused}");
        }
    };
    let fitted = rounds(6, 1, &open, &check);
    say(&format!("full: bounded, {fitted:?}\n"));
    let least = fitted[0] / 3;
    assert!(fitted.iter().all(|count| *count > least), "{fitted:?}");
}

fn real_rounds(kind: &str) {
    let Some(mounted) = mount(kind) else {
        say(&format!("full: skipped, cannot mount {kind}\n"));
        return;
    };
    let path = mounted.at.join("store");
    let open = || Engine::open(&path, small(Options::new(), 1 << 20)).unwrap();
    // Long ones, because each is a sync.
    let fitted = rounds(3, 16, &open, &|_| ());
    say(&format!("full: {kind}, {fitted:?}\n"));
    let least = fitted[0] / 3;
    assert!(fitted.iter().all(|count| *count > least), "{fitted:?}");
}

#[test]
fn a_full_tmpfs_is_emptied_and_filled_again_and_again() {
    real_rounds("tmpfs");
}

#[test]
fn a_full_ext4_is_emptied_and_filled_again_and_again() {
    real_rounds("ext4");
}

/// Whether a refusal for want of room leaves its one write in doubt, for the next open to decide; otherwise it did nothing.
fn is_in_doubt(refused: &Error) -> bool {
    assert_eq!(refused.kind(), ErrorKind::StorageFull, "{refused}");
    let is_unknown = refused.effect() == Effect::Unknown;
    assert!(is_unknown || refused.effect() == Effect::Nothing);
    is_unknown
}

/// btrfs copies on write: what the reserve keeps there is no promise, and a delete may find no room, either, nor the zeros that
/// take a write back. What is promised: every refusal says truly what it did, everything that was acknowledged is read, in this
/// life and the next, and with room that somebody else gives back it goes on. Where there was no room for a clean end, the next
/// open may have to wait for that.
#[test]
fn a_full_btrfs_refuses_and_reads_and_goes_on_when_there_is_room() {
    let Some(mounted) = mount("btrfs") else {
        say("full: skipped, cannot mount btrfs\n");
        return;
    };
    let path = mounted.at.join("store");
    let open = || Engine::open(&path, small(Options::new(), 1 << 20));
    let ballast = |number: usize| mounted.at.join(format!("ballast {number}"));
    let make_room = |number: usize| {
        std::fs::remove_file(ballast(number)).unwrap();
        // What is removed is free when the file system has committed that.
        assert!(run("sync", &["-f", &mounted.at.display().to_string()]));
    };
    for number in 0..3 {
        std::fs::write(ballast(number), vec![1; 8 << 20]).unwrap();
    }
    let (mut model, mut next) = (Model::new(), 0);
    let mut store = open().unwrap();
    let (mut fitted, mut refused, mut in_doubt) = (Vec::new(), 0, 0);
    for round in 0..4 {
        let before = model.len();
        // What the write in doubt would have made of its key.
        let doubt = loop {
            let (key, value) = (key(next), value(next, 16));
            next += 1;
            match store.put(&key, &value) {
                Ok(()) => drop(model.insert(key, value)),
                Err(refused) if is_in_doubt(&refused) => break Some((key, Some(value))),
                Err(_nothing) => break None,
            }
        };
        fitted.push(model.len() - before);
        compare(&store, &model);
        if round == 3 {
            break;
        }
        // There may be no room for the mark of a clean end.
        let closed = store.close();
        drop(store);
        store = match open() {
            Ok(store) => store,
            Err(refused) => {
                say(&format!(
                    "full: btrfs, closed {closed:?}, opened {refused}\n"
                ));
                full(Err(refused));
                make_room(round);
                open().unwrap()
            }
        };
        in_doubt += settle(&store, &mut model, doubt);
        compare(&store, &model);
        let mut doubt = None;
        for at in 0..40 {
            let key = model.keys().nth(at * model.len() / 40).unwrap().clone();
            match store.remove(&key) {
                Ok(()) => drop(model.remove(&key)),
                Err(error) if is_in_doubt(&error) => {
                    doubt = Some((key, None));
                    break;
                }
                Err(_nothing) => refused += 1,
            }
        }
        compare(&store, &model);
        if ballast(round).exists() {
            make_room(round);
        }
        drop(store);
        store = open().unwrap();
        in_doubt += settle(&store, &mut model, doubt);
    }
    say(&format!(
        "full: btrfs, {fitted:?}, {refused} deletes refused, {in_doubt} writes in doubt\n"
    ));
    assert!(fitted.iter().skip(1).all(|count| *count > 0), "{fitted:?}");
}

/// The model learns what became of the write that was in doubt: all of it, or nothing.
fn settle(store: &Engine, model: &mut Model, doubt: Option<(Vec<u8>, Option<Vec<u8>>)>) -> usize {
    let Some((key, wanted)) = doubt else {
        return 0;
    };
    let found = store.get(&key).unwrap();
    assert!(found == wanted || found.as_ref() == model.get(&key));
    match found {
        Some(value) => drop(model.insert(key, value)),
        None => drop(model.remove(&key)),
    }
    1
}

/// The same on the simulated disk, where what is overwritten takes a new block first: the reserve promises nothing there.
/// Refusals have effect nothing, what was acknowledged is read in this life and the next, and with more room it goes on.
#[test]
fn a_full_disk_that_copies_on_write_is_read_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new();
    disk.set_copy_on_write(true);
    let mut capacity = 1 << 20;
    disk.set_capacity(Some(capacity));
    let open = || {
        let options = Options::new().storage(disk.storage());
        Engine::open("/db", small(options, 64 * 1024))
    };
    let (mut model, mut next) = (Model::new(), 0);
    let mut store = open().unwrap();
    let (mut fitted, mut refused) = (Vec::new(), 0);
    for round in 0..6_usize {
        fitted.push(fill(&store, &mut model, &mut next, 1, &|_| ()));
        compare(&store, &model);
        if round % 2 == 0 {
            full_or_done(store.close());
        }
        drop(store);
        store = match open() {
            Ok(store) => store,
            Err(error) => {
                full(Err(error));
                capacity += 1 << 18;
                disk.set_capacity(Some(capacity));
                open().unwrap()
            }
        };
        compare(&store, &model);
        let keys: Vec<_> = model.keys().step_by(3).cloned().collect();
        for key in keys {
            match store.remove(&key) {
                Ok(()) => drop(model.remove(&key)),
                Err(error) => {
                    full(Err(error));
                    refused += 1;
                }
            }
        }
        compare(&store, &model);
        capacity += 1 << 18;
        disk.set_capacity(Some(capacity));
    }
    fitted.push(fill(&store, &mut model, &mut next, 1, &|_| ()));
    compare(&store, &model);
    say(&format!(
        "full: simulated, copying on write, {fitted:?}, {refused} deletes refused\n"
    ));
    assert!(fitted.iter().skip(1).all(|count| *count > 0), "{fitted:?}");
}

/// There may be no room for the mark of a clean end.
fn full_or_done(closed: Result<()>) {
    if closed.is_err() {
        full(closed);
    }
}
