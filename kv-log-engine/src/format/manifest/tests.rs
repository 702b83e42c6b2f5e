//! Runs, checkpoints and passes in the manifest: written and read back, changed, refused where they make no sense, and
//! what follows from them.

use super::*;
use crate::format::Salt;
use crate::format::ids::{LevelId, Seqno};
use crate::format::run::footer::{Expiring, Referred};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

const NUMBER: EditNumber = EditNumber::new(8);

fn segment(id: u64, state: SegmentState, seqnos: (u64, u64)) -> SegmentEntry {
    SegmentEntry {
        id: SegmentId::new(id),
        salt: Salt([9; 16]),
        state,
        base_seqno: Seqno::new(seqnos.0),
        end: 4096,
        chain: 77,
        min_seqno: Seqno::new(seqnos.0),
        max_seqno: Seqno::new(seqnos.1),
    }
}

fn run(id: u64, level: u64, from: &str, to: Option<&str>, referred: &[u64]) -> RunEntry {
    let each = Referred {
        records: 3,
        bytes: 400,
    };
    let referred = referred.iter().map(|id| (SegmentId::new(*id), each));
    RunEntry {
        id: RunId::new(id),
        salt: Salt([id.to_le_bytes()[0]; 16]),
        level: LevelId(level),
        from: from.into(),
        to: to.map(Into::into),
        taken: 0,
        file_bytes: 70_000,
        entries: 500,
        tombstones: 20,
        lowest: Seqno::new(2),
        highest: Seqno::new(30),
        expiring: None,
        erased_to: Seqno::ZERO,
        referred: referred.collect(),
    }
}

/// A log of four segments, of which the checkpoint stands in the third; a segment of values; two levels.
fn sample() -> Manifest {
    let zero = StoreId([0; 16]);
    let mut manifest = Manifest::new(zero, zero, 5, 1 << 20);
    manifest.edit = NUMBER;
    manifest.next_seqno = Seqno::new(41);
    manifest.next_file_id = SegmentId::new(20);
    manifest.segments = vec![
        segment(1, SegmentState::Sealed, (1, 10)),
        segment(2, SegmentState::Sealed, (11, 20)),
        segment(4, SegmentState::Values, (3, 9)),
        segment(5, SegmentState::Sealed, (21, 35)),
        segment(6, SegmentState::Active, (36, 35)),
    ];
    manifest.checkpoint = Some(Checkpoint {
        seqno: Seqno::new(30),
        segment: SegmentId::new(5),
        offset: 2048,
        chain: 99,
        frames: 4,
        records: 10,
        min_seqno: Some(Seqno::new(21)),
    });
    manifest.runs = vec![
        run(9, 9, "", None, &[5]),
        run(12, 3, "", Some("g"), &[2]),
        run(11, 3, "g", Some("k"), &[2, 5]),
        run(13, 3, "k", None, &[]),
    ];
    manifest.passes = vec![PassEntry {
        newest: LevelId(9),
        oldest: LevelId(3),
        victims: [SegmentId::new(1), SegmentId::new(4)].into(),
        reason: 7,
    }];
    manifest.check().unwrap();
    manifest
}

fn applied(manifest: &Manifest, edit: &Edit) -> Result<Manifest, Defect> {
    let mut changed = manifest.clone();
    changed.apply(NUMBER, edit.content())?;
    changed.check()?;
    Ok(changed)
}

fn edited(change: impl FnOnce(&mut Edit)) -> Edit {
    let mut edit = Edit::default();
    change(&mut edit);
    edit
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..12)
}

prop_compose! {
    fn any_run()(
        numbers in any::<[u64; 9]>(),
        salt in any::<[u8; 16]>(),
        from in key(),
        to in option::of(key()),
        expiring in option::of((1..u64::MAX, any::<u64>(), any::<u64>())),
        referred in btree_map(1_u64.., any::<(u64, u64)>(), 0..5),
    ) -> RunEntry {
        let [id, level, taken, file_bytes, entries, tombstones, lowest, highest, erased_to] = numbers;
        let referred = referred.into_iter().map(|(id, (records, bytes))| {
            (SegmentId::new(id), Referred { records, bytes })
        });
        RunEntry {
            id: RunId::new(id),
            salt: Salt(salt),
            level: LevelId(level),
            from,
            to,
            taken,
            file_bytes,
            entries,
            tombstones,
            lowest: Seqno::new(lowest),
            highest: Seqno::new(highest),
            expiring: expiring.map(|(entries, one, other)| Expiring {
                entries,
                earliest_ms: one.min(other),
                latest_ms: one.max(other),
            }),
            erased_to: Seqno::new(erased_to),
            referred: referred.collect(),
        }
    }
}

