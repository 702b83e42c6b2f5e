//! The catalog: the only writer of the manifest.
//!
//! It holds what the manifest says, makes each change durable in both copies before it counts, and gives out the ids of
//! files. Everybody who changes which files make up the store comes here with an [`Edit`]: the leader of the moment, who
//! rotates, and whoever runs a slice of a chore, at the same time. What an edit is for, the catalog does not know. Its
//! mutex is taken alone and held across the syncs of an edit: readers and submitters never take it.
//!
//! An edit that depends on what the manifest says is made from the newest state, under the mutex. What no reader would
//! take, an edit that makes no sense or a state that no image can hold, is refused and not written.
//!
//! A failure leaves the manifest as it was, provably, or in doubt. In doubt either version may be the one that the next
//! open finds: nothing more is changed, and no file of either version may be removed.

use crate::fault;
use crate::format::edit::{self, ENTRY_CONTENT_BYTES_MAX, EntryKind};
use crate::format::ids::{EditNumber, SegmentId};
use crate::format::manifest::{Edit, Manifest};
use crate::storage::{Directory, OpenMode, Storage, StorageFile, exact};
use crate::store::layout::{COPIES, COPIES_NEW};
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Edits are written into room that is zeroed ahead in steps of this, so that most of them take no new block.
pub(crate) const MANIFEST_ROOM_BYTES: u64 = 4 * 1024;
/// Edits behind an image before a new generation begins: as many bytes as the image has, and at least these.
pub(crate) const MANIFEST_EDITS_BYTES_MIN: u64 = 64 * 1024;

/// How far an edit of its own raises the bound of ids: a rotation that fails again and again must not write one each time.
const IDS_RAISED: u64 = 8;

/// What a change of the manifest that failed has left.
#[derive(Debug)]
pub(crate) enum EditError {
    /// The manifest is what it was, and durably so.
    Nothing(Error),
    /// Either version may be the durable one. The store must be poisoned, and no file of either be removed.
    InDoubt(Error),
}

impl EditError {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Nothing(error) | Self::InDoubt(error) => error,
        }
    }

    /// Nothing happened because the disk is full: it may be tried again where there is room.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Nothing(error) if error.kind() == ErrorKind::StorageFull)
    }
}

type Edited<T> = std::result::Result<T, EditError>;

/// The manifest of an open store.
#[derive(Debug)]
pub(crate) struct Catalog {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    /// Alone in the lock order: nothing else is taken under it.
    state: Mutex<State>,
    /// Bytes of edits and images, in both copies.
    written: AtomicU64,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    /// The generation that this process has begun; none before its first change.
    generation: Option<Generation>,
    /// The id that the next file gets.
    next_id: SegmentId,
    /// Why the manifest is in doubt.
    doubt: Option<Error>,
}

/// Two files that hold the same bytes, and the directory that names them: open, so that no change needs another
/// descriptor once it has begun.
#[derive(Debug)]
struct Generation {
    files: [Arc<dyn StorageFile>; 2],
    directory: Arc<dyn Directory>,
    /// Where the next edit goes.
    end: u64,
    /// The check of the entry that ends there.
    chain: u64,
    /// Zeroed up to here.
    zeroed: u64,
    /// A new generation is due when `end` passes this.
    renew_at: u64,
}

