//! Files that chores make: their names, and the runs that are written into them.
//!
//! An id is below the durable bound of ids before its file gets a byte, and a file is given up whose name a directory sync
//! that failed may have missed, whoever made that sync: a later one that says `Ok` decides nothing about it.

use super::bounds;
use super::ground::Ground;
use crate::format::Salt;
use crate::format::ids::{EditNumber, LevelId, SegmentId};
use crate::format::manifest::RunEntry;
use crate::format::run::RunId;
use crate::format::run::block::Version;
use crate::format::run::header::RunHeader;
use crate::index::run::writer::RunWriter;
use crate::index::source::Shared;
use crate::log::names::NameEpoch;
use kv_trait::{Error, ErrorKind, Result};
use std::io;
use std::path::PathBuf;

/// Names that are in the way of a new file, and are not ours, before it is given up.
const FOREIGN_NAMES_MAX: u64 = 64;

/// The files of one checkpoint or unit that nobody has named yet.
#[derive(Debug, Default)]
pub(super) struct NewFiles {
    made: Vec<(SegmentId, PathBuf)>,
    /// From before the first of them was made.
    epoch: Option<NameEpoch>,
}

impl NewFiles {
    /// What a new file is called; from here on it is given up if the work is.
    fn note(&mut self, ground: &Ground, id: SegmentId, path: PathBuf) {
        self.epoch.get_or_insert_with(|| ground.files.name_epoch());
        self.made.push((id, path));
    }

    /// One of them is not needed.
    pub(super) fn discard(&mut self, ground: &Ground, id: SegmentId) {
        let discarded = self.made.extract_if(.., |(made, _)| *made == id);
        discarded.for_each(|(id, path)| remove(ground, id, path));
    }

    /// Makes all names durable.
    ///
    /// # Errors
    /// They are not, and no later sync says whether they are: the files are to be given up.
    pub(super) fn sync_names(&self, ground: &Ground) -> Result<()> {
        if planted!(RunNameNotSynced) {
            return Ok(());
        }
        match self.epoch {
            Some(epoch) if !self.made.is_empty() => ground.files.sync_names(epoch),
            _ => Ok(()),
        }
    }

    /// The manifest names them now.
    pub(super) fn named(&mut self) {
        self.made.clear();
    }

    /// Removes them, unless the manifest may name them: in doubt they stay.
    pub(super) fn give_up(&mut self, ground: &Ground) {
        let made = std::mem::take(&mut self.made);
        self.epoch = None;
        if ground.is_poisoned() && !planted!(GivenUpInDoubt) {
            return;
        }
        for (id, path) in made {
            remove(ground, id, path);
        }
    }
}

/// Removes a file that nothing names; where that fails, whoever unlinks tries it again.
fn remove(ground: &Ground, id: SegmentId, path: PathBuf) {
    ground.files.forget(id.get());
    match ground.files.storage().remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_later) => ground.files.give_up(path),
    }
}

/// What the header of a new file says.
pub(super) struct Identity {
    pub(super) id: SegmentId,
    pub(super) salt: Salt,
    /// The newest edit that was durable before.
    pub(super) edit: EditNumber,
}

/// An id that no file ever had, and a salt that nobody can guess.
pub(super) fn identity(ground: &Ground) -> Result<Identity> {
    let id = ground.known(ground.catalog.allocate())?;
    let random = ground.host.random().map_err(|source| {
        Error::new(ErrorKind::Io, "cannot get random bits").with_source(source)
    })?;
    Ok(Identity {
        id,
        salt: Salt(random),
        edit: ground.catalog.last_edit(),
    })
}

/// Makes a file with `make`, under another id where the name is taken.
pub(super) fn make<T>(
    ground: &Ground,
    files: &mut NewFiles,
    path: impl Fn(SegmentId) -> PathBuf,
    mut make: impl FnMut(&Identity) -> Result<T>,
) -> Result<(Identity, T)> {
    let mut tries = 0;
    loop {
        let identity = identity(ground)?;
        files.note(ground, identity.id, path(identity.id));
        match make(&identity) {
            Ok(made) => return Ok((identity, made)),
            Err(error) if is_taken(&error) && tries < FOREIGN_NAMES_MAX => {
                // Somebody else's file: not ours to remove.
                files.made.pop();
                tries += 1;
            }
            Err(error) => {
                if is_taken(&error) {
                    files.made.pop();
                }
                return Err(error);
            }
        }
    }
}

fn is_taken(error: &Error) -> bool {
    use std::error::Error as _;
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(|source: &io::Error| source.kind() == io::ErrorKind::AlreadyExists)
}

/// A run that is being written, of the keys from `from` on.
#[derive(Debug)]
pub(super) struct RunOutput {
    header: RunHeader,
    from: Vec<u8>,
    pub(super) writer: RunWriter,
}

impl RunOutput {
    /// Makes its file; the header is synced.
    pub(super) fn begin(ground: &Ground, files: &mut NewFiles, from: Vec<u8>) -> Result<Self> {
        let (store_id, incarnation) = ground
            .catalog
            .read(|manifest| (manifest.store_id, manifest.incarnation));
        let path = |id: SegmentId| ground.files.run_path(RunId::new(id.get()));
        let (_, (header, writer)) = make(ground, files, path, |identity| {
            let header = RunHeader {
                store_id,
                incarnation,
                salt: identity.salt,
                id: RunId::new(identity.id.get()),
                edit: identity.edit,
            };
            let writer = RunWriter::begin(&ground.files, header, ground.tuning.layout)?;
            Ok((header, writer))
        })?;
        Ok(Self {
            header,
            from,
            writer,
        })
    }

    pub(super) fn id(&self) -> SegmentId {
        SegmentId::new(self.header.id.get())
    }

    /// Finishes and syncs it, of the keys below `to`. What the manifest is to say of it; without a level it is one of its
    /// own.
    pub(super) fn finish(self, to: Option<&[u8]>, level: Option<LevelId>) -> Result<RunEntry> {
        let written = self.writer.finish()?;
        let facts = &written.facts;
        let smallest = bounds::at_or_below(&facts.smallest);
        let from = smallest.max(&self.from).to_vec();
        let to = bounds::lower(bounds::above(&facts.largest), to);
        let level = level.unwrap_or_else(|| LevelId(self.header.id.get()));
        Ok(written.entry(&self.header, level, from, to))
    }
}

/// The same version, its value borrowed.
pub(super) fn borrowed(version: &Version<Shared>) -> Version<&[u8]> {
    version.as_ref().map(|value| &**value)
}
