//! Rules C1 to C10 of docs/DURABILITY.md.

use super::life::{Life, check, few, key, long, short, tuning, wide, wide_of};
use kv_log_engine::storage::sim::{CrashPolicy, EIO, ENOSPC, Fault, FaultKind, OpKind, SimDisk};
use kv_log_engine::{Pressure, Tuning};
use kv_tests::workload::{Random, contents_of};
use kv_trait::{Effect, ErrorKind};

const COPIES: [&str; 2] = ["/db/MANIFEST", "/db/MANIFEST.2"];

tests! {
    a_write_beside_the_begin_of_a_checkpoint_is_always_visible,
    a_checkpoint_holds_exactly_what_its_root_held,
    large_values_under_a_small_memtable_begin_checkpoints,
    processes_that_die_before_each_checkpoint_ends_do_not_grow_the_tail,
    writers_behind_a_full_memtable_wait_visibly_and_go_on_by_themselves,
    a_power_cut_around_the_edit_of_a_checkpoint_leaves_one_state_or_the_other,
    an_empty_frozen_tree_raises_the_replay_start_without_a_run,
    what_a_checkpoint_covers_is_not_replayed,
    a_checkpoint_with_nothing_behind_it_survives_a_quiet_crash,
    a_write_undone_at_the_replay_start_does_not_come_back,
    frames_behind_the_replay_start_must_chain_to_it,
    a_log_that_ends_below_what_the_manifest_has_seen_is_corruption,
    a_segment_that_a_run_refers_to_is_not_let_go,
    a_segment_that_the_replay_start_is_in_keeps_its_tail,
    a_release_beside_a_checkpoint_decides_from_one_state,
    a_run_and_its_name_are_durable_before_an_edit_names_it,
    a_file_made_before_a_failed_directory_sync_is_never_named,
    a_process_killed_in_a_chore_leaves_a_store_that_opens,
    an_older_manifest_is_noticed_by_runs_and_value_segments,
    a_named_run_that_is_missing_is_told_before_debris_goes,
    ids_handed_out_beside_a_rotation_stay_below_the_bound,
    the_file_of_a_failed_rotation_goes_by_the_unlinking_chore,
    nothing_is_unlinked_while_an_edit_of_a_chore_is_in_doubt,
    inputs_are_unlinked_only_behind_a_durable_edit,
    ten_keys_and_a_close_leave_no_run,
    a_chore_after_a_clean_open_pays_before_it_changes_anything,
    a_clean_open_in_the_middle_of_a_pass_writes_nothing,
    a_checkpoint_that_fails_refuses_those_who_wait_for_it,
    a_failed_checkpoint_is_tried_again_when_the_disk_is_good,
}

/// Some keys with a checkpoint behind them, and others on the way into the next one.
fn half_written() -> Life {
    let mut life = Life::new();
    for number in 0..12 {
        life.put(key(number), short(number));
        life.put(key(number + 20), long(number));
    }
    life.checkpoint();
    for number in 0..8 {
        life.put(key(number * 3), short(number + 100));
        life.put(key(number + 30), long(number + 100));
    }
    life.delete(key(1));
    life
}

/// Does all chores, and reads everything at each call that is held.
fn work_and_look(life: &Life, kinds: &[OpKind]) {
    std::thread::scope(|scope| {
        let gates: Vec<_> = kinds.iter().map(|kind| life.disk.hold(*kind)).collect();
        let chores = scope.spawn(|| while life.slice() {});
        while !chores.is_finished() {
            if let Some(gate) = gates.iter().find(|gate| gate.held() > 0) {
                check(life.store(), &life.model, "held");
                gate.pass(1);
            }
            std::thread::yield_now();
        }
        chores.join().unwrap();
    });
}

pub(crate) fn a_write_beside_the_begin_of_a_checkpoint_is_always_visible() {
    let life = half_written();
    life.disk.start_trace();
    life.freeze();
    let gates = [OpKind::Sync, OpKind::SyncDir, OpKind::Write, OpKind::Create];
    work_and_look(&life, &gates);
    life.check("at the end");
    assert!(life.cut_everywhere(&few(), &[&life.model]) > 10);
}

