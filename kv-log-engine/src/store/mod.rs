//! The files of a store as a whole: who owns it, what their names mean, and the manifest that says which of them count.
//!
//! Knows no keys, no tickets, and not what a change of the manifest is for.

pub(crate) mod catalog;
pub(crate) mod disk_bound;
pub(crate) mod layout;
pub(crate) mod lock;
pub(crate) mod manifest;
pub(crate) mod quotas;
pub(crate) mod reserve;
pub(crate) mod shorter;

#[cfg(test)]
mod catalog_tests;
#[cfg(test)]
mod reserve_tests;
