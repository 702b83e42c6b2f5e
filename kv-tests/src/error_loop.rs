//! The I/O error loop, in SQLite's manner: fail the first call of a kind, then the second, and so on until none is left
//! to fail; once, and from there on.
//!
//! After each failure every answer must have been true: what was acknowledged is there, what was refused with effect
//! *nothing* is not, what is *unknown* is whole or absent. The store opens again, whether the process or the power went.

use crate::corruption::{End, small_store};
use crate::oracle::{Change, Contents, Oracle};
use crate::stepped::Stepped;
use crate::workload::{STORE, contents_of, options};
use kv_log_engine::storage::sim::{
    EACCES, EFBIG, EINTR, EIO, EMFILE, ENOSPC, EROFS, Fault, FaultKind, OpKind, SimDisk,
};
use kv_log_engine::{Batch, Engine, KVLog, Options};
use kv_trait::{ByteKey, Effect, Error, Raw};
use std::future::Future;
use std::pin::Pin;

/// What a loop covered.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a plain set of counters")]
pub struct Covered {
    /// Calls that were failed, each with each fault, once and for ever.
    pub positions: u64,
    /// Positions at which the fault was hit: without the fault before it a call may never come.
    pub hits: u64,
}

type Store = KVLog<ByteKey, Vec<u8>, Stepped, Raw>;

/// The script: creation, groups, rotations, a drop, a recovery, more groups, a close. Every answer goes to the oracle.
fn script(disk: &SimDisk) -> Oracle {
    let mut oracle = Oracle::new();
    let runtime = Stepped::default();
    let mut serial = 0;
    for life in 0..3_u64 {
        let Ok(store) = open_typed(disk, &runtime, life) else {
            continue;
        };
        let engine = store.engine().clone();
        let shown = engine
            .scan(..)
            .and_then(|scan| scan.collect::<Result<_, Error>>());
        if let Ok(contents) = shown {
            oracle.reopened(0, &contents, "open");
        } else {
            drop((store, engine));
            continue;
        }
        for group in 0..5_u64 {
            write_group(&store, &runtime, &mut oracle, &mut serial, group);
            look(&engine, &mut oracle);
        }
        batch(&engine, &mut oracle, &mut serial);
        look(&engine, &mut oracle);
        drop(engine);
        if life == 1 {
            // Whatever a close says, everything acknowledged is safe.
            if let Err(error) = runtime.block_on(store.close()) {
                assert_eq!(error.effect(), Effect::Nothing, "close: {error:?}");
            }
        }
    }
    oracle
}

/// What the running store shows must last: a refused write that is visible until the next open would be seen here.
fn look(engine: &Engine, oracle: &mut Oracle) {
    let shown = engine
        .scan(..)
        .and_then(|scan| scan.collect::<Result<_, Error>>());
    if let Ok(contents) = shown {
        oracle.seen(0, &contents, "a scan");
    }
}

fn open_typed(disk: &SimDisk, runtime: &Stepped, life: u64) -> Result<Store, Error> {
    let options: Options = options(disk, 100 + life, 1024);
    runtime.block_on(Store::load_on(runtime.clone(), STORE, options))
}

/// Three writers whose futures share a group.
fn write_group(
    store: &Store,
    runtime: &Stepped,
    oracle: &mut Oracle,
    serial: &mut u64,
    group: u64,
) {
    let mut keys = Vec::new();
    for writer in 0..3_u64 {
        *serial += 1;
        let key = ByteKey::from(format!("key-{}", (group + writer) % 5).into_bytes());
        keys.push((key, format!("{serial:060}").into_bytes()));
    }
    let mut futures: Vec<_> = keys
        .iter()
        .map(|(key, value)| Box::pin(store.put(key, value)))
        .collect();
    let ids: Vec<_> = keys
        .iter()
        .map(|(key, value)| {
            let change: Change = (key.as_ref().to_vec(), Some(value.clone()));
            oracle.submitted(0, vec![change])
        })
        .collect();
    let pinned: Vec<Pin<&mut dyn Future<Output = Result<(), Error>>>> = futures
        .iter_mut()
        .map(|future| future.as_mut() as _)
        .collect();
    let outcomes = runtime.join(pinned);
    // Refusals first: a write that is acknowledged behind a refused one does not make that one true.
    for (id, outcome) in ids.iter().zip(&outcomes) {
        if let Err(error) = outcome {
            note_failure(oracle, *id, error);
        }
    }
    for (id, outcome) in ids.iter().zip(&outcomes) {
        if outcome.is_ok() {
            oracle.acknowledged(0, *id);
        }
    }
}

