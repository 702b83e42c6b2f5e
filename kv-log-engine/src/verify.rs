//! Verifying a store without changing it: everything that an open reads, then every live record once more, and all runs
//! with the values that they refer to.
//!
//! An open stops at the first damage, because it may not serve what is behind it. Here the rest is read all the same
//! ([`survey`]), so that whoever has to restore a store knows everything that is lost.
//!
//! LOCK is no part of what is verified: it gets the name of this process, so that nobody is told of an owner who left
//! long ago, and if it cannot be written the store is verified all the same.

mod damage;
mod report;
mod runs;
mod survey;
#[cfg(test)]
mod tests;

pub use damage::Damage;
pub use report::VerifyReport;

use crate::fault;
use crate::format::ids::Entry;
use crate::format::run::block::Held;
use crate::open::{self, Located};
use crate::options::{Create, Options};
use crate::recovery::Recovered;
use crate::store::layout::MANIFEST;
use damage::Damages;
use kv_trait::{Error, ErrorKind, Result};
use std::path::Path;

/// Reads and verifies everything that the store at `path` names. Takes the store's lock and says so in `LOCK`; changes
/// nothing else. Blocks.
///
/// Needs no permission to write, except where LOCK is missing. Damage is part of the report, all of it: only what keeps the
/// store from being read at all is an error.
///
/// # Errors
/// `NotFound`, `Locked`, `Io`, `UnsupportedFormat`.
pub fn verify(path: impl AsRef<Path>, options: Options) -> Result<VerifyReport> {
    let options = options.create(Create::Never);
    let located = match open::locate(path.as_ref(), &options, false) {
        Err(lost) if lost.kind() == ErrorKind::Corrupt => {
            let directory = open::absolute(path.as_ref())?;
            let mut damages = Damages::default();
            damages.push(Damage::of(&directory.join(MANIFEST), 0, None, lost));
            return Ok(VerifyReport::default().with(damages));
        }
        located => located?,
    };
    // All values are left where they are, so that each is read once more.
    match open::read(&located, &options, 0) {
        Ok((recovered, ..)) => verify_recovered(&located, recovered),
        Err(first) if first.kind() == ErrorKind::Corrupt => survey::survey(&located, first),
        Err(error) => Err(error),
    }
}

/// Nothing keeps the store from being opened: what can still be wrong is a copy of the manifest, or a record that has gone
/// bad meanwhile.
fn verify_recovered(located: &Located, recovered: Recovered) -> Result<VerifyReport> {
    let mut damages = Damages::default();
    if let Some(what) = &recovered.report.damaged_manifest_copy {
        // It begins with the name of the copy.
        let name = what.split(':').next().unwrap_or(MANIFEST);
        let path = located.files.directory().join(name);
        let cause = Error::new(ErrorKind::Corrupt, what.clone());
        damages.push(Damage::of(&path, 0, None, cause));
    }
    let erasures = &recovered.tables.erasures;
    let mut records = recovered.memtable.all();
    while let Some(record) = records.next_entry() {
        let Held::Separated(location) = record.version.held else {
            continue;
        };
        if erasures.covers(&record.key, record.version.seqno) {
            continue;
        }
        let entry = Entry {
            location,
            seqno: record.version.seqno,
        };
        let segment = recovered.segments.get(&location.segment).ok_or_else(|| {
            let what = format!(
                "a record lies in segment {}, which is not there",
                location.segment
            );
            fault::corrupt(located.files.directory(), what)
        })?;
        match segment.read_value(&entry, &record.key) {
            Err(cause) if cause.kind() == ErrorKind::Corrupt => {
                let start = entry.location.offset;
                let end = start + u64::from(entry.location.record_bytes);
                let mut damage = Damage::of(&segment.path(), start, Some(end), cause);
                damage.records = 1;
                let at = damages.push(damage);
                damages.put_at_risk(at, &record.key, entry.seqno);
            }
            read => drop(read?),
        }
    }
    let mut report = VerifyReport::of(recovered.report);
    let (manifest, memtable) = (&recovered.manifest, &recovered.memtable);
    let is_newer = |full_key: &[u8]| memtable.get(full_key).is_some();
    runs::verify_named(
        &located.files,
        (manifest, erasures),
        &is_newer,
        &mut damages,
        &mut report,
    )?;
    Ok(report.with(damages))
}
