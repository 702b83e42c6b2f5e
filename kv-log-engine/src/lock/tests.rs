//! Waiting for an owner, on a clock that moves when the test says so.

use crate::storage::sim::{OpKind, SimDisk};
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::{Engine, Options, SimHost};
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
    assert!(message.ends_with("which has it open"), "{message}");
    drop(owner);
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
    assert!(message.ends_with("which has it open"), "{message}");
    drop(second);
}
