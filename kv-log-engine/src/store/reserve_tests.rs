use super::reserve::{Quota, Reserve};
use crate::storage::sim::{EIO, ENOSPC, Fault, FaultKind, OpKind, SimDisk};
use std::io;
use std::path::Path;

const CLOSE: &str = "/db/RESERVE.close";
const QUOTAS: [Quota; 3] = [Quota::Close, Quota::Deletes, Quota::Maintenance];

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.storage().create_dir(Path::new("/db")).unwrap();
    disk.storage().sync_dir(Path::new("/")).unwrap();
    disk
}

fn reserve(disk: &SimDisk) -> Reserve {
    let reserve = Reserve::new(disk.storage(), "/db".into());
    for quota in QUOTAS {
        reserve.want(quota, 16 * 1024);
    }
    reserve
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

#[test]
fn the_reserve_holds_what_it_should_in_blocks_that_are_taken_and_durable() {
    let disk = disk();
    let held = reserve(&disk);
    assert!(!held.is_whole());
    assert_eq!(held.missing_bytes(), 48 * 1024);
    assert!(held.refill().unwrap());
    assert_eq!(disk.used_bytes(), 48 * 1024);
    disk.power_cut_losing_all();
    assert_eq!(disk.used_bytes(), 48 * 1024);
    assert_eq!(disk.read_file(CLOSE).unwrap(), [0; 16 * 1024]);
    // Whole is known from memory: no call for the puts that follow.
    let held = reserve(&disk);
    assert!(held.refill().unwrap());
    let calls = disk.calls();
    assert!(held.refill().unwrap() && held.ensure(Quota::Close, 16 * 1024).unwrap());
    assert_eq!(disk.calls(), calls);
}

#[test]
fn a_quota_that_finds_no_room_keeps_what_it_got_and_says_so() {
    let disk = disk();
    disk.set_capacity(Some(20 * 1024));
    let held = reserve(&disk);
    assert!(!held.refill().unwrap());
    // In order: the close first.
    assert_eq!(held.held(Quota::Close), 16 * 1024);
    assert_eq!(held.held(Quota::Deletes), 4 * 1024);
    assert_eq!(held.held(Quota::Maintenance), 0);
    assert!(!held.refill().unwrap());
    assert_eq!(disk.used_bytes(), 20 * 1024);
    disk.set_capacity(None);
    assert!(held.refill().unwrap());
    assert!(held.ensure(Quota::Maintenance, 1 << 20).unwrap());
    assert!(held.held(Quota::Maintenance) >= 1 << 20);
    held.give_back(Quota::Maintenance, 64 * 1024);
    assert_eq!(held.held(Quota::Maintenance), 64 * 1024);
    assert_eq!(disk.used_bytes(), 96 * 1024);
}

#[test]
fn what_is_spent_is_free_at_once_and_the_other_quotas_keep_theirs() {
    for copies in [false, true] {
        let disk = disk();
        disk.set_copy_on_write(copies);
        let held = reserve(&disk);
        assert!(held.refill().unwrap());
        let used = disk.used_bytes();
        assert!(held.spend_some(Quota::Deletes, 5_000));
        assert_eq!(disk.used_bytes(), used - 8 * 1024);
        assert!(held.spend(Quota::Close));
        assert_eq!(disk.used_bytes(), used - 24 * 1024);
        assert!(!held.spend(Quota::Close), "there is nothing left");
        assert_eq!(held.held(Quota::Maintenance), 16 * 1024);
        // What was spent for a step stays free until that is over, whoever wants the reserve whole.
        assert!(!held.refill().unwrap());
        assert_eq!(disk.used_bytes(), used - 16 * 1024);
        held.take_again(Quota::Close);
        assert!(held.is_whole());
        assert_eq!(disk.used_bytes(), used);
    }
}

#[test]
fn a_step_without_room_is_done_again_at_the_cost_of_its_quota_alone() {
    let disk = disk();
    let held = reserve(&disk);
    assert!(held.refill().unwrap());
    let mut tries = 0;
    let done = held.spending(Quota::Close, is_full, || {
        tries += 1;
        if held.held(Quota::Close) > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(tries)
    });
    assert_eq!(done.unwrap(), 2);
    assert!(held.is_whole(), "taken again behind the step");
    // Another failure costs nothing, and without a quota there is no second try.
    let mut tries = 0;
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        let failed = held.spending(Quota::Close, is_full, || {
            tries += 1;
            held.spend(Quota::Close);
            Err::<(), _>(kind.into())
        });
        assert_eq!(failed.unwrap_err().kind(), kind);
    }
    assert_eq!(tries, 2);
}

#[test]
fn whatever_call_fails_the_next_one_that_does_not_makes_the_reserve_whole() {
    for kind in OpKind::ALL {
        for errno in [EIO, ENOSPC] {
            for skip in 0..12 {
                let disk = disk();
                let held = reserve(&disk);
                disk.inject(Fault::new(FaultKind::Errno(errno)).on(kind).skip(skip));
                let first = held.refill();
                held.spend(Quota::Deletes);
                held.take_again(Quota::Deletes);
                let context = format!("{kind:?}, {errno}, {skip}: {first:?}");
                disk.clear_faults();
                assert!(held.refill().unwrap(), "{context}");
                assert_eq!(disk.used_bytes(), 48 * 1024, "{context}");
                disk.power_cut_losing_all();
                assert_eq!(disk.used_bytes(), 48 * 1024, "{context}");
            }
        }
    }
}
