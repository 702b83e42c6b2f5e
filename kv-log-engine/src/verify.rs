//! Verifying a store without changing it: OPEN 1 to 6, then every live record read once more, then nothing.
//!
//! LOCK is no part of what is verified: it gets the name of this process, so that nobody is told of an owner who left
//! long ago, and if it cannot be written the store is verified all the same.

use crate::index::Published;
use crate::open;
use crate::options::{Create, Options};
use crate::recovery::{RecoveryReport, TornTail};
use kv_trait::{Error, ErrorKind, Result};
use std::ops::Bound;
use std::path::Path;

/// What [`verify`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Live segments read.
    pub segments: u64,
    /// Batches read.
    pub frames: u64,
    /// Records read, replaced ones and tombstones included.
    pub records: u64,
    /// Keys that hold a value.
    pub live_keys: u64,
    /// The never-acknowledged end of the active segment, if there is one: no damage. The next open cuts it.
    pub torn_tail: Option<TornTail>,
    /// Names in the directory that are not the store's.
    pub foreign: Vec<String>,
    /// Files that nothing refers to any more: no damage. The next open deletes them.
    pub debris: Vec<String>,
    /// Damage, each with file, offset and cause.
    pub problems: Vec<Error>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn of(report: RecoveryReport) -> Self {
        Self {
            segments: report.segments,
            frames: report.frames,
            records: report.records,
            live_keys: report.live_keys,
            torn_tail: report.torn_tail,
            foreign: report.foreign,
            debris: report.debris,
            problems: report
                .damaged_manifest_copy
                .map(|what| Error::new(ErrorKind::Corrupt, format!("MANIFEST: {what}")))
                .into_iter()
                .collect(),
        }
    }
}

/// Reads and verifies everything that the store at `path` names. Takes the store's lock and says so in `LOCK`; changes
/// nothing else. Blocks.
///
/// Needs no permission to write, except where LOCK is missing. Damage is part of the report; only what keeps the store from being read at all is an error.
///
/// # Errors
/// `NotFound`, `Locked`, `Io`, `UnsupportedFormat`.
pub fn verify(path: impl AsRef<Path>, options: Options) -> Result<VerifyReport> {
    let options = options.create(Create::Never);
    let opened = match open::open(path.as_ref(), &options, false) {
        Ok(opened) => opened,
        Err(damage) if damage.kind() == ErrorKind::Corrupt => {
            return Ok(VerifyReport {
                problems: vec![damage],
                ..VerifyReport::default()
            });
        }
        Err(error) => return Err(error),
    };
    let recovered = opened.recovered;
    let mut report = VerifyReport::of(recovered.report);
    let published = Published::new(recovered.tree, recovered.segments, recovered.live_bytes);
    let view = published.view();
    for (key, entry) in view.range(Bound::Unbounded, Bound::Unbounded) {
        match view.segment(&entry).read_value(&entry, &key) {
            Err(damage) if damage.kind() == ErrorKind::Corrupt => report.problems.push(damage),
            read => drop(read?),
        }
    }
    Ok(report)
}
