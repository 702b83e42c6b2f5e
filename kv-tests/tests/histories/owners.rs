//! One owner.

use super::*;
#[test]
fn a_replaced_lock_file_stops_the_store_before_the_next_manifest() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 400]).unwrap();
    disk.erase_file("/db/LOCK").unwrap();
    disk.write_file("/db/LOCK", b"").unwrap();
    let error = store.put(b"b", &[2; 400]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Locked, Effect::Nothing)
    );
    assert_eq!(
        store.put(b"c", b"3").unwrap_err().kind(),
        ErrorKind::Poisoned
    );
}
#[test]
fn a_forked_child_is_refused_and_its_parent_goes_on() {
    let disk = SimDisk::new();
    let host = Arc::new(SimHost::new(1));
    let options = Options::new()
        .storage(disk.storage())
        .host(Arc::clone(&host) as _);
    let store = Engine::open(STORE, options).unwrap();
    store.put(b"a", b"1").unwrap();
    host.set_process_id(2);
    let error = store.put(b"b", b"2").unwrap_err();
    assert_eq!(error.effect(), Effect::Nothing);
    assert!(error.to_string().contains("fork"), "{error}");
    host.set_process_id(1);
    store.put(b"c", b"3").unwrap();
    assert_eq!(contents_of(&store).len(), 2);
}

// D8
#[test]
fn a_store_held_by_another_process_is_refused_with_its_name() {
    let disk = SimDisk::new();
    open(&disk, 1).close().unwrap();
    disk.write_file("/db/LOCK", b"4711 1700000000000 other-program\n")
        .unwrap();
    let held = Storage::open(
        &disk,
        std::path::Path::new("/db/LOCK"),
        kv_log_engine::storage::OpenMode::ReadWrite,
    )
    .unwrap();
    assert!(held.try_lock().unwrap());
    let error = Engine::open(STORE, options(&disk, 2, 65536)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(
        error.to_string().contains("process 4711 (other-program)"),
        "{error}"
    );
    drop(held);
    open(&disk, 3);
}

// D8
#[test]
fn reading_a_path_without_a_store_makes_nothing() {
    let disk = SimDisk::new();
    let error = Engine::open(STORE, options(&disk, 1, 65536).create(Create::Never)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(disk.files().is_empty());
    assert_eq!(
        verify(STORE, options(&disk, 1, 65536)).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(disk.files().is_empty());
}

// D8: a backup on a medium for reading only can be verified, and is locked meanwhile.
#[test]
fn what_cannot_be_written_can_be_verified() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    drop(store);
    // Every open for writing is refused. The simulated disk asks for reading and writing in one call.
    let image = disk.image_hash();
    let read_only = Fault::new(FaultKind::Errno(EROFS)).on(OpKind::Open);
    disk.inject(read_only.path_contains("LOCK"));
    // Nor does every such medium know how to sync a directory.
    for change in [OpKind::Write, OpKind::SetLen, OpKind::SyncDir] {
        disk.inject(Fault::new(FaultKind::Errno(EROFS)).on(change).forever());
    }
    let report = verify(STORE, options(&disk, 2, 65536)).unwrap();
    assert!(report.is_clean());
    assert_eq!(report.live_keys, 1);
    assert_eq!(disk.image_hash(), image);
    disk.clear_faults();
    let read_only = Fault::new(FaultKind::Errno(EROFS)).on(OpKind::Open);
    disk.inject(read_only.path_contains("LOCK"));
    let refused = Engine::open(STORE, options(&disk, 3, 65536)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
}

/// A store, and its host's clock.
fn with_clock(disk: &SimDisk) -> (Engine, Arc<SimHost>) {
    let host = Arc::new(SimHost::new(7));
    let options = options(disk, 7, 64 * 1024).host(Arc::clone(&host) as _);
    (Engine::open(STORE, options).unwrap(), host)
}

/// What `rm -r` does to a store that is open.
fn remove_all(disk: &SimDisk) {
    let storage = disk.storage();
    for path in disk.files().iter().rev().filter(|path| *path != "/db/") {
        match path.strip_suffix('/') {
            Some(directory) => storage.remove_dir(directory.as_ref()).unwrap(),
            None => storage.remove_file(path.as_ref()).unwrap(),
        }
    }
    storage.remove_dir("/db".as_ref()).unwrap();
}

// D1: the names that lead to the bytes. They can be written and synced for ever without any.
#[test]
fn a_store_that_is_removed_under_its_owner_is_missed_while_it_is_written() {
    for gone in ["/db/LOCK", "/db/00000001.seg", "all"] {
        let disk = SimDisk::new();
        let (store, host) = with_clock(&disk);
        store.put(b"a", b"1").unwrap();
        if gone == "all" {
            remove_all(&disk);
        } else {
            disk.erase_file(gone).unwrap();
        }
        host.advance(Duration::from_millis(50));
        let error = store.put(b"b", b"2").unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Locked, Effect::Unknown),
            "{gone}"
        );
        assert!(error.to_string().contains("removed or replaced"), "{error}");
        assert!(store.stats().poisoned);
        assert_eq!(store.get(b"b").unwrap(), None, "not published");
        assert_eq!(
            store.put(b"c", b"3").unwrap_err().kind(),
            ErrorKind::Poisoned
        );
    }
}

#[test]
fn a_store_that_is_removed_under_its_owner_is_missed_by_a_close() {
    let disk = SimDisk::new();
    let (store, _host) = with_clock(&disk);
    store.put(b"a", b"1").unwrap();
    remove_all(&disk);
    let error = store.close().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Locked, Effect::Unknown)
    );
}

#[test]
fn a_lock_file_that_is_replaced_is_missed_while_the_store_is_written() {
    let disk = SimDisk::new();
    let (store, host) = with_clock(&disk);
    store.put(b"a", b"1").unwrap();
    disk.erase_file("/db/LOCK").unwrap();
    disk.write_file("/db/LOCK", b"").unwrap();
    host.advance(Duration::from_millis(50));
    assert_eq!(store.put(b"b", b"2").unwrap_err().effect(), Effect::Unknown);
}

// A look that fails says nothing of the names; the next group looks again.
#[test]
fn names_that_cannot_be_looked_at_are_looked_at_again() {
    let disk = SimDisk::new();
    let (store, host) = with_clock(&disk);
    store.put(b"a", b"1").unwrap();
    host.advance(Duration::from_millis(50));
    disk.inject(Fault::new(FaultKind::Errno(EIO)).on(OpKind::Look));
    store.put(b"b", b"2").unwrap();
    assert_eq!(disk.fault_hits(), 1);
    remove_all(&disk);
    assert_eq!(store.put(b"c", b"3").unwrap_err().effect(), Effect::Unknown);
}
