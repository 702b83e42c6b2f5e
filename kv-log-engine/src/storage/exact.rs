//! Whole reads and writes over a file that may do less: a short one is continued, `EINTR` is tried again.
//!
//! Only the error that ends the operation counts. Syncs are never repeated, here or anywhere.

use super::StorageFile;
use std::io;

/// Interruptions of one operation that are borne before it is called failed: a loop must end.
const INTERRUPTIONS_MAX: u32 = 1000;

/// Whether a call had no effect because this process, or the system, may open no more files.
pub(crate) fn has_too_many_open_files(error: &io::Error) -> bool {
    const CODES: &[i32] = if cfg!(windows) {
        &[4] // ERROR_TOO_MANY_OPEN_FILES
    } else {
        &[23, 24] // ENFILE, EMFILE
    };
    error
        .raw_os_error()
        .is_some_and(|code| CODES.contains(&code))
}

/// Whether a call found the disk, or the user's share of it, full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// `Ok` if the call may be tried again.
fn interrupted(count: &mut u32, error: io::Error) -> io::Result<()> {
    *count += 1;
    if error.kind() == io::ErrorKind::Interrupted && *count <= INTERRUPTIONS_MAX {
        Ok(())
    } else {
        Err(error)
    }
}

/// Fills as much of `buffer` as the file has from `offset` on; returns how much that was.
pub(crate) fn read_up_to(
    file: &dyn StorageFile,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    let mut interruptions = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => interrupted(&mut interruptions, error)?,
        }
    }
    Ok(filled)
}

/// Fills `buffer` from `offset` on.
pub(crate) fn read_exact(file: &dyn StorageFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let wanted = buffer.len();
    match read_up_to(file, buffer, offset)? {
        filled if filled == wanted => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all(file: &dyn StorageFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    let mut interruptions = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], offset + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) => interrupted(&mut interruptions, error)?,
        }
    }
    Ok(())
}

/// Writes zeros over `[start, end)`, in pieces of bounded size.
pub(crate) fn write_zeros(file: &dyn StorageFile, start: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = start;
    while at < end {
        let count = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(ZEROS.len());
        write_all(file, &ZEROS[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// Whether `[start, end)` can be read, and is all zeros.
pub(crate) fn is_zeros(file: &dyn StorageFile, start: u64, end: u64) -> bool {
    let mut at = start;
    let mut piece = [0; 4 * 1024];
    while at < end {
        let count = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(piece.len());
        let piece = &mut piece[..count];
        if read_exact(file, piece, at).is_err() || piece.iter().any(|byte| *byte != 0) {
            return false;
        }
        at += count as u64;
    }
    true
}

/// Changes the length of a file, so that the next sync makes it durable whatever became of earlier ones: eight bytes more
/// that take no space. Returns the new one.
pub(crate) fn change_length(file: &dyn StorageFile) -> io::Result<u64> {
    const MORE: u64 = 8;
    let length = file.len()? + MORE;
    file.set_len(length).map(|()| length)
}
