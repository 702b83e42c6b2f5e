//! What an open makes of the names it finds: manifests, segments, and what is not the store's.

use super::*;
#[test]
fn a_manifest_older_than_the_data_is_corruption_and_nothing_is_deleted() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 300]).unwrap();
    let older = COPIES.map(|copy| disk.read_file(copy).unwrap());
    for number in 0..9_u8 {
        store.put(&[number], &[number; 300]).unwrap();
    }
    store.close().unwrap();
    let names = disk.files();
    for (copy, older) in COPIES.into_iter().zip(older) {
        disk.write_file(copy, &older).unwrap();
    }
    let error = Engine::open(STORE, options(&disk, 2, 1024)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("older than the data"), "{error}");
    assert_eq!(disk.files(), names);
}
#[test]
fn foreign_files_are_left_alone_and_debris_is_deleted() {
    let disk = SimDisk::new();
    open(&disk, 1).close().unwrap();
    disk.write_file("/db/notes.txt", b"mine").unwrap();
    disk.write_file("/db/MANIFEST.new", b"half").unwrap();
    disk.write_file("/db/00000008.seg", b"mine too").unwrap();
    disk.write_file("/db/00000009.seg", b"KVLOGSEG, cut short")
        .unwrap();
    disk.write_file("/db/00000010.seg", &[0; 200]).unwrap();
    let other = SimDisk::new();
    let store = open(&other, 99);
    store.put(b"k", b"v").unwrap();
    drop(store);
    disk.write_file("/db/00000007.seg", &other.read_file(SEGMENT).unwrap())
        .unwrap();
    let store = open(&disk, 2);
    let report = store.recovery_report();
    let foreign = ["00000007.seg", "00000008.seg", "notes.txt"];
    let debris = ["00000009.seg", "00000010.seg", "MANIFEST.new"];
    assert_eq!(report.foreign, foreign);
    assert_eq!(report.debris, debris);
    // The store was closed: nothing is touched before the first change.
    store.put(b"first", b"change").unwrap();
    store.remove(b"first").unwrap();
    let there = |name: &str| disk.files().contains(&format!("/db/{name}"));
    assert!(foreign.into_iter().all(there) && !debris.into_iter().any(there));
    // Rotation goes around the name that is taken.
    drop(store);
    let store = Engine::open(STORE, options(&disk, 3, 1024)).unwrap();
    for number in 0..40_u8 {
        store.put(&[number], &[number; 300]).unwrap();
    }
    store.close().unwrap();
    assert_eq!(contents_of(&open(&disk, 4)).len(), 40);
}

// Before there is a store.
#[test]
fn a_creation_deletes_nothing_that_can_be_somebodys() {
    let disk = SimDisk::new();
    Storage::create_dir(&disk, STORE.as_ref()).unwrap();
    disk.write_file("/db/00000001.seg", b"mine").unwrap();
    disk.write_file("/db/00000002.seg", b"KVLOGSEG").unwrap();
    let store = open(&disk, 1);
    store.put(b"k", b"v").unwrap();
    assert_eq!(store.recovery_report().foreign, ["00000001.seg"]);
    drop(store);
    assert_eq!(disk.read_file("/db/00000001.seg").unwrap(), b"mine");
    assert_eq!(contents_of(&open(&disk, 2)).len(), 1);
}

// The path was refused for ever: a power cut in the very first creation shows what the file system has in blocks that
// were never written.
#[test]
fn garbage_in_a_first_segment_that_was_never_acknowledged_is_set_aside() {
    let made = SimDisk::new();
    open(&made, 9).close().unwrap();
    let segment = made.read_file(SEGMENT).unwrap();
    let mut behind_a_header = segment.clone();
    behind_a_header[104..].fill(0);
    let behind_a_header_that_verifies = {
        let mut bytes = behind_a_header.clone();
        bytes.resize(10_000, 0x5a);
        bytes
    };
    for garbage in [
        vec![7; 10_000],
        [vec![0; 104], vec![7; 100]].concat(),
        [b"KVLOGSEG".to_vec(), vec![7; 9_000]].concat(),
        behind_a_header_that_verifies,
    ] {
        for create in [Create::IfMissing, Create::New] {
            let disk = SimDisk::new();
            Storage::create_dir(&disk, STORE.as_ref()).unwrap();
            disk.write_file("/db/LOCK", b"").unwrap();
            disk.write_file("/db/MANIFEST.new", &[9; 100]).unwrap();
            disk.write_file(SEGMENT, &garbage).unwrap();
            let store = Engine::open(STORE, options(&disk, 1, 1024).create(create)).unwrap();
            assert!(store.recovery_report().created);
            assert_eq!(store.recovery_report().foreign, ["00000001.seg"]);
            for number in 0..9_u8 {
                store.put(&[number], &[number; 300]).unwrap();
            }
            drop(store);
            disk.power_cut_losing_all();
            assert_eq!(disk.read_file(SEGMENT).unwrap(), garbage);
            let again = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
            assert_eq!(contents_of(&again).len(), 9);
            assert_eq!(again.recovery_report().foreign, ["00000001.seg"]);
        }
    }
}

