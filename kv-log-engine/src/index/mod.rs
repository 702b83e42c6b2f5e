//! The index: an ordered in-memory map from key to location, and how a group becomes visible in one step.
//!
//! Knows segments only as numbers and pins. Never touches a file.

mod published;
mod range;
mod tree;

pub(crate) use published::{Change, Published, View};
pub(crate) use range::Range;
pub(crate) use tree::Tree;
