//! The machine: what it is, and what it did meanwhile. Linux says all of it; elsewhere the answers are `None`.

use crate::store::Outcome;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A tick of /proc's clocks, on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;
/// st_blocks counts these.
const BLOCK_BYTES: u64 = 512;

/// Counters of the machine and of this process, to take differences of.
#[derive(Debug)]
pub(crate) struct Meter {
    begin: Instant,
    ticks: Option<(f64, f64)>,
    flushes: Option<u64>,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Processors that others kept busy.
    pub(crate) cpu_other: Option<f64>,
    /// Processors that this process kept busy.
    pub(crate) cpu_own: Option<f64>,
    /// Flush requests to the directory's device, everybody's.
    pub(crate) flushes: Option<u64>,
}

impl Meter {
    pub(crate) fn start(directory: &Path) -> Self {
        Self {
            begin: Instant::now(),
            ticks: ticks(),
            flushes: flushes(directory),
        }
    }

    pub(crate) fn read(&self, directory: &Path) -> Reading {
        let seconds = self.begin.elapsed().as_secs_f64();
        let busy = self
            .ticks
            .zip(ticks())
            .map(|((all, own), (all_now, own_now))| {
                let own = (own_now - own) / TICKS_A_SECOND / seconds;
                let all = (all_now - all) / TICKS_A_SECOND / seconds;
                (own, (all - own).max(0.0))
            });
        let flushes = self.flushes.zip(flushes(directory));
        Reading {
            cpu_own: busy.map(|(own, _)| own),
            cpu_other: busy.map(|(_, other)| other),
            flushes: flushes.map(|(before, now)| now.saturating_sub(before)),
        }
    }
}

/// Ticks that all processes together, and this one, have used.
fn ticks() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let own = fs::read_to_string("/proc/self/stat").ok()?;
    Some((busy_ticks(&stat)?, own_ticks(&own)?))
}

/// user, nice, system, irq, softirq of the line `cpu`; not idle, iowait or what was stolen.
fn busy_ticks(stat: &str) -> Option<f64> {
    let fields: Vec<f64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6];
    busy.iter().map(|at| fields.get(*at)).sum()
}

/// utime and stime, the 14th and 15th field; the second may hold spaces, but ends with the last parenthesis.
fn own_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Flush requests that the device below a directory has completed.
fn flushes(directory: &Path) -> Option<u64> {
    device_field(directory, FLUSHES)
}

/// Bytes that the device below a directory was given to write: everybody's, the file system's journal included.
pub(crate) fn device_written_bytes(directory: &Path) -> Option<u64> {
    Some(device_field(directory, SECTORS_WRITTEN)? * BLOCK_BYTES)
}

/// Fields of a device's line, from 0; partitions do not count flushes.
const SECTORS_WRITTEN: usize = 9;
const FLUSHES: usize = 18;

fn device_field(directory: &Path, field: usize) -> Option<u64> {
    let device = fs::metadata(directory).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let diskstats = fs::read_to_string("/proc/diskstats").ok()?;
    field_of(&diskstats, major, minor, field)
}

fn field_of(diskstats: &str, major: u32, minor: u32, field: usize) -> Option<u64> {
    let numbers = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let this = fields.first()?.parse() == Ok(major) && fields.get(1)?.parse() == Ok(minor);
        this.then(|| fields.get(field)?.parse().ok()).flatten()
    };
    diskstats.lines().find_map(numbers)
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What no file stands behind.
    pub(crate) anonymous: u64,
    /// All that is resident, maps of files included.
    pub(crate) resident: u64,
}

impl Memory {
    pub(crate) fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let kib = |name| field(&status, name);
        Some(Self {
            anonymous: kib("RssAnon:")? * 1024,
            resident: kib("VmRSS:")? * 1024,
        })
    }
}

/// What this process has read and written, as the kernel counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// Calls that read from files.
    pub(crate) read_calls: u64,
    /// Bytes that those calls returned.
    pub(crate) read_bytes: u64,
    /// Bytes that had to come from a device.
    pub(crate) device_read_bytes: u64,
    /// Bytes given to calls that write. Not the kernel's `write_bytes`: where the page cache keeps large folios, that
    /// counts a whole folio for each page of it that becomes dirty, which was 380 times what random writes of 4 KiB wrote.
    pub(crate) written_bytes: u64,
}

impl Traffic {
    pub(crate) fn now() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/self/io").ok()?)
    }

    fn of(io: &str) -> Option<Self> {
        Some(Self {
            read_calls: field(io, "syscr:")?,
            read_bytes: field(io, "rchar:")?,
            device_read_bytes: field(io, "read_bytes:")?,
            written_bytes: field(io, "wchar:")?,
        })
    }

    /// From an earlier reading to this one.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            read_calls: self.read_calls.saturating_sub(before.read_calls),
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            device_read_bytes: self
                .device_read_bytes
                .saturating_sub(before.device_read_bytes),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The device blocks of all files below a directory, in bytes.
pub(crate) fn disk_bytes(directory: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for_each_file(directory, &mut |path| {
        bytes += fs::metadata(path)?.blocks() * BLOCK_BYTES;
        Ok(())
    })?;
    Ok(bytes)
}