prop_compose! {
    fn any_checkpoint()(numbers in any::<[u64; 6]>(), lowest in option::of(1_u64..)) -> Checkpoint {
        let [seqno, segment, offset, chain, frames, records] = numbers;
        Checkpoint {
            seqno: Seqno::new(seqno),
            segment: SegmentId::new(segment),
            offset,
            chain,
            frames,
            records,
            min_seqno: lowest.map(Seqno::new),
        }
    }
}

prop_compose! {
    fn any_pass()(levels in any::<[u64; 2]>(), victims in btree_set(any::<u64>(), 0..4), reason: u32) -> PassEntry {
        let [newest, oldest] = levels;
        PassEntry {
            newest: LevelId(newest),
            oldest: LevelId(oldest),
            victims: victims.into_iter().map(SegmentId::new).collect(),
            reason,
        }
    }
}

proptest! {
    #[test]
    fn runs_checkpoints_and_passes_are_read_as_they_were_written(
        runs in vec(any_run(), 0..4),
        checkpoint in option::of(any_checkpoint()),
        passes in vec(any_pass(), 0..3),
    ) {
        let mut manifest = sample();
        manifest.runs.clear();
        for run in runs {
            manifest.put_run(run).unwrap();
        }
        manifest.checkpoint = checkpoint;
        manifest.passes = passes;
        prop_assert_eq!(Manifest::from_image(NUMBER, &manifest.image()), Ok(manifest));
    }

    #[test]
    fn arbitrary_items_never_panic(kind in 5_u16..12, body in vec(any::<u8>(), 0..300)) {
        let mut item = kind.to_le_bytes().to_vec();
        item.extend_from_slice(&[0; 2]);
        item.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        item.extend_from_slice(&body);
        let mut changed = sample();
        if changed.apply(NUMBER, &item).is_ok() && changed.check().is_ok() {
            prop_assert!(changed.replay_start().is_some());
            let _unused = changed.releasable();
        }
    }

    #[test]
    fn a_garbled_item_is_refused_or_is_read_back_as_what_it_says(
        position in any::<prop::sample::Index>(),
        mask in 1_u8..=255,
    ) {
        let mut image = sample().image();
        let position = position.index(image.len());
        image[position] ^= mask;
        if let Ok(read) = Manifest::from_image(NUMBER, &image) {
            prop_assert_eq!(Manifest::from_image(NUMBER, &read.image()), Ok(read));
        }
    }
}

#[test]
fn an_image_leads_to_the_same_state_as_the_edits_before_it() {
    let mut by_edits = sample();
    let edit = edited(|edit| {
        edit.run(&run(14, 14, "b", None, &[5, 6]));
        edit.gone(&[4, 12]);
        edit.cut(RunId::new(11), b"h", 17);
        edit.passes(&[]);
        edit.counters(Seqno::new(50), SegmentId::new(21));
        edit.checkpoint(&Checkpoint {
            seqno: Seqno::new(40),
            segment: SegmentId::new(6),
            offset: 512,
            chain: 3,
            frames: 1,
            records: 5,
            min_seqno: Some(Seqno::new(36)),
        });
    });
    by_edits.apply(NUMBER, edit.content()).unwrap();
    by_edits.check().unwrap();
    let ids: Vec<u64> = by_edits.runs.iter().map(|run| run.id.get()).collect();
    assert_eq!(ids, [14, 9, 11, 13]);
    let cut = &by_edits.runs[2];
    assert_eq!((&*cut.from, cut.taken), (&b"h"[..], 17));
    assert_eq!(by_edits.passes, []);
    assert_eq!(by_edits.segments.len(), 4);
    let by_image = Manifest::from_image(NUMBER, &by_edits.image()).unwrap();
    assert_eq!(by_image, by_edits);
}

#[test]
fn a_run_that_is_named_again_takes_the_place_of_the_entry_before() {
    let mut moved = run(12, 20, "x", None, &[]);
    moved.highest = Seqno::new(4);
    let changed = applied(&sample(), &edited(|edit| edit.run(&moved))).unwrap();
    let ids: Vec<u64> = changed.runs.iter().map(|run| run.id.get()).collect();
    assert_eq!(ids, [12, 9, 11, 13]);
    assert_eq!(changed.runs[0], moved);
}

