//! Chores: background work in short slices.

mod bounds;
mod checkpoint;
mod chores;
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
mod simulator;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub(crate) use chores::Chores;
pub(crate) use machine::Progress;
