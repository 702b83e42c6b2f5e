//! Reading the manifest: two files that say the same, each an image and the edits that came after it.
//!
//! Of two copies the one that verifies further is right. Whatever happened to the length of one, or to any part of it, the
//! other serves; an edit that only one holds has happened. What neither can read, but one of them once held, is never
//! passed over: the store is damaged then, not older.

use crate::fault;
use crate::format::Defect;
use crate::format::edit::{
    self, ENTRY_ALIGN, ENTRY_CONTENT_BYTES_MAX, ENTRY_HEADER_BYTES, EntryKind,
};
use crate::format::ids::EditNumber;
use crate::format::manifest::Manifest;
use crate::storage::window::Window;
use crate::storage::{OpenMode, Storage};
use crate::store::layout::COPIES;
use kv_trait::{Error, ErrorKind, Result};
use std::io;
use std::path::Path;

/// The longest manifest file: an image of the longest, as many bytes of edits again, and room.
pub(crate) const MANIFEST_FILE_BYTES_MAX: u64 = 3 * ENTRY_CONTENT_BYTES_MAX as u64;

/// What a store's manifest says, and how well.
#[derive(Debug)]
pub(crate) struct ReadManifest {
    pub(crate) manifest: Manifest,
    /// Both copies end at the same edit.
    pub(crate) both: bool,
    /// Why one of them could not be used, or not as far as the other.
    pub(crate) damaged_copy: Option<String>,
}

/// One copy, as far as it verifies.
struct Copy {
    manifest: Manifest,
    /// The number of its image.
    image: EditNumber,
    /// What stands where the next entry would.
    stop: Option<(u64, Defect)>,
    /// The highest number of any entry that verifies behind it.
    seen: EditNumber,
}

/// Why a copy says nothing.
enum NoCopy {
    Missing,
    /// Where, and what is wrong; the highest number of any entry that verifies behind it.
    Unusable(u64, Defect, EditNumber),
    /// The disk did not answer.
    Unreadable(Error),
}

/// Reads both copies of a store's manifest.
///
/// # Errors
/// `Corrupt` if neither can be used, or both stop before an edit that one of them holds. `UnsupportedFormat`: a later
/// version wrote one of them. `Io`: a file cannot be opened, or neither can be read.
pub(crate) fn read(storage: &dyn Storage, directory: &Path) -> Result<ReadManifest> {
    let [first, second] = COPIES;
    let one = read_copy(storage, &directory.join(first))?;
    let other = read_copy(storage, &directory.join(second))?;
    let (best, best_name, worse, worse_name) = match (one, other) {
        (Ok(one), Ok(other)) if other.is_right_beside(&one) => (other, second, Ok(one), first),
        (Err(none), Ok(other)) => (other, second, Err(none), first),
        (Ok(one), worse) => (one, first, worse, second),
        (Err(one), Err(other)) => return Err(neither(directory, one, other)),
    };
    let last = best.manifest.edit;
    let seen = match &worse {
        Ok(copy) => best.seen.max(copy.seen),
        Err(NoCopy::Unusable(_, _, seen)) => best.seen.max(*seen),
        Err(NoCopy::Missing | NoCopy::Unreadable(_)) => best.seen,
    };
    if seen > last {
        let what = format!(
            "it ends with edit {last}, and edit {seen} stands behind what cannot be read: both copies are damaged"
        );
        return Err(fault::corrupt(&directory.join(best_name), what));
    }
    let same = |copy: &Copy| copy.manifest == best.manifest;
    if let Ok(worse) = &worse
        && worse.manifest.edit == last
        && !same(worse)
        && !best.is_generation_beside(worse)
    {
        let what = format!("at edit {last} it says something else than {best_name}");
        return Err(fault::corrupt(&directory.join(worse_name), what));
    }
    Ok(ReadManifest {
        both: worse.as_ref().is_ok_and(same),
        damaged_copy: damage(worse, last).map(|what| format!("{worse_name}: {what}")),
        manifest: best.manifest,
    })
}

impl Copy {
    /// Whether this one serves, of two that verify.
    fn is_right_beside(&self, other: &Self) -> bool {
        let (edit, others) = (self.manifest.edit, other.manifest.edit);
        edit > others || edit == others && self.is_generation_beside(other)
    }

    /// Whether this is a new generation, and the other an older one whose last edit has the same number. That edit was in
    /// doubt: it was taken back, or never read, when the generation was made, and then a power cut brought it back. Neither
    /// was finished, or there would not be two; so nothing was built on either, and all files of both are there.
    fn is_generation_beside(&self, other: &Self) -> bool {
        let of_one_store = |manifest: &Manifest| (manifest.store_id, manifest.incarnation);
        self.manifest.edit == self.image
            && other.manifest.edit == self.image
            && other.image < self.image
            && of_one_store(&self.manifest) == of_one_store(&other.manifest)
    }
}

/// What is wrong with the copy that does not serve. One edit less is what a crash leaves.
fn damage(copy: std::result::Result<Copy, NoCopy>, last: EditNumber) -> Option<String> {
    match copy {
        Ok(copy) if copy.manifest.edit.next() >= last => None,
        Ok(copy) => {
            let short = format!("it ends with edit {} of {last}", copy.manifest.edit);
            Some(match copy.stop {
                Some((offset, defect)) => format!("{short}, at offset {offset}: {defect}"),
                None => short,
            })
        }
        Err(NoCopy::Missing) => Some("it is missing".to_owned()),
        Err(NoCopy::Unusable(offset, defect, _)) => Some(format!("at offset {offset}: {defect}")),
        Err(NoCopy::Unreadable(error)) => Some(error.to_string()),
    }
}

