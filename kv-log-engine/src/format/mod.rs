//! Bytes to values and back, and nothing else: no files, no clocks, no threads.
//!
//! The layout is described once, in `docs/FORMAT.md`; this module cites its sections and pins them by constants
//! and compile-time asserts. Every number is little-endian and of fixed width. Every length is bounded before it
//! is used, so arbitrary bytes give a [`Defect`], never a panic and never an allocation beyond the input.

mod cursor;
pub(crate) mod edit;
pub(crate) mod erasures;
pub(crate) mod frame;
mod header;
pub(crate) mod ids;
pub(crate) mod keyspaces;
pub(crate) mod manifest;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod segment;
pub(crate) mod tables;

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// The version of every file in a store. FORMAT.md, "Versions".
pub(crate) const FORMAT_VERSION: u32 = 0;

/// The 128 random bits of a segment: the key of its checks, so that no value can forge a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Salt(pub(crate) [u8; 16]);

impl Salt {
    /// Sixty-four bits of SipHash-2-4 over the parts in order, keyed by the salt (Aumasson and Bernstein, 2012).
    pub(crate) fn check(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for part in parts {
            hasher.write(part);
        }
        hasher.finish()
    }

    /// The first four bytes, enough to tell two incarnations of one segment id apart in a file name.
    pub(crate) fn short(&self) -> String {
        self.0
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({})", self.short())
    }
}

/// Names a store: random, given at creation, carried by each of its files.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StoreId(pub(crate) [u8; 16]);

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What somebody who does not know a thing may do with a file that holds it, as in ext4. FORMAT.md, "Classes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Not even read it.
    Incompatible,
    /// Read it, never write it.
    ReadOnly,
    /// Read and write it, and carry what is not known unchanged.
    Compatible,
}

impl Class {
    /// The class with that number; one that does not exist yet is the strictest.
    pub(crate) const fn of(number: u16) -> Self {
        match number {
            1 => Self::ReadOnly,
            2 => Self::Compatible,
            _ => Self::Incompatible,
        }
    }
}

/// Why bytes are not what this format says they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Fewer bytes than the structure needs.
    Truncated { needed: u64, found: u64 },
    /// The magic number is another one.
    Magic,
    /// The check over the structure does not match.
    Check {
        what: &'static str,
        expected: u64,
        found: u64,
    },
    /// A field holds a value that the format forbids.
    Field { what: &'static str, found: u64 },
    /// The structure is intact, but made by a newer version: name what is unknown.
    Unsupported { what: &'static str, found: u64 },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => {
                write!(f, "truncated: {needed} bytes needed, {found} found")
            }
            Self::Magic => f.write_str("magic number missing"),
            Self::Check {
                what,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{what} check mismatch: expected {expected:#x}, found {found:#x}"
                )
            }
            Self::Field { what, found } => write!(f, "{what} out of range: {found}"),
            Self::Unsupported { what, found } => write!(f, "unknown {what} {found}"),
        }
    }
}

impl std::error::Error for Defect {}

/// Whether a check that was found is the one that the bytes it covers have.
fn hold_check(what: &'static str, expected: u64, found: u64) -> Result<(), Defect> {
    if found == expected {
        return Ok(());
    }
    Err(Defect::Check {
        what,
        expected,
        found,
    })
}

/// Whether this version can read what was written by that one.
fn know_version(found: u32) -> Result<(), Defect> {
    if found == FORMAT_VERSION {
        return Ok(());
    }
    Err(Defect::Unsupported {
        what: "format version",
        found: found.into(),
    })
}

#[cfg(test)]
mod tests;
