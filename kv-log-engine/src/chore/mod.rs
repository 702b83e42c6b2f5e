//! Chores: background work in short slices.
//!
//! Three kinds of work, each a state machine that ends its slice between two steps: a *checkpoint* makes a run of the
//! frozen memtable, a *unit* of a merge makes new runs of an interval of old ones, and what is not part of the store any
//! more is *let go*, by an edit and then by name. What the disk may hold between the steps stands at the head of each file;
//! in all of them
//!
//! - an id is below the durable bound of ids before its file gets a byte, and files are whole, synced, and durable by name
//!   before the one edit that names them;
//! - that edit is the moment at which it happens, and the view follows it in one step; before it, nothing has happened;
//! - nothing is removed before the edit that lets it go is durable, or while a view reads it, or once it is in doubt what
//!   the manifest says.
//!
//! So a process that ends anywhere leaves the old state or the new one, and files that nothing names. What fails is tried
//! again later, from the beginning; what it was is told to those who wait for it.
//!
//! Each file builds on those above it only:
//!
//! | file | is for |
//! |---|---|
//! | `policy` | what to merge next: a pure function |
//! | `tuning`, `slice`, `bounds` | how much at a time; short keys for the manifest |
//! | `ground` | what all of it stands on, as traits where a view is changed |
//! | `visible` | the view of an open store, as chores change it |
//! | `shape` | the manifest as the policy sees it |
//! | `erasing` | what of it is erased, and which erasures can go |
//! | `output`, `runs_out`, `values` | files that are being made: runs, and values that leave victims |
//! | `checkpoint`, `merge`, `release` | the three kinds of work |
//! | `machine` | which of them comes next, and what becomes of failures |
//! | `chores`, `relief` | what everybody else sees, and the leader |

mod bounds;
mod checkpoint;
mod chores;
mod erasing;
pub(crate) mod ground;
mod machine;
mod merge;
mod output;
pub(crate) mod policy;
mod release;
mod relief;
mod runs_out;
mod shape;
mod slice;
pub(crate) mod tuning;
mod values;
pub(crate) mod visible;

#[cfg(test)]
mod chores_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
mod simulator;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub(crate) use chores::Chores;
pub(crate) use machine::Progress;
