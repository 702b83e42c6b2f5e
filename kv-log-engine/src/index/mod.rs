//! The index: memtables, ordered in-memory maps, and how a group becomes visible in one step; below them sorted runs on
//! disk.
//!
//! Knows segments only as numbers and pins. The map never touches a file; [`run`] reads and writes its own. Each file
//! builds on those above it only:
//!
//! | file | is for |
//! |---|---|
//! | `block` | the inside of a node: keys and payloads in one allocation |
//! | `gather` | many changes in the order of their keys |
//! | `node` | splitting, merging, copying |
//! | `range` | walking in order |
//! | `tree` | the map |
//! | `retired` | freeing what was replaced, away from those who must not wait |
//! | `slot` | what stands behind a key in memory, as bytes |
//! | `shared` | a value with the block that it was read in |
//! | `chunk` | entries in a row, on their way to whoever asked |
//! | `source` | anything that yields entries in order |
//! | `memtable` | what was written since the last checkpoint |
//! | `cache` | what was read of runs, in one budget |
//! | `run` | sorted files: writer, reader, levels of them |
//! | `levels` | all levels of a store |
//! | `merge` | many sources as one |
//! | `lookup` | the answer for a key, or where the rest of it lies |
//! | `forgotten` | which changes left no trace |
//! | `published` | the view that readers see, exchanged in one step |
//! | `views` | the scans and snapshots that hold older ones |

mod block;
pub(crate) mod cache;
mod chunk;
mod forgotten;
mod gather;
pub(crate) mod levels;
#[cfg(test)]
mod levels_tests;
pub(crate) mod lookup;
pub(crate) mod memtable;
pub(crate) mod merge;
#[cfg(test)]
mod merge_tests;
mod node;
mod published;
mod range;
mod retired;
pub(crate) mod run;
mod shared;
mod slot;
pub(crate) mod source;
mod tree;
pub(crate) mod views;

pub(crate) use gather::Gather;
pub(crate) use lookup::Lookup;
pub(crate) use memtable::Memtable;
pub(crate) use published::{
    Changed, Frozen, Known, Published, Remembered, Step, View, erased_above,
};
#[cfg(feature = "internals")]
pub(crate) use tree::Tree;
