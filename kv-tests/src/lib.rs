//! Tests of kvlog's promises, as a library: workloads, an oracle, crash enumeration and error loops.
//!
//! A [`workload`] is a seeded list of steps. Running it on the simulated disk records a trace of the disk and, in the
//! [`oracle`], what callers were told and when. [`crash`] then cuts the power at every point of the trace, in every way
//! the medium allows, opens what is left, and asks the oracle whether that may be.
//!
//! Panics are how a violation is reported: each names seed, crash point and choice, so that it can be replayed.
//!
//! The page below leads from adding the crate to a full run on a store of your own.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test library reports"
)]
#![expect(
    clippy::future_not_send,
    reason = "fixtures and their executors may belong to one thread"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "random numbers below small bounds"
)]

pub mod any;
pub mod conformance;
pub mod corruption;
pub mod corruption_life;
pub mod crash;
pub mod deaths;
pub mod error_life;
pub mod error_loop;
pub mod executor;
pub mod fixture;
pub mod history;
pub mod kvlog;
mod oneshot;
pub mod oracle;
pub mod reader;
pub mod reference;
mod shown;
pub mod stepped;
pub mod tiny;
mod watch;
pub mod workload;

/// The page about testing, so that its code is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/TESTING.md")]
struct TestingPage;
