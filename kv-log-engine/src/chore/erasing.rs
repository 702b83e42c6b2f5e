//! What is erased, as far as runs are concerned: which of them nothing is left of, which of them keep an erasure in the
//! table, and which erasures go with an edit.
//!
//! Every run says up to which seqno it was written without what is erased. So an erasure is needed as long as a run is older
//! than that, has entries that are old enough, and may have keys of its range; whatever else is in that run. A run that is
//! written anew, by whatever merge, needs none of those before it.

use super::policy::{Reason, Shape, Unit};
use crate::format::erasures::Erasures;
use crate::format::manifest::{Edit, Manifest, RunEntry};
use std::collections::BTreeSet;

/// Lets an edit say what is erased behind it: of these erasures, those that its runs leave anything to do.
pub(super) fn name_erasures(edit: &mut Edit, manifest: &Manifest, erasures: &Erasures) {
    if erasures.is_empty() && manifest.tables.erasures.is_empty() {
        return;
    }
    let mut after = manifest.clone();
    if after.apply(manifest.edit.next(), edit.content()).is_err() {
        // The catalog refuses it.
        return;
    }
    let covered = after.checkpoint.map(|checkpoint| checkpoint.seqno);
    let runs = after.runs.iter().map(RunEntry::covered);
    let left = match erasures.retired(covered.unwrap_or_default(), runs) {
        None => erasures.clone(),
        Some(retired) => erasures.without(&retired),
    };
    if left != manifest.tables.erasures {
        edit.erasures(&left);
    }
}

/// The runs of which nothing counts any more.
pub(super) fn erased_runs(manifest: &Manifest) -> Vec<u64> {
    let erasures = &manifest.tables.erasures;
    let runs = manifest.runs.iter();
    let erased = runs.filter(|run| {
        !erasures.is_empty() && erasures.cover_all(&run.from, run.to.as_deref(), run.highest)
    });
    erased.map(|run| run.id.get()).collect()
}

/// A unit that writes one run anew, without what is erased of it, so that erasures can go.
pub(super) fn unit(manifest: &Manifest, shape: &Shape) -> Option<Unit> {
    let erasures = &manifest.tables.erasures;
    let run = manifest
        .runs
        .iter()
        .find(|run| erasures.touch(&run.covered()))?;
    let level = shape
        .levels
        .iter()
        .position(|level| level.id == run.level)?;
    Some(Unit {
        newest: level,
        oldest: level,
        bottom: level + 1 == shape.levels.len(),
        from: run.from.clone(),
        to: run.to.clone(),
        victims: BTreeSet::new(),
        reason: Reason::Space,
    })
}
