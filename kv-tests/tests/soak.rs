//! A store of the operating system's files that is written, read, killed, closed and opened for as long as
//! `KVLOG_SOAK_SECONDS` says (4), beside one on a simulated disk whose power is cut: both equal to a map after each end,
//! and neither memory nor open files nor what they take on the disk grows.
//!
//! What is written follows from the number of the batch, and each batch writes its number, too: so whoever opens the
//! store knows from that one key what all others must be.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Batch, Engine, Options, Tuning};
use kv_tests::oracle::Contents;
use kv_tests::tiny::Sizes;
use kv_tests::workload::{Random, STORE, contents_of, options};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "a_store_that_is_worked_and_killed_for_long_stays_as_it_was_in_size";
const DIRECTORY: &str = "KVLOG_SOAK_DIRECTORY";
const NUMBER: &[u8] = b"!number";
const KEYS: u64 = 4000;
/// A child tells how it is behind so many batches.
const TOLD_EVERY: u64 = 200;

/// What a process or a store takes.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    memory: u64,
    handles: u64,
    disk: u64,
    levels: u64,
}

impl Taken {
    fn most(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            handles: self.handles.max(other.handles),
            disk: self.disk.max(other.disk),
            levels: self.levels.max(other.levels),
        }
    }
}

fn on_files() -> Options {
    Options::new()
        .segment_bytes(256 * 1024)
        .memory_bytes(4 << 20)
        .separation_bytes(512)
        .tuning(Tuning {
            memtable_bytes: Some(128 * 1024),
            log_bytes: Some(512 * 1024),
            run_bytes: Some(128 * 1024),
            unit_bytes: Some(256 * 1024),
            slice_bytes: Some(32 * 1024),
            ..Tuning::default()
        })
}

/// The batch of a number: the same each time.
fn changes(number: u64, keys: u64, longest: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut random = Random::new(number);
    let mut changes: Vec<_> = (0..1 + random.below(8))
        .map(|at| {
            let key = format!("key {:06}", random.below(keys)).into_bytes();
            let mut value = format!("{number}/{at}").into_bytes();
            let length = usize::try_from(random.below(longest)).unwrap();
            value.resize(length.max(value.len()), b'.');
            (key, (random.below(4) > 0).then_some(value))
        })
        .collect();
    changes.push((NUMBER.to_vec(), Some(number.to_le_bytes().to_vec())));
    changes
}

fn batch(changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(key, value).unwrap(),
            None => batch.delete(key).unwrap(),
        }
    }
    batch
}