#[test]
fn a_cut_takes_a_prefix_of_what_is_left_and_nothing_else() {
    let cut = |run: u64, from: &[u8], taken| {
        let edit = edited(|edit| edit.cut(RunId::new(run), from, taken));
        applied(&sample(), &edit)
    };
    assert!(cut(11, b"g", 0).is_ok(), "nothing is taken");
    assert!(cut(11, b"k", 500).is_ok(), "all is taken");
    assert!(cut(11, b"kk", 500).is_err(), "beyond its end");
    assert!(cut(11, b"f", 5).is_err(), "before its beginning");
    assert!(
        cut(11, b"h", 501).is_err(),
        "more than there are entries in it"
    );
    assert!(cut(10, b"h", 1).is_err(), "no such run");
    let once = cut(13, b"m", 9).unwrap();
    let back = edited(|edit| edit.cut(RunId::new(13), b"n", 8));
    assert!(applied(&once, &back).is_err(), "fewer than before");
}

#[test]
fn only_what_is_there_can_be_let_go() {
    let gone = |ids: &[u64]| applied(&sample(), &edited(|edit| edit.gone(ids)));
    let left = gone(&[1, 12]).unwrap();
    assert_eq!((left.segments.len(), left.runs.len()), (4, 3));
    assert!(gone(&[3]).is_err());
    assert!(gone(&[1, 1]).is_err());
    assert!(gone(&[6]).is_err(), "the active segment");
    let body = edited(|edit| edit.gone(&[1]));
    let mut cut_short = body.content().to_vec();
    cut_short[4] = 7;
    cut_short.pop();
    assert!(sample().apply(NUMBER, &cut_short).is_err());
}

#[test]
fn a_state_that_makes_no_sense_is_refused() {
    let refused = |why: &str, change: fn(&mut Manifest)| {
        let mut manifest = sample();
        change(&mut manifest);
        assert!(manifest.check().is_err(), "{why}");
    };
    refused("two runs of a level overlap", |m| {
        m.runs[1].to = Some(b"h".to_vec());
    });
    refused("one without an end has a neighbour behind it", |m| {
        m.runs[1].to = None;
    });
    refused("an interval ends before it begins", |m| {
        m.runs[2].from = b"l".to_vec();
    });
    refused("a level is out of order", |m| m.runs.swap(0, 3));
    refused("a run has a segment's id", |m| m.runs[0].id = RunId::new(4));
    refused("two runs have one id", |m| m.runs[0].id = RunId::new(13));
    refused("an id is not below the next one", |m| {
        m.runs[0].id = RunId::new(20);
    });
    refused("a run holds what the log has to be replayed for", |m| {
        m.runs[0].highest = Seqno::new(31);
    });
    refused("its seqnos are upside down", |m| {
        m.runs[0].lowest = Seqno::new(31);
    });
    refused("more tombstones than entries", |m| {
        m.runs[0].tombstones = 501;
    });
    refused("more taken than entries", |m| m.runs[0].taken = 501);
    refused("runs without a checkpoint", |m| m.checkpoint = None);
    refused("the checkpoint covers what was never used", |m| {
        m.next_seqno = Seqno::new(30);
    });
    refused("the log before the checkpoint is not covered", |m| {
        m.segments[1].max_seqno = Seqno::new(31);
    });
    refused("the active segment is before the checkpoint", |m| {
        m.checkpoint.as_mut().unwrap().segment = SegmentId::new(7);
    });
    refused("the checkpoint is in a segment of values", |m| {
        m.checkpoint.as_mut().unwrap().segment = SegmentId::new(4);
    });
    refused("the checkpoint is behind the end of its segment", |m| {
        m.checkpoint.as_mut().unwrap().offset = 4104;
    });
    refused("the checkpoint is where no frame ends", |m| {
        m.checkpoint.as_mut().unwrap().offset = 2049;
    });
    refused("the checkpoint is in a header", |m| {
        m.checkpoint.as_mut().unwrap().offset = 96;
    });
    refused("the levels of a pass are upside down", |m| {
        m.passes[0].oldest = LevelId(10);
    });
}

