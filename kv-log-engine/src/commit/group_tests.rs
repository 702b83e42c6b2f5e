//! Conditions by version: decided in the order of writes, answered after the sync.

use crate::storage::sim::{EIO, Fault, FaultKind, OpKind, SimDisk};
use crate::{Batch, Engine, Options, SimHost};
use kv_trait::{Effect, ErrorKind, KEY_BYTES_MAX};
use std::sync::Arc;
use std::time::Duration;

fn open(disk: &SimDisk) -> Engine {
    let host = Arc::new(SimHost::new(1));
    let options = Options::new()
        .storage(disk.storage())
        .host(host)
        .linger(Duration::ZERO);
    Engine::open("/db", options).unwrap()
}

fn put(key: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, b"v").unwrap();
    batch
}

#[test]
fn conditions_see_what_the_group_before_them_did() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let first = store.submit(put(b"k")).unwrap();
    let mut refused = put(b"k");
    refused.expect(b"k", None).unwrap();
    let refused = store.submit(refused).unwrap();
    let mut accepted = put(b"other");
    accepted.expect(b"k", Some(crate::Seqno::new(1))).unwrap();
    let accepted = store.submit(accepted).unwrap();
    assert_eq!(first.wait().unwrap().first_seqno().get(), 1);
    let error = refused.wait().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Conflict, Effect::Nothing)
    );
    assert_eq!(
        error.to_string(),
        r#"the key "k" is at version 1, where the batch expects it absent"#
    );
    assert_eq!(
        accepted.wait().unwrap().first_seqno().get(),
        2,
        "a refused batch takes no seqno"
    );
    let mut gone = Batch::new();
    gone.delete(b"k").unwrap();
    gone.expect(b"k", Some(crate::Seqno::new(1))).unwrap();
    store.write(gone).unwrap();
    let mut absent = put(b"k");
    absent.expect(b"k", None).unwrap();
    store.write(absent).unwrap();
}

// R4: `set k` and "k must be absent" in one group. A refusal before the sync would tell what may never be durable.
#[test]
fn a_refused_condition_is_answered_after_the_sync_it_depends_on() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let gate = disk.hold(OpKind::Sync);
    let first = store.submit(put(b"k")).unwrap();
    let mut condition = put(b"k");
    condition.expect(b"k", None).unwrap();
    let refused = store.submit(condition).unwrap();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| first.wait());
        gate.wait_until_held(1);
        assert!(!refused.is_done());
        gate.open();
        leader.join().unwrap().unwrap();
    });
    assert_eq!(refused.wait().unwrap_err().kind(), ErrorKind::Conflict);
}

// R4: where the sync fails, the refusal itself would be a lie.
#[test]
fn a_refused_condition_learns_of_a_failed_sync_and_not_of_its_refusal() {
    let disk = SimDisk::new();
    let store = open(&disk);
    disk.inject(Fault::new(FaultKind::Errno(EIO)).on(OpKind::Sync));
    let first = store.submit(put(b"k")).unwrap();
    let mut condition = put(b"k");
    condition.expect(b"k", None).unwrap();
    let refused = store.submit(condition).unwrap();
    assert_eq!(first.wait().unwrap_err().effect(), Effect::Unknown);
    let error = refused.wait().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Io, Effect::Nothing)
    );
}

#[test]
fn a_refused_condition_alone_needs_no_sync() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let syncs = disk.calls()[&OpKind::Sync];
    let mut condition = put(b"k");
    condition.expect(b"k", Some(crate::Seqno::new(9))).unwrap();
    assert_eq!(
        store.write(condition).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(store.write(Batch::new()).unwrap().last_seqno().get(), 0);
    assert_eq!(disk.calls()[&OpKind::Sync], syncs);
}

// D11: a manifest that could be written and not read would cost the store.
#[test]
fn a_store_with_as_many_segments_as_it_may_have_refuses_and_stays_good() {
    let disk = SimDisk::new();
    let options = || {
        let mut options = Options::new().storage(disk.storage()).segment_bytes(1024);
        options.segments_max = 3;
        options
    };
    let store = Engine::open("/db", options()).unwrap();
    let mut written = 0_u8;
    let refused = loop {
        match store.put(&[written], &[written; 400]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::StorageFull, Effect::Nothing)
    );
    assert_eq!(store.stats().segments.len(), 3);
    assert!(!store.stats().poisoned);
    store.close().unwrap();
    drop(store);
    let store = Engine::open("/db", options()).unwrap();
    assert_eq!(store.stats().live_keys, u64::from(written));
}

#[test]
fn a_condition_is_bounded_like_a_record() {
    let mut batch = put(b"k");
    let refused = batch.expect(&[7; KEY_BYTES_MAX + 1], None).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::TooLarge, Effect::Nothing)
    );
    let mut accepted = 0;
    let refused = loop {
        match batch.expect(&[7; KEY_BYTES_MAX], None) {
            Ok(()) => accepted += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.kind(), accepted), (ErrorKind::TooLarge, 255));
    // The batch is as it was, and good.
    let disk = SimDisk::new();
    open(&disk).write(batch).unwrap();
}

// Conditions are not written, but they wait in the queue like everything else.
#[test]
fn conditions_take_room_in_the_queue() {
    let disk = SimDisk::new();
    let mut options = Options::new().storage(disk.storage());
    options.limits.queue_bytes = 1000;
    let store = Engine::open("/db", options).unwrap();
    let mut first = put(b"first");
    first.expect(&[7; 2000], None).unwrap();
    let first = store.submit(first).unwrap();
    let in_line = store.submit(put(b"second")).unwrap();
    drop(in_line); // nothing happens
    first.wait().unwrap();
    assert_eq!(store.get(b"first").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(store.get(b"second").unwrap(), None);
}
