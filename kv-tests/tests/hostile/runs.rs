//! The same of runs, of what they refer to, and of what the manifest says of them.

use super::{MANIFEST, NUMBERS, SECOND, entries, field, peak_of, seal_manifest};
use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Engine, verify};
use kv_tests::corruption_life::{old_store, options_of};
use kv_tests::workload::STORE;
use kv_trait::{Error, ErrorKind};
use std::io::Write;
use std::ops::ControlFlow;

/// Bytes of varints, kinds, flags and lengths.
const BYTES: [u8; 6] = [0, 1, 0x1f, 0x7f, 0x80, 0xff];
/// One number of so many is tried: the others take their turn where `KVLOG_HOSTILE_EVERY` says 1.
const EVERY: usize = 9;
const HEAD: usize = 16;
const TRAILER: usize = 32;
/// A header, and the copies of footer and trailer, lie as far apart as this.
const APART: usize = 4096;

struct Tried {
    files: u64,
    refused: u64,
    peak: u64,
    turn: usize,
    every: usize,
}

impl Tried {
    fn is_its_turn(&mut self) -> bool {
        self.turn += 1;
        self.turn.is_multiple_of(self.every)
    }
}

fn by_name(error: &Error, what: &str) {
    let named = [ErrorKind::Corrupt, ErrorKind::UnsupportedFormat];
    assert!(named.contains(&error.kind()), "{what}: {error:?}");
}