pub(crate) fn a_checkpoint_holds_exactly_what_its_root_held() {
    let mut life = half_written();
    life.freeze();
    let before = life.model.clone();
    let mut behind = before.clone();
    behind.insert(key(0), b"late".to_vec());
    behind.remove(&key(3));
    life.disk.start_trace();
    std::thread::scope(|scope| {
        let gate = life.disk.hold_on(OpKind::Sync, ".seg");
        let late = scope.spawn(|| {
            let mut batch = kv_log_engine::Batch::new();
            batch.put(&key(0), b"late").unwrap();
            batch.delete(&key(3)).unwrap();
            life.store().write(batch).unwrap();
        });
        gate.wait_until_held(1);
        life.finish_checkpoint();
        check(life.store(), &before, "held");
        life.cut_everywhere(&few(), &[&before, &behind]);
        gate.open();
        late.join().unwrap();
    });
    life.model = behind;
    life.check("let go");
    life.cut();
    life.check("cut");
    assert_eq!(life.store().recovery_report().records, 2);
}

pub(crate) fn large_values_under_a_small_memtable_begin_checkpoints() {
    const THRESHOLD: u64 = 256 * 1024;
    const VALUE: usize = 100 * 1024;
    let mut life = Life::with_segments(
        Tuning {
            log_bytes: Some(THRESHOLD),
            slice_bytes: None,
            by_hand: false,
            ..tuning()
        },
        1 << 20,
    );
    for turn in 0..30_u8 {
        life.put([turn % 3], vec![turn; VALUE]);
        let tail = life.store().stats().log_bytes_since_checkpoint;
        assert!(tail <= 2 * THRESHOLD + VALUE as u64 + 1000, "{tail}");
    }
    assert!(life.store().stats().checkpoints >= 5);
    life.cut();
    life.check("cut");
}

pub(crate) fn processes_that_die_before_each_checkpoint_ends_do_not_grow_the_tail() {
    const THRESHOLD: u64 = 4096;
    let mut life = Life::tuned(Tuning {
        log_bytes: Some(THRESHOLD),
        ..tuning()
    });
    for turn in 0..20 {
        for number in 0..12 {
            life.put(key(number), long(turn));
        }
        // The file is made and has some blocks.
        let runs = life.files(".run");
        for _ in 0..100 {
            if life.files(".run") != runs || !life.slice() {
                break;
            }
        }
        life.die();
        life.check("died");
        // Frames take more than what is in them.
        let tail = life.store().stats().log_bytes_since_checkpoint;
        assert!(tail <= 2 * THRESHOLD + 1000, "turn {turn}: {tail}");
    }
}

pub(crate) fn writers_behind_a_full_memtable_wait_visibly_and_go_on_by_themselves() {
    let life = Life::tuned(Tuning {
        memtable_bytes: Some(4000),
        ..tuning()
    });
    let acknowledged = std::thread::scope(|scope| {
        let gate = life.disk.hold_on(OpKind::Sync, ".run");
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let life = &life;
                scope.spawn(move || {
                    for number in 0..60 {
                        let key = key(writer * 100 + number);
                        life.store().put(&key, &short(number)).unwrap();
                    }
                })
            })
            .collect();
        gate.wait_until_held(1);
        while life.store().stats().pressure != Some(Pressure::Memory) {
            std::thread::yield_now();
        }
        gate.open();
        writers.into_iter().map(|it| it.join().unwrap()).count()
    });
    assert_eq!(acknowledged, 3);
    assert_eq!(contents_of(life.store()).len(), 180);
}

pub(crate) fn a_power_cut_around_the_edit_of_a_checkpoint_leaves_one_state_or_the_other() {
    let mut life = half_written();
    life.disk.start_trace();
    life.checkpoint();
    let policy = CrashPolicy {
        exhaustive_units_max: 5,
        seeded: 8,
        garbled: 4,
        seed: 3,
    };
    assert!(life.cut_everywhere(&policy, &[&life.model]) > 30);
    // What is written behind it is behind the replay start of either state.
    let before = life.model.clone();
    life.disk.start_trace();
    life.put(key(2), b"behind");
    life.cut_everywhere(&policy, &[&before, &life.model]);
}

