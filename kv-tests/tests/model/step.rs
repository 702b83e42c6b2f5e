//! What a history consists of, and how histories are drawn.

use kv_log_engine::storage::sim::{EIO, EMFILE, ENOSPC, FaultKind, OpKind};
use kv_tests::tiny::Sizes;
use proptest::prelude::*;

/// A value's length; `None` removes the key.
pub(crate) type Write1 = (u8, Option<u16>);

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Set(u8, u16),
    Put(u8, u16),
    /// Until so many milliseconds from now, or until so many ago.
    PutUntil(u8, u16, i16),
    Delete(u8),
    Remove(u8),
    Get(u8),
    /// The wall clock goes on, or back.
    Clock(i16),
    Scan,
    /// Submitted before any of them is waited for.
    Burst(Vec<Write1>),
    Close,
    /// Dropped; with or without the death of the process.
    Reopen {
        dead: bool,
    },
    PowerCut {
        seed: u64,
    },
    /// The power goes at some operation of the disk inside a burst and the slices behind it.
    PowerCutIn {
        burst: Vec<Write1>,
        slices: u8,
        at: u16,
        choice: u16,
    },
    DiskFull,
    DiskHasSpace,
    FailedSync(Write1),
    FailedWrite(Write1, u8),
    /// Slices of chores, by hand.
    Slices(u8),
    Freeze,
    /// Told to stop behind so many slices.
    Compact(u8),
    /// A scan that is kept open, between two keys.
    Keep(u8, u8),
    /// So many records of a kept scan, from an end.
    ReadKept {
        which: u8,
        count: u8,
        back: bool,
    },
    DropKept(u8),
    /// A write under a condition: the version that is there, or another one.
    Expect {
        write: Write1,
        right: bool,
    },
    /// A call of a chore fails, once or from there on.
    FailedSlices {
        fault: Failure,
        slices: u8,
    },
    /// Time enough for what failed to be tried again.
    Wait,
}

/// A call that fails while chores are done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FaultKind,
    pub(crate) on: OpKind,
    /// What the path ends in.
    pub(crate) file: &'static str,
    pub(crate) skip: u8,
    pub(crate) forever: bool,
}

fn a_length() -> impl Strategy<Value = u16> {
    prop_oneof![6 => 0..40_u16, 3 => 40..700_u16, 1 => 700..5_000_u16]
}

fn a_write(keys: u8) -> impl Strategy<Value = Write1> {
    (0..keys, proptest::option::weighted(0.8, a_length()))
}

/// Of a log alone.
pub(crate) fn a_step() -> BoxedStrategy<Step> {
    of_the_log(8, 12, 0)
}

fn of_the_log(keys: u8, burst: usize, slices: u8) -> BoxedStrategy<Step> {
    let burst = move || proptest::collection::vec(a_write(keys), 1..burst);
    prop_oneof![
        8 => (0..keys, a_length()).prop_map(|(key, length)| Step::Set(key, length)),
        5 => (0..keys, a_length()).prop_map(|(key, length)| Step::Put(key, length)),
        4 => (0..keys, a_length(), -20..200_i16)
            .prop_map(|(key, length, ttl)| Step::PutUntil(key, length, ttl)),
        3 => prop_oneof![3 => 0..100_i16, 1 => -200..0_i16].prop_map(Step::Clock),
        4 => (0..keys).prop_map(Step::Delete),
        2 => (0..keys).prop_map(Step::Remove),
        4 => (0..keys).prop_map(Step::Get),
        1 => Just(Step::Scan),
        4 => burst().prop_map(Step::Burst),
        1 => Just(Step::Close),
        2 => any::<bool>().prop_map(|dead| Step::Reopen { dead }),
        2 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
        3 => (burst(), 0..=slices, any::<u16>(), any::<u16>())
            .prop_map(|(burst, slices, at, choice)| Step::PowerCutIn { burst, slices, at, choice }),
        1 => Just(Step::DiskFull),
        2 => Just(Step::DiskHasSpace),
        1 => a_write(keys).prop_map(Step::FailedSync),
        1 => (a_write(keys), any::<u8>()).prop_map(|(write, part)| Step::FailedWrite(write, part)),
    ]
    .boxed()
}

