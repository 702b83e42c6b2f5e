//! The policy under histories: bounds of levels, space and writes hold for each.

use super::policy::{Budgets, LevelShape, Policy, Reason, RunShape, SegmentShape, Shape, Usage};
use super::simulator::{Figures, Setup, Simulator, USUAL, Write};
use crate::format::ids::{LevelId, SegmentId};
use crate::format::run::tests::note;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(bound)).unwrap()
    }
}

/// Loads `keys`, then runs the history and measures it.
fn simulate(
    name: &str,
    setup: Setup,
    keys: u32,
    writes: u32,
    mut history: impl FnMut(u32, &mut Random) -> Write,
) -> Figures {
    let mut simulator = Simulator::new(setup);
    let mut random = Random(1);
    for step in 0..keys {
        // Loaded in an order that is not that of the keys.
        simulator.write(Write::Put(
            u32::try_from(u64::from(step) * 7919 % u64::from(keys)).unwrap(),
        ));
    }
    simulator.measure();
    for step in 0..writes {
        let write = history(step, &mut random);
        simulator.write(write);
    }
    simulator.settle();
    let figures = simulator.figures;
    note(&format!(
        "| {name} | {:.1} | {:.2} | {} | {:.1} | {}.{:02} | {}.{:02} | {} | {} |",
        figures.entries_a_write(),
        figures.values_a_byte(),
        figures.levels_max,
        figures.levels_mean(),
        figures.space_mean() / 100,
        figures.space_mean() % 100,
        figures.space_peak / 100,
        figures.space_peak % 100,
        figures.waits,
        figures.units,
    ));
    figures
}

/// 100 memtables.
const N: u32 = 10_000;
const INLINE: Setup = USUAL;
const SEPARATED: Setup = Setup {
    separated: 1,
    ..USUAL
};
const MIXED: Setup = Setup {
    separated: 2,
    ..USUAL
};
const KINDS: [(&str, Setup); 3] = [("here", INLINE), ("separated", SEPARATED), ("mixed", MIXED)];

/// The bounds that hold for every history: space, with two thresholds of log beside, and levels.
fn assert_bounds(name: &str, figures: &Figures, levels: usize) {
    assert!(
        figures.space_mean() <= 200,
        "{name}: mean {}",
        figures.space_mean()
    );
    assert!(
        figures.space_peak <= 250,
        "{name}: peak {}",
        figures.space_peak
    );
    assert!(
        figures.levels_max <= levels,
        "{name}: {} levels",
        figures.levels_max
    );
}

fn uniform(_: u32, random: &mut Random) -> Write {
    Write::Put(random.below(N))
}

fn skewed(_: u32, random: &mut Random) -> Write {
    let hot = random.below(10) < 9;
    Write::Put(random.below(if hot { N / 10 } else { N }))
}

/// Overwriting everything: at most 8 entries written a write at 100 : 1, and values at most once more.
#[test]
fn overwriting_keeps_to_the_bounds() {
    for (kind, setup) in KINDS {
        let figures = simulate(&format!("uniform, {kind}"), setup, N, 5 * N, uniform);
        assert_bounds(kind, &figures, 8);
        assert!(
            figures.entries_a_write() <= 8.0,
            "{}",
            figures.entries_a_write()
        );
        assert!(
            figures.values_a_byte() <= 1.3,
            "{}",
            figures.values_a_byte()
        );
        let figures = simulate(&format!("90 % on 10 %, {kind}"), setup, N, 5 * N, skewed);
        assert_bounds(kind, &figures, 8);
        assert!(
            figures.entries_a_write() <= 8.0,
            "{}",
            figures.entries_a_write()
        );
    }
}

/// A queue whose keys never repeat: nothing of what was taken out of it stays.
#[test]
fn a_queue_does_not_grow() {
    for (kind, setup) in KINDS {
        let queue = |step: u32, _: &mut Random| {
            let at = step / 2;
            if step.is_multiple_of(2) {
                Write::Put(N / 4 + at)
            } else {
                Write::Delete(at)
            }
        };
        let figures = simulate(&format!("queue, {kind}"), setup, N / 4, 5 * N, queue);
        assert_bounds(kind, &figures, 8);
        assert!(
            figures.entries_a_write() <= 8.0,
            "{}",
            figures.entries_a_write()
        );
        // And then it is emptied.
        let drain = |step: u32, _: &mut Random| Write::Delete(step);
        let figures = simulate(&format!("emptied, {kind}"), setup, N / 4, N / 4, drain);
        assert_eq!((figures.live, figures.total, figures.tombstones), (0, 0, 0));
    }
}

