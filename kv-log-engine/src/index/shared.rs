//! Values as they are handed out: with the block that they were read in, or by themselves.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// Bytes that share the block they were read with, or have none.
#[derive(Clone)]
pub(crate) enum Shared {
    Block(Arc<[u8]>, Range<usize>),
    Own(Box<[u8]>),
}

impl Shared {
    pub(crate) const fn new(content: Arc<[u8]>, range: Range<usize>) -> Self {
        Self::Block(content, range)
    }

    /// A copy of bytes that are in memory anyway.
    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Self::Own(bytes.into())
    }
}

impl From<Vec<u8>> for Shared {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes.into_boxed_slice())
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Block(content, range) => content.get(range.clone()).unwrap_or_default(),
            Self::Own(bytes) => bytes,
        }
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}