pub(crate) fn an_empty_frozen_tree_raises_the_replay_start_without_a_run() {
    let mut life = half_written();
    life.checkpoint_and_work();
    life.close();
    life.open();
    let runs = life.files(".run");
    // Behind C there is the mark of the close, and nothing else.
    life.freeze();
    life.work();
    assert_eq!(life.files(".run"), runs);
    life.check("frozen");
    life.die();
    assert_eq!(life.store().recovery_report().frames, 0);
    life.check("died");
}

/// Where in the log a run's replay start is: behind the last frame, if nothing was written since.
fn end_of_log(life: &Life) -> (String, usize) {
    let stats = life.store().stats();
    let active = stats.segments.last().unwrap();
    let path = format!("/db/{}.seg", active.id);
    (path, usize::try_from(active.bytes).unwrap())
}

/// A store whose checkpoints begin by themselves, in the middle of a segment.
fn with_checkpoints_in_a_segment(segment_bytes: u64) -> Life {
    let tuning = Tuning {
        memtable_bytes: Some(2000),
        ..tuning()
    };
    Life::with_segments(tuning, segment_bytes)
}

pub(crate) fn what_a_checkpoint_covers_is_not_replayed() {
    let mut life = with_checkpoints_in_a_segment(64 * 1024);
    for number in 0..6 {
        life.put(key(number), long(number));
    }
    life.delete(key(3));
    life.fill();
    life.finish_checkpoint();
    let (path, end) = end_of_log(&life);
    life.die();
    life.check("died");
    assert_eq!(life.store().recovery_report().records, 0);
    // What is covered and not referred to need not be readable.
    let mut bytes = life.disk.read_file(&path).unwrap();
    let deleted = bytes.windows(20).position(|at| long(3).starts_with(at));
    bytes[deleted.unwrap()] ^= 1;
    bytes[end - 2] ^= 1;
    life.disk.write_file(&path, &bytes).unwrap();
    life.die();
    life.check("with garbage before the replay start");
    assert_eq!(life.store().get(&key(3)).unwrap(), None);
}

pub(crate) fn a_checkpoint_with_nothing_behind_it_survives_a_quiet_crash() {
    let mut life = half_written();
    life.checkpoint_and_work();
    life.die();
    life.check("died");
    assert_eq!(life.store().recovery_report().records, 0);
    assert_eq!(life.store().recovery_report().torn_tail, None);
    life.put(key(5), b"behind");
    life.cut();
    life.check("cut");
    assert_eq!(life.store().recovery_report().records, 1);
}

pub(crate) fn a_write_undone_at_the_replay_start_does_not_come_back() {
    let mut life = half_written();
    life.checkpoint_and_work();
    // The whole frame is handed over before the write fails, and the sync of its undoing fails, too.
    let write = Fault::new(FaultKind::PartThenErrno(1 << 20, EIO)).on(OpKind::Write);
    life.disk.inject(write.path_contains(".seg"));
    let sync = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Sync);
    life.disk.inject(sync.path_contains(".seg"));
    let error = life.store().put(&key(7), b"undone").unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    life.die();
    let seen = contents_of(life.store());
    for image in kv_tests::crash::images(&life.disk, &CrashPolicy::default()) {
        life.judge(&image, &[&seen], "cut behind what a reader saw");
    }
}

pub(crate) fn frames_behind_the_replay_start_must_chain_to_it() {
    let other = |first: &[u8]| {
        let mut life = with_checkpoints_in_a_segment(64 * 1024);
        life.put(b"before", first);
        life.fill();
        life.work();
        let (path, start) = end_of_log(&life);
        life.put(b"behind", first);
        let end = end_of_log(&life).1;
        life.put(b"last", first);
        (life, path, start..end)
    };
    // Two stores of the same random bits: the same segments, and other frames in them.
    let (mut life, path, frame) = other(b"a");
    let (twin, same_path, same_frame) = other(b"b");
    assert_eq!((&path, &frame), (&same_path, &same_frame));
    let mut bytes = life.disk.read_file(&path).unwrap();
    let others = twin.disk.read_file(&path).unwrap();
    assert_eq!(bytes[..104], others[..104], "the salts differ");
    bytes[frame.clone()].copy_from_slice(&others[frame]);
    life.abandon();
    life.disk.write_file(&path, &bytes).unwrap();
    let refused = life.try_open(&life.disk).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
}

