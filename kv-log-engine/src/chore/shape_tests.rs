//! What the policy is told of garbage, beside what the files say.

use super::policy::Usage;
use super::shape::{Circumstances, shape};
use super::testing::{Small, TINY_TUNING};
use super::tests::turn;
use crate::format::ids::SegmentId;
use crate::format::manifest::{Manifest, RunEntry};
use crate::format::run::block::Held;
use crate::format::run::footer::Referred;
use crate::index::cache::PieceCache;
use crate::index::levels::Levels;
use crate::index::run::level::LiveRun;
use crate::index::source::{Direction, Interval, Item, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a run refers to by a walk over all of it, and how many entries are in its live interval.
fn walked(live: &LiveRun) -> (BTreeMap<SegmentId, Referred>, u64) {
    let mut walk = live
        .reader()
        .unwrap()
        .range(Interval::ALL, Direction::Forward);
    let interval = live.interval();
    let mut sums: BTreeMap<SegmentId, Referred> = BTreeMap::new();
    let mut left = 0;
    while let Some(item) = walk.next().unwrap() {
        let Item::Entry(entry) = item else {
            panic!("nothing is damaged");
        };
        left += u64::from(!interval.is_above(&entry.key) && !interval.is_below(&entry.key));
        if let Held::Separated(location) = entry.version.held {
            let sum = sums.entry(location.segment).or_default();
            sum.records += 1;
            sum.bytes += u64::from(location.record_bytes);
        }
    }
    (sums, left)
}

/// Compares manifest, footers and entries, and what the policy makes of them. Whether no run is cut.
fn compare(small: &Small, manifest: &Manifest, what: &str) -> bool {
    let files = Arc::clone(&small.files);
    let cache = PieceCache::new(1 << 16);
    let levels = Levels::open(&manifest.runs, manifest.store_id, files, cache);
    let mut referred: BTreeMap<SegmentId, u64> = BTreeMap::new();
    for live in levels.runs() {
        let named = |run: &&RunEntry| run.id == live.run.id();
        let named = manifest.runs.iter().find(named).unwrap();
        let facts = &live.reader().unwrap().footer().facts;
        let (sums, left) = walked(live);
        assert_eq!(named.referred, sums, "{what}: run {}", named.id);
        assert_eq!(facts.referred, sums, "{what}: run {}", named.id);
        assert_eq!(named.entries - named.taken, left, "{what}: {}", named.id);
        for (segment, sum) in sums {
            *referred.entry(segment).or_default() += sum.bytes;
        }
    }
    let none = BTreeSet::new();
    let circumstances = Circumstances {
        now_ms: 0,
        checkpoint_bytes: 1,
        log_bytes: 1,
        levels_max: None,
        disk_full: false,
        unit_bytes: 1,
        room: 0,
        spared: &none,
    };
    let shape = shape(manifest, &circumstances);
    let may_go = shape.segments.iter().filter(|segment| segment.may_go);
    let files = manifest.runs.iter().map(|run| run.file_bytes);
    let total = may_go.map(|segment| segment.bytes).sum::<u64>() + files.sum::<u64>();
    assert!(levels.is_empty() || Usage::of(&shape).total == total);
    let whole = manifest.runs.iter().all(|run| run.taken == 0);
    for segment in &shape.segments {
        let runs = shape.levels.iter().flat_map(|level| &level.runs);
        let told = runs.filter_map(|run| run.referred.get(&segment.id));
        let told: u64 = told.sum();
        let known = referred.get(&segment.id).copied().unwrap_or_default();
        // Of a run that was cut, only the share that is left counts.
        assert!(told <= known, "{what}: {told} of {known}");
        assert!(!whole || told == known, "{what}: {told} of {known}");
        // What a cut took, the unit's output refers to as well.
        let active = manifest.active().map(|active| active.id);
        let counts = whole && active != Some(segment.id);
        assert!(!counts || known <= segment.bytes, "{what}: {known}");
    }
    whole
}

/// M6: what is no garbage is counted where it is written, and the counts stay true through cuts, copies and releases.
#[test]
fn garbage_is_what_no_run_refers_to() {
    let mut small = Small::create(TINY_TUNING);
    let mut last = small.manifest().edit;
    let (mut whole, mut cut) = (0, 0);
    for at in 0..60 {
        turn(&mut small, at, 60, |_| {});
        small.freeze();
        while small.chores.slice_by_hand().unwrap() {
            let manifest = small.manifest();
            if manifest.edit != last {
                last = manifest.edit;
                match compare(&small, &manifest, &format!("turn {at}, edit {last}")) {
                    true => whole += 1,
                    false => cut += 1,
                }
            }
        }
    }
    assert!(whole > 60 && cut > 10, "{whole} whole, {cut} cut");
}
