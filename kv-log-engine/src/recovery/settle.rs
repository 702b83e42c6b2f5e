//! When an open does what it owes the disk: before it serves, or before its first change.

use super::Recovered;
use super::repair::Settlement;
use crate::format::manifest::Edit;
use crate::log::files::SegmentFiles;
use crate::storage::StorageFile;
use crate::store::catalog::{Catalog, EditError};
use crate::store::reserve::Reserve;
use kv_trait::{Error, Result};
use std::sync::Arc;

/// What an open wants the manifest to say: other types, another length of segments.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) edit: Edit,
    /// Writes will rely on it.
    pub(crate) count: bool,
}

/// Makes what was recovered safe to serve. Returns the active segment's file, and what is left to be done before the first
/// change: nothing of it where the store was not closed, all of it where it was.
///
/// After a clean end nothing is written or synced: the mark of the close and both copies of the manifest prove that all
/// that is read is durable, the names that lead to it included. Types that the open adopts (`changes.count`) are no such
/// case: what is written with them must never be read without. `unit_bytes`: what a unit of merges writes, for the reserve.
///
/// # Errors
/// `Io`, `StorageFull`: the open is refused; the next one does the same again.
pub(crate) fn at_open(
    files: &SegmentFiles,
    catalog: &Catalog,
    reserve: &Arc<Reserve>,
    recovered: &mut Recovered,
    changes: Changes,
    unit_bytes: u64,
    must_not_write: Option<&Error>,
) -> Result<(Arc<dyn StorageFile>, Option<Settlement>)> {
    let mut settlement = Settlement::new(files, reserve, recovered, changes.edit, unit_bytes)?;
    let file = Arc::clone(settlement.file());
    if let Some(refusal) = must_not_write {
        recovered.report.read_only = Some(refusal.to_string());
    }
    if recovered.clean && !changes.count {
        return Ok((file, Some(settlement)));
    }
    recovered.report.unsynced_parent = settlement.sync_names(files)?;
    settlement
        .secure(files, must_not_write.is_none())
        .map_err(EditError::into_error)?;
    if let Some(refusal) = must_not_write {
        return if changes.count {
            Err(refusal.clone())
        } else {
            Ok((file, Some(settlement)))
        };
    }
    let finished = settlement.finish(files, catalog);
    recovered.report.torn_tail = settlement.torn_tail().cloned();
    match finished {
        Ok(()) => Ok((file, None)),
        // What was read and what stands in the manifest before it lead to the same records: there is no harm in reading.
        Err(EditError::Nothing(error)) if !changes.count => {
            recovered.report.read_only = Some(error.to_string());
            Ok((file, Some(settlement)))
        }
        Err(error) => Err(error.into_error()),
    }
}
