//! The index: an ordered in-memory map from key to location, and how a group becomes visible in one step; below it,
//! once checkpoints are built, sorted runs on disk.
//!
//! Knows segments only as numbers and pins. The map never touches a file; [`run`] reads and writes its own. Each file
//! builds on those above it only:
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
//! | `source` | anything that yields entries in order |
//! | `cache` | what was read of runs, in one budget |
//! | `run` | sorted files: writer, reader, levels of them |
//! | `levels` | all levels of a store |
//! | `merge` | many sources as one |

mod block;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing names a run yet: checkpoints will")
)]
pub(crate) mod cache;
mod gather;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing names a run yet: checkpoints will")
)]
pub(crate) mod levels;
#[cfg(test)]
mod levels_tests;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing names a run yet: checkpoints will")
)]
pub(crate) mod merge;
#[cfg(test)]
mod merge_tests;
mod node;
mod published;
mod range;
mod retired;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing names a run yet: checkpoints will")
)]
pub(crate) mod run;
mod slot;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing names a run yet: checkpoints will")
)]
pub(crate) mod source;
mod tree;

pub(crate) use gather::Gather;
pub(crate) use published::{Change, Closed, Published, View};
pub(crate) use range::Range;
pub(crate) use tree::Tree;