fn note_failure(oracle: &mut Oracle, id: crate::oracle::BatchId, error: &Error) {
    match error.effect() {
        Effect::Nothing => oracle.refused(0, id),
        Effect::Unknown => {}
        Effect::Applied => panic!("a put produces no prior value: {error:?}"),
    }
}

/// A batch from a synchronous caller.
fn batch(engine: &Engine, oracle: &mut Oracle, serial: &mut u64) {
    *serial += 1;
    let value = format!("{serial:0200}").into_bytes();
    let changes = vec![
        (b"key-1".to_vec(), None),
        (b"batch".to_vec(), Some(value.clone())),
    ];
    let mut batch = Batch::new();
    batch.delete(b"key-1").expect("a small record");
    batch.put(b"batch", &value).expect("a small record");
    let id = oracle.submitted(0, changes);
    match engine.write(batch) {
        Ok(_) => oracle.acknowledged(0, id),
        Err(error) => note_failure(oracle, id, &error),
    }
}

/// Fails every call of every kind in turn.
///
/// # Panics
/// If an answer turns out to be a lie, or if anything hangs.
#[must_use]
pub fn run() -> Covered {
    let reference = SimDisk::new();
    let oracle = script(&reference);
    let calls = reference.calls();
    assert_eq!(
        oracle.contents(),
        reopened_contents(&reference, &oracle, "no fault")
    );
    let mut covered = Covered::default();
    for kind in OpKind::ALL {
        for fault in faults_of(kind) {
            for skip in 0..calls.get(&kind).copied().unwrap_or_default() {
                for forever in [false, true] {
                    covered.positions += 1;
                    covered.hits += u64::from(position(kind, fault, skip, forever) > 0);
                }
            }
        }
    }
    covered
}

pub(crate) fn faults_of(kind: OpKind) -> Vec<FaultKind> {
    match kind {
        OpKind::Write => vec![
            FaultKind::Errno(EIO),
            FaultKind::Errno(ENOSPC),
            FaultKind::Short(7),
            FaultKind::Errno(EINTR),
            FaultKind::Errno(EFBIG),
            FaultKind::PartThenErrno(100, ENOSPC),
        ],
        OpKind::Read => vec![
            FaultKind::Errno(EIO),
            FaultKind::Short(5),
            FaultKind::Errno(EINTR),
        ],
        OpKind::Sync => {
            vec![
                FaultKind::Errno(EIO),
                FaultKind::Errno(ENOSPC),
                FaultKind::Errno(EINTR),
            ]
        }
        OpKind::Open | OpKind::Create => [EIO, EMFILE, ENOSPC, EACCES, EROFS]
            .map(FaultKind::Errno)
            .to_vec(),
        _ => vec![FaultKind::Errno(EIO), FaultKind::Errno(ENOSPC)],
    }
}

/// Fails every call of every kind while stores are opened that need repair: a torn tail to keep and cut, groups to write
/// again, debris to delete, a footer at the end.
///
/// # Panics
/// If a refused open has lost anything, if one that was not refused has, or if a later one is refused.
#[must_use]
pub fn run_repairs() -> Covered {
    let mut covered = Covered::default();
    for (name, disk, contents) in damaged_stores() {
        let reference = disk.fork();
        let before = reference.calls();
        drop(open(&reference, name));
        let mut calls = reference.calls();
        for (kind, count) in &mut calls {
            *count -= before.get(kind).copied().unwrap_or_default();
        }
        for kind in OpKind::ALL {
            for fault in faults_of(kind) {
                for skip in 0..calls.get(&kind).copied().unwrap_or_default() {
                    for forever in [false, true] {
                        let context = format!(
                            "{name}: {kind:?} {fault:?} at call {skip}, forever: {forever}"
                        );
                        let disk = disk.fork();
                        let injected = Fault::new(fault).on(kind).skip(skip);
                        disk.inject(if forever {
                            injected.forever()
                        } else {
                            injected
                        });
                        let opened = Engine::open(STORE, options(&disk, 8, REPAIR_SEGMENT_BYTES));
                        covered.positions += 1;
                        covered.hits += u64::from(disk.fault_hits() > 0);
                        disk.clear_faults();
                        drop(opened);
                        disk.kill_process();
                        nothing_is_lost(&disk, &contents, &context);
                    }
                }
            }
        }
    }
    covered
}