/// Reads everything, merges everything, and verifies: right, wrong or refused by name, as who has all keys may make it.
fn attempt(disk: &SimDisk, files: &[(&str, &[u8])], tried: &mut Tried, what: &str) {
    let disk = disk.fork();
    for (path, bytes) in files {
        disk.write_file(path, bytes).unwrap();
    }
    let (refused, peak) = peak_of(what, || {
        let mut refused = false;
        let mut told = |error: &Error| {
            by_name(error, what);
            refused = true;
        };
        let served = disk.fork();
        match Engine::open(STORE, options_of(&served, 4)) {
            Ok(store) => {
                for number in 0..41 {
                    let found = store.get(format!("key-{number:03}").as_bytes());
                    found.map_or_else(|error| told(&error), drop);
                }
                for found in store.scan(..).unwrap().take(500) {
                    found.map_or_else(|error| told(&error), drop);
                }
                for found in store.scan(..).unwrap().rev().take(500) {
                    found.map_or_else(|error| told(&error), drop);
                }
                // What it has to say of work on such files is not the question here.
                let mut slices = 0;
                drop(store.compact(|_| {
                    slices += 1;
                    if slices < 100 {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                }));
                drop(store.close());
            }
            Err(error) => told(&error),
        }
        match verify(STORE, options_of(&disk, 3)) {
            Ok(report) => {
                let damages = report.damages.iter();
                damages.for_each(|damage| told(&damage.cause));
            }
            Err(error) => told(&error),
        }
        refused
    });
    tried.files += 1;
    tried.refused += u64::from(refused);
    tried.peak = tried.peak.max(peak);
}

/// The pieces of a run: where each begins and ends. The copies of the footer are the last two.
fn pieces(file: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (104, Vec::new());
    let first = file.len() - 2 * TRAILER - APART;
    while at < first {
        let end = at + HEAD + field(file, at + 8);
        found.push((at, end));
        // Behind the first footer come zeros.
        at = if file[at + 4] == 4 { end + APART } else { end };
    }
    found
}

fn seal(file: &mut [u8], at: usize, from: usize, to: usize, checksum: usize) {
    let salt = file[48..64].to_vec();
    let mut sum = crc32c::crc32c(&file[from..to]);
    for part in [&salt[..], &(at as u64).to_le_bytes()] {
        sum = crc32c::crc32c_append(sum, part);
    }
    file[checksum..checksum + 4].copy_from_slice(&sum.to_le_bytes());
}

fn seal_piece(file: &mut [u8], (at, end): (usize, usize)) {
    seal(file, at, at + 4, end, at);
}

fn seal_trailer(file: &mut [u8], at: usize) {
    seal(file, at, at, at + 28, at + 28);
}

/// Every number in every place of 4 and 8 bytes, in all copies at once.
fn each_number(
    copies: &[usize],
    length: usize,
    tried: &mut Tried,
    mut put: impl FnMut(usize, &[u8], &mut Tried, String),
) {
    for at in (0..length).step_by(4) {
        for width in [4, 8] {
            for number in NUMBERS {
                if at + width <= length && tried.is_its_turn() {
                    let bytes = number.to_le_bytes();
                    let what = format!("{number:#x} in {width} bytes at {}", copies[0] + at);
                    put(at, &bytes[..width], tried, what);
                }
            }
        }
    }
}

fn each_run(disk: &SimDisk, path: &str, tried: &mut Tried) {
    let file = disk.read_file(path).unwrap();
    let all = pieces(&file);
    let (parts, footers) = all.split_at(all.len() - 2);
    // What was not changed must seal as it stands: else nothing below is what it seems.
    let mut same = file.clone();
    all.iter().for_each(|piece| seal_piece(&mut same, *piece));
    assert!(
        same == file,
        "{path}: the checksums of pieces are computed otherwise"
    );
    for piece in parts {
        let (at, end) = *piece;
        for place in at + 4..end {
            for byte in BYTES {
                if !tried.is_its_turn() {
                    continue;
                }
                let mut hostile = file.clone();
                hostile[place] = byte;
                seal_piece(&mut hostile, *piece);
                let what = format!("{path}: {byte:#x} at {place}");
                attempt(disk, &[(path, &hostile)], tried, &what);
            }
        }
    }
    let [first, second] = [footers[0], footers[1]];
    let length = first.1 - first.0 - 4;
    let copies = [first.0 + 4, second.0 + 4];
    each_number(&copies, length, tried, |at, bytes, tried, what| {
        let mut hostile = file.clone();
        for copy in copies {
            hostile[copy + at..copy + at + bytes.len()].copy_from_slice(bytes);
        }
        // As they are, whatever length the head says.
        footers
            .iter()
            .for_each(|piece| seal_piece(&mut hostile, *piece));
        attempt(disk, &[(path, &hostile)], tried, &format!("{path}: {what}"));
    });
    let copies = [
        first.1 + APART + (second.1 - second.0),
        file.len() - TRAILER,
    ];
    assert!(copies.iter().all(|at| file[*at..].starts_with(b"KVLOGEND")));
    each_number(&copies, 28, tried, |at, bytes, tried, what| {
        let mut hostile = file.clone();
        for copy in copies {
            hostile[copy + at..copy + at + bytes.len()].copy_from_slice(bytes);
            seal_trailer(&mut hostile, copy);
        }
        attempt(disk, &[(path, &hostile)], tried, &format!("{path}: {what}"));
    });
}

#[test]
fn runs_from_an_enemy_are_refused_or_made_sense_of() {
    let every = std::env::var("KVLOG_HOSTILE_EVERY");
    let every = every.map_or(EVERY, |text| text.parse().unwrap());
    let mut tried = Tried {
        files: 0,
        refused: 0,
        peak: 0,
        turn: 0,
        every,
    };
    let store = old_store(true);
    let disk = &store.disk;
    for path in disk.files() {
        if path.ends_with(".run") {
            each_run(disk, &path, &mut tried);
        }
    }
    let of_runs = tried.files;
    let file = disk.read_file(MANIFEST).unwrap();
    let content = entries(&file).last().unwrap().1;
    each_number(&[8], content - 8, &mut tried, |at, bytes, tried, what| {
        let mut hostile = file.clone();
        hostile[8 + at..8 + at + bytes.len()].copy_from_slice(bytes);
        seal_manifest(&mut hostile);
        let both = [(MANIFEST, &hostile[..]), (SECOND, &hostile[..])];
        attempt(disk, &both, tried, &format!("manifest: {what}"));
    });
    // Not the macro: the test harness would swallow the figures.
    writeln!(
        std::io::stdout(),
        "hostile: {of_runs} runs, {} manifests, {} of all refused, at most {} bytes allocated at once",
        tried.files - of_runs,
        tried.refused,
        tried.peak
    )
    .unwrap();
    assert!(
        tried.files > 1_000 && tried.refused > tried.files / 3,
        "the checks that were computed are not those that are compared"
    );
}
