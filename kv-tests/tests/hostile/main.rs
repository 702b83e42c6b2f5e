//! Files made by an enemy who has read FORMAT.md and can compute every check: lengths, counts, seqnos, ids and marks that
//! are as wrong as a number can be, under checks that hold. An open or a verify may refuse them by name or make sense of
//! them; it never panics and never allocates more than the files' own size explains.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod runs;

use allocation_counter::measure;
use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Engine, verify};
use kv_tests::corruption::{End, small_store};
use kv_tests::workload::{STORE, options};
use kv_trait::{Error, ErrorKind};
use siphasher::sip::SipHasher24;
use std::any::Any;
use std::hash::Hasher;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MANIFEST: &str = "/db/MANIFEST";
/// Says the same: an enemy writes both.
const SECOND: &str = "/db/MANIFEST.2";
const MANIFEST_KEY: &[u8; 16] = b"kvlog manifest 0";
/// Far more than an open of a small store needs at once, far less than what a number can ask for. The simulated disk keeps
/// in memory what a store keeps for a full disk, a few MiB.
const PEAK_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Every number that is interesting to put into a field of eight bytes, or into the lower half of one.
const NUMBERS: [u64; 11] = [
    0,
    1,
    7,
    80,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 30,
    1 << 40,
    u64::MAX / 2,
    u64::MAX - 1,
    u64::MAX,
];

fn check(key: &[u8], parts: &[&[u8]]) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(key.try_into().unwrap());
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish().to_le_bytes()
}

#[derive(Default)]
struct Tried {
    files: u64,
    refused: u64,
    peak: u64,
}

/// Opens and verifies a store with one file replaced.
fn attempt(disk: &SimDisk, path: &str, bytes: &[u8], tried: &mut Tried, what: &str) {
    let disk = disk.fork();
    disk.write_file(path, bytes).unwrap();
    if path == MANIFEST {
        disk.write_file(SECOND, bytes).unwrap();
    }
    let by_name = |error: &Error| {
        let named = [ErrorKind::Corrupt, ErrorKind::UnsupportedFormat];
        assert!(named.contains(&error.kind()), "{path}, {what}: {error:?}");
    };
    let (refused, peak) = peak_of(&format!("{path}, {what}"), || {
        let opened = Engine::open(STORE, options(&disk.fork(), 4, 2048));
        match opened {
            Ok(store) => {
                // What it has to say of a write is not the question here.
                drop(store.put(b"after", b"all"));
                drop(store.close());
            }
            Err(error) => by_name(&error),
        }
        match verify(STORE, options(&disk, 3, 2048)) {
            Ok(report) => {
                report
                    .damages
                    .iter()
                    .for_each(|damage| by_name(&damage.cause));
                !report.is_clean()
            }
            Err(error) => {
                by_name(&error);
                true
            }
        }
    });
    tried.files += 1;
    tried.refused += u64::from(refused);
    tried.peak = tried.peak.max(peak);
}

/// What an attempt says, and the most that it had allocated at once: bounded, and never a panic.
fn peak_of(what: &str, attempt: impl FnOnce() -> bool) -> (bool, u64) {
    let (mut refused, mut stopped) = (false, false);
    let allocated = measure(|| {
        let outcome = catch_unwind(AssertUnwindSafe(attempt));
        // Builds with assertions check, wherever two layers meet, that the newer one has the newer version. A manifest that
        // orders levels otherwise breaks that; no run does, whose entries must be as old as it says.
        let asserted = |panic: &Box<dyn Any + Send>| {
            let words = panic.downcast_ref::<String>();
            let order =
                words.is_some_and(|words| words.contains("an older layer has a newer version"));
            order && what.starts_with("manifest")
        };
        refused = match outcome {
            Ok(refused) => refused,
            Err(panic) => {
                assert!(asserted(&panic), "{what}: a panic");
                stopped = true;
                true
            }
        };
    });
    // What a panic takes to tell of itself is not the store's.
    let peak = if stopped { 0 } else { allocated.bytes_max };
    assert!(peak < PEAK_BYTES_MAX, "{what}: {peak} bytes at once");
    (refused, peak)
}

