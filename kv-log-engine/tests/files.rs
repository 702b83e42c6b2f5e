//! The engine on the operating system's files.
#![expect(clippy::cast_possible_truncation, reason = "small numbers made here")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests damage the files from outside"
)]

#[cfg(unix)]
use kv_log_engine::storage::{
    DirEntry, Directory, FileId, OpenMode, OsStorage, Storage, StorageFile,
};
use kv_log_engine::{Batch, Create, Engine, Options, verify};
use kv_trait::{Effect, ErrorKind};
use std::ops::Bound;
use std::time::Duration;
#[cfg(unix)]
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

fn small() -> Options {
    Options::new().segment_bytes(4096)
}

#[test]
fn what_was_acknowledged_is_there_after_every_kind_of_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut expected = std::collections::BTreeMap::<Vec<u8>, Vec<u8>>::new();
    for round in 0..6_u32 {
        let store = Engine::open(&path, small()).unwrap();
        assert_eq!(store.recovery_report().created, round == 0);
        assert_eq!(store.recovery_report().torn_tail, None);
        for (key, value) in &expected {
            assert_eq!(store.get(key).unwrap().as_ref(), Some(value));
        }
        for number in 0..200_u32 {
            let key = format!("key {}", number % 97).into_bytes();
            let value = vec![round as u8; (number as usize * 13) % 700];
            assert_eq!(
                store.set(&key, &value).unwrap(),
                expected.insert(key, value)
            );
        }
        let gone = format!("key {round}").into_bytes();
        assert_eq!(store.delete(&gone).unwrap(), expected.remove(&gone));
        if round % 2 == 0 {
            store.close().unwrap();
            assert_eq!(store.get(b"key 9").unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(
                store.put(b"key 9", b"").unwrap_err().kind(),
                ErrorKind::Closed
            );
        }
    }
    let report = verify(&path, Options::new()).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    assert_eq!(report.live_keys, expected.len() as u64);
    assert!(report.segments > 10);
}

#[test]
fn a_batch_is_whole_and_a_scan_sees_one_point() {
    let directory = tempfile::tempdir().unwrap();
    let store = Engine::open(directory.path().join("store"), small()).unwrap();
    let mut batch = Batch::new();
    for number in 0..50_u8 {
        batch.put(&[number], &[number; 40]).unwrap();
    }
    let receipt = store.write(batch).unwrap();
    assert_eq!(
        (receipt.first_seqno().get(), receipt.last_seqno().get()),
        (1, 50)
    );
    let scan = store
        .scan((Bound::Included(&[10_u8][..]), Bound::Excluded(&[20_u8][..])))
        .unwrap();
    store.remove(&[12]).unwrap();
    store.put(&[13], b"later").unwrap();
    let found: Vec<_> = scan.map(Result::unwrap).collect();
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|(key, value)| value[..] == [key[0]; 40]));
    assert_eq!(store.scan(..).unwrap().count(), 49);
}

#[test]
fn many_threads_share_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Engine::open(directory.path().join("store"), Options::new()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50_u8 {
                    store.put(&[thread, number], &[thread; 100]).unwrap();
                    assert_eq!(
                        store.get(&[thread, number]).unwrap(),
                        Some(vec![thread; 100])
                    );
                }
            });
        }
    });
    assert_eq!(store.stats().live_keys, 400);
    assert!(store.stats().groups <= 400);
    store.close().unwrap();
}

#[test]
fn a_value_larger_than_a_segment_has_a_segment_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let store = Engine::open(&path, small()).unwrap();
    store.put(b"small", b"1").unwrap();
    store.put(b"large", &large).unwrap();
    store.put(b"small", b"2").unwrap();
    drop(store);
    let store = Engine::open(&path, small()).unwrap();
    assert_eq!(store.get(b"large").unwrap().as_deref(), Some(&large[..]));
    assert_eq!(store.get(b"small").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_second_open_is_refused_with_the_holder_and_drop_then_open_works() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = Engine::open(&path, Options::new()).unwrap();
    let refused = Engine::open(
        &path,
        Options::new().lock_timeout(Duration::from_millis(30)),
    );
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::Locked, Effect::Nothing)
    );
    assert!(refused.to_string().contains("this process"), "{refused}");
    drop(store);
    Engine::open(&path, Options::new()).unwrap();
}

#[test]
fn only_a_store_is_opened_and_reading_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let never = || Options::new().create(Create::Never);
    assert_eq!(
        Engine::open(&missing, never()).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(!missing.exists());

    let file = directory.path().join("file");
    std::fs::write(&file, b"text").unwrap();
    let refused = Engine::open(&file, Options::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("is a file"), "{refused}");

    let foreign = directory.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), b"text").unwrap();
    let refused = Engine::open(&foreign, never()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("notes.txt"), "{refused}");
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);
    let made = Engine::open(&foreign, Options::new()).unwrap();
    assert_eq!(made.recovery_report().foreign, ["notes.txt"]);
}

#[test]
fn sizes_beyond_the_limits_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Engine::open(directory.path().join("store"), Options::new()).unwrap();
    let key = vec![0; kv_trait::KEY_BYTES_MAX + 1];
    let refused = store.put(&key, b"").unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::TooLarge, Effect::Nothing)
    );
    assert_eq!(store.get(&key).unwrap_err().kind(), ErrorKind::TooLarge);
    store.put(&key[1..], b"fits").unwrap();
    store.put(b"", b"").unwrap();
    assert_eq!(store.get(b"").unwrap(), Some(Vec::new()));
    assert_eq!(store.get(&key[1..]).unwrap(), Some(b"fits".to_vec()));
}

/// Notes which directories are synced.
#[cfg(unix)]
#[derive(Debug, Default)]
struct Noting {
    files: OsStorage,
    synced: Mutex<Vec<PathBuf>>,
}

#[cfg(unix)]
impl Storage for Noting {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        self.files.open(path, mode)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.files.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.files.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.files.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.files.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut synced = self.synced.lock().expect("no holder panics");
        synced.push(path.to_path_buf());
        drop(synced);
        self.files.sync_dir(path)
    }
    fn open_dir(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        self.files.open_dir(path)
    }
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.files.resolve(path)
    }
    fn file_id(&self, path: &Path) -> io::Result<FileId> {
        self.files.file_id(path)
    }
}

// D1: the directory that holds the name is the one behind the link, not the one that holds the link.
#[cfg(unix)]
#[test]
fn a_store_behind_a_link_has_its_own_name_synced() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real");
    std::fs::create_dir_all(real.join("store")).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(real.join("store"), &link).unwrap();
    let noting = Arc::new(Noting::default());
    let storage = Arc::clone(&noting);
    let store = Engine::open(&link, Options::new().storage(storage)).unwrap();
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    let real = real.canonicalize().unwrap();
    assert!(noting.synced.lock().unwrap().contains(&real));
}