/// Keys that ascend meet nothing below: levels are lost all the same, and the bottom is not written again.
#[test]
fn appending_loses_levels_without_writing_the_bottom_again() {
    for (kind, setup) in KINDS {
        let append = |step: u32, _: &mut Random| Write::Put(N + step);
        let figures = simulate(&format!("appending, {kind}"), setup, N / 4, 5 * N, append);
        assert_bounds(kind, &figures, 10);
        assert!(
            figures.entries_a_write() <= 5.0,
            "{}",
            figures.entries_a_write()
        );
        assert!(
            figures.values_a_byte() <= 0.01,
            "{}",
            figures.values_a_byte()
        );
    }
}

#[test]
fn a_load_in_random_order_keeps_to_the_bounds_of_its_size() {
    for (kind, setup) in KINDS {
        let load = |_: u32, random: &mut Random| Write::Put(random.below(u32::MAX - 1));
        let figures = simulate(&format!("load, {kind}"), setup, 100, 4 * N, load);
        assert_bounds(kind, &figures, 10);
        assert!(
            figures.entries_a_write() <= 11.0,
            "{}",
            figures.entries_a_write()
        );
    }
}

/// Deleting everything leaves nothing, tombstones included, and never more than the bound on the way.
#[test]
fn deleting_everything_gives_everything_back() {
    for (kind, setup) in KINDS {
        let figures = simulate(&format!("deleting all, {kind}"), setup, N, N, |step, _| {
            Write::Delete(step)
        });
        assert!(figures.space_peak <= 250, "{kind}: {}", figures.space_peak);
        assert_eq!(
            (figures.live, figures.total, figures.tombstones),
            (0, 0, 0),
            "{kind}"
        );
    }
}

/// The trap of logs that only give back what nothing refers to: one old value in each file.
#[test]
fn keys_that_are_never_overwritten_hold_nothing_back() {
    for (kind, setup) in KINDS {
        let several = if setup.separated == 1 { 100 } else { 1 };
        for never in std::collections::BTreeSet::from([1, several]) {
            let write = |step: u32, _: &mut Random| {
                let key = step % N;
                Write::Put(if key.is_multiple_of(N / never) {
                    key + 1
                } else {
                    key
                })
            };
            let figures = simulate(
                &format!("{never} never overwritten, {kind}"),
                setup,
                N,
                5 * N,
                write,
            );
            assert_bounds(kind, &figures, 8);
        }
    }
}

/// 900 : 1 has ten levels at most.
#[test]
fn nine_times_the_data_has_two_more_levels() {
    let setup = Setup {
        memtable: 30,
        ..USUAL
    };
    let figures = simulate(
        "uniform, here, 900 : 1",
        setup,
        27_000,
        40_000,
        |_, random| Write::Put(random.below(27_000)),
    );
    assert_bounds("900 : 1", &figures, 10);
    assert!(
        figures.entries_a_write() <= 10.0,
        "{}",
        figures.entries_a_write()
    );
}

/// A process that ends after every three units, whatever it was about, keeps to the bounds of space and levels too: what
/// a pass did is not lost. Its victims are, and chosen anew: that is written more often.
#[test]
fn a_process_that_lives_shorter_than_a_pass_ends_it_all_the_same() {
    for (kind, setup) in [("here", INLINE), ("separated", SEPARATED)] {
        let setup = Setup {
            lives: Some(3),
            ..setup
        };
        let name = format!("uniform, {kind}, 3 units a life");
        let figures = simulate(&name, setup, N, 5 * N, uniform);
        assert_bounds(kind, &figures, 8);
        let most = if setup.separated == 0 { 8.0 } else { 20.0 };
        assert!(
            figures.entries_a_write() <= most,
            "{}",
            figures.entries_a_write()
        );
    }
}

proptest! {
    /// Whatever the history, and however often the process ends: a unit takes prefixes, age decides, no value is lost, what
    /// is found is what was written, and the work ends.
    #[test]
    fn no_history_loses_a_key_or_merges_for_ever(
        writes in vec((0_u32..40, 0_u32..4), 1..400),
        memtable in 1_usize..20,
        separated in 0_u32..3,
        pace in 0_u64..6,
        lives in proptest::option::of(1_u64..5),
    ) {
        let mut simulator = Simulator::new(Setup { memtable, separated, pace, lives, ..USUAL });
        simulator.measure();
        for (key, kind) in writes {
            simulator.write(if kind == 0 { Write::Delete(key) } else { Write::Put(key) });
        }
        simulator.settle();
        if simulator.figures.live == 0 {
            prop_assert_eq!(simulator.figures.total, 0);
        }
    }
}

