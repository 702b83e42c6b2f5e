//! Every byte of a store's files flipped, and every length cut: right data, a reported torn tail where the table allows
//! one, or an error that names file and offset. Never a panic, never silent loss.
//!
//! | region | flipped | cut there |
//! |---|---|---|
//! | `LOCK` | right | right |
//! | either copy of `MANIFEST` | right: the other copy verifies | refused: neither copy is where it was |
//! | a sealed segment, up to its recorded length | refused | refused |
//! | the active segment, up to its floor | refused | refused |
//! | the active segment, from the floor to the start of the last group | refused: a later header proves it | the groups before the cut, and a torn tail is reported |
//! | the last group of a store that was not closed | the groups before it, and a torn tail is reported; refused if the header of a torn write behind it proves it | the groups before it, and a torn tail is reported |
//! | zeros or a torn tail behind the last group | right | right |
//!
//! A closed store has its floor at its end: no byte of it is unproven. What a cut of a crashed store's active segment
//! takes with it cannot be told from a length that was never durable; it is reported, not refused.

use crate::oracle::Contents;
use crate::workload::{STORE, contents_of, options};
use kv_log_engine::Engine;
use kv_log_engine::storage::sim::SimDisk;
use kv_trait::{Error, ErrorKind};
use std::collections::BTreeMap;

/// How the store came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Closed.
    Closed,
    /// The power went after the last acknowledged write.
    PowerCut,
    /// The power went in the middle of one more write, whose first bytes are there.
    Torn,
}

/// A small store with sealed segments, and what may be left of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SmallStore {
    /// The disk it is on.
    pub disk: SimDisk,
    /// How it ended.
    pub end: End,
    /// What it holds.
    pub contents: Contents,
    /// What it held after each write, the empty store first.
    prefixes: Vec<Contents>,
    /// The active segment.
    active: String,
    /// The manifest's floor in it.
    floor: usize,
    /// Where its last group begins, and where it ends.
    last_group: (usize, usize),
}

/// What became of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything is there.
    Right,
    /// A prefix of the writes is there, and the report names a torn tail.
    Torn,
    /// The open was refused; the error names the file.
    Refused,
}

/// How often each verdict was met, by region.
pub type Counts = BTreeMap<(&'static str, Verdict), u64>;

const SEGMENT_BYTES: u64 = 2048;

fn open(disk: &SimDisk) -> Result<Engine, Error> {
    Engine::open(STORE, options(disk, 5, SEGMENT_BYTES))
}

/// Makes a store of some segments.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn small_store(end: End) -> SmallStore {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, SEGMENT_BYTES)).expect("a new store");
    let mut prefixes = vec![Contents::new()];
    let mut last_group = (0, 0);
    let active_end = |store: &Engine| {
        let stats = store.stats();
        let active = stats.segments.iter().find(|segment| segment.active);
        let active = active.expect("one is active");
        let end = usize::try_from(active.bytes).expect("a small store");
        (active.id, end)
    };
    for number in 0..13_u8 {
        let before = active_end(&store);
        let mut contents = prefixes.last().expect("it begins with one").clone();
        let key = vec![b'k', number % 5];
        if number == 6 {
            store.remove(&key).expect("the disk is good");
            contents.remove(&key);
        } else {
            let value = vec![number; 60 + 15 * usize::from(number)];
            store.put(&key, &value).expect("the disk is good");
            contents.insert(key, value);
        }
        prefixes.push(contents);
        let after = active_end(&store);
        let rotated = after.0 != before.0;
        last_group = (if rotated { 80 } else { before.1 }, after.1);
    }
    let names: Vec<String> = disk.files();
    let active = names
        .into_iter()
        .rfind(|name| name.ends_with(".seg"))
        .expect("a store has a segment");
    match end {
        End::Closed => {
            store.close().expect("the disk is good");
            let end = active_end(&store).1;
            last_group = (end, end);
        }
        End::PowerCut => disk.power_cut_losing_all(),
        End::Torn => {
            store.put(b"torn", &[7; 200]).expect("the disk is good");
            disk.power_cut_losing_all();
            // Its second half never arrived.
            let mut file = disk.read_file(&active).expect("it is there");
            file[last_group.1 + 150..].fill(0);
            disk.write_file(&active, &file).expect("it is there");
        }
    }
    drop(store);
    finish(disk, end, prefixes, active, last_group)
}