fn items_of(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut item = kind.to_le_bytes().to_vec();
    item.extend_from_slice(&[0; 2]);
    item.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    item.extend_from_slice(body);
    item
}

#[test]
fn lists_longer_than_their_item_are_refused_before_they_take_memory() {
    let many = u32::MAX.to_le_bytes();
    let passes = items_of(ITEM_PASSES, &many);
    assert!(sample().apply(NUMBER, &passes).is_err());
    let mut victims = 1_u32.to_le_bytes().to_vec();
    victims.extend_from_slice(&[0; 20]);
    victims.extend_from_slice(&many);
    let victims = items_of(ITEM_PASSES, &victims);
    assert!(sample().apply(NUMBER, &victims).is_err());
    let edit = edited(|edit| edit.run(&run(14, 14, "b", None, &[])));
    let mut referred = edit.content()[ITEM_HEADER_BYTES..].to_vec();
    let length = referred.len();
    referred[length - 4..].copy_from_slice(&many);
    assert!(
        sample()
            .apply(NUMBER, &items_of(ITEM_RUN, &referred))
            .is_err()
    );
    let mut cut = [0; 16].to_vec();
    cut.extend_from_slice(&65_542_u32.to_le_bytes());
    cut.resize(20 + 65_542, 0);
    let cut = items_of(ITEM_CUT, &cut);
    let refused = sample().apply(NUMBER, &cut);
    assert!(
        matches!(refused, Err(Defect::Field { what, .. }) if what.contains("bound")),
        "{refused:?}"
    );
}

#[test]
fn flags_and_lengths_of_a_later_version_are_unsupported() {
    let edit = edited(|edit| edit.run(&run(14, 14, "b", None, &[])));
    let body = &edit.content()[ITEM_HEADER_BYTES..];
    let mut flagged = body.to_vec();
    flagged[32] = 4;
    let mut longer = body.to_vec();
    longer.push(0);
    for later in [flagged, longer] {
        let refused = sample().apply(NUMBER, &items_of(ITEM_RUN, &later));
        assert!(
            matches!(refused, Err(Defect::Unsupported { .. })),
            "{refused:?}"
        );
    }
    let refused = sample().apply(NUMBER, &items_of(14, b""));
    assert!(matches!(
        refused,
        Err(Defect::Unsupported { found: 14, .. })
    ));
}

fn replay_start(manifest: &Manifest) -> (u64, bool) {
    manifest.check().unwrap();
    let start = manifest.replay_start().unwrap();
    (start.segment.id.get(), start.behind.is_some())
}

#[test]
fn replay_begins_where_the_checkpoint_was_taken() {
    let mut manifest = sample();
    assert_eq!(replay_start(&manifest), (5, true));
    // Its last record is covered: what stands behind it in that segment is a footer.
    manifest.segments[3].max_seqno = Seqno::new(30);
    assert_eq!(replay_start(&manifest), (6, false));
    // The segment is gone.
    manifest.segments.remove(3);
    assert_eq!(replay_start(&manifest), (6, false));
    // Runs cover nothing.
    let mut manifest = sample();
    manifest.runs.clear();
    manifest.checkpoint = None;
    assert_eq!(replay_start(&manifest), (1, false));
    // The checkpoint stands in the active segment.
    let mut manifest = sample();
    let checkpoint = manifest.checkpoint.as_mut().unwrap();
    checkpoint.seqno = Seqno::new(38);
    checkpoint.segment = SegmentId::new(6);
    assert_eq!(replay_start(&manifest), (6, true));
}

#[test]
fn what_is_replayed_or_referred_to_is_not_released() {
    let mut manifest = sample();
    let released = |manifest: &Manifest| -> Vec<u64> {
        let ids = manifest.releasable();
        ids.into_iter().map(SegmentId::get).collect()
    };
    // 2 and 5 are referred to, 6 is active.
    assert_eq!(released(&manifest), [1, 4]);
    manifest.runs.truncate(1);
    assert_eq!(released(&manifest), [1, 2, 4]);
    manifest.runs.clear();
    assert_eq!(
        released(&manifest),
        [1, 2, 4],
        "5 is replayed from its middle on"
    );
    manifest.segments[3].max_seqno = Seqno::new(30);
    assert_eq!(released(&manifest), [1, 2, 4, 5]);
    manifest.checkpoint = None;
    assert_eq!(released(&manifest), [4], "all of the log is replayed");
}
