//! Waiting for an owner, on a clock that moves when the test says so; and what LOCK says of one.

use super::{CLOSING_WAIT_MAX, HOLDER_BYTES_MAX, holder_text, parse_holder};
use crate::storage::sim::{EROFS, Fault, FaultKind, OpKind, SimDisk};
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::{Engine, Host, Options, SimHost, verify};
use kv_trait::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle, sleep};
use std::time::Duration;

const STRANGER: &str = "4711 1700000000000 other-program\n";

/// A closed store.
fn closed_store() -> SimDisk {
    let disk = SimDisk::new();
    Engine::open("/db", options(&disk))
        .unwrap()
        .close()
        .unwrap();
    disk
}

fn options(disk: &SimDisk) -> Options {
    Options::new().storage(disk.storage())
}

/// Takes the lock past the registry, as another process would, and leaves `text` in the file.
fn hold(disk: &SimDisk, text: &str) -> Arc<dyn StorageFile> {
    disk.write_file("/db/LOCK", text.as_bytes()).unwrap();
    let file = Storage::open(disk, Path::new("/db/LOCK"), OpenMode::ReadWrite).unwrap();
    assert!(file.try_lock().unwrap());
    file
}

fn attempts(disk: &SimDisk) -> u64 {
    disk.calls().get(&OpKind::Lock).copied().unwrap_or_default()
}

fn opening(options: Options) -> JoinHandle<Result<Engine, Error>> {
    Builder::new()
        .spawn(move || Engine::open("/db", options))
        .unwrap()
}

fn refusal(opening: JoinHandle<Result<Engine, Error>>) -> String {
    let error = opening.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error:?}");
    error.to_string()
}

/// The wait was a number of tries, and each waiter's failed try woke all others: they used up each other's time.
#[test]
fn waiters_of_one_process_do_not_shorten_each_others_wait() {
    let disk = closed_store();
    let held = hold(&disk, STRANGER);
    let host = Arc::new(SimHost::new(1));
    let before = attempts(&disk);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let options = options(&disk)
                .host(Arc::clone(&host) as _)
                .lock_timeout(Duration::from_millis(50));
            opening(options)
        })
        .collect();
    while attempts(&disk) - before < 40 {
        let gone = waiters.iter().any(JoinHandle::is_finished);
        assert!(!gone, "gave up before its time was over");
        sleep(Duration::from_millis(1));
    }
    host.advance(Duration::from_millis(50));
    for waiter in waiters {
        let message = refusal(waiter);
        assert!(message.contains("process 4711"), "{message}");
    }
    drop(held);
}

/// A claim on a store that a stranger holds was taken for an owner.
#[test]
fn an_open_beside_one_that_is_refused_is_told_of_the_same_owner() {
    let disk = closed_store();
    let held = hold(&disk, STRANGER);
    let gate = disk.hold(OpKind::Lock);
    let first = opening(options(&disk));
    gate.wait_until_held(1);
    let second = opening(options(&disk));
    // Long enough for the second to have come to the first one's claim.
    sleep(Duration::from_millis(50));
    assert!(!second.is_finished(), "judged before the claim was decided");
    gate.open();
    for refused in [first, second] {
        let message = refusal(refused);
        assert!(message.contains("process 4711"), "{message}");
    }
    drop(held);
}

#[test]
fn an_open_beside_one_that_succeeds_is_told_of_it() {
    let disk = closed_store();
    let gate = disk.hold(OpKind::Lock);
    let first = opening(options(&disk));
    gate.wait_until_held(1);
    let second = opening(options(&disk));
    gate.open();
    let owner = first.join().unwrap().unwrap();
    let message = refusal(second);
    assert!(message.contains("which has it open"), "{message}");
    drop(owner);
}

