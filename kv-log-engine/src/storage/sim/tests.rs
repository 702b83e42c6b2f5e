//! Each sentence about the medium, as a claim that can fail.

use super::*;
use crate::storage::{OpenMode, StorageFile};
use std::collections::BTreeSet;

fn file(disk: &SimDisk, path: &str) -> Arc<dyn StorageFile> {
    disk.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

fn root(disk: &SimDisk) {
    disk.sync_dir(Path::new("/")).unwrap();
}

/// Every content that the file may have after a power cut now; `None`: it may be gone.
fn after_cut(disk: &SimDisk, path: &str, garbled: u32) -> BTreeSet<Option<Vec<u8>>> {
    let point = disk.crash_point();
    let policy = CrashPolicy {
        garbled,
        ..CrashPolicy::default()
    };
    let choices = point.choices(&policy);
    choices
        .iter()
        .map(|choice| point.image(choice).read_file(path).ok())
        .collect()
}

#[test]
fn a_synced_file_without_a_synced_name_may_be_gone() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(b"x", 0).unwrap();
    f.sync().unwrap();
    assert_eq!(
        after_cut(&disk, "/a", 0),
        BTreeSet::from([None, Some(b"x".to_vec())])
    );
    root(&disk);
    assert_eq!(
        after_cut(&disk, "/a", 0),
        BTreeSet::from([Some(b"x".to_vec())])
    );
}

#[test]
fn a_synced_name_of_an_unsynced_file_may_lead_to_nothing() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(b"x", 0).unwrap();
    root(&disk);
    let found = after_cut(&disk, "/a", 0);
    assert!(found.contains(&Some(Vec::new())) && found.contains(&Some(b"x".to_vec())));
    assert!(
        found.contains(&Some(vec![0])),
        "the length without the bytes"
    );
    assert!(!found.contains(&None));
}

#[test]
fn sectors_of_one_write_land_independently() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(&[1; 1024], 0).unwrap();
    f.sync().unwrap();
    root(&disk);
    f.write_at(&[2; 1024], 0).unwrap();
    let halves = |a: u8, b: u8| Some([vec![a; 512], vec![b; 512]].concat());
    let expected = [halves(1, 1), halves(1, 2), halves(2, 1), halves(2, 2)];
    assert_eq!(after_cut(&disk, "/a", 0), BTreeSet::from(expected));
}

#[test]
fn garbling_stays_within_the_bytes_that_change() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(&[1; 512], 0).unwrap();
    f.sync().unwrap();
    root(&disk);
    f.write_at(&[2; 10], 100).unwrap();
    f.write_at(&[1; 50], 300).unwrap();
    let mut other = false;
    for found in after_cut(&disk, "/a", 50) {
        let found = found.unwrap();
        assert!(
            found[..100]
                .iter()
                .chain(&found[110..])
                .all(|byte| *byte == 1)
        );
        other |= found[100..110].iter().any(|byte| *byte != 1 && *byte != 2);
    }
    assert!(other, "no garbled image was seen");
}

#[test]
fn a_sector_written_twice_may_hold_the_first_write() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(&[1; 512], 0).unwrap();
    f.sync().unwrap();
    root(&disk);
    f.write_at(&[2; 512], 0).unwrap();
    f.write_at(&[3; 512], 0).unwrap();
    assert!(after_cut(&disk, "/a", 50).contains(&Some(vec![2; 512])));
}

#[test]
fn a_failed_sync_is_not_mended_by_a_second_one() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(&[1; 512], 0).unwrap();
    f.sync().unwrap();
    root(&disk);
    f.write_at(&[2; 512], 0).unwrap();
    disk.inject(Fault::new(FaultKind::Errno(EIO)).on(OpKind::Sync));
    assert_eq!(f.sync().unwrap_err().raw_os_error(), Some(EIO));
    f.sync().unwrap();
    assert_eq!(disk.read_file("/a").unwrap(), vec![2; 512]);
    let held = after_cut(&disk, "/a", 0);
    let either = [Some(vec![1; 512]), Some(vec![2; 512])];
    assert_eq!(
        held,
        BTreeSet::from(either),
        "the device may have it or not"
    );
    f.write_at(&[2; 512], 0).unwrap();
    f.sync().unwrap();
    assert_eq!(
        after_cut(&disk, "/a", 10),
        BTreeSet::from([Some(vec![2; 512])])
    );
}

