//! Runs as files: written once from front to back, then read by key, by range, or whole.

pub(crate) mod level;
pub(crate) mod named;
pub(crate) mod range;
pub(crate) mod reader;
pub(crate) mod verify;
pub(crate) mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
