//! What only kvlog can be asked: about its files, its queue and its conditions.

use kv_log_engine::storage::sim::{CrashPolicy, EIO, ENOSPC, Fault, FaultKind, OpKind, SimDisk};
use kv_log_engine::{Batch, Engine, Options};
use kv_tests::corruption::{End, small_store};
use kv_tests::crash::{Effort, explore};
use kv_tests::executor::{Executor, Task, thread};
use kv_tests::kvlog::Between;
use kv_tests::workload::{self, STORE, Shape, options};
use kv_trait::{BlockingWork, Effect, ErrorKind, PoolId, Result, Runtime};
use siphasher::sip::SipHasher24;
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::ops::ControlFlow;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

/// smol's pool of blocking threads, without the adapter: that has tests of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pool;

/// One thread that polls, beside blocking threads.
pub(crate) struct Threads(smol::LocalExecutor<'static>);

impl Runtime for Pool {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::of::<Self>(0))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        smol::unblock(work).detach();
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Executor for Threads {
    type Runtime = Pool;

    fn start() -> Self {
        Self(smol::LocalExecutor::new())
    }

    fn runtime(&self) -> Pool {
        Pool
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::future::block_on(self.0.run(future))
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        // smol cancels a task whose handle is dropped; the suite's tasks go on.
        let (sender, receiver) = smol::channel::bounded(1);
        let work = self.0.spawn(async move {
            // Nobody may be waiting for the answer.
            drop(sender.send(future.await).await);
        });
        work.detach();
        Box::pin(async move { receiver.recv().await.expect("the task does not panic") })
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        thread(|| smol::future::block_on(future))
    }
}

const SEGMENT: &str = "/db/00000001.seg";

fn open(disk: &SimDisk, seed: u64) -> Engine {
    Engine::open(STORE, options(disk, seed, 64 * 1024)).unwrap()
}

pub(crate) fn flipped_bytes_are_never_served() {
    for end in [End::Closed, End::PowerCut] {
        drop(small_store(end).flip_every_byte(&[0x40]));
    }
}

pub(crate) fn a_torn_tail_is_cut_once() {
    let torn = small_store(End::Torn).disk;
    let first = Engine::open(STORE, options(&torn, 1, 2048)).unwrap();
    assert!(first.recovery_report().torn_tail.is_some());
    drop(first);
    let second = Engine::open(STORE, options(&torn, 2, 2048)).unwrap();
    assert_eq!(second.recovery_report().torn_tail, None);
}

pub(crate) fn every_crash_leaves_whole_batches() {
    let shape = Shape {
        steps: 6,
        ..Shape::default()
    };
    for seed in 1..4 {
        let explored = explore(&workload::run(seed, shape), &Effort::default());
        assert!(explored.distinct > 100, "{explored:?}");
    }
}

/// The attempt number of the frame at an offset; `None`: there is no frame.
fn attempt_at(file: &[u8], at: usize) -> Option<[u8; 8]> {
    let frame = file.get(at..at + 80)?;
    frame
        .starts_with(b"KVRF")
        .then(|| frame[32..40].try_into().unwrap())
}

pub(crate) fn two_tries_at_one_place_differ() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"before", b"0").unwrap();
    let end = usize::try_from(store.stats().segments[0].bytes).unwrap();
    disk.start_trace();
    disk.inject(Fault::new(FaultKind::PartThenErrno(90, EIO)).on(OpKind::Write));
    store.put(b"k", &[b'v'; 700]).unwrap_err();
    store.put(b"k", &[b'v'; 700]).unwrap();
    // The same batch, written twice at one place, with an undo in between.
    let keep_all = CrashPolicy {
        exhaustive_units_max: 0,
        seeded: 0,
        garbled: 0,
        seed: 1,
    };
    let mut attempts = BTreeSet::new();
    for point in disk.trace().unwrap().crash_points() {
        for choice in point.choices(&keep_all) {
            let file = point.image(&choice).read_file(SEGMENT).unwrap();
            attempts.extend(attempt_at(&file, end));
        }
    }
    assert!(attempts.len() >= 2, "attempts seen: {attempts:?}");
}