fn run(from: &[u8], to: Option<&[u8]>, bytes: u64) -> RunShape {
    RunShape {
        from: from.to_vec(),
        to: to.map(<[u8]>::to_vec),
        cut: false,
        file_bytes: bytes,
        live_bytes: bytes,
        entries: bytes / 100,
        tombstones: 0,
        expired: 0,
        earliest_expiry_ms: None,
        referred: BTreeMap::new(),
    }
}

/// Levels of these sizes, the newest first, each of one run over all keys.
fn shape(sizes: &[u64]) -> Shape {
    let levels = sizes.iter().zip((0..sizes.len() as u64).rev());
    Shape {
        levels: levels
            .map(|(bytes, id)| LevelShape {
                id: LevelId(id),
                runs: vec![run(b"", None, *bytes)],
            })
            .collect(),
        segments: Vec::new(),
        budgets: Budgets::new(1000, 1000, sizes.last().copied().unwrap_or_default()),
        now_ms: 0,
    }
}

#[test]
fn three_of_a_class_are_merged_in_one_go_with_the_classes_that_become_three() {
    let reason = |sizes: &[u64]| {
        let unit = Policy::default().next(&shape(sizes));
        unit.map(|unit| (unit.newest, unit.oldest, unit.bottom, unit.reason))
    };
    assert_eq!(reason(&[]), None);
    assert_eq!(reason(&[1000, 1000, 100_000]), None);
    assert_eq!(
        reason(&[1000, 1000, 1000, 100_000]),
        Some((0, 2, false, Reason::Tier))
    );
    let carried = [1000, 1000, 1000, 3000, 3000, 100_000];
    assert_eq!(reason(&carried), Some((0, 4, false, Reason::Tier)));
    // A small level behind a large one counts as one of its class.
    assert_eq!(
        reason(&[3000, 200, 3000, 100_000]),
        Some((0, 2, false, Reason::Tier))
    );
    // What would weigh a quarter of the bottom takes the bottom in.
    let large = [1000, 1000, 1000, 3000, 3000, 9000, 9000, 100_000];
    assert_eq!(reason(&large), Some((0, 7, true, Reason::Above)));
    // Too many, none of them three of a class: the cheapest two.
    let many = [1000, 1000, 3000, 3000, 9000, 9000, 27_000, 400_000];
    let mut crowded = shape(&many);
    crowded.budgets.levels_max = 8;
    let unit = Policy::default().next(&crowded).unwrap();
    assert_eq!(
        (unit.newest, unit.oldest, unit.reason),
        (0, 1, Reason::Levels)
    );
}

#[test]
fn the_same_question_has_the_same_answer() {
    let shape = shape(&[1000, 1000, 1000, 100_000]);
    let mut policy = Policy::default();
    let first = policy.next(&shape);
    assert!(first.is_some());
    assert_eq!(policy.next(&shape), first);
    assert_eq!(Policy::default().next(&shape), first);
}

#[test]
fn a_unit_begins_where_the_run_below_does_that_has_its_first_key() {
    let mut shape = shape(&[1000, 1000, 1000, 100_000]);
    for level in &mut shape.levels[..3] {
        level.runs[0].from = b"m".to_vec();
    }
    shape.levels[2].runs = vec![run(b"a", Some(b"g"), 500), run(b"k", Some(b"p"), 500)];
    let unit = Policy::default().next(&shape).unwrap();
    assert_eq!((unit.oldest, &unit.from[..], unit.to), (2, &b"k"[..], None));
}

/// A bottom of ten runs with a value segment each, and so much of each referred to.
fn with_segments(referred: u64, may_go: bool) -> Shape {
    let mut shape = shape(&[10_000]);
    shape.levels[0].runs.clear();
    for at in 0..10_u64 {
        let key = |at: u64| format!("{at:02}").into_bytes();
        let mut run = run(&key(at), Some(&key(at + 1)), 1000);
        run.referred.insert(SegmentId::new(at), referred);
        shape.levels[0].runs.push(run);
        let segment = SegmentShape {
            id: SegmentId::new(at),
            bytes: 100_000,
            may_go,
        };
        shape.segments.push(segment);
    }
    shape
}

