//! The reserve: blocks of the disk that are kept for what must go on when it is full.
//!
//! Three quotas, a file of zeros each. Whoever a quota is for and finds no room gives its blocks back to the file system, by
//! cutting the file, and tries again in their place. The quotas do not lend to each other, and within the store nobody
//! else takes what was given back: a put is let in only while all of them are whole, and fills them again first.
//!
//! | quota | who may spend it |
//! |---|---|
//! | *close* | a close, what an open owes the disk, a new generation of the manifest |
//! | *deletes* | a batch that only deletes |
//! | *maintenance* | checkpoints, merges, and the edits that end them |
//!
//! The files hold no data: any length and any content is as good as any other, whatever a power cut makes of them, and no
//! failure here is more than a smaller reserve. On a file system that copies on write, or compresses, it promises nothing.

use super::layout::RESERVES;
use super::quotas::Held;
use super::shorter::Shorter;
use crate::format::manifest::Manifest;
use crate::storage::exact::{self, is_full};
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::sync::lock_std as lock;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Blocks are given back in multiples of this: no file system that is in use has larger ones by default.
const BLOCK_BYTES: u64 = 4 * 1024;
/// A quota that has to grow takes up to this much more than it must, so that it seldom has to.
const GROW_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Where no quota should hold more than this, nobody looks whether the files are there that it is for.
const BELIEVED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a part of the reserve is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// What a close needs, and what an open owes the disk; a new generation of the manifest.
    Close,
    /// Room in the log for tombstones.
    Deletes,
    /// A checkpoint, a merge unit, and their edits.
    Maintenance,
}

impl Quota {
    /// In the order in which they are filled.
    const ALL: [Self; 3] = [Self::Close, Self::Deletes, Self::Maintenance];

    const fn at(self) -> usize {
        match self {
            Self::Close => 0,
            Self::Deletes => 1,
            Self::Maintenance => 2,
        }
    }
}

/// The reserve of an open store.
#[derive(Debug)]
pub(crate) struct Reserve {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    /// What each quota should hold.
    wanted: [AtomicU64; 3],
    /// What it holds, as far as this process knows.
    held: [AtomicU64; 3],
    /// There is no room for what somebody wants to write.
    short: AtomicBool,
    /// Held by whoever changes a file, across its I/O. Alone in the lock order.
    files: Mutex<Files>,
    /// What files lack of what the manifest says, once that was looked at.
    shorter: OnceLock<Shorter>,
}

#[derive(Debug, Default)]
struct Files {
    /// A file was made, and its name is not durable yet.
    unnamed: bool,
    /// A quota that was spent for a step that is not over: what it gave back must be there for that step.
    lent: [bool; 3],
}