pub(crate) fn a_log_that_ends_below_what_the_manifest_has_seen_is_corruption() {
    let mut life = Life::new();
    life.put(key(0), short(0));
    life.checkpoint_and_work();
    let (path, end) = end_of_log(&life);
    for number in 0..5 {
        life.put(key(number), long(number));
    }
    life.close();
    let mut bytes = life.disk.read_file(&path).unwrap();
    bytes[end..].fill(0);
    life.disk.write_file(&path, &bytes).unwrap();
    let refused = life.try_open(&life.disk).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    // Cut off in front of the replay start.
    life.disk.write_file(&path, &bytes[..end - 10]).unwrap();
    let refused = life.try_open(&life.disk).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
}

pub(crate) fn a_segment_that_a_run_refers_to_is_not_let_go() {
    let mut life = Life::new();
    life.put(b"kept", long(0));
    let first = "/db/00000001.seg".to_owned();
    for turn in 0..12 {
        for number in 0..20 {
            life.put(
                key(number),
                if turn % 2 == 0 {
                    short(turn)
                } else {
                    long(turn)
                },
            );
        }
        life.checkpoint_and_work();
        life.check("worked");
        assert!(life.store().stats().merge_units == 0 || life.levels() > 0);
        assert!(life.files(".seg").contains(&first) || life.files(".seg").len() < 4);
    }
    life.cut();
    life.check("cut");
    // Nothing is let go that is needed, and what is not needed goes.
    life.delete(b"kept");
    for number in 0..20 {
        life.delete(key(number));
    }
    life.compact();
    life.check("compacted");
    assert!(!life.files(".seg").contains(&first));
}

pub(crate) fn a_segment_that_the_replay_start_is_in_keeps_its_tail() {
    let mut life = with_checkpoints_in_a_segment(8192);
    life.fill();
    let rotations = life.store().stats().rotations;
    let mut written = 0;
    while life.store().stats().rotations < rotations + 2 {
        // Few keys, so that the memtable is not full again.
        life.put(key(written % 4), long(written));
        written += 1;
    }
    life.work();
    life.check("let go");
    life.cut();
    life.check("cut");
    assert_eq!(life.store().recovery_report().records, written);
    life.compact();
    life.cut();
    life.check("compacted and cut");
}

pub(crate) fn a_release_beside_a_checkpoint_decides_from_one_state() {
    let mut life = half_written();
    // Segments that nothing but the run to come refers to.
    for number in 0..40 {
        life.put(key(number), long(number));
    }
    life.freeze();
    life.disk.start_trace();
    let work = || while life.slice() {};
    std::thread::scope(|scope| {
        let gate = life.disk.hold_on(OpKind::Sync, "MANIFEST");
        let chores = [scope.spawn(work), scope.spawn(work)];
        while !chores
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            if gate.held() > 0 {
                check(life.store(), &life.model, "held at an edit");
                gate.pass(1);
            }
            std::thread::yield_now();
        }
    });
    life.check("at the end");
    life.cut_everywhere(&few(), &[&life.model]);
}

pub(crate) fn a_run_and_its_name_are_durable_before_an_edit_names_it() {
    let mut life = half_written();
    life.disk.start_trace();
    life.checkpoint();
    for image in kv_tests::crash::images(&life.disk, &CrashPolicy::default()) {
        life.judge(&image, &[&life.model], "behind the edit");
    }
    assert!(life.cut_everywhere(&few(), &[&life.model]) > 10);
    life.cut();
    life.check("cut");
    assert_eq!(life.store().recovery_report().records, 0);
}

