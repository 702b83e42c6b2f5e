//! Letting files go: by an edit first, and by name when nobody reads them any more.
//!
//! A segment is let go when it lies wholly before the replay start and no run refers to it, both of one and the same state
//! of the manifest, the newest ([`Manifest::releasable`]); a run, in the edit that takes its last key. Behind the edit the
//! files wait here until no view has them, and then their names are removed, one after the other: what the disk holds
//! between is the new state, and files that nothing names, which the next open takes for debris.
//!
//! Nothing is removed while the manifest is in doubt or the store is poisoned: the state before may be the one that the
//! next open finds. A removed name needs no sync: where it comes back it is debris.

use super::erasing::{erased_runs, name_erasures};
use super::ground::Ground;
use crate::fault;
use crate::format::manifest::{Edit, Manifest};
use crate::index::run::named::Run;
use crate::log::files::Segment;
use crate::stats::add;
use kv_trait::Result;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names that one slice removes.
const UNLINKED_AT_ONCE: usize = 16;

/// What was let go, and has a name.
#[derive(Debug)]
enum Buried {
    Run(Arc<Run>),
    Segment(Arc<Segment>),
    /// A file that nobody ever named, and that could not be removed when it was given up.
    Unnamed(PathBuf),
}

impl Buried {
    /// Whether a view may read it. What is here is handed out to nobody: once it is free it stays so.
    fn is_pinned(&self) -> bool {
        match self {
            Self::Run(run) => Run::is_pinned(run),
            Self::Segment(segment) => Arc::strong_count(segment) > 1,
            Self::Unnamed(_) => false,
        }
    }

    /// What it takes on disk, as far as that is known.
    fn bytes(&self) -> u64 {
        match self {
            Self::Run(run) => run.entry().file_bytes,
            Self::Segment(segment) => segment.sealed_bytes(),
            Self::Unnamed(..) => 0,
        }
    }

    /// Its number, if readers may have had it, and its name.
    fn place(&self) -> (Option<u64>, PathBuf) {
        match self {
            Self::Run(run) => (Some(run.id().get()), run.path()),
            Self::Segment(segment) => (Some(segment.id.get()), segment.path()),
            Self::Unnamed(path) => (None, path.clone()),
        }
    }
}

/// The edit that lets runs go of which nothing counts any more, if there are any. Not while merges are under way that know
/// their levels.
///
/// # Errors
/// That of the edit: nothing has changed, or the store is poisoned.
pub(super) fn release_erased(ground: &Ground, graveyard: &mut Graveyard) -> Result<bool> {
    if ground
        .catalog
        .read(|manifest| erased_runs(manifest).is_empty())
    {
        return Ok(false);
    }
    let mut erased = Vec::new();
    let edited = ground.catalog.apply_with(|manifest: &Manifest| {
        erased = erased_runs(manifest);
        let mut edit = Edit::default();
        edit.gone(&erased);
        name_erasures(&mut edit, manifest, &manifest.tables.erasures);
        Some(edit)
    });
    ground.known(edited)?;
    let gone = {
        let levels = ground.layers.levels();
        let gone = levels
            .runs()
            .filter(|live| erased.contains(&live.run.id().get()));
        gone.map(|live| Arc::clone(&live.run)).collect()
    };
    ground.layers.replace(ground.levels_as_named(), Vec::new());
    graveyard.bury_runs(gone);
    Ok(true)
}

/// The edit that lets segments go, if there are any.
///
/// # Errors
/// That of the edit: nothing has changed, or the store is poisoned.
pub(super) fn release(ground: &Ground, graveyard: &mut Graveyard) -> Result<bool> {
    let none = ground
        .catalog
        .read(|manifest| manifest.releasable().is_empty());
    if none {
        return Ok(false);
    }
    let mut released = Vec::new();
    let edited = ground.catalog.apply_with(|manifest: &Manifest| {
        released = manifest.releasable();
        if released.is_empty() {
            return None;
        }
        let ids: Vec<u64> = released.iter().map(|id| id.get()).collect();
        let mut edit = Edit::default();
        edit.gone(&ids);
        Some(edit)
    });
    ground.known(edited)?;
    add(&ground.counters.released, released.len() as u64);
    let segments = ground.layers.release(&released);
    // What the view never had needs no care, and has a file all the same.
    let unseen = released
        .iter()
        .filter(|id| !segments.iter().any(|segment| segment.id == **id));
    unseen.for_each(|id| ground.files.give_up(ground.files.path(*id)));
    let segments = segments.into_iter().map(Buried::Segment);
    graveyard.buried.extend(segments);
    Ok(!released.is_empty())
}

/// Files that are part of the store no more.
#[derive(Debug, Default)]
pub(super) struct Graveyard {
    buried: VecDeque<Buried>,
}

impl Graveyard {
    pub(super) fn bury_runs(&mut self, runs: Vec<Arc<Run>>) {
        self.buried.extend(runs.into_iter().map(Buried::Run));
    }

    pub(super) fn len(&self) -> usize {
        self.buried.len()
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.buried.iter().map(Buried::bytes).sum()
    }

    /// Bytes of files that only views keep.
    pub(super) fn pinned_bytes(&self) -> u64 {
        let pinned = self.buried.iter().filter(|buried| buried.is_pinned());
        pinned.map(Buried::bytes).sum()
    }

    /// Removes some names of files that no view has. Returns how many; 0: none that is free is left.
    ///
    /// # Errors
    /// One could not be removed, and is tried again later, behind the others.
    pub(super) fn unlink(&mut self, ground: &Ground) -> Result<usize> {
        let given_up = ground.files.take_given_up().into_iter();
        self.buried.extend(given_up.map(Buried::Unnamed));
        let mut unlinked = 0;
        for _ in 0..self.buried.len() {
            let Some(next) = self.buried.pop_front() else {
                break;
            };
            if next.is_pinned() && !planted!(ViewNotPinned) {
                self.buried.push_back(next);
                continue;
            }
            let (id, path) = next.place();
            if let Err(source) = remove(ground, id, &path) {
                self.buried.push_back(next);
                return Err(fault::io("remove", &path, source));
            }
            add(&ground.counters.unlinked, 1);
            unlinked += 1;
            if unlinked == UNLINKED_AT_ONCE {
                break;
            }
        }
        Ok(unlinked)
    }
}

fn remove(ground: &Ground, id: Option<u64>, path: &Path) -> io::Result<()> {
    if let Some(id) = id.filter(|_| !planted!(DescriptorKept)) {
        ground.files.forget(id);
    }
    match ground.files.storage().remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
