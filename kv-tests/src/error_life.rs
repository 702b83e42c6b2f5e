//! The I/O error loop over checkpoints, merges with victims, release, unlinking, and the opens and closes between them.
//!
//! After each failure every answer must have been true, as in [`crate::error_loop`]. Besides, where the store is not
//! poisoned, the work is gone on with: the pause behind what failed is over, and every chore ends. And whatever the
//! process has left, the next one does its chores to the end, and shows the same.

use crate::error_loop::{Covered, faults_of};
use crate::oracle::{BatchId, Change, Contents, Oracle};
use crate::tiny::Sizes;
use crate::workload::{STORE, contents_of, options};
use kv_log_engine::storage::sim::{Fault, FaultKind, OpKind, SimDisk};
use kv_log_engine::{Batch, Engine, Options, SimHost};
use kv_trait::{Effect, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than the longest pause behind a chore that failed.
const LONG: Duration = Duration::from_secs(60);
/// A small store has no more to do than this at once.
const SLICES_MAX: u32 = 2_000;

const SIZES: Sizes = Sizes {
    segment_bytes: 1024,
    separation_bytes: 40,
    memtable_bytes: 900,
    log_bytes: 1600,
    block_bytes: 100,
    run_bytes: 300,
    unit_bytes: 300,
    slice_bytes: 200,
    levels_max: 4,
    compress: false,
    by_hand: true,
};

/// What a run of the script has left.
struct Left {
    oracle: Oracle,
    /// The last life's store, if it could be opened.
    store: Option<Engine>,
    host: Arc<SimHost>,
    checkpoints: u64,
    units: u64,
    released: u64,
}

struct Script<'d> {
    disk: &'d SimDisk,
    left: Left,
    serial: u64,
}

fn options_of(disk: &SimDisk, host: &Arc<SimHost>) -> Options {
    let options = options(disk, 1, SIZES.segment_bytes);
    SIZES.apply(options).host(Arc::clone(host) as _)
}

/// Three lives: work with a pass that is left half done by a drop, the same by a close, and everything to its end.
fn script(disk: &SimDisk) -> Left {
    let host = Arc::new(SimHost::new(100));
    let mut script = Script {
        disk,
        left: Left {
            oracle: Oracle::new(),
            store: None,
            host,
            checkpoints: 0,
            units: 0,
            released: 0,
        },
        serial: 0,
    };
    for life in 0..3_u64 {
        script.life(life);
    }
    script.left
}

impl Script<'_> {
    fn life(&mut self, life: u64) {
        let host = Arc::new(SimHost::new(100 + life));
        self.left.host = Arc::clone(&host);
        let Ok(store) = Engine::open(STORE, options_of(self.disk, &host)) else {
            return;
        };
        let Ok(contents) = shown(&store) else {
            return;
        };
        self.left.oracle.reopened(0, &contents, "open");
        for group in 0..5 {
            self.write_group(&store, life * 5 + group);
            self.slices(&store, 3);
            self.look(&store);
        }
        // What fails here is told by a later answer; what matters is that it is true.
        let _told: Result<(), Error> = store.freeze();
        match life {
            0 => self.slices(&store, 5),
            1 => {
                self.slices(&store, 9);
                self.look(&store);
                if let Err(error) = store.close() {
                    assert_eq!(error.effect(), Effect::Nothing, "close: {error:?}");
                }
            }
            _ => self.slices(&store, 200),
        }
        let stats = store.stats();
        self.left.checkpoints += stats.checkpoints;
        self.left.units += stats.merge_units;
        self.left.released += stats.segments_released;
        if life == 2 {
            self.look(&store);
            self.left.store = Some(store);
        }
    }

    fn slices(&self, store: &Engine, count: u32) {
        for _ in 0..count {
            match store.run_slice() {
                Ok(true) => {}
                Ok(false) => return,
                // Whoever comes after the pause tries again.
                Err(_) => self.left.host.advance(LONG),
            }
        }
    }

    fn look(&mut self, store: &Engine) {
        if let Ok(contents) = shown(store) {
            self.left.oracle.seen(0, &contents, "a scan");
        }
    }

    /// Two batches that share a group.
    fn write_group(&mut self, store: &Engine, group: u64) {
        let mut pending = Vec::new();
        for batch in 0..2_u64 {
            let mut changes: Vec<Change> = Vec::new();
            for record in 0..3_u64 {
                self.serial += 1;
                let key = format!("key-{:02}", (group * 3 + batch * 5 + record * 2) % 13);
                let length = [12, 60, 90][(self.serial % 3) as usize];
                let mut value = self.serial.to_string().into_bytes();
                value.resize(length, b'.');
                let is_put = !self.serial.is_multiple_of(7);
                changes.push((key.into_bytes(), is_put.then_some(value)));
            }
            let mut batch = Batch::new();
            for (key, value) in &changes {
                match value {
                    Some(value) => batch.put(key, value),
                    None => batch.delete(key),
                }
                .expect("a small record");
            }
            let Ok(submitted) = store.submit(batch) else {
                break;
            };
            let id = self.left.oracle.submitted(0, changes);
            pending.push((id, submitted));
        }
        let outcomes: Vec<(BatchId, Result<_, Error>)> = pending
            .into_iter()
            .map(|(id, submitted)| (id, submitted.wait()))
            .collect();
        // Refusals first: a write that is acknowledged behind a refused one does not make that one true.
        for (id, outcome) in &outcomes {
            match outcome {
                Err(error) if error.effect() == Effect::Nothing => {
                    self.left.oracle.refused(0, *id);
                }
                Ok(_) | Err(_) => {}
            }
        }
        for (id, outcome) in &outcomes {
            if outcome.is_ok() {
                self.left.oracle.acknowledged(0, *id);
            }
        }
    }
}