// No volume's root could hold a store.
#[test]
fn a_store_is_made_beside_foreign_names_and_reports_them() {
    let disk = SimDisk::new();
    Storage::create_dir(&disk, STORE.as_ref()).unwrap();
    for directory in [".snapshot", "00000001.seg", "lost+found"] {
        Storage::create_dir(&disk, format!("/db/{directory}").as_ref()).unwrap();
    }
    disk.write_file("/db/.DS_Store", b"mine").unwrap();
    let refused = Engine::open(STORE, options(&disk, 1, 1024).create(Create::Never)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(
        refused
            .to_string()
            .contains("there is no store at /db, which holds")
    );
    let foreign = [".DS_Store", ".snapshot", "00000001.seg", "lost+found"];
    for (seed, create) in [(2, Create::New), (3, Create::Never)] {
        let store = Engine::open(STORE, options(&disk, seed, 1024).create(create)).unwrap();
        assert_eq!(store.recovery_report().foreign, foreign);
        store.put(&[0], b"v").unwrap();
        store.close().unwrap();
    }
    assert_eq!(disk.read_file("/db/.DS_Store").unwrap(), b"mine");

    for needed in ["LOCK", "MANIFEST", "MANIFEST.new"] {
        let disk = SimDisk::new();
        Storage::create_dir(&disk, STORE.as_ref()).unwrap();
        Storage::create_dir(&disk, format!("/db/{needed}").as_ref()).unwrap();
        let names = disk.files();
        let refused = Engine::open(STORE, options(&disk, 1, 1024)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        let message = format!("/db cannot be a store: {needed} in it is no file");
        assert_eq!(refused.to_string(), message);
        assert_eq!(disk.files(), names);
    }
}

// D6
#[test]
fn a_lost_manifest_is_damage_to_whoever_opens() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    drop(store);
    erase_manifest(&disk);
    let flipped = disk.fork();
    flip(&flipped, SEGMENT, 84);
    let quarantined = disk.fork();
    Storage::create_dir(&quarantined, "/db/quarantine".as_ref()).unwrap();
    for disk in [disk, flipped, quarantined] {
        let names = disk.files();
        for create in [Create::Never, Create::IfMissing, Create::New] {
            let options = options(&disk, 2, 65536).create(create);
            let error = Engine::open(STORE, options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{create:?}: {error}");
            assert!(error.to_string().contains("MANIFEST"), "{error}");
        }
        let report = verify(STORE, options(&disk, 2, 65536)).unwrap();
        assert!(!report.is_clean());
        assert_eq!(disk.files(), names);
    }
}
#[test]
fn a_manifest_whose_rename_was_not_synced_is_written_again_before_it_is_believed() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 400]).unwrap();
    store.close().unwrap();
    drop(store);
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    // The last step of the new generation fails: the names are there, are not durable, and no later sync covers them.
    disk.inject(
        Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::SyncDir)
            .path_contains("/db")
            .skip(1),
    );
    let error = store.put(b"b", &[2; 400]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Io, Effect::Nothing)
    );
    assert_eq!(
        store.put(b"c", b"3").unwrap_err().kind(),
        ErrorKind::Poisoned
    );
    drop(store);
    disk.clear_faults();
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    store.put(b"d", b"4").unwrap();
    disk.power_cut_losing_all();
    drop(store);
    let contents = contents_of(&Engine::open(STORE, options(&disk, 3, 1024)).unwrap());
    assert!(contents.contains_key(&b"a"[..]) && contents.contains_key(&b"d"[..]));
}
#[test]
fn no_room_for_a_new_manifest_changes_nothing() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 400]).unwrap();
    let full = Fault::new(FaultKind::Errno(ENOSPC))
        .on(OpKind::Write)
        .path_contains("MANIFEST.new");
    disk.inject(full);
    let error = store.put(b"b", &[2; 400]).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::StorageFull, Effect::Nothing)
    );
    store.put(b"b", &[2; 400]).unwrap();
    disk.power_cut_losing_all();
    drop(store);
    assert_eq!(
        contents_of(&Engine::open(STORE, options(&disk, 2, 1024)).unwrap()).len(),
        2
    );
}