pub(crate) fn a_record_counts_only_where_it_was_written() {
    // So that it stays in its segment.
    const LONG: usize = 1500;
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", &[1; LONG]).unwrap();
    store.put(b"k", &[2; LONG]).unwrap();
    let mut file = disk.read_file(SEGMENT).unwrap();
    let at = |value: u8| {
        let file: &[u8] = &file;
        file.windows(LONG)
            .position(|window| window == [value; LONG])
            .unwrap()
            - 29
    };
    let (old, new) = (at(1), at(2));
    // The old record, sum and all, over the new one.
    file.copy_within(old..old + LONG + 29, new);
    disk.write_file(SEGMENT, &file).unwrap();
    assert_eq!(store.get(b"k").unwrap_err().kind(), ErrorKind::Corrupt);
}

pub(crate) fn a_refusal_waits_for_the_sync_it_depends_on<B: Between>() {
    let disk = SimDisk::new();
    let storage = B::wrap(disk.storage());
    let store = Engine::open(STORE, Options::new().storage(storage)).unwrap();
    store.put(b"before", b"0").unwrap();
    let gate = disk.hold(OpKind::Sync);
    std::thread::scope(|scope| {
        let mut batch = Batch::new();
        batch.put(b"x", b"1").unwrap();
        let write = store.submit(batch).unwrap();
        // Refused because of the write before it, which is in the same group.
        let mut batch = Batch::new();
        batch.expect(b"x", None).unwrap();
        batch.put(b"y", b"1").unwrap();
        let refused = store.submit(batch).unwrap();
        let leader = scope.spawn(move || write.wait());
        gate.wait_until_held(1);
        // A lie is told on another thread, which may need a moment.
        let early = (0..1000).any(|_| {
            std::thread::yield_now();
            refused.is_done()
        });
        gate.open();
        leader.join().unwrap().unwrap();
        assert_eq!(refused.wait().unwrap_err().kind(), ErrorKind::Conflict);
        assert!(!early, "the refusal told of a write whose sync was held");
    });
}

/// A write was undone, and the undoing was not synced: what the next open reads as absent must not come back.
pub(crate) fn what_an_open_found_absent_stays_absent() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"old").unwrap();
    store.close().unwrap();
    drop(store);
    let store = open(&disk, 2);
    // The first change writes the mark again, and zeros behind it; then room is made. The fourth write hands the whole frame
    // over before it fails, and the sync of its undoing fails too.
    let write = Fault::new(FaultKind::PartThenErrno(1 << 20, EIO)).on(OpKind::Write);
    disk.inject(write.path_contains(".seg").skip(3));
    disk.inject(
        Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::Sync)
            .path_contains(".seg")
            .skip(2),
    );
    let error = store.put(b"k", b"new").unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    drop(store);
    disk.clear_faults();
    let store = open(&disk, 3);
    let seen = store.get(b"k").unwrap();
    let point = disk.crash_point();
    let policy = CrashPolicy {
        garbled: 64,
        ..CrashPolicy::default()
    };
    for choice in point.choices(&policy) {
        let image = point.image(&choice);
        assert_eq!(open(&image, 4).get(b"k").unwrap(), seen, "{choice:?}");
    }
}

pub(crate) fn what_a_process_finds_survives_a_power_cut() {
    let shape = Shape {
        steps: 4,
        ..Shape::default()
    };
    let died = kv_tests::deaths::explore(&workload::run(1, shape));
    assert!(died.points > 0);
}

const COPIES: [&str; 2] = ["/db/MANIFEST", "/db/MANIFEST.2"];

/// A store of some segments: each came with an edit of the manifest.
fn rotated() -> (SimDisk, usize) {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    for number in 0..12_u8 {
        store.put(&[number], &[number; 200]).unwrap();
    }
    disk.power_cut_losing_all();
    (disk, 12)
}