fn a_failure() -> impl Strategy<Value = Failure> {
    let call = prop_oneof![
        3 => Just((FaultKind::Errno(EIO), OpKind::Sync)),
        2 => Just((FaultKind::Errno(EIO), OpKind::SyncDir)),
        2 => Just((FaultKind::Errno(EIO), OpKind::Write)),
        2 => Just((FaultKind::PartThenErrno(60, ENOSPC), OpKind::Write)),
        1 => Just((FaultKind::Short(30), OpKind::Write)),
        2 => Just((FaultKind::Errno(EIO), OpKind::Read)),
        1 => Just((FaultKind::Errno(EMFILE), OpKind::Open)),
        1 => Just((FaultKind::Errno(EMFILE), OpKind::Create)),
        1 => Just((FaultKind::Errno(EIO), OpKind::Remove)),
        1 => Just((FaultKind::Errno(EIO), OpKind::Rename)),
    ];
    let file = prop_oneof![
        4 => Just(""),
        3 => Just(".run"),
        2 => Just(".seg"),
        2 => Just("MANIFEST"),
    ];
    (call, file, 0..12_u8, proptest::bool::weighted(0.3)).prop_map(
        |((kind, on), file, skip, forever)| Failure {
            kind,
            on,
            file,
            skip,
            forever,
        },
    )
}

/// Keys of histories with chores.
pub(crate) const KEYS: u8 = 60;

/// Of a whole store, chores included.
pub(crate) fn a_step_of_life() -> BoxedStrategy<Step> {
    let some = || prop_oneof![3 => 1..4_u8, 2 => 4..20_u8, 1 => 20..80_u8];
    let write = || a_write(KEYS);
    prop_oneof![
        36 => of_the_log(KEYS, 30, 12),
        4 => proptest::collection::vec(write(), 10..40).prop_map(Step::Burst),
        10 => some().prop_map(Step::Slices),
        3 => Just(Step::Freeze),
        1 => prop_oneof![Just(u8::MAX), 0..20_u8].prop_map(Step::Compact),
        3 => (0..KEYS, 0..KEYS).prop_map(|(from, to)| Step::Keep(from.min(to), from.max(to))),
        4 => (0..4_u8, 1..20_u8, any::<bool>())
            .prop_map(|(which, count, back)| Step::ReadKept { which, count, back }),
        1 => (0..4_u8).prop_map(Step::DropKept),
        5 => (write(), proptest::bool::weighted(0.7))
            .prop_map(|(write, right)| Step::Expect { write, right }),
        2 => (a_failure(), some()).prop_map(|(fault, slices)| Step::FailedSlices { fault, slices }),
        2 => Just(Step::Wait),
    ]
    .boxed()
}

/// Budgets drawn for each history.
pub(crate) fn sizes() -> impl Strategy<Value = Sizes> {
    let bytes = (
        prop_oneof![Just(1024_u64), Just(2048), Just(4096)],
        prop_oneof![3 => Just(8_u32), 1 => Just(64), 1 => Just(1024)],
        prop_oneof![Just(600_u64), Just(1500), Just(3000)],
        prop_oneof![Just(1500_u64), Just(4000), Just(20_000)],
        prop_oneof![Just(64_u32), Just(100), Just(300)],
    );
    let rest = (
        prop_oneof![Just(1_u64), Just(300), Just(1000)],
        prop_oneof![Just(1_u64), Just(500), Just(2000)],
        prop_oneof![Just(1_u64), Just(200), Just(1000)],
        4..=5_usize,
        any::<bool>(),
        any::<bool>(),
    );
    (bytes, rest).prop_map(
        move |(
            (segment_bytes, separation_bytes, memtable_bytes, log_bytes, block_bytes),
            (run_bytes, unit_bytes, slice_bytes, levels_max, compress, by_hand),
        )| Sizes {
            segment_bytes,
            separation_bytes,
            memtable_bytes,
            log_bytes,
            block_bytes,
            run_bytes,
            unit_bytes,
            slice_bytes,
            levels_max,
            compress,
            by_hand,
        },
    )
}