impl Reserve {
    /// The reserve in a store's directory. Looks at nothing yet.
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: PathBuf) -> Self {
        Self {
            storage,
            directory,
            wanted: Default::default(),
            held: Default::default(),
            short: AtomicBool::new(false),
            files: Mutex::default(),
            shorter: OnceLock::new(),
        }
    }

    /// How much a quota should hold from now on. Memory only: [`Reserve::refill`] takes what is missing.
    pub(crate) fn want(&self, quota: Quota, bytes: u64) {
        self.wanted[quota.at()].store(bytes, Ordering::Relaxed);
    }

    /// What a store holds, as [`Held::of`] says: as far as the manifest is believed, or the files were looked at.
    pub(crate) fn held_by(&self, manifest: &Manifest, end: u64, unit_bytes: u64) -> Held {
        let unlooked = Shorter::default();
        let shorter = self.shorter.get().unwrap_or(&unlooked);
        Held::of(manifest, shorter, end, unit_bytes)
    }

    /// Looks at the files that a manifest names, if much is to be kept for them. It may be an enemy's: the reserve of a store
    /// of a few files must not fill the disk. What becomes of the store after that is its own. Blocks.
    pub(crate) fn look_at_files(&self, manifest: &Manifest) {
        let most = Quota::ALL.into_iter().map(|quota| self.wanted(quota)).max();
        if most.is_some_and(|most| most > BELIEVED_BYTES_MAX) {
            let look = || Shorter::of(&*self.storage, &self.directory, manifest);
            self.shorter.get_or_init(look);
        }
    }

    /// The same for all quotas of a store that holds so much.
    pub(crate) fn want_for(&self, held: &Held) {
        self.want(Quota::Close, held.close_bytes());
        self.want(Quota::Deletes, held.deletes_bytes());
        self.want(Quota::Maintenance, held.maintenance_bytes());
    }

    pub(crate) fn wanted(&self, quota: Quota) -> u64 {
        self.wanted[quota.at()].load(Ordering::Relaxed)
    }

    /// What all quotas take once they are whole.
    pub(crate) fn bytes_when_whole(&self) -> u64 {
        let whole = |quota| {
            let (held, wanted) = (self.held(quota), self.wanted(quota));
            if held >= wanted { held } else { ahead(wanted) }
        };
        Quota::ALL.into_iter().map(whole).sum()
    }

    /// Gives back what quotas hold beyond so many times what they are filled to.
    pub(crate) fn trim(&self, times: u64) {
        for quota in Quota::ALL {
            let filled = ahead(self.wanted(quota));
            if self.held(quota) > filled.saturating_mul(times) {
                self.give_back(quota, filled);
            }
        }
    }

    /// Somebody was refused for want of room, or is not any more: chores then give back what they can, whatever it costs.
    pub(crate) fn note_short(&self, short: bool) {
        self.short.store(short, Ordering::Relaxed);
    }

    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Whether a quota was spent for a step that is not over.
    pub(crate) fn is_lent(&self, quota: Quota) -> bool {
        lock(&self.files).lent[quota.at()]
    }

    /// Whether each quota holds what it should. Memory only.
    pub(crate) fn is_whole(&self) -> bool {
        Quota::ALL.into_iter().all(|quota| self.missing(quota) == 0)
    }

    /// What each quota lacks, together.
    pub(crate) fn missing_bytes(&self) -> u64 {
        Quota::ALL
            .into_iter()
            .map(|quota| self.missing(quota))
            .sum()
    }

    fn missing(&self, quota: Quota) -> u64 {
        self.wanted(quota).saturating_sub(self.held(quota))
    }

    /// What a quota holds, as far as this process has looked.
    pub(crate) fn held(&self, quota: Quota) -> u64 {
        self.held[quota.at()].load(Ordering::Relaxed)
    }

    /// Takes what is missing of all quotas, as far as there is room; says whether they are whole. Blocks.
    ///
    /// # Errors
    /// What the file system says, other than that it is full.
    pub(crate) fn refill(&self) -> io::Result<bool> {
        if self.is_whole() {
            return Ok(true);
        }
        let mut files = lock(&self.files);
        let mut filled = Ok(true);
        for quota in Quota::ALL {
            filled = match (filled, self.fill(quota, &mut files)) {
                (Ok(whole), Ok(also)) => Ok(whole && also),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        self.name(&mut files)?;
        filled
    }

    /// The same for one quota, which should hold `bytes` from now on.
    ///
    /// # Errors
    /// As for [`Reserve::refill`].
    #[cfg(test)]
    pub(crate) fn ensure(&self, quota: Quota, bytes: u64) -> io::Result<bool> {
        self.want(quota, bytes);
        if self.missing(quota) == 0 {
            return Ok(true);
        }
        let mut files = lock(&self.files);
        let filled = self.fill(quota, &mut files);
        self.name(&mut files)?;
        filled
    }

    /// Gives all blocks of a quota back to the file system, now, for a step of whoever calls. Says whether there were any.
    /// They stay free until [`Reserve::take_again`], which comes when that step is over, however it ends: before that no
    /// put is let in. Blocks.
    pub(crate) fn spend(&self, quota: Quota) -> bool {
        let mut files = lock(&self.files);
        let spent = self.cut(quota, |_| 0);
        files.lent[quota.at()] |= spent;
        spent
    }

    /// Gives back blocks for so many bytes, and no more than that: the rest stays out of reach of other processes. For the
    /// leader, whose step is over before the next put asks.
    pub(crate) fn spend_some(&self, quota: Quota, bytes: u64) -> bool {
        let given = bytes.next_multiple_of(BLOCK_BYTES);
        let _files = lock(&self.files);
        self.cut(quota, |held| held.saturating_sub(given))
    }

    /// Gives back what a quota holds beyond `most`. Whoever chooses that leaves it well above what is wanted, or the same
    /// blocks go to and fro.
    pub(crate) fn give_back(&self, quota: Quota, most: u64) {
        if self.held(quota) > most {
            let _files = lock(&self.files);
            self.cut(quota, |_| most);
        }
    }

    /// Does `step`, which changes nothing where it fails; if it finds no room, once more at the cost of a quota. What can be
    /// had of the quota again behind that is taken.
    ///
    /// # Errors
    /// Those of `step`.
    pub(crate) fn spending<T, E>(
        &self,
        quota: Quota,
        is_full: impl Fn(&E) -> bool,
        mut step: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        match step() {
            Err(error) if is_full(&error) && self.spend(quota) => {}
            done => return done,
        }
        let done = step();
        self.take_again(quota);
        done
    }

    /// Ends what a quota was spent for, and fills it as far as there is room by now. Nothing depends on that: a put asks
    /// again.
    pub(crate) fn take_again(&self, quota: Quota) {
        let mut files = lock(&self.files);
        files.lent[quota.at()] = false;
        if self.fill(quota, &mut files).is_ok() {
            drop(self.name(&mut files));
        }
    }

    /// Ends what a quota was spent for, and takes nothing: the next put does, as far as the bound of the store allows it.
    pub(crate) fn end_step(&self, quota: Quota) {
        lock(&self.files).lent[quota.at()] = false;
    }

    fn path(&self, quota: Quota) -> PathBuf {
        self.directory.join(RESERVES[quota.at()])
    }

    fn note(&self, quota: Quota, bytes: u64) {
        self.held[quota.at()].store(bytes, Ordering::Relaxed);
    }

    fn open(&self, quota: Quota, files: &mut Files) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.path(quota);
        match self.storage.open(&path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = self.storage.open(&path, OpenMode::CreateNew)?;
                files.unnamed = true;
                Ok(made)
            }
            opened => opened,
        }
    }

    /// Writes zeros behind what a quota holds. Keeps what it gets.
    fn fill(&self, quota: Quota, files: &mut Files) -> io::Result<bool> {
        let wanted = self.wanted(quota);
        if self.held(quota) >= wanted {
            return Ok(true);
        }
        if files.lent[quota.at()] {
            return Ok(false);
        }
        let file = match self.open(quota, files) {
            Err(error) if is_full(&error) => return Ok(false),
            opened => opened?,
        };
        let found = file.len()?;
        self.note(quota, found);
        if found >= wanted {
            return Ok(true);
        }
        let length = lengthen(&*file, found, ahead(wanted)).inspect_err(|_unknown| {
            // Nobody knows what of it is durable, and a later sync that says OK decides nothing: another one is made.
            self.discard(quota);
        })?;
        self.note(quota, length);
        Ok(length >= wanted)
    }

    /// Where the file stays all the same, it is no harm.
    fn discard(&self, quota: Quota) {
        self.note(quota, 0);
        drop(self.storage.remove_file(&self.path(quota)));
    }

    /// Makes the names of new files durable. Where that fails they are made anew.
    fn name(&self, files: &mut Files) -> io::Result<()> {
        if !files.unnamed {
            return Ok(());
        }
        let synced = self.storage.sync_dir(&self.directory);
        if synced.is_err() {
            Quota::ALL.into_iter().for_each(|quota| self.discard(quota));
        }
        files.unnamed = false;
        synced
    }

    /// Cuts a quota's file; the caller holds the lock. What is cut can be used at once where blocks are written in place;
    /// elsewhere the sync frees it. Says whether anything was cut.
    fn cut(&self, quota: Quota, to: impl FnOnce(u64) -> u64) -> bool {
        let path = self.path(quota);
        let cut = || -> io::Result<bool> {
            let file = self.storage.open(&path, OpenMode::ReadWrite)?;
            let found = file.len()?;
            let to = to(found) / BLOCK_BYTES * BLOCK_BYTES;
            if to >= found {
                self.note(quota, found);
                return Ok(false);
            }
            file.set_len(to)?;
            self.note(quota, to);
            if file.sync().is_err() {
                self.discard(quota);
            }
            Ok(true)
        };
        // A quota that cannot be cut is one that is not there.
        cut().unwrap_or(false)
    }
}

/// Writes zeros from the end of a file on, up to `to` or as far as there is room, and makes them durable. Returns the new
/// length.
fn lengthen(file: &dyn StorageFile, from: u64, to: u64) -> io::Result<u64> {
    match exact::write_zeros(file, from, to) {
        Err(error) if !is_full(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let length = file.len()?;
    if length > from {
        file.sync()?;
    }
    Ok(length)
}

/// Where a quota that wants so many bytes is filled to.
fn ahead(wanted: u64) -> u64 {
    let step = wanted / 4;
    wanted.next_multiple_of(step.next_power_of_two().clamp(BLOCK_BYTES, GROW_BYTES_MAX))
}