#[test]
fn a_failed_directory_sync_is_not_mended_by_a_second_one() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.sync().unwrap();
    disk.inject(Fault::new(FaultKind::Errno(EIO)).on(OpKind::SyncDir));
    assert!(disk.sync_dir(Path::new("/")).is_err());
    root(&disk);
    let either = [None, Some(Vec::new())];
    assert_eq!(after_cut(&disk, "/a", 0), BTreeSet::from(either));
    assert_eq!(disk.files(), ["/a"]);
}

#[test]
fn what_was_synced_after_a_failed_directory_sync_is_not_undone_by_what_was_in_doubt() {
    let disk = SimDisk::new();
    for (name, text) in [("/first", b"first "), ("/second", b"second")] {
        let f = file(&disk, name);
        f.write_at(text, 0).unwrap();
        f.sync().unwrap();
    }
    root(&disk);
    disk.rename(Path::new("/first"), Path::new("/a")).unwrap();
    disk.inject(Fault::new(FaultKind::Errno(EIO)).on(OpKind::SyncDir));
    assert!(disk.sync_dir(Path::new("/")).is_err());
    disk.rename(Path::new("/second"), Path::new("/a")).unwrap();
    root(&disk);
    assert_eq!(
        after_cut(&disk, "/a", 0),
        BTreeSet::from([Some(b"second".to_vec())])
    );
}

#[test]
fn a_process_that_dies_leaves_the_cache_and_what_is_volatile_stays_so() {
    let disk = SimDisk::new();
    disk.start_trace();
    let f = file(&disk, "/a");
    f.write_at(b"text", 0).unwrap();
    let point = disk.trace().unwrap().crash_points().last().unwrap();
    let died = point.died();
    assert_eq!(died.read_file("/a").unwrap(), b"text");
    died.power_cut_losing_all();
    assert_eq!(died.files(), [""; 0]);
}

#[test]
fn a_rename_is_one_step_for_its_target_and_names_survive_independently() {
    let disk = SimDisk::new();
    disk.write_file("/target", b"old").unwrap();
    let f = file(&disk, "/new");
    f.write_at(b"new", 0).unwrap();
    f.sync().unwrap();
    disk.rename(Path::new("/new"), Path::new("/target"))
        .unwrap();
    let old_or_new = [Some(b"old".to_vec()), Some(b"new".to_vec())];
    assert_eq!(after_cut(&disk, "/target", 0), BTreeSet::from(old_or_new));
    assert_eq!(
        after_cut(&disk, "/new", 0),
        BTreeSet::from([None, Some(b"new".to_vec())])
    );
    let other = file(&disk, "/other");
    other.sync().unwrap();
    let point = disk.crash_point();
    let seen: BTreeSet<_> = point
        .choices(&CrashPolicy {
            garbled: 0,
            ..CrashPolicy::default()
        })
        .iter()
        .map(|choice| point.image(choice))
        .map(|disk| {
            (
                disk.read_file("/target").unwrap(),
                disk.read_file("/other").is_ok(),
            )
        })
        .collect();
    assert_eq!(seen.len(), 4);
}

#[test]
fn a_removed_file_comes_back_unless_the_directory_is_synced() {
    let disk = SimDisk::new();
    disk.write_file("/a", b"x").unwrap();
    disk.remove_file(Path::new("/a")).unwrap();
    assert_eq!(
        after_cut(&disk, "/a", 0),
        BTreeSet::from([None, Some(b"x".to_vec())])
    );
    root(&disk);
    assert_eq!(after_cut(&disk, "/a", 0), BTreeSet::from([None]));
}

#[test]
fn a_dead_process_leaves_its_page_cache_and_frees_its_locks() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(b"x", 0).unwrap();
    assert!(f.try_lock().unwrap());
    let second = disk.open(Path::new("/a"), OpenMode::ReadWrite).unwrap();
    assert!(!second.try_lock().unwrap());
    disk.kill_process();
    assert!(f.write_at(b"y", 0).is_err() && second.sync().is_err());
    assert_eq!(disk.read_file("/a").unwrap(), b"x");
    let third = disk.open(Path::new("/a"), OpenMode::ReadWrite).unwrap();
    drop(f);
    assert!(third.try_lock().unwrap());
    assert_eq!(after_cut(&disk, "/a", 0).len(), 4);
}

