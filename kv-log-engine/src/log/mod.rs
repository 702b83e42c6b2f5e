//! Segment files: reading records from them, scanning them, appending to the active one, following it, copying values into
//! others.
//!
//! Knows frames and files. Knows nothing of keys' order, of tickets, or of which segments make up a store.

pub(crate) mod files;
pub(crate) mod follow;
pub(crate) mod followers;
pub(crate) mod kept;
pub(crate) mod names;
pub(crate) mod scan;
pub(crate) mod values;
#[cfg(test)]
mod values_tests;
pub(crate) mod writer;
