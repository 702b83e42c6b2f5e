//! How the engine words its errors: operation, path, offset, and the cause behind [`std::error::Error::source`].

use crate::format::Defect;
use kv_trait::{Error, ErrorKind};
use std::io;
use std::path::Path;

/// An operation of the file system failed. The kind follows what the caller can do about it; the effect is
/// *nothing* until the place that knows better says otherwise.
pub(crate) fn io(operation: &str, path: &Path, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("cannot {operation} {}", path.display())).with_source(source)
}

/// An operation at an offset of a file failed.
pub(crate) fn io_at(operation: &str, path: &Path, offset: u64, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
        _ => ErrorKind::Io,
    };
    let message = format!("cannot {operation} {} at offset {offset}", path.display());
    Error::new(kind, message).with_source(source)
}

/// Bytes at `offset` of a file are not what was written there, or are from a later version.
pub(crate) fn defect(path: &Path, offset: u64, defect: Defect) -> Error {
    let (kind, state) = match defect {
        Defect::Unsupported { .. } => (ErrorKind::UnsupportedFormat, "is not understood"),
        _ => (ErrorKind::Corrupt, "is corrupt"),
    };
    Error::new(
        kind,
        format!("{} {state} at offset {offset}", path.display()),
    )
    .with_source(defect)
}

/// A file as a whole is not what it should be.
pub(crate) fn corrupt(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{}: {what}", path.display()))
}

/// The store refuses, because an earlier failure (`cause`) made its state uncertain.
pub(crate) fn poisoned(cause: &Error) -> Error {
    Error::new(
        ErrorKind::Poisoned,
        "an earlier write or sync failed; reopen the store to write again",
    )
    .with_source(cause.clone())
}

/// The store is closed or closing.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}
