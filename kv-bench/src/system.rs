//! The machine: what it is, and what it did meanwhile. Linux says all of it; elsewhere the answers are `None`.

use crate::store::Outcome;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
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
    let device = fs::metadata(directory).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    flush_count(&fs::read_to_string("/proc/diskstats").ok()?, major, minor)
}

/// The 18th field of the device's line; partitions do not count flushes.
fn flush_count(diskstats: &str, major: u32, minor: u32) -> Option<u64> {
    let numbers = |line: &str| {
        let fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let this = fields.first()?.parse() == Ok(major) && fields.get(1)?.parse() == Ok(minor);
        this.then(|| fields.get(18)?.parse().ok()).flatten()
    };
    diskstats.lines().find_map(numbers)
}

/// Memory of this process that no file stands behind, in bytes.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
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

fn for_each_file(directory: &Path, work: &mut dyn FnMut(&Path) -> Outcome) -> Outcome {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            for_each_file(&entry.path(), work)?;
        } else {
            work(&entry.path())?;
        }
    }
    Ok(())
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
    fn the_flushes_of_the_right_device_are_read() {
        let stats = "   7 0 loop0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n \
                     254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 4711 17\n";
        assert_eq!(flush_count(stats, 254, 0), Some(4711));
        assert_eq!(flush_count(stats, 8, 0), None);
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