/// Drops what the page cache has of all files below a directory, as far as it is written.
pub(crate) fn forget_pages(directory: &Path) -> Outcome {
    for_each_file(directory, &mut |path| {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    })
}

/// Drops the machine's whole page cache, with directories and inodes, where this process may.
pub(crate) fn drop_caches() -> Outcome {
    let path = "/proc/sys/vm/drop_caches";
    fs::write(path, "3").map_err(|source| format!("cannot write {path}: {source}").into())
}

/// A store that is open makes files and removes them meanwhile: what is gone when its turn comes is left out.
fn for_each_file(directory: &Path, work: &mut dyn FnMut(&Path) -> io::Result<()>) -> Outcome {
    for entry in present(fs::read_dir(directory))?.into_iter().flatten() {
        let entry = entry?;
        let is_directory = present(entry.file_type())?.is_some_and(|kind| kind.is_dir());
        if is_directory {
            for_each_file(&entry.path(), work)?;
        } else {
            present(work(&entry.path()))?;
        }
    }
    Ok(())
}

fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The type of the file system that holds a directory: `ext4`, `tmpfs`.
pub(crate) fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    file_system_of(&mounts, &directory)
}

/// The last of the longest mount points that lead to the directory.
fn file_system_of(mounts: &str, directory: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let kind = kind.split(' ').next()?;
        directory
            .starts_with(point)
            .then(|| (point.len(), kind.to_owned()))
    });
    let longest = mounts.max_by_key(|(length, _)| *length);
    longest.map(|(_, kind)| kind)
}

/// Whether a sync on this file system reaches no device.
pub(crate) fn is_memory(file_system: &str) -> bool {
    matches!(file_system, "tmpfs" | "ramfs" | "devtmpfs")
}

/// The processor's name and how many of them this process may use.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    format!("{} x {name}", processors())
}

/// How many processors this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The kernel's name and version, without what tells the machine.
pub(crate) fn kernel() -> String {
    let read = |name| fs::read_to_string(name).unwrap_or_default();
    let kind = read("/proc/sys/kernel/ostype");
    let release = read("/proc/sys/kernel/osrelease");
    let version = release.trim().split('-').next().unwrap_or_default();
    format!("{} {version}", kind.trim())
}

/// Today, in UTC.
pub(crate) fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    date(since.map_or(0, |since| since.as_secs() / 86_400))
}

/// The date this many days after 1970-01-01: years are counted from March, so that leap days come last.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_the_right_device_are_read() {
        let stats = "   7 0 loop0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n \
                     254 0 vda 1 2 3 4 5 6 77 8 9 10 11 12 13 14 15 4711 17\n";
        assert_eq!(field_of(stats, 254, 0, FLUSHES), Some(4711));
        assert_eq!(field_of(stats, 254, 0, SECTORS_WRITTEN), Some(77));
        assert_eq!(field_of(stats, 8, 0, FLUSHES), None);
    }

    #[test]
    fn reads_of_files_and_of_the_device_are_told_apart() {
        let io = "rchar: 5000\nwchar: 300\nsyscr: 7\nsyscw: 2\nread_bytes: 4096\nwrite_bytes: 8192\n\
                  cancelled_write_bytes: 3\n";
        let traffic = Traffic::of(io).unwrap();
        let numbers = (traffic.read_calls, traffic.read_bytes);
        assert_eq!(numbers, (7, 5000));
        let numbers = (traffic.device_read_bytes, traffic.written_bytes);
        assert_eq!(numbers, (4096, 300));
        assert_eq!(traffic.since(traffic).written_bytes, 0);
        assert!(Traffic::of("rchar: 5000\n").is_none());
    }

    #[test]
    fn a_file_that_is_gone_takes_no_space() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        fs::write(&one, [1; 5000]).unwrap();
        fs::write(&other, [1; 5000]).unwrap();
        let all = disk_bytes(directory.path()).unwrap();
        let mut seen = 0;
        for_each_file(directory.path(), &mut |path| {
            for gone in [&one, &other].into_iter().filter(|file| *file != path) {
                fs::remove_file(gone)?; // the second time it is missing
            }
            seen += 1;
            fs::metadata(path).map(drop)
        })
        .unwrap();
        assert!(seen > 0);
        assert!(disk_bytes(directory.path()).unwrap() < all);
        assert_eq!(disk_bytes(&directory.path().join("never")).unwrap(), 0);
    }

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 2000 8 16 5 0 0\n"), Some(31.0));
    }

    #[test]
    fn a_process_may_have_a_strange_name() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 70 30 1 1";
        assert_eq!(own_ticks(stat), Some(100.0));
    }

    #[test]
    fn the_nearest_mount_point_decides() {
        let mounts = "21 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
                      30 21 0:20 / /tmp rw shared:2 - tmpfs tmpfs rw\n";
        let kind = |path| file_system_of(mounts, Path::new(path));
        assert_eq!(kind("/home/x").as_deref(), Some("ext4"));
        assert_eq!(kind("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/tmpx").as_deref(), Some("ext4"));
        assert!(is_memory("tmpfs") && !is_memory("ext4"));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let dates = [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_782, "2026-11-25"),
        ];
        for (days, right) in dates {
            assert_eq!(date(days), right);
        }
    }
}