pub(crate) fn either_copy_holds_every_edit() {
    for copy in COPIES {
        let (disk, keys) = rotated();
        disk.erase_file(copy).unwrap();
        let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
        assert_eq!(store.stats().live_keys, keys as u64);
    }
}

pub(crate) fn an_edit_counts_only_behind_the_one_before_it() {
    let (disk, _) = rotated();
    let mut file = disk.read_file(COPIES[0]).unwrap();
    let length = |file: &[u8], at: usize| {
        let field = file[at + 12..at + 16].try_into().unwrap();
        u32::from_le_bytes(field) as usize
    };
    let (mut at, mut last) = (0, 0);
    while file[at..].starts_with(b"KVLOGMAN") {
        last = at;
        at = (at + 48 + length(&file, at)).next_multiple_of(8);
    }
    // The last edit, under a number that an edit which is missing would have led to.
    file[last + 16] += 1;
    let end = last + 40 + length(&file, last);
    let mut hasher = SipHasher24::new_with_key(b"kvlog manifest 0");
    hasher.write(&(last as u64).to_le_bytes());
    hasher.write(&file[last..end]);
    file[end..end + 8].copy_from_slice(&hasher.finish().to_le_bytes());
    for copy in COPIES {
        disk.write_file(copy, &file).unwrap();
    }
    let opened = Engine::open(STORE, options(&disk, 2, 1024));
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt);
}

pub(crate) fn nothing_is_removed_while_the_manifest_is_in_doubt() {
    let (disk, _) = rotated();
    let debris = "/db/MANIFEST.2.new";
    disk.write_file(debris, b"cut short").unwrap();
    // The new generation cannot be begun: the open serves, and changes no name.
    let full = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Create);
    disk.inject(full.forever());
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    assert!(store.recovery_report().read_only.is_some());
    assert!(disk.files().contains(&"/db/MANIFEST".into()));
    let unnamed = "/db/00000090.seg";
    drop(store);
    disk.write_file(unnamed, &[0; 100]).unwrap();
    drop(Engine::open(STORE, options(&disk, 3, 1024)).unwrap());
    assert!(disk.files().contains(&unnamed.into()));
}

pub(crate) fn a_rotation_that_was_cut_short_leaves_debris() {
    let (disk, _) = rotated();
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    let edit = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Write);
    disk.inject(edit.path_contains("MANIFEST").forever());
    let refused = (0..9_u8).any(|number| store.put(&[number], &[number; 200]).is_err());
    assert!(refused);
    disk.kill_process();
    drop(store);
    disk.clear_faults();
    let store = Engine::open(STORE, options(&disk, 3, 1024)).unwrap();
    assert_eq!(store.recovery_report().debris.len(), 1);
}

/// Keys whose separators in a run are whole keys, all of them in one run.
fn in_a_run() -> (SimDisk, Engine) {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    let mut batch = Batch::new();
    for number in 0..2000 {
        batch.put(&key_of(number), &[b'v'; 60]).unwrap();
    }
    store.write(batch).unwrap();
    let report = store.compact(|_| ControlFlow::Continue(()));
    let _done = report.unwrap();
    (disk, store)
}

fn key_of(number: u32) -> Vec<u8> {
    format!("key-{number:05}").into_bytes()
}

pub(crate) fn every_key_of_a_run_is_found() {
    let (_, store) = in_a_run();
    for number in 0..2000 {
        let found = store.get(&key_of(number)).unwrap();
        assert_eq!(found.as_deref(), Some(&[b'v'; 60][..]), "{number}");
    }
}

pub(crate) fn a_run_that_is_named_survives_a_power_cut() {
    let (disk, store) = in_a_run();
    disk.power_cut_losing_all();
    drop(store);
    let store = open(&disk, 2);
    for number in 0..2000 {
        assert!(store.get(&key_of(number)).unwrap().is_some(), "{number}");
    }
}