pub(crate) fn a_file_made_before_a_failed_directory_sync_is_never_named() {
    let mut life = half_written();
    for number in 0..40 {
        life.put(key(number), short(number));
    }
    life.freeze();
    let runs = life.files(".run");
    while life.files(".run") == runs {
        assert!(life.slice());
    }
    // Now a rotation's sync of the directory fails, and takes the run's name with it.
    let failing = Fault::new(FaultKind::Errno(EIO)).on(OpKind::SyncDir);
    life.disk.inject(failing);
    let mut refused = 0;
    for number in 0..40 {
        let value = long(number);
        match life.store().put(&key(number), &value) {
            Ok(()) => drop(life.model.insert(key(number), value)),
            Err(error) => {
                assert_eq!(error.effect(), Effect::Nothing, "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1);
    // The run is given up, or made anew; another one is named.
    for _ in 0..3 {
        while life.store().run_slice().unwrap_or(false) {
            for image in kv_tests::crash::images(&life.disk, &few()) {
                life.judge(&image, &[&life.model], "cut behind a slice");
            }
        }
        life.wait();
    }
    life.check("worked");
    assert_eq!(life.store().stats().checkpoints, 2);
    life.cut();
    life.check("cut");
}

pub(crate) fn a_process_killed_in_a_chore_leaves_a_store_that_opens() {
    let mut life = wide();
    for number in 0..20 {
        life.put(key(number), long(number + 7));
    }
    life.disk.start_trace();
    life.compact();
    life.work();
    assert!(life.store().stats().merge_units > 2 && life.store().stats().segments_released > 2);
    let points = life.die_everywhere(&[&life.model]);
    assert!(points > 60, "{points}");
}

fn manifests(disk: &SimDisk) -> [Vec<u8>; 2] {
    COPIES.map(|copy| disk.read_file(copy).unwrap())
}

/// An older manifest in place of the newest: corruption, and every file stays; or the store shows all that is acknowledged.
fn put_back(life: &Life, older: &[Vec<u8>; 2], what: &str) {
    let disk = life.disk.fork();
    for (copy, bytes) in COPIES.iter().zip(older) {
        disk.write_file(copy, bytes).unwrap();
    }
    let names = disk.files();
    match life.try_open(&disk) {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            assert_eq!(disk.files(), names, "{what}: something was removed");
        }
        Ok(store) => check(&store, &life.model, what),
    }
}

pub(crate) fn an_older_manifest_is_noticed_by_runs_and_value_segments() {
    let mut life = half_written();
    let mut older = Vec::new();
    for turn in 0..4 {
        older.push(manifests(&life.disk));
        life.checkpoint();
        older.push(manifests(&life.disk));
        for back in &older {
            put_back(&life, back, "behind a checkpoint");
        }
        for number in 0..10 {
            life.put(key(number), long(turn * 100 + number));
            life.put(key(number + 60), short(turn));
        }
        for back in &older {
            put_back(&life, back, "behind groups");
        }
    }
    let mut round = 0;
    let seen = std::cell::RefCell::new(&mut older);
    let done = life.store().compact(|_| {
        let mut older = seen.borrow_mut();
        round += 1;
        if round % 3 == 0 {
            for back in older.iter() {
                put_back(&life, back, "in a compaction");
            }
        }
        older.push(manifests(&life.disk));
        older.dedup();
        std::ops::ControlFlow::Continue(())
    });
    done.unwrap();
    for back in &older {
        put_back(&life, back, "behind a compaction");
    }
}

pub(crate) fn a_named_run_that_is_missing_is_told_before_debris_goes() {
    let mut life = half_written();
    life.checkpoint();
    let runs = life.files(".run");
    life.put(key(50), long(50));
    // A run that nothing names lies beside.
    life.freeze();
    while life.files(".run") == runs {
        assert!(life.slice());
    }
    let debris: Vec<_> = life.files(".run").difference(&runs).cloned().collect();
    life.abandon();
    life.disk.erase_file(runs.first().unwrap()).unwrap();
    let refused = life.try_open(&life.disk).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(
        refused.to_string().contains(runs.first().unwrap()),
        "{refused}"
    );
    for name in debris {
        assert!(life.disk.files().contains(&name), "{name} is gone");
    }
}

pub(crate) fn ids_handed_out_beside_a_rotation_stay_below_the_bound() {
    let mut random = Random::new(11);
    let mut life = half_written();
    for round in 0..40_u64 {
        // Segments and runs come in turn, each with an edit now and then.
        for _ in 0..random.below(4) {
            life.put(key(random.below(30)), long(round));
        }
        if round % 4 == 0 {
            life.freeze();
        }
        for _ in 0..random.below(5) {
            life.slice();
        }
        let died = life.disk.crash_point().died();
        life.judge(&died, &[&life.model], &format!("round {round}"));
        if round % 10 == 9 {
            life.die();
        }
    }
}

pub(crate) fn the_file_of_a_failed_rotation_goes_by_the_unlinking_chore() {
    let mut life = Life::new();
    for number in 0..3 {
        life.put(key(number), vec![b'.'; 200]);
    }
    let segments = life.files(".seg");
    let active = segments.last().unwrap().clone();
    // The next segment is there, and the footer of this one cannot be written.
    let footer = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write);
    life.disk.inject(footer.path_contains(&active).forever());
    let refused = life.store().put(&key(7), &vec![b'.'; 1500]).unwrap_err();
    assert_eq!(refused.effect(), Effect::Nothing, "{refused}");
    life.disk.clear_faults();
    let prepared: Vec<_> = life.files(".seg").difference(&segments).cloned().collect();
    assert_eq!(prepared.len(), 1);
    // A record comes in between, so that the segment that was made begins with the wrong one.
    life.put(key(8), short(8));
    life.put(key(7), vec![b'.'; 1500]);
    assert!(life.files(".seg").contains(&prepared[0]));
    life.freeze();
    life.work();
    assert!(!life.files(".seg").contains(&prepared[0]));
    life.check("unlinked");
}

pub(crate) fn nothing_is_unlinked_while_an_edit_of_a_chore_is_in_doubt() {
    for copy in COPIES {
        for edit in 0..4 {
            let life = wide();
            // The first copy's name is a part of the second one's.
            let skip = if copy == COPIES[0] { 2 * edit } else { edit };
            let sync = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Sync);
            life.disk.inject(sync.path_contains(copy).skip(skip));
            let files = life.disk.files();
            let removed = life.disk.calls().get(&OpKind::Remove).copied();
            let compacted = life.store().compact(|_| {
                assert_eq!(
                    life.disk.calls().get(&OpKind::Remove).copied() == removed,
                    files.iter().all(|name| life.disk.files().contains(name))
                );
                std::ops::ControlFlow::Continue(())
            });
            compacted.unwrap_err();
            let now = life.disk.files();
            let refused = life.store().put(b"k", b"v").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Poisoned);
            assert!(life.store().run_slice().is_err());
            life.check("in doubt");
            drop(life.store().close());
            assert_eq!(life.disk.files(), now);
            for image in kv_tests::crash::images(&life.disk, &few()) {
                life.judge(&image, &[&life.model], "cut in doubt");
            }
        }
    }
}