#[test]
fn a_full_disk_refuses_growth_takes_overwrites_and_may_say_so_at_the_sync_only() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    f.write_at(&[1; 512], 0).unwrap();
    disk.set_capacity(Some(512));
    f.write_at(&[2; 512], 0).unwrap();
    assert_eq!(
        f.write_at(&[2; 512], 512).unwrap_err().raw_os_error(),
        Some(ENOSPC)
    );
    disk.set_no_space_at_sync(true);
    f.write_at(&[2; 512], 512).unwrap();
    assert_eq!(f.sync().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn faults_hit_the_calls_they_name() {
    let disk = SimDisk::new();
    let f = file(&disk, "/abc");
    disk.inject(
        Fault::new(FaultKind::Short(3))
            .on(OpKind::Write)
            .path_contains("b")
            .skip(1)
            .times(2),
    );
    assert_eq!(f.write_at(&[1; 10], 0).unwrap(), 10);
    assert_eq!(f.write_at(&[1; 10], 0).unwrap(), 3);
    assert_eq!(f.write_at(&[1; 10], 0).unwrap(), 3);
    assert_eq!(f.write_at(&[1; 10], 0).unwrap(), 10);
    assert_eq!(disk.fault_hits(), 2);
    disk.clear_faults();
    disk.inject(Fault::new(FaultKind::PartThenErrno(4, ENOSPC)).on(OpKind::Write));
    assert!(f.write_at(&[9; 10], 0).is_err());
    assert_eq!(&disk.read_file("/abc").unwrap()[..5], [9, 9, 9, 9, 1]);
    disk.clear_faults();
    disk.inject(Fault::new(FaultKind::Lie).on(OpKind::Sync).forever());
    f.sync().unwrap();
    disk.power_cut_losing_all();
    assert!(disk.read_file("/abc").is_err());
}

#[test]
fn a_gate_holds_calls_without_holding_the_disk() {
    let disk = SimDisk::new();
    let f = file(&disk, "/a");
    let gate = disk.hold(OpKind::Sync);
    std::thread::scope(|scope| {
        scope.spawn(|| f.sync().unwrap());
        gate.wait_until_held(1);
        f.write_at(b"x", 0).unwrap();
        assert_eq!(gate.held(), 1);
        gate.pass(1);
    });
    drop(gate);
    f.sync().unwrap();
}

#[test]
fn a_trace_replays_to_the_same_disk_and_every_prefix_is_a_crash_point() {
    let disk = SimDisk::new();
    disk.start_trace();
    let f = file(&disk, "/a");
    f.write_at(&[7; 700], 0).unwrap();
    f.set_len(600).unwrap();
    f.sync().unwrap();
    root(&disk);
    let trace = disk.trace().unwrap();
    assert_eq!((trace.len(), disk.op_count()), (5, 5));
    let points: Vec<_> = trace.crash_points().collect();
    assert_eq!(points.len(), 6);
    assert_eq!(points[5].unit_count(), 0);
    let last = points[5].image(&points[5].choices(&CrashPolicy::default())[0]);
    assert_eq!(last.image_hash(), disk.image_hash());
    assert_eq!(disk.fork().image_hash(), disk.image_hash());
}

#[test]
fn a_removed_or_replaced_file_gives_its_space_back() {
    let disk = SimDisk::new();
    disk.write_file("/kept", &[1; 512]).unwrap();
    disk.write_file("/old", &[2; 2048]).unwrap();
    disk.write_file("/new", &[3; 1024]).unwrap();
    assert_eq!(disk.used_bytes(), 512 + 2048 + 1024);
    disk.rename(Path::new("/new"), Path::new("/old")).unwrap();
    assert_eq!(disk.used_bytes(), 512 + 1024);
    disk.remove_file(Path::new("/old")).unwrap();
    disk.set_capacity(Some(1024));
    assert_eq!(disk.used_bytes(), 512);
    let f = file(&disk, "/a");
    f.write_at(&[4; 512], 0).unwrap();
    let full = f.write_at(&[4; 512], 512).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_power_cut_forgets_what_no_name_leads_to() {
    let disk = SimDisk::new();
    for _ in 0..10 {
        let f = file(&disk, "/a");
        f.write_at(b"x", 0).unwrap();
        f.sync().unwrap();
        disk.remove_file(Path::new("/a")).unwrap();
        root(&disk);
    }
    file(&disk, "/b").sync().unwrap();
    root(&disk);
    disk.power_cut(1);
    assert_eq!(disk.lock().medium.nodes.len(), 2); // the directory, and what is in it
    assert_eq!(disk.read_file("/b").unwrap(), b"");
}