/// Replaces four or eight bytes at every fourth place of `[from, to)`, seals, and tries.
fn each_field(
    file: &[u8],
    (from, to): (usize, usize),
    seal: impl Fn(&mut [u8]),
    mut try_it: impl FnMut(&[u8], String),
) {
    for at in (from..to).step_by(4) {
        for width in [4, 8] {
            if at + width > to {
                continue;
            }
            for number in NUMBERS {
                let mut hostile = file.to_vec();
                hostile[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
                if hostile != file {
                    seal(&mut hostile);
                    try_it(&hostile, format!("{number:#x} in {width} bytes at {at}"));
                }
            }
        }
    }
}

/// The entries of a manifest: where each begins, and where its check stands.
fn entries(file: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while file
        .get(at..at + 40)
        .is_some_and(|header| header.starts_with(b"KVLOGMAN"))
    {
        let check_at = (at + 40).saturating_add(field(file, at + 12));
        if check_at + 8 > file.len() {
            break;
        }
        found.push((at, check_at));
        at = (check_at + 8).next_multiple_of(8);
    }
    found
}

/// Computes the checks of all entries of a manifest, and chains them.
fn seal_manifest(file: &mut [u8]) {
    let mut chain = [0; 8];
    for (at, check_at) in entries(file) {
        if at > 0 {
            file[at + 32..at + 40].copy_from_slice(&chain);
        }
        chain = check(
            MANIFEST_KEY,
            &[&(at as u64).to_le_bytes(), &file[at..check_at]],
        );
        file[check_at..check_at + 8].copy_from_slice(&chain);
    }
}

fn field(file: &[u8], at: usize) -> usize {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize
}

/// The frames of a segment: where each begins, and the length of its body.
fn frames(file: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 104;
    while file
        .get(at..at + 80)
        .is_some_and(|h| h.starts_with(b"KVRF"))
    {
        let body = field(file, at + 8);
        found.push((at, body));
        at += (80 + body).next_multiple_of(8);
    }
    found
}

/// Computes the sums of a frame of one record, its digest and its check, as far as there are any.
fn seal_frame(file: &mut [u8], at: usize, body: usize) {
    let salt = file[48..64].to_vec();
    let record = at + 80;
    if file[at + 4] == 1 && body >= 28 {
        let seqno = file[record + 20..record + 28].to_vec();
        let mut sum = crc32c::crc32c(&file[record + 4..record + 20]);
        for part in [
            &file[record + 28..record + body],
            &salt,
            &(record as u64).to_le_bytes(),
            &seqno,
        ] {
            sum = crc32c::crc32c_append(sum, part);
        }
        file[record..record + 4].copy_from_slice(&sum.to_le_bytes());
        let digest = check(&salt, &[&sum.to_le_bytes()]);
        file[at + 48..at + 56].copy_from_slice(&digest);
    } else {
        let digest = check(&salt, &[&file[record..record + body]]);
        file[at + 48..at + 56].copy_from_slice(&digest);
    }
    seal_header(file, at);
}

fn seal_header(file: &mut [u8], at: usize) {
    let salt = file[48..64].to_vec();
    let sum = check(&salt, &[&(at as u64).to_le_bytes(), &file[at..at + 72]]);
    file[at + 72..at + 80].copy_from_slice(&sum);
}

#[test]
fn numbers_from_an_enemy_are_refused_or_made_sense_of() {
    let mut tried = Tried::default();
    for end in [End::Closed, End::PowerCut] {
        let store = small_store(end);
        let disk = &store.disk;
        let file = disk.read_file(MANIFEST).unwrap();
        let ends = entries(&file);
        assert!(ends.len() > 1, "an image and edits");
        let content = ends.last().unwrap().1;
        each_field(&file, (8, content), seal_manifest, |hostile, what| {
            attempt(
                disk,
                MANIFEST,
                hostile,
                &mut tried,
                &format!("{end:?}: {what}"),
            );
        });
        let mut segments = disk.files();
        segments.retain(|name| name.ends_with(".seg"));
        for path in [segments.first().unwrap(), segments.last().unwrap()] {
            let file = disk.read_file(path).unwrap();
            let seal = |file: &mut [u8]| {
                let salt = file[48..64].to_vec();
                let sum = check(&salt, &[&file[..96]]);
                file[96..104].copy_from_slice(&sum);
            };
            each_field(&file, (8, 96), seal, |hostile, what| {
                attempt(disk, path, hostile, &mut tried, &format!("{end:?}: {what}"));
            });
            let frames = frames(&file);
            for (at, body) in [frames[0], *frames.last().unwrap()] {
                // The header alone, its own check computed: the digest may be what is wrong.
                let seal = |file: &mut [u8]| seal_header(file, at);
                each_field(&file, (at + 4, at + 72), seal, |hostile, what| {
                    attempt(disk, path, hostile, &mut tried, &format!("{end:?}: {what}"));
                });
                // What it covers, with all sums computed.
                let seal = |file: &mut [u8]| seal_frame(file, at, body);
                let fields = (at + 80, at + 80 + body.min(48));
                each_field(&file, fields, seal, |hostile, what| {
                    attempt(disk, path, hostile, &mut tried, &format!("{end:?}: {what}"));
                });
            }
        }
    }
    // Not the macro: the test harness would swallow the figures.
    writeln!(
        std::io::stdout(),
        "hostile: {} files, {} refused, at most {} bytes allocated at once",
        tried.files,
        tried.refused,
        tried.peak
    )
    .unwrap();
    assert!(
        tried.files > 5_000 && tried.refused > tried.files / 3,
        "the checks that were computed are not those that are compared"
    );
}