fn finish(
    disk: SimDisk,
    end: End,
    prefixes: Vec<Contents>,
    active: String,
    last_group: (usize, usize),
) -> SmallStore {
    let contents = prefixes.last().expect("it begins with one").clone();
    // Sealing and creating are the only swaps so far: the floor is the header of the active segment.
    let floor = if end == End::Closed { last_group.1 } else { 80 };
    SmallStore {
        disk,
        end,
        contents,
        prefixes,
        active,
        floor,
        last_group,
    }
}

impl SmallStore {
    /// Region and allowed verdict of a flipped byte.
    fn flipped(&self, file: &str, at: usize) -> (&'static str, Verdict) {
        if file.ends_with("LOCK") {
            ("lock", Verdict::Right)
        } else if file.ends_with("MANIFEST") {
            ("manifest", Verdict::Right)
        } else if file != self.active {
            ("sealed segment", Verdict::Refused)
        } else if at < self.floor {
            ("active segment, below the floor", Verdict::Refused)
        } else if at < self.last_group.0 || self.end == End::Torn && at < self.last_group.1 {
            ("active segment, proven by a later group", Verdict::Refused)
        } else if at < self.last_group.1 {
            ("last group", Verdict::Torn)
        } else {
            ("behind the last group", Verdict::Right)
        }
    }

    /// Region and allowed verdict of a file cut to a length.
    fn cut(&self, file: &str, length: usize) -> (&'static str, Verdict) {
        if file.ends_with("MANIFEST") {
            ("manifest, cut", Verdict::Refused)
        } else if file == self.active && length >= self.floor && length < self.last_group.1 {
            ("active segment of a crashed store, cut", Verdict::Torn)
        } else {
            self.flipped(file, length)
        }
    }

    fn verdict(&self, disk: &SimDisk, file: &str, context: &str) -> Verdict {
        let name = file.rsplit('/').next().unwrap_or(file);
        match open(disk) {
            Err(error) => {
                let refused = matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::UnsupportedFormat
                );
                let message = error.to_string();
                assert!(refused && message.contains(name), "{context}: {error:?}");
                Verdict::Refused
            }
            Ok(store) => {
                let found = contents_of(&store);
                if found == self.contents {
                    return Verdict::Right;
                }
                assert!(
                    self.prefixes.contains(&found),
                    "{context}: opened, and shows what never was"
                );
                assert!(
                    store.recovery_report().torn_tail.is_some(),
                    "{context}: writes were lost without a word"
                );
                Verdict::Torn
            }
        }
    }

    fn try_damaged(
        &self,
        file: &str,
        bytes: &[u8],
        allowed: (&'static str, Verdict),
        context: &str,
        counts: &mut Counts,
    ) {
        let disk = self.disk.fork();
        disk.write_file(file, bytes).expect("the file is there");
        let verdict = self.verdict(&disk, file, context);
        // More than what is allowed to be lost is never lost; less may be.
        let fine = verdict == allowed.1 || allowed.1 == Verdict::Torn && verdict == Verdict::Right;
        assert!(
            fine,
            "{context}, {}: {verdict:?} instead of {:?}",
            allowed.0, allowed.1
        );
        *counts.entry((allowed.0, verdict)).or_default() += 1;
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.disk.files().into_iter();
        // Directories cannot be read.
        names
            .filter_map(|name| Some((name.clone(), self.disk.read_file(&name).ok()?)))
            .collect()
    }

    /// Flips every byte of every file, with each of the patterns.
    ///
    /// # Panics
    /// If the outcome is not the table's. The message names file and offset.
    #[must_use]
    pub fn flip_every_byte(&self, patterns: &[u8]) -> Counts {
        let mut counts = Counts::new();
        for (file, whole) in self.files() {
            for at in 0..whole.len() {
                for pattern in patterns {
                    let mut bytes = whole.clone();
                    bytes[at] ^= pattern;
                    let context = format!("{:?}: {file}, byte {at} ^ {pattern:#x}", self.end);
                    let allowed = self.flipped(&file, at);
                    self.try_damaged(&file, &bytes, allowed, &context, &mut counts);
                }
            }
        }
        counts
    }

    /// Cuts every file to every length.
    ///
    /// # Panics
    /// If the outcome is not the table's. The message names file and length.
    #[must_use]
    pub fn cut_every_length(&self) -> Counts {
        let mut counts = Counts::new();
        for (file, whole) in self.files() {
            for length in 0..whole.len() {
                let context = format!("{:?}: {file}, cut to {length} bytes", self.end);
                let allowed = self.cut(&file, length);
                self.try_damaged(&file, &whole[..length], allowed, &context, &mut counts);
            }
        }
        counts
    }
}