/// It was refused at once, where an open after a drop waits.
#[test]
fn an_open_beside_a_close_waits_for_it() {
    let disk = SimDisk::new();
    let store = Engine::open("/db", options(&disk)).unwrap();
    store.put(b"k", b"v").unwrap();
    let gate = disk.hold(OpKind::Sync);
    let closing = Builder::new().spawn(move || store.close()).unwrap();
    gate.wait_until_held(1);
    let next = opening(options(&disk));
    // Long enough for the open to have been refused.
    sleep(Duration::from_millis(50));
    assert!(!next.is_finished(), "did not wait");
    gate.open();
    closing.join().unwrap().unwrap();
    let next = next.join().unwrap().unwrap();
    assert_eq!(next.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

/// It marked whatever store was there: the third open waited five seconds for an owner that was not going.
#[test]
fn dropping_a_closed_store_does_not_mark_the_next_owner_as_closing() {
    let disk = SimDisk::new();
    let first = Engine::open("/db", options(&disk)).unwrap();
    first.close().unwrap();
    let second = Engine::open("/db", options(&disk)).unwrap();
    drop(first);
    let message = refusal(opening(options(&disk)));
    assert!(message.contains("which has it open"), "{message}");
    drop(second);
}

/// Mostly it is a task that has not ended yet, and nothing said so.
#[test]
fn a_refusal_counts_the_handles_that_are_alive_and_names_the_way_to_wait() {
    let disk = SimDisk::new();
    let first = Engine::open("/db", options(&disk)).unwrap();
    let second = first.clone();
    let message = refusal(opening(options(&disk)));
    assert!(message.contains("2 handles are alive"), "{message}");
    assert!(message.contains("`Options::lock_timeout`"), "{message}");
    drop(first);
    let message = refusal(opening(options(&disk)));
    assert!(message.contains("1 handle is alive"), "{message}");
    drop(second);
    drop(Engine::open("/db", options(&disk)).unwrap());
}

fn everything_but_the_lock(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let files = disk.files().into_iter();
    files
        .filter(|path| !path.ends_with('/') && path != "/db/LOCK")
        .map(|path| (path.clone(), disk.read_file(&path).unwrap()))
        .collect()
}

/// It left the name of the owner before in the file: an open was refused with a process that had closed the store.
#[test]
fn verify_says_who_has_the_store_and_changes_nothing_else() {
    let disk = closed_store();
    disk.write_file("/db/LOCK", STRANGER.as_bytes()).unwrap();
    let before = everything_but_the_lock(&disk);
    let host = Arc::new(SimHost::new(1));
    host.set_process_id(12);
    let report = verify("/db", options(&disk).host(host)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let text = String::from_utf8(disk.read_file("/db/LOCK").unwrap()).unwrap();
    assert!(text.starts_with("12 1700000000000 "), "{text}");
    assert_eq!(everything_but_the_lock(&disk), before);
}

#[test]
fn verify_goes_on_where_it_cannot_say_who_it_is() {
    let disk = closed_store();
    disk.inject(
        Fault::new(FaultKind::Errno(EROFS))
            .on(OpKind::Write)
            .path_contains("LOCK"),
    );
    assert!(verify("/db", options(&disk)).unwrap().is_clean());
    assert_eq!(disk.fault_hits(), 1);
    assert_eq!(disk.read_file("/db/LOCK").unwrap(), b"");
}

/// Containers that share a volume are all process 1; the number alone made them wait for themselves.
#[test]
fn another_process_of_the_same_number_is_not_waited_for() {
    let disk = closed_store();
    let number = std::process::id();
    for text in [
        format!("{number} 1700000000000 of-version-0\n"),
        format!("{number} 1700000000000 in-a-container\n00000000000004d2\n"),
    ] {
        let held = hold(&disk, &text);
        let before = attempts(&disk);
        let message = refusal(opening(options(&disk)));
        assert!(message.contains(&format!("process {number} ")), "{message}");
        assert_eq!(attempts(&disk) - before, 1, "{text}");
        drop(held);
    }
}

/// A child between fork and exec has a copy of the descriptor that its parent has closed.
#[test]
fn a_copy_of_our_own_lock_is_waited_for_within_bounds() {
    let disk = closed_store();
    let host = Arc::new(SimHost::new(1));
    let ours = || options(&disk).host(Arc::clone(&host) as _);
    Engine::open("/db", ours()).unwrap().close().unwrap();
    let text = String::from_utf8(disk.read_file("/db/LOCK").unwrap()).unwrap();
    for in_time in [true, false] {
        let held = hold(&disk, &text);
        let before = attempts(&disk);
        let waiter = opening(ours());
        while attempts(&disk) - before < 3 {
            assert!(!waiter.is_finished(), "not waited for");
            sleep(Duration::from_millis(1));
        }
        if in_time {
            drop(held);
            waiter.join().unwrap().unwrap();
        } else {
            host.advance(CLOSING_WAIT_MAX);
            let message = refusal(waiter);
            assert!(message.contains("process 1 ("), "{message}");
        }
    }
}

#[test]
fn the_text_of_the_lock_is_read_as_it_was_written_whatever_stands_there() {
    let host = SimHost::new(1);
    host.set_process_id(7);
    let holder = parse_holder(&holder_text(&host));
    assert_eq!(holder.process, Some((7, host.process_key())));
    assert!(holder.text.starts_with("process 7 ("), "{}", holder.text);
    assert!(holder_text(&host).len() <= HOLDER_BYTES_MAX);

    let old = parse_holder(STRANGER);
    assert_eq!(old.process, None);
    assert_eq!(
        old.text,
        "process 4711 (other-program), since 2023-11-14T22:13:20Z"
    );
    for strange in ["", "\n", "7", "7 x", "\u{fffd}", "\n\n00000000000004d2"] {
        let holder = parse_holder(strange);
        assert_eq!(holder.process, None, "{strange:?}");
        assert_eq!(holder.text, "a process that has not said its name");
    }
}
