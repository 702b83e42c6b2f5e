//! Chores: background work in short slices. So far only the decision what to merge next.

pub(crate) mod policy;

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod simulator;