#[test]
fn a_segment_with_little_garbage_is_a_victim_only_on_a_full_disk() {
    let victims = |shape: &Shape| {
        let unit = Policy::default().next(shape);
        unit.map_or(0, |unit| unit.victims.len())
    };
    assert_eq!(victims(&with_segments(40_000, true)), 8); // until it takes little enough
    assert_eq!(victims(&with_segments(70_000, true)), 0);
    let mut little = with_segments(70_000, true);
    little.budgets.begin_percent = 110; // too much is taken, and nothing is worth it
    assert_eq!(Policy::default().next(&little), None);
    little.budgets.disk_full = true;
    assert_eq!(victims(&little), 10);
}

/// What views pin is counted beside: no pass begins for it, whatever it takes.
#[test]
fn what_is_pinned_begins_no_pass() {
    assert!(
        Policy::default()
            .next(&with_segments(10_000, true))
            .is_some()
    );
    assert_eq!(Policy::default().next(&with_segments(10_000, false)), None);
}

/// Tombstones weigh what they delete: they begin a pass long before they weigh anything themselves.
#[test]
fn tombstones_weigh_what_they_delete() {
    let mut shape = shape(&[1000, 100_000]);
    let newest = &mut shape.levels[0].runs[0];
    (newest.entries, newest.tombstones) = (600, 600);
    let usage = Usage::of(&shape);
    assert_eq!((usage.live, usage.garbage_above), (40_000, 61_000));
    let unit = Policy::default().next(&shape).unwrap();
    assert_eq!((unit.reason, unit.bottom), (Reason::Space, true));
}

/// A pass that lost its memory goes on with the runs that it has cut, not with newer ones, and not from the begin.
#[test]
fn a_pass_that_a_restart_cut_short_goes_on_where_it_was() {
    let mut shape = shape(&[1000, 9000, 9000, 100_000]);
    for level in &mut shape.levels[1..3] {
        level.runs[0].from = b"m".to_vec();
        level.runs[0].cut = true;
    }
    shape.levels[3].runs = vec![run(b"", Some(b"m"), 50_000), run(b"m", None, 50_000)];
    let unit = Policy::default().next(&shape).unwrap();
    assert_eq!(
        (unit.newest, unit.oldest, unit.reason),
        (1, 3, Reason::Resumed)
    );
    assert_eq!(unit.from, b"m");
}

/// A bottom of two runs, of 100 entries each, below a small level.
fn expiring(expired: u64) -> Shape {
    let mut shape = shape(&[1000, 20_000]);
    shape.now_ms = 50;
    let mut late = run(b"m", None, 10_000);
    late.expired = expired;
    late.earliest_expiry_ms = Some(if expired > 0 { 50 } else { 51 });
    shape.levels[1].runs = vec![run(b"", Some(b"m"), 10_000), late];
    shape
}

#[test]
fn a_run_of_the_bottom_that_has_mostly_expired_is_rewritten_alone() {
    let unit = |shape: &Shape| {
        let unit = Policy::default().next(shape)?;
        Some((unit.newest, unit.oldest, unit.bottom, unit.from, unit.to))
    };
    assert_eq!(unit(&expiring(0)), None);
    assert_eq!(unit(&expiring(49)), None);
    assert_eq!(unit(&expiring(50)), Some((1, 1, true, b"m".to_vec(), None)));
    // A pass that is due anyway takes it along.
    let mut due = expiring(50);
    due.budgets.begin_percent = 1;
    let units = unit(&due).unwrap();
    assert_eq!((units.0, units.1), (0, 1));
}

#[test]
fn whoever_asks_has_all_removed_that_has_expired_by_then() {
    let mut shape = expiring(1);
    shape.levels.remove(0);
    let mut policy = Policy::default();
    assert!(policy.ask_for_all(&shape));
    let unit = policy.next(&shape).unwrap();
    assert_eq!((unit.from, unit.reason), (b"m".to_vec(), Reason::Asked));
    // What expires meanwhile is not of it, or it would never end.
    shape.now_ms = 60;
    shape.levels[0].runs[1].earliest_expiry_ms = Some(51);
    assert_eq!(policy.next(&shape), None);
    assert!(!Policy::default().ask_for_all(&expiring_later()));
}

fn expiring_later() -> Shape {
    let mut shape = expiring(0);
    shape.levels.remove(0);
    shape
}

/// The first checkpoint of a store may say nothing but what is absent.
#[test]
fn a_lone_level_of_tombstones_goes() {
    let mut simulator = Simulator::new(Setup {
        memtable: 4,
        ..USUAL
    });
    simulator.measure();
    for key in [1, 2, 3, 3] {
        simulator.write(Write::Delete(key));
    }
    simulator.settle();
    assert_eq!(simulator.figures.total, 0);
}