const REPAIR_SEGMENT_BYTES: u64 = 2048;

/// Stores that ended in every way, with what they hold.
fn damaged_stores() -> Vec<(&'static str, SimDisk, Contents)> {
    let mut stores = Vec::new();
    for (name, end) in [
        ("closed", End::Closed),
        ("power cut", End::PowerCut),
        ("torn", End::Torn),
    ] {
        let store = small_store(end);
        stores.push((name, store.disk, store.contents));
    }
    let debris = small_store(End::Torn);
    for name in ["MANIFEST.new", "00000099.seg"] {
        debris
            .disk
            .write_file(format!("{STORE}/{name}"), b"KVLOGSEG")
            .expect("the disk is good");
    }
    stores.push(("debris", debris.disk, debris.contents));
    stores.push(footer_at_end());
    stores
}

/// The process died in a rotation, between the footer and the manifest.
fn footer_at_end() -> (&'static str, SimDisk, Contents) {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, REPAIR_SEGMENT_BYTES)).expect("a new store");
    let mut contents = Contents::new();
    let manifest = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Rename);
    disk.inject(manifest.forever());
    for number in 0..u8::MAX {
        let value = vec![number; 200];
        if store.put(&[number], &value).is_err() {
            break;
        }
        contents.insert(vec![number], value);
    }
    drop(store);
    disk.clear_faults();
    disk.kill_process();
    ("footer at the end", disk, contents)
}

/// However the process and then the power went: everything is there, and the store takes writes.
fn nothing_is_lost(disk: &SimDisk, contents: &Contents, context: &str) {
    for cut in [None, Some(None), Some(Some(3)), Some(Some(4))] {
        let disk = disk.fork();
        match cut {
            None => {}
            Some(None) => disk.power_cut_losing_all(),
            Some(Some(seed)) => disk.power_cut(seed),
        }
        let context = format!("{context}; power cut: {cut:?}");
        let store = open(&disk, &context);
        assert!(
            contents_of(&store) == *contents,
            "{context}: it holds something else"
        );
        store
            .put(b"still", b"writable")
            .unwrap_or_else(|error| panic!("{context}: {error:?}"));
        disk.power_cut_losing_all();
        drop(store);
        let store = open(&disk, &context);
        assert!(
            store.get(b"still").expect("the disk is good").is_some(),
            "{context}: a write after it is lost"
        );
    }
}

/// One run of the script with one fault, then the truth: after a dead process, and after a power cut.
fn position(kind: OpKind, fault: FaultKind, skip: u64, forever: bool) -> u64 {
    let context = format!("{kind:?} {fault:?} at call {skip}, forever: {forever}");
    let disk = SimDisk::new();
    let injected = Fault::new(fault).on(kind).skip(skip);
    disk.inject(if forever {
        injected.forever()
    } else {
        injected
    });
    let oracle = script(&disk);
    let hits = disk.fault_hits();
    disk.clear_faults();
    disk.kill_process();
    let after_death = disk.fork();
    reopened_contents(&after_death, &oracle, &format!("{context}; process died"));
    // What that open showed must survive a power cut too.
    let mut seen = oracle.clone();
    let store = open(&after_death, &context);
    seen.reopened(0, &contents_of(&store), &context);
    after_death.power_cut_losing_all();
    drop(store);
    reopened_contents(
        &after_death,
        &seen,
        &format!("{context}; process died, then power cut"),
    );
    for (name, cut) in [("all", 0), ("none", 1), ("some", 2 + skip)] {
        let disk = disk.fork();
        match cut {
            0 => disk.power_cut_losing_all(),
            1 => disk.power_cut_keeping_all(),
            seed => disk.power_cut(seed),
        }
        let context = format!("{context}; power cut losing {name}");
        reopened_contents(&disk, &oracle, &context);
    }
    hits
}

fn open(disk: &SimDisk, context: &str) -> Engine {
    match Engine::open(STORE, options(disk, 7, 1024)) {
        Ok(store) => store,
        Err(error) => panic!("{context}: the store does not open: {error:?}"),
    }
}

fn reopened_contents(disk: &SimDisk, oracle: &Oracle, context: &str) -> Contents {
    let store = open(disk, context);
    let contents = contents_of(&store);
    oracle.clone().seen(0, &contents, context);
    store
        .put(b"still", b"writable")
        .unwrap_or_else(|error| panic!("{context}: {error:?}"));
    store
        .remove(b"still")
        .unwrap_or_else(|error| panic!("{context}: {error:?}"));
    contents
}
