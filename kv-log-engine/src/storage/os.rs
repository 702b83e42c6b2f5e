//! The operating system's files.

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct OsStorage;
