//! A file system that is really full, where this process may mount one; elsewhere the test says that it was skipped.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like tests, and make a file system from outside"
)]

use kv_log_engine::{Engine, Options};
use kv_trait::{Effect, ErrorKind};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BYTES: u64 = 48 * 1024 * 1024;

/// A small file system of its own, gone when it is dropped.
struct Mounted {
    at: PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[&self.at.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let done = Command::new(program).args(arguments).output();
    done.is_ok_and(|output| output.status.success())
}

fn mount(kind: &str) -> Option<Mounted> {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("mounted");
    std::fs::create_dir(&at).unwrap();
    let to = at.display().to_string();
    let mounted = if kind == "tmpfs" {
        let size = format!("size={BYTES}");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &to])
    } else {
        let image = directory.path().join("image");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(BYTES)
            .unwrap();
        let image = image.display().to_string();
        run(&format!("mkfs.{kind}"), &["-q", &image])
            && run("mount", &["-t", kind, "-o", "loop", &image, &to])
    };
    mounted.then_some(Mounted {
        at,
        _directory: directory,
    })
}

fn open(path: &Path) -> Engine {
    Engine::open(path, Options::new().segment_bytes(4 << 20)).unwrap()
}

fn full(result: kv_trait::Result<()>) {
    let refused = result.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::StorageFull, Effect::Nothing),
        "{refused}"
    );
}

/// Not the macro: the test harness would swallow it.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

fn deletes_close_and_open_go_on(kind: &str) {
    let Some(mounted) = mount(kind) else {
        say(&format!("full: skipped, cannot mount {kind}\n"));
        return;
    };
    let path = mounted.at.join("store");
    let mut store = open(&path);
    let mut written = 0_u32;
    let refused = loop {
        match store.put(&written.to_le_bytes(), &[7; 10_000]) {
            Ok(()) => written += 1,
            Err(refused) => break Err(refused),
        }
    };
    full(refused);
    // Somebody else takes what is left.
    let mut other = std::fs::File::create(mounted.at.join("other")).unwrap();
    while other.write(&[1; 4096]).is_ok_and(|count| count > 0) {}
    let mut deleted = 0_u32;
    for life in 0..6_u32 {
        for _ in 0..10 {
            store.remove(&deleted.to_le_bytes()).unwrap();
            deleted += 1;
        }
        full(store.put(b"more", &[8; 10_000]));
        if life % 2 == 0 {
            store.close().unwrap();
        }
        drop(store);
        store = open(&path);
        assert_eq!(store.recovery_report().read_only, None, "life {life}");
        assert_eq!(store.stats().live_keys, u64::from(written - deleted));
    }
    drop(other);
    std::fs::remove_file(mounted.at.join("other")).unwrap();
    store.close().unwrap();
    say(&format!("full: {kind}, {written} values of 10 kB\n"));
}

#[test]
fn on_a_full_tmpfs_deletes_closes_and_opens_go_on() {
    deletes_close_and_open_go_on("tmpfs");
}

#[test]
fn on_a_full_ext4_deletes_closes_and_opens_go_on() {
    deletes_close_and_open_go_on("ext4");
}