// The edit whose sync failed is read from the cache, and there is no room to write it again.
#[test]
fn an_open_on_a_full_disk_writes_nothing_before_its_manifest() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 600]).unwrap();
    // The rotation's edit is in the second copy, and whether durably is not known.
    let edit = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Sync);
    disk.inject(edit.path_contains("MANIFEST.2"));
    store.put(b"b", &[2; 600]).unwrap_err();
    drop(store);
    disk.kill_process();
    disk.clear_faults();
    fill_without_reserve(&disk);
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    let seen = contents_of(&store);
    let refused = store.put(b"c", b"3").unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::StorageFull, Effect::Nothing)
    );
    for closed in [false, true] {
        let disk = disk.fork();
        if closed {
            disk.kill_process();
            let store = Engine::open(STORE, options(&disk, 3, 1024)).unwrap();
            store.close().unwrap();
            drop(store);
        }
        disk.set_capacity(None);
        for image in images(&disk, &policy()) {
            let after = Engine::open(STORE, options(&image, 4, 1024)).unwrap();
            assert_eq!(contents_of(&after), seen, "closed: {closed}");
        }
    }
    disk.set_capacity(None);
    store.put(b"c", b"3").unwrap();
    disk.power_cut_losing_all();
    drop(store);
    let after = Engine::open(STORE, options(&disk, 4, 1024)).unwrap();
    assert_eq!(after.get(b"c").unwrap().as_deref(), Some(&b"3"[..]));
}

// The same for the very first manifest.
#[test]
fn a_store_whose_creation_is_in_doubt_is_closed_without_a_trace() {
    let disk = SimDisk::new();
    let rename = Fault::new(FaultKind::Errno(EIO)).on(OpKind::SyncDir);
    disk.inject(rename.path_contains("/db").skip(2));
    Engine::open(STORE, options(&disk, 1, 1024)).unwrap_err();
    disk.kill_process();
    disk.clear_faults();
    assert!(disk.files().contains(&"/db/MANIFEST".into()));
    disk.set_capacity(Some(disk.used_bytes()));
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    assert_eq!(store.put(b"a", b"1").unwrap_err().effect(), Effect::Nothing);
    store.close().unwrap();
    drop(store);
    disk.set_capacity(None);
    for image in images(&disk, &policy()) {
        let store = Engine::open(STORE, options(&image, 3, 1024)).unwrap();
        assert!(contents_of(&store).is_empty());
    }
}

#[test]
fn types_are_adopted_durably_or_not_at_all() {
    let disk = SimDisk::new();
    let typed = |tag: &str| Fingerprint::of::<u8, u8, Postcard>(Some(tag)).unwrap();
    let with = |tag: &str| options(&disk, 1, 1024).fingerprint(typed(tag));
    drop(Engine::open(STORE, with("old")).unwrap());
    fill_without_reserve(&disk);
    let refused = Engine::open(STORE, with("new").adopt_types()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    drop(Engine::open(STORE, with("old")).unwrap());
    disk.set_capacity(None);
    drop(Engine::open(STORE, with("new").adopt_types()).unwrap());
    Engine::open(STORE, with("old")).unwrap_err();
}

// D6
#[test]
fn missing_swapped_and_foreign_segments_are_named() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    for number in 0..9_u8 {
        store.put(&[number], &[number; 300]).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let refused = |disk: &SimDisk, name: &str, what: &str| {
        let error = Engine::open(STORE, options(disk, 2, 1024)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(what), "{text}");
    };
    let missing = disk.fork();
    missing.erase_file("/db/00000002.seg").unwrap();
    refused(&missing, "00000002.seg", "missing");
    let swapped = disk.fork();
    swapped
        .write_file("/db/00000002.seg", &disk.read_file(SEGMENT).unwrap())
        .unwrap();
    refused(
        &swapped,
        "00000002.seg",
        "not the segment that the manifest means",
    );
    let truncated = disk.fork();
    truncated
        .write_file(SEGMENT, &disk.read_file(SEGMENT).unwrap()[..500])
        .unwrap();
    refused(&truncated, "00000001.seg", "truncated");
    let other = SimDisk::new();
    open(&other, 9).close().unwrap();
    let foreign = disk.fork();
    foreign
        .write_file(SEGMENT, &other.read_file(SEGMENT).unwrap())
        .unwrap();
    refused(&foreign, "00000001.seg", "belongs to another store");
    let gone = disk.fork();
    erase_manifest(&gone);
    refused(&gone, "MANIFEST", "missing");
}

#[test]
fn a_store_below_a_directory_that_may_not_be_read_is_opened_and_says_so() {
    let disk = SimDisk::new();
    let denied = || {
        let denied = Fault::new(FaultKind::Errno(EACCES)).on(OpKind::SyncDir);
        disk.inject(denied.times(1));
    };
    denied();
    let refused = Engine::open(STORE, options(&disk, 1, 65536)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io, "not while it is made");
    drop(open(&disk, 2));
    denied();
    let store = open(&disk, 3);
    let parent = store.recovery_report().unsynced_parent.clone();
    assert_eq!(parent.as_deref(), Some("/".as_ref()));
}