impl Catalog {
    /// The catalog of a store whose manifest was read. `next_id` is above every file that was found.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        directory: PathBuf,
        manifest: Manifest,
        next_id: SegmentId,
    ) -> Self {
        let next_id = next_id.max(manifest.next_file_id);
        Self {
            storage,
            directory,
            state: Mutex::new(State {
                manifest,
                generation: None,
                next_id,
                doubt: None,
            }),
            written: AtomicU64::new(0),
        }
    }

    /// What the manifest says now.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Manifest) -> T) -> T {
        look(&lock(&self.state).manifest)
    }

    /// Bytes that were written to both copies since the open.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The newest durable edit.
    pub(crate) fn last_edit(&self) -> EditNumber {
        self.read(|manifest| manifest.edit)
    }

    /// What both copies take on disk, about: those of the process before, until this one has made its own.
    pub(crate) fn file_bytes(&self) -> u64 {
        let state = lock(&self.state);
        let copy = match &state.generation {
            Some(generation) => generation.zeroed,
            None => state.manifest.image_bytes_max(),
        };
        2 * copy
    }

    /// Begins a new generation of both copies: an image of the state after `edit`. Everything an open without proof of a
    /// clean end owes the manifest. Blocks.
    ///
    /// # Errors
    /// See [`EditError`].
    pub(crate) fn begin(&self, edit: &Edit) -> Edited<()> {
        let mut state = lock(&self.state);
        state.refuse_in_doubt()?;
        let next = state.after(edit)?;
        self.renew(&mut state, &next)?;
        state.manifest = next;
        Ok(())
    }

    /// Why the manifest is in doubt, if it is: no file of either version may be removed then, and nothing be changed.
    #[cfg(test)]
    pub(crate) fn doubt(&self) -> Option<Error> {
        lock(&self.state).doubt.clone()
    }

    /// Makes a change durable in both copies. Blocks.
    ///
    /// # Errors
    /// See [`EditError`].
    pub(crate) fn apply(&self, edit: &Edit) -> Edited<()> {
        self.change(&mut lock(&self.state), edit)
    }

    /// Makes a change that follows from the state: no other edit comes between what `make` sees and what it asks for.
    /// It takes no lock, and asks the catalog nothing. Whether there was a change. Blocks.
    ///
    /// # Errors
    /// See [`EditError`].
    pub(crate) fn apply_with(&self, make: impl FnOnce(&Manifest) -> Option<Edit>) -> Edited<bool> {
        let mut state = lock(&self.state);
        match make(&state.manifest) {
            Some(edit) => self.change(&mut state, &edit).map(|()| true),
            None => Ok(false),
        }
    }

    fn change(&self, state: &mut State, edit: &Edit) -> Edited<()> {
        state.refuse_in_doubt()?;
        let next = state.after(edit)?;
        let due = match &state.generation {
            None => true,
            Some(generation) => generation.end > generation.renew_at,
        };
        if due {
            match self.renew(state, &next) {
                // A full disk is no reason to stop where there is room in the files that are there.
                Err(EditError::Nothing(_)) if state.generation.is_some() => {}
                renewed => {
                    renewed?;
                    state.manifest = next;
                    return Ok(());
                }
            }
        }
        let State {
            generation: Some(generation),
            doubt,
            ..
        } = &mut *state
        else {
            let error = Error::new(ErrorKind::Io, "the manifest has no generation to change");
            return Err(EditError::Nothing(error));
        };
        let before = generation.end;
        let appended = generation.append(&self.directory, next.edit, edit.content());
        remember(doubt, appended)?;
        let bytes = COPIES.len() as u64 * (generation.end - before);
        self.written.fetch_add(bytes, Ordering::Relaxed);
        state.manifest = next;
        Ok(())
    }

    fn renew(&self, state: &mut State, next: &Manifest) -> Edited<()> {
        let written = write_generation(&*self.storage, &self.directory, next);
        let generation = remember(&mut state.doubt, written)?;
        let bytes = COPIES.len() as u64 * generation.end;
        self.written.fetch_add(bytes, Ordering::Relaxed);
        state.generation = Some(generation);
        Ok(())
    }

    /// An id that no file of the store ever had, and below the durable bound of ids. Blocks where that has to be raised.
    ///
    /// # Errors
    /// See [`EditError`]: that of raising the bound.
    pub(crate) fn allocate(&self) -> Edited<SegmentId> {
        let mut state = lock(&self.state);
        let id = state.next_id;
        state.next_id = id.next();
        if id < state.manifest.next_file_id || planted!(IdsNotRaised) {
            return Ok(id);
        }
        let mut edit = Edit::default();
        edit.counters(state.manifest.next_seqno, id.plus(IDS_RAISED));
        self.change(&mut state, &edit).map(|()| id)
    }

    /// The bound of ids that an edit should raise: one above all that were given out, so that the next file needs no edit
    /// of its own.
    pub(crate) fn raised_file_id(&self) -> SegmentId {
        let state = lock(&self.state);
        if planted!(IdsNotRaised) {
            return state.next_id.max(state.manifest.next_file_id);
        }
        state.next_id.next().max(state.manifest.next_file_id)
    }
}

