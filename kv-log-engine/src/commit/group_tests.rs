//! Conditions by version: decided in the order of writes, answered after the sync.

use crate::format::record::KEYSPACE_DEFAULT;
use crate::format::run::full_key;
use crate::index::Lookup;
use crate::storage::sim::{EIO, Fault, FaultKind, OpKind, SimDisk};
use crate::{Batch, Engine, Options, SimHost, Tuning};
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

// `set k` and "k must be absent" in one group. A refusal before the sync would tell what may never be durable.
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

// Where the sync fails, the refusal itself would be a lie.
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
        // Chores would give segments back.
        options.tuning(Tuning {
            by_hand: true,
            ..Tuning::default()
        })
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
    // Room would not help a delete that needs a segment, and is kept.
    let kept = || disk.read_file("/db/RESERVE.deletes").unwrap().len();
    let before = kept();
    let refused = (0..200_u8).find_map(|key| store.remove(&[key]).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::StorageFull);
    assert_eq!(kept(), before);
    let written = store.scan(..).unwrap().count();
    store.close().unwrap();
    drop(store);
    let store = Engine::open("/db", options()).unwrap();
    assert_eq!(store.scan(..).unwrap().count(), written);
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

#[test]
fn conditions_see_what_the_group_before_them_deleted() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.write(put(b"k")).unwrap();
    let mut gone = Batch::new();
    gone.delete(b"k").unwrap();
    let gone = store.submit(gone).unwrap();
    let mut stale = put(b"stale");
    stale.expect(b"k", Some(crate::Seqno::new(1))).unwrap();
    let stale = store.submit(stale).unwrap();
    let mut again = put(b"k");
    again.expect(b"k", None).unwrap();
    let again = store.submit(again).unwrap();
    let syncs = disk.calls()[&OpKind::Sync];
    gone.wait().unwrap();
    assert_eq!(stale.wait().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(again.wait().unwrap().first_seqno().get(), 3);
    assert_eq!(disk.calls()[&OpKind::Sync], syncs + 1, "one group");
    assert_eq!(store.get(b"stale").unwrap(), None);
}

/// The bytes of live records of each segment.
fn live_bytes(store: &Engine) -> Vec<u64> {
    let segments = store.stats().segments;
    segments.iter().map(|segment| segment.live_bytes).collect()
}

#[test]
fn live_bytes_fall_with_each_overwrite_and_delete() {
    let disk = SimDisk::new();
    let options = Options::new().storage(disk.storage()).segment_bytes(1024);
    let store = Engine::open("/db", options).unwrap();
    store.put(b"k", &[1; 300]).unwrap();
    assert_eq!(live_bytes(&store), [28 + 1 + 300]);
    store.put(b"k", &[2; 100]).unwrap();
    assert_eq!(live_bytes(&store), [28 + 1 + 100]);
    store.put(b"l", &[3; 500]).unwrap();
    assert_eq!(live_bytes(&store), [129, 529], "in a segment of its own");
    // A record in one segment makes one in another dead.
    store.put(b"k", &[4; 10]).unwrap();
    assert_eq!(live_bytes(&store), [0, 529, 39]);
    store.remove(b"l").unwrap();
    store.remove(b"k").unwrap();
    assert!(live_bytes(&store).iter().all(|live| *live == 0));
    drop(store);
    let store = open(&disk);
    assert!(live_bytes(&store).iter().all(|live| *live == 0));
}

// A location that leads to another key's record: only an index gone wrong can have made it, and it must not be served.
#[test]
fn a_read_compares_the_key() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.put(b"one", b"1").unwrap();
    store.put(b"one", &[b'1'; 2000]).unwrap();
    let Lookup::Separated(found) = store.lookup(b"one").unwrap() else {
        panic!("a large value stays in its segment");
    };
    let misled = found.with_key(&full_key(KEYSPACE_DEFAULT, b"two"));
    let read = Lookup::Separated(found).read().unwrap();
    assert_eq!(read, Some(vec![b'1'; 2000]));
    let read = Lookup::Separated(misled).read();
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// In the middle of publishing, the leader panics: nobody sees a part of the group, nobody waits, and what became of it is
/// unknown. It is durable, so the next open shows it.
#[test]
fn a_panic_in_the_middle_of_publishing_shows_nothing_of_the_group() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.put(b"a", b"old").unwrap();
    let mut batch = Batch::new();
    batch.put(b"a", b"new").unwrap();
    batch.put(crate::commit::plan::PANICS, b"").unwrap();
    batch.put(b"b", b"new").unwrap();
    let first = store.submit(put(b"first of the group")).unwrap();
    let second = store.submit(batch).unwrap();
    for ticket in [first, second] {
        let error = ticket.wait().unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Poisoned, Effect::Unknown)
        );
    }
    let seen: Vec<_> = store.scan(..).unwrap().map(Result::unwrap).collect();
    assert_eq!(seen, [(b"a".to_vec(), b"old".to_vec())]);
    assert_eq!(store.get(b"b").unwrap(), None);
    let refused = store.put(b"c", b"").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned);
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
    drop(store);
    assert_eq!(open(&disk).stats().live_keys, 4);
}
