//! The index: an ordered in-memory map from key to location, and how a group becomes visible in one step.
//!
//! Knows segments only as numbers and pins. Never touches a file. Each file builds on those above it only:
//!
//! | file | is for |
//! |---|---|
//! | `slot` | what stands behind a key, as bytes |
//! | `block` | the inside of a node: keys and slots in one allocation |
//! | `gather` | many changes in the order of their keys |
//! | `node` | splitting, merging, copying |
//! | `range` | walking in order |
//! | `tree` | the map |
//! | `retired` | freeing what was replaced, away from those who must not wait |
//! | `published` | the view that readers see, exchanged in one step |

mod block;
mod gather;
mod node;
mod published;
mod range;
mod retired;
mod slot;
mod tree;

pub(crate) use gather::Gather;
pub(crate) use published::{Change, Closed, Published, View};
pub(crate) use range::Range;
pub(crate) use tree::Tree;