pub(crate) fn inputs_are_unlinked_only_behind_a_durable_edit() {
    let life = wide();
    let files = life.disk.files();
    life.disk.start_trace();
    life.compact();
    let gone = files
        .iter()
        .filter(|name| !life.disk.files().contains(name));
    assert!(gone.count() > 2, "nothing was unlinked");
    assert!(life.cut_everywhere(&few(), &[&life.model]) > 30);
}

pub(crate) fn ten_keys_and_a_close_leave_no_run() {
    let mut life = Life::with_segments(tuning(), 4 << 20);
    for number in 0..10 {
        life.put(key(number), short(number));
    }
    life.close();
    assert!(life.files(".run").is_empty());
    life.open();
    life.check("opened");
    for batches in 0..10 {
        let mut batch = kv_log_engine::Batch::new();
        for number in 0..1000 {
            let name = key(batches * 1000 + number);
            batch.put(&name, b"v").unwrap();
            life.model.insert(name, b"v".to_vec());
        }
        life.store().write(batch).unwrap();
    }
    life.close();
    assert!(!life.files(".run").is_empty());
    life.open();
    assert_eq!(life.store().recovery_report().records, 0);
    assert_eq!(contents_of(life.store()), life.model);
}

pub(crate) fn a_chore_after_a_clean_open_pays_before_it_changes_anything() {
    // With a checkpoint due, and with files to be let go, at the open.
    for freezes in [false, true] {
        let mut life = half_written();
        if freezes {
            life.checkpoint();
            life.put(key(44), short(44));
        }
        let lie = Fault::new(FaultKind::Lie).on(OpKind::Sync);
        life.disk.inject(lie.path_contains(".seg").forever());
        life.close();
        life.disk.clear_faults();
        life.open();
        assert_eq!(life.store().recovery_report().rewritten_bytes, 0);
        life.disk.start_trace();
        for _ in 0..20 {
            drop(life.store().run_slice());
        }
        assert_eq!(
            life.disk.op_count(),
            0,
            "a chore came before the first change"
        );
        life.compact();
        let before = life.model.clone();
        life.put(b"behind", b"it");
        // Before the first group is answered the power cut takes the mark that was never synced, and with it nothing.
        life.cut_everywhere(&few(), &[&before, &life.model]);
        life.cut();
        life.check("cut");
    }
}