fn number_of(store: &Engine) -> u64 {
    let found = store.get(NUMBER).unwrap();
    found.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

/// The map that goes on with the store.
struct Model {
    number: u64,
    contents: Contents,
    keys: u64,
    longest: u64,
}

impl Model {
    const fn new(keys: u64, longest: u64) -> Self {
        Self {
            number: 0,
            contents: Contents::new(),
            keys,
            longest,
        }
    }

    /// At least what was acknowledged is there, and everything is as after that many batches.
    fn must_be(&mut self, store: &Engine, acknowledged: u64) {
        let number = number_of(store);
        assert!(number >= acknowledged, "{number}, {acknowledged} were told");
        while self.number < number {
            self.number += 1;
            for (key, value) in changes(self.number, self.keys, self.longest) {
                match value {
                    Some(value) => self.contents.insert(key, value),
                    None => self.contents.remove(&key),
                };
            }
        }
        assert!(
            contents_of(store) == self.contents,
            "behind batch {number} the store is another map"
        );
        for key in (0..self.keys).step_by(97) {
            let key = format!("key {key:06}").into_bytes();
            assert_eq!(store.get(&key).unwrap().as_ref(), self.contents.get(&key));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what the process and the directory take is asked of the system"
)]
fn taken(store: &Engine, directory: &Path) -> Taken {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let names = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let lengths = names(directory).filter_map(|entry| Some(entry.metadata().ok()?.len()));
    Taken {
        memory: kib.unwrap_or_default() * 1024,
        handles: names(Path::new("/proc/self/fd")).count() as u64,
        disk: lengths.sum(),
        levels: store.stats().levels.len() as u64,
    }
}

/// Writes until it is killed, or until its input ends: then it closes.
fn child(directory: &Path) {
    let store = Engine::open(directory, on_files()).unwrap();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = std::sync::Arc::clone(&ended);
    let listening = std::thread::Builder::new().name("listening".into());
    let listening = listening.spawn(move || {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        told.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let mut out = std::io::stdout();
    let mut number = number_of(&store);
    let mut kept = None;
    while !ended.load(std::sync::atomic::Ordering::SeqCst) {
        number += 1;
        store.write(batch(&changes(number, KEYS, 1500))).unwrap();
        writeln!(out, "acknowledged {number}").unwrap();
        if number.is_multiple_of(TOLD_EVERY) {
            let now = taken(&store, directory);
            let Taken {
                memory,
                handles,
                disk,
                levels,
            } = now;
            writeln!(out, "taken {memory} {handles} {disk} {levels}").unwrap();
            // A scan that stands still for a while, and is read to its end.
            if let Some((count, scan)) = kept.take() {
                let scan: kv_log_engine::Scan = scan;
                assert_eq!(
                    scan.inspect(|found| assert!(found.is_ok(), "{found:?}"))
                        .count(),
                    count
                );
            }
            let count = store.scan(..).unwrap().count();
            // Nobody writes between the two.
            kept = Some((count, store.scan(..).unwrap()));
        }
    }
    drop(kept);
    store.close().unwrap();
    listening.unwrap().join().unwrap();
}

/// One life of a child; what it acknowledged, and the most that it took.
fn live(directory: &Path, life: Duration, kill: bool) -> (u64, Taken) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::Builder::new().name("reading".into());
    let reading = reading.spawn(move || {
        let (mut acknowledged, mut most) = (0, Taken::default());
        for line in output.lines() {
            let Ok(line) = line else { break };
            let words: Vec<&str> = line.split(' ').collect();
            let word = |at: usize| words.get(at)?.parse::<u64>().ok();
            match words.first().copied() {
                Some("acknowledged") => acknowledged = word(1).unwrap_or(acknowledged),
                Some("taken") => {
                    let now = || {
                        Some(Taken {
                            memory: word(1)?,
                            handles: word(2)?,
                            disk: word(3)?,
                            levels: word(4)?,
                        })
                    };
                    most = most.most(now().unwrap_or_default());
                }
                _ => {}
            }
        }
        (acknowledged, most)
    });
    std::thread::sleep(life);
    if kill {
        child.kill().unwrap();
        child.wait().unwrap();
    } else {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success(), "the child says why");
    }
    reading.unwrap().join().unwrap()
}

/// A store on a disk that loses power.
struct OnSimDisk {
    disk: SimDisk,
    model: Model,
    cuts: u64,
}

impl OnSimDisk {
    fn new() -> Self {
        Self {
            disk: SimDisk::new(),
            model: Model::new(60, 90),
            cuts: 0,
        }
    }

    fn open(&self) -> Engine {
        let sizes = Sizes::default();
        let options = options(&self.disk, self.cuts, sizes.segment_bytes);
        Engine::open(STORE, sizes.apply(options)).unwrap()
    }

    /// Batches, the end of power, and what is there then.
    fn live(&mut self, batches: u64) -> Taken {
        let store = self.open();
        self.model.must_be(&store, self.model.number);
        let mut number = self.model.number;
        for _ in 0..batches {
            number += 1;
            store.write(batch(&changes(number, 60, 90))).unwrap();
        }
        let taken = Taken {
            memory: 0,
            handles: self.disk.open_files(),
            disk: self.disk.used_bytes(),
            levels: store.stats().levels.len() as u64,
        };
        if number.is_multiple_of(3) {
            store.close().unwrap();
        }
        self.cuts += 1;
        self.disk.power_cut(self.cuts);
        drop(store);
        let store = self.open();
        self.model.must_be(&store, number);
        taken
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long it goes on is a matter of the clock"
)]
fn a_store_that_is_worked_and_killed_for_long_stays_as_it_was_in_size() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        child(&PathBuf::from(directory));
        return;
    }
    let seconds = std::env::var("KVLOG_SOAK_SECONDS");
    let seconds = seconds.map_or(4, |text| text.parse().expect("a number of seconds"));
    let all = Duration::from_secs(seconds);
    let begun = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut model = Model::new(KEYS, 1500);
    let mut simulated = OnSimDisk::new();
    let mut random = Random::new(seconds);
    // The first quarter is for filling it; the second and the last are compared.
    let mut most = [Taken::default(); 4];
    let mut most_simulated = [Taken::default(); 4];
    let mut own = [Taken::default(); 4];
    let (mut lives, mut kills) = (0_u64, 0_u64);
    while begun.elapsed() < all {
        let life = Duration::from_millis(100 + random.below(seconds.clamp(2, 60) * 100));
        let kill = random.below(3) > 0;
        let (acknowledged, taken_by_child) = live(&path, life, kill);
        lives += 1;
        kills += u64::from(kill);
        let part = (begun.elapsed().as_millis() * 4 / all.as_millis().max(1)).min(3) as usize;
        most[part] = most[part].most(taken_by_child);
        let store = Engine::open(&path, on_files()).unwrap();
        model.must_be(&store, acknowledged);
        own[part] = own[part].most(taken(&store, &path));
        if random.below(2) == 0 {
            store.close().unwrap();
        }
        drop(store);
        let batches = 50 + random.below(200);
        most_simulated[part] = most_simulated[part].most(simulated.live(batches));
    }
    writeln!(
        std::io::stdout(),
        "soak: {seconds} s, {} batches, {lives} lives, {kills} killed; {} on the simulated disk, {} power cuts\n\
         by quarters: children {most:?}\nthis process {own:?}\nsimulated {most_simulated:?}",
        model.number,
        simulated.model.number,
        simulated.cuts
    )
    .unwrap();
    assert!(model.number > 0 && lives > 1, "nothing was done");
    if seconds < 60 {
        return;
    }
    for quarters in [most, own, most_simulated] {
        let (before, now) = (quarters[1], quarters[3]);
        let slack = 16 << 20;
        assert!(
            now.memory <= before.memory + before.memory / 4 + slack,
            "memory: {quarters:?}"
        );
        assert!(
            now.handles <= before.handles + 8,
            "open files: {quarters:?}"
        );
        assert!(
            now.disk <= before.disk * 3 / 2 + (1 << 20),
            "disk: {quarters:?}"
        );
        assert!(now.levels <= before.levels + 4, "levels: {quarters:?}");
    }
}