fn shown(store: &Engine) -> Result<Contents, Error> {
    store.scan(..)?.collect()
}

/// Fails calls of every kind in turn: every `every`-th position, from `first` on. `begun` counts them as they begin, for
/// whoever watches that none hangs.
///
/// # Panics
/// If an answer turns out to be a lie, or work cannot be gone on with.
#[must_use]
pub fn run(first: u64, every: u64, begun: &AtomicU64) -> Covered {
    let reference = SimDisk::new();
    let left = script(&reference);
    assert!(
        left.checkpoints >= 5 && left.units >= 5 && left.released >= 3,
        "the script does too little: {} checkpoints, {} units, {} segments let go",
        left.checkpoints,
        left.units,
        left.released
    );
    drop(left.store);
    let calls = reference.calls();
    let mut covered = Covered::default();
    let mut at = 0;
    for kind in OpKind::ALL {
        for fault in faults_of(kind) {
            for skip in 0..calls.get(&kind).copied().unwrap_or_default() {
                for forever in [false, true] {
                    at += 1;
                    if at % every != first % every {
                        continue;
                    }
                    begun.fetch_add(1, Ordering::Relaxed);
                    covered.positions += 1;
                    covered.hits += u64::from(position(kind, fault, skip, forever) > 0);
                }
            }
        }
    }
    covered
}

fn position(kind: OpKind, fault: FaultKind, skip: u64, forever: bool) -> u64 {
    let context = format!("{kind:?} {fault:?} at call {skip}, forever: {forever}");
    let disk = SimDisk::new();
    let injected = Fault::new(fault).on(kind).skip(skip);
    disk.inject(if forever {
        injected.forever()
    } else {
        injected
    });
    let mut left = script(&disk);
    let hits = disk.fault_hits();
    disk.clear_faults();
    if let Some(store) = left.store.take() {
        left.host.advance(LONG);
        go_on(&store, &left.host, &mut left.oracle, &context);
    }
    disk.kill_process();
    for (name, cut) in [
        ("the process died", None),
        ("a power cut that loses all", Some(0)),
        ("a power cut that loses none", Some(1)),
        ("a power cut that loses some", Some(2 + skip)),
    ] {
        let disk = disk.fork();
        match cut {
            None => {}
            Some(0) => disk.power_cut_losing_all(),
            Some(1) => disk.power_cut_keeping_all(),
            Some(seed) => disk.power_cut(seed),
        }
        next_life(&disk, &left.oracle, &format!("{context}; {name}"));
    }
    hits
}

/// The disk is good again, and time has passed: everything goes on, or the store is poisoned and says so.
fn go_on(store: &Engine, host: &SimHost, oracle: &mut Oracle, context: &str) {
    let contents = contents_of(store);
    oracle.seen(0, &contents, context);
    let mut outcome = store.put(b"still", b"writable");
    if outcome.is_err() {
        // It waited for what was half done when the disk was bad: that is given up, and made anew behind a pause. What
        // chores took of what is kept for a full disk comes back with their next step.
        host.advance(LONG);
        let slices = (0..SLICES_MAX).take_while(|_| store.run_slice().unwrap_or(false));
        assert!(
            slices.count() < SLICES_MAX as usize,
            "{context}: chores do not end"
        );
        outcome = store.put(b"still", b"writable");
    }
    if store.stats().poisoned {
        assert!(outcome.is_err(), "{context}: a poisoned store took a write");
        assert!(
            contents_of(store) == contents,
            "{context}: a poisoned store shows something else"
        );
        return;
    }
    outcome.unwrap_or_else(|error| panic!("{context}, then a good disk: {error:?}"));
    let change: Change = (b"still".to_vec(), Some(b"writable".to_vec()));
    let id = oracle.submitted(0, vec![change]);
    oracle.acknowledged(0, id);
    if finish(store).is_err() {
        host.advance(LONG);
    }
    finish_now(store, context);
    oracle.seen(0, &contents_of(store), context);
}

/// What is in memory becomes a run, and then everything that is due.
fn finish(store: &Engine) -> Result<bool, Error> {
    store.freeze()?;
    for _ in 0..SLICES_MAX {
        if !store.run_slice()? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn finish_now(store: &Engine, context: &str) {
    let ended =
        finish(store).unwrap_or_else(|error| panic!("{context}, then a good disk: {error:?}"));
    assert!(ended, "{context}: chores do not end");
    let frozen = store.stats().frozen_bytes;
    assert_eq!(frozen, 0, "{context}: a checkpoint was not tried again");
}

/// What the next process finds is allowed, its chores end and change nothing, and that lasts.
fn next_life(disk: &SimDisk, oracle: &Oracle, context: &str) {
    let open = || {
        let host = Arc::new(SimHost::new(7));
        Engine::open(STORE, options_of(disk, &host))
            .unwrap_or_else(|error| panic!("{context}: the store does not open: {error:?}"))
    };
    let store = open();
    let contents = contents_of(&store);
    oracle.clone().seen(0, &contents, context);
    finish_now(&store, context);
    assert!(
        contents_of(&store) == contents,
        "{context}: chores changed what is shown"
    );
    disk.power_cut_losing_all();
    drop(store);
    assert!(
        contents_of(&open()) == contents,
        "{context}: what was seen is lost"
    );
}