/// A store in the middle of a pass: some units are done, and some are not.
pub(crate) fn in_the_middle_of_a_pass() -> Life {
    let life = wide_of(240);
    let before = life.store().stats().merge_units;
    let report = life.store().compact(|_| {
        if life.store().stats().merge_units < before + 2 {
            std::ops::ControlFlow::Continue(())
        } else {
            std::ops::ControlFlow::Break(())
        }
    });
    assert!(!report.unwrap().finished);
    assert!(life.levels() > 1, "the pass has ended");
    life
}

pub(crate) fn a_clean_open_in_the_middle_of_a_pass_writes_nothing() {
    let mut life = in_the_middle_of_a_pass();
    life.close();
    let changes = |life: &Life| {
        let calls = life.disk.calls();
        let kinds = [
            OpKind::Create,
            OpKind::Sync,
            OpKind::SyncDir,
            OpKind::Remove,
        ];
        kinds.map(|kind| calls.get(&kind).copied())
    };
    let contents = |life: &Life| {
        let names = life.disk.files().into_iter();
        let names = names.filter(|name| !name.ends_with("LOCK"));
        let contents = names.map(|name| (life.disk.read_file(&name).ok(), name));
        contents.collect::<Vec<_>>()
    };
    let (before, there) = (changes(&life), contents(&life));
    for _ in 0..2 {
        life.open();
        life.check("opened");
        assert!(!life.slice());
        life.close();
    }
    assert_eq!(changes(&life), before);
    assert!(contents(&life) == there, "a file has changed");
    life.open();
    life.put(key(3), b"the first change");
    life.work();
    assert_eq!(life.levels(), 1);
    life.check("the pass went on");
}

/// A store that checkpoints by itself, on a disk that takes no run.
fn without_runs() -> (Life, Vec<kv_trait::Error>) {
    let mut life = Life::tuned(Tuning {
        memtable_bytes: Some(3000),
        by_hand: false,
        ..tuning()
    });
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Write);
    life.disk.inject(fault.path_contains(".run").forever());
    let mut refused = Vec::new();
    for number in 0..200 {
        match life.store().put(&key(number), &short(number)) {
            Ok(()) => drop(life.model.insert(key(number), short(number))),
            Err(error) => refused.push(error),
        }
    }
    (life, refused)
}

pub(crate) fn a_checkpoint_that_fails_refuses_those_who_wait_for_it() {
    let (life, refused) = without_runs();
    assert!(refused.len() > 20, "{} are refused", refused.len());
    for error in &refused {
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert_eq!(error.effect(), Effect::Nothing, "{error}");
        assert!(error.to_string().contains(".run"), "{error}");
    }
    life.check("refused");
    let stats = life.store().stats();
    assert!(!stats.poisoned);
    assert_eq!(stats.pressure, Some(Pressure::Memory));
    // What was refused is in no later state.
    life.judge(&life.disk.crash_point().died(), &[&life.model], "died");
}

pub(crate) fn a_failed_checkpoint_is_tried_again_when_the_disk_is_good() {
    let (mut life, refused) = without_runs();
    assert!(!refused.is_empty());
    life.disk.clear_faults();
    life.wait();
    for number in 300..400 {
        life.put(key(number), short(number));
    }
    assert!(life.store().stats().checkpoints > 0);
    life.check("good again");
    life.cut();
    life.check("cut");
}