/// Notes a doubt, for whoever comes next.
fn remember<T>(doubt: &mut Option<Error>, done: Edited<T>) -> Edited<T> {
    if let Err(EditError::InDoubt(error)) = &done {
        *doubt = Some(error.clone());
    }
    done
}

impl State {
    fn refuse_in_doubt(&self) -> Edited<()> {
        match &self.doubt {
            Some(error) => Err(EditError::InDoubt(error.clone())),
            None => Ok(()),
        }
    }

    /// The state after an edit, if a reader would take it.
    ///
    /// # Errors
    /// It would not, so the edit is not written.
    fn after(&self, edit: &Edit) -> Edited<Manifest> {
        let mut next = self.manifest.clone();
        next.apply(next.edit.next(), edit.content())
            .and_then(|()| next.check())
            .map_err(|defect| {
                let message = format!("the manifest cannot be changed like this: {defect}");
                let error = Error::new(ErrorKind::Io, message).with_source(defect);
                EditError::Nothing(error)
            })?;
        // An item is no longer in an image than where it was written.
        let generation = self.generation.as_ref();
        let bound = generation.map(|generation| generation.end + edit.content().len() as u64);
        if bound.is_none_or(|bound| bound > ENTRY_CONTENT_BYTES_MAX as u64) {
            let image_bytes = next.image().len();
            if image_bytes > ENTRY_CONTENT_BYTES_MAX {
                return Err(EditError::Nothing(too_long(image_bytes)));
            }
        }
        Ok(next)
    }
}

impl Generation {
    /// Writes an entry behind the last one in both files, then syncs both: it counts when both have it.
    ///
    /// A write that fails is *nothing* only once it is taken back and that is synced. A sync that fails never is.
    fn append(&mut self, directory: &Path, number: EditNumber, content: &[u8]) -> Edited<()> {
        let (bytes, check) = edit::encode(EntryKind::Edit, number, self.chain, content, self.end);
        let end = self.end + bytes.len() as u64;
        if content.len() > ENTRY_CONTENT_BYTES_MAX {
            return Err(EditError::Nothing(too_long(content.len())));
        }
        let copies = if planted!(OneCopyOnly) { 1 } else { 2 };
        let files = || self.files.iter().zip(COPIES).take(copies);
        let mut zeroed = u64::MAX; // in both
        for (file, name) in files() {
            let written = self.zero_ahead(&**file, end).and_then(|to| {
                zeroed = zeroed.min(to);
                exact::write_all(&**file, &bytes, self.end)
            });
            if let Err(source) = written {
                let error = fault::io_at("write", &directory.join(name), self.end, source);
                return Err(match self.take_back(end) {
                    Ok(()) => EditError::Nothing(error),
                    Err(_also) => EditError::InDoubt(error),
                });
            }
        }
        for (file, name) in files() {
            file.sync().map_err(|source| {
                EditError::InDoubt(fault::io("sync", &directory.join(name), source))
            })?;
        }
        self.zeroed = zeroed;
        self.end = end;
        self.chain = check;
        Ok(())
    }

    /// Room for an entry that ends at `end`; what is behind it only if it fits. Returns where it ends. A place that is zeroed
    /// once is not zeroed again.
    fn zero_ahead(&self, file: &dyn StorageFile, end: u64) -> io::Result<u64> {
        if end <= self.zeroed {
            return Ok(self.zeroed);
        }
        let ahead = end.next_multiple_of(MANIFEST_ROOM_BYTES);
        match exact::write_zeros(file, self.zeroed, ahead) {
            Err(source) if exact::is_full(&source) => {
                // What was taken is given back; how long the file is matters to nobody.
                file.set_len(self.zeroed)?;
                exact::write_zeros(file, self.zeroed, end).map(|()| end)
            }
            zeroed => zeroed.map(|()| ahead),
        }
    }

