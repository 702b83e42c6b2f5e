//! Segment files: reading records from them, scanning them, appending to the active one.
//!
//! Knows frames and files. Knows nothing of keys' order, of tickets, or of which segments make up a store.

pub(crate) mod files;
pub(crate) mod kept;
mod names;
pub(crate) mod scan;
pub(crate) mod writer;