fn neither(directory: &Path, one: NoCopy, other: NoCopy) -> Error {
    let [first, second] = COPIES;
    let (path, reason) = match (one, other) {
        // Whether a disk that did not answer holds a good copy is not known.
        (NoCopy::Unreadable(error), _) | (_, NoCopy::Unreadable(error)) => return error,
        (NoCopy::Unusable(offset, defect, _), _) => (directory.join(first), Some((offset, defect))),
        (NoCopy::Missing, NoCopy::Unusable(offset, defect, _)) => {
            (directory.join(second), Some((offset, defect)))
        }
        (NoCopy::Missing, NoCopy::Missing) => (directory.join(first), None),
    };
    match reason {
        Some((offset, defect)) => fault::defect(&path, offset, defect),
        None => fault::corrupt(&path, "it is missing, and so is the other copy"),
    }
}

fn read_copy(storage: &dyn Storage, path: &Path) -> Result<std::result::Result<Copy, NoCopy>> {
    let file = match storage.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Err(NoCopy::Missing));
        }
        Err(source) => return Err(fault::io("open", path, source)),
    };
    let length = file
        .len()
        .map_err(|source| fault::io("look at", path, source))?;
    // What stands beyond any manifest's length is not part of one.
    let mut window = Window::new(&*file, path, length.min(MANIFEST_FILE_BYTES_MAX));
    match walk(&mut window) {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == ErrorKind::Io => Ok(Err(NoCopy::Unreadable(error))),
        Err(error) => Err(error),
    }
}

/// Applies entries from the front on, until one does not verify or does not follow.
///
/// # Errors
/// `Io`. `Corrupt`, `UnsupportedFormat`: an entry that is in its place and whose check holds makes no sense here.
fn walk(window: &mut Window<'_>) -> Result<std::result::Result<Copy, NoCopy>> {
    let path = window.path();
    let mut state: Option<(Manifest, u64)> = None;
    let mut first = EditNumber::ZERO;
    let mut at = 0;
    let stop = loop {
        let entry = match entry_at(window, at)? {
            Ok(None) => break None,
            Ok(Some(entry)) => entry,
            Err(defect) => break Some((at, defect)),
        };
        let refused = |defect| fault::defect(path, at, defect);
        let (bytes, decoded) = entry;
        let decoded = edit::decode(&decoded, at).map_err(refused)?;
        let (number, check) = (decoded.number, decoded.check);
        match (&mut state, decoded.kind) {
            (None, EntryKind::Image) => {
                let image = Manifest::from_image(number, decoded.content).map_err(refused)?;
                state = Some((image, check));
                first = number;
            }
            (Some((manifest, chain)), EntryKind::Edit)
                if decoded.chain == *chain
                    && (number == manifest.edit.next() || planted!(EditNumberIgnored)) =>
            {
                manifest.apply(number, decoded.content).map_err(refused)?;
                *chain = check;
            }
            _ => {
                let found = number.get();
                let what = "edit that does not follow, number";
                break Some((at, Defect::Field { what, found }));
            }
        }
        at += bytes;
    };
    let Some((manifest, _)) = state else {
        let (offset, defect) = stop.unwrap_or((0, Defect::Magic));
        return Ok(Err(NoCopy::Unusable(offset, defect, search(window, 0)?)));
    };
    manifest
        .check()
        .map_err(|defect| fault::defect(path, 0, defect))?;
    let seen = search(window, at)?;
    Ok(Ok(Copy {
        manifest,
        image: first,
        stop,
        seen,
    }))
}

type Found = std::result::Result<Option<(u64, Vec<u8>)>, Defect>;

/// The length and the bytes of an entry whose check holds; `None`: nothing but the end of the file, or zeros, stands there.
fn entry_at(window: &mut Window<'_>, at: u64) -> Result<Found> {
    let room = window.limit().saturating_sub(at);
    let header = window.up_to(at, ENTRY_HEADER_BYTES)?;
    if header.iter().all(|byte| *byte == 0) {
        return Ok(Ok(None));
    }
    let length = match edit::length(header) {
        Ok(length) if length <= room => length,
        Ok(needed) => {
            return Ok(Err(Defect::Truncated {
                needed,
                found: room,
            }));
        }
        Err(defect) => return Ok(Err(defect)),
    };
    let bytes = window.up_to(at, usize::try_from(length).unwrap_or(usize::MAX))?;
    Ok(match edit::decode(bytes, at) {
        // What a later version wrote is told from damage by whoever asks for it.
        Ok(_) | Err(Defect::Unsupported { .. }) => Ok(Some((length, bytes.to_vec()))),
        Err(defect) => Err(defect),
    })
}

/// The highest number of an entry that verifies anywhere behind the last that could be applied.
///
/// # Errors
/// `Io`. `Corrupt`: more entries begin here than have room beside each other. Somebody wrote them to be read for hours.
fn search(window: &mut Window<'_>, from: u64) -> Result<EditNumber> {
    let mut seen = EditNumber::ZERO;
    let mut unread = 2 * window.limit();
    let mut at = from;
    while at < window.limit() {
        let length = edit::length(window.up_to(at, ENTRY_HEADER_BYTES)?);
        if let Ok(length) = length
            && length <= window.limit() - at
        {
            let Some(left) = unread.checked_sub(length) else {
                return Err(fault::corrupt(window.path(), "its entries overlap"));
            };
            unread = left;
            if let Ok(Some((_, bytes))) = entry_at(window, at)?
                && let Ok(entry) = edit::decode(&bytes, at)
            {
                seen = seen.max(entry.number);
            }
        }
        at += ENTRY_ALIGN;
    }
    Ok(seen)
}