    /// Zeros over what was written of an entry, in both files, as far as they reach, and durably. Where blocks are copied on
    /// write they may find no room, either: where zeros are read nothing of the entry got into the file.
    fn take_back(&self, to: u64) -> io::Result<()> {
        for file in &self.files {
            let reaches = file.len()?.min(to);
            match exact::write_zeros(&**file, self.end, reaches) {
                Err(_) if exact::is_zeros(&**file, self.end, reaches) => {}
                zeroed => zeroed?,
            }
        }
        self.files.iter().try_for_each(|file| file.sync())
    }
}

/// Makes the first generation of a new store.
///
/// # Errors
/// See [`EditError`].
pub(crate) fn create(storage: &dyn Storage, directory: &Path, manifest: &Manifest) -> Edited<()> {
    write_generation(storage, directory, manifest).map(drop)
}

/// Writes both copies under other names, syncs them, and renames each over the one before. Everything that can fail for
/// want of room or of descriptors comes before the first rename.
///
/// One sync of the directory is enough: whatever a power cut makes of two renames, each name leads to a whole file, and
/// an image that only one of them leads to has happened.
fn write_generation(
    storage: &dyn Storage,
    directory: &Path,
    manifest: &Manifest,
) -> Edited<Generation> {
    let content = manifest.image();
    if content.len() > ENTRY_CONTENT_BYTES_MAX {
        // The number of segments is bounded before; what cannot be read must not be written.
        return Err(EditError::Nothing(too_long(content.len())));
    }
    let (image, chain) = edit::encode(EntryKind::Image, manifest.edit, 0, &content, 0);
    let end = image.len() as u64;
    let prepared = prepare(storage, directory, &image).map_err(|error| {
        // What is left of them is debris to the next generation and to the next open; the first cause is the one to tell.
        for name in COPIES_NEW {
            drop(storage.remove_file(&directory.join(name)));
        }
        EditError::Nothing(error)
    })?;
    let generation = Generation {
        files: prepared.files,
        directory: prepared.directory,
        end,
        chain,
        zeroed: room_behind(end),
        renew_at: end + end.max(MANIFEST_EDITS_BYTES_MIN),
    };
    for (new, name) in COPIES_NEW.into_iter().zip(COPIES) {
        let new = directory.join(new);
        storage
            .rename(&new, &directory.join(name))
            .map_err(|source| EditError::InDoubt(fault::io("rename", &new, source)))?;
    }
    if !planted!(NoDirectorySync) {
        generation
            .directory
            .sync()
            .map_err(|source| EditError::InDoubt(fault::io("sync", directory, source)))?;
    }
    Ok(generation)
}

struct Prepared {
    files: [Arc<dyn StorageFile>; 2],
    directory: Arc<dyn Directory>,
}

/// Where the room behind an image ends.
fn room_behind(end: u64) -> u64 {
    (end + 1).next_multiple_of(MANIFEST_ROOM_BYTES)
}

/// Always fresh files: one whose sync failed before must not be trusted again.
fn prepare(storage: &dyn Storage, directory: &Path, image: &[u8]) -> Result<Prepared> {
    let handle = storage
        .open_dir(directory)
        .map_err(|source| fault::io("open", directory, source))?;
    let create = |name| {
        let path = directory.join(name);
        match storage.remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(fault::io("remove", &path, source));
            }
            _ => {}
        }
        storage
            .open(&path, OpenMode::CreateNew)
            .map_err(|source| fault::io("create", &path, source))
    };
    let [first, second] = COPIES_NEW;
    let files = [create(first)?, create(second)?];
    for (file, name) in files.iter().zip(COPIES_NEW) {
        let path = directory.join(name);
        let end = image.len() as u64;
        exact::write_all(&**file, image, 0)
            .and_then(|()| exact::write_zeros(&**file, end, room_behind(end)))
            .map_err(|source| fault::io("write", &path, source))?;
        file.sync()
            .map_err(|source| fault::io("sync", &path, source))?;
    }
    Ok(Prepared {
        files,
        directory: handle,
    })
}

fn too_long(bytes: usize) -> Error {
    let message = format!("an entry of {bytes} bytes is too long for a manifest");
    Error::new(ErrorKind::StorageFull, message)
}
