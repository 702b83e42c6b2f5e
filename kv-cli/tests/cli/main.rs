//! The binary as a user runs it.
#![expect(
    clippy::disallowed_methods,
    reason = "tests damage the files from outside"
)]
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod about;
mod bench;
mod cases;
mod commands;
#[cfg(target_os = "linux")]
mod compact;
mod conditions;
mod keyspaces;
mod refusals;
mod removal;
mod streams;
#[cfg(target_os = "linux")]
mod terminal;
mod transcripts;
mod transfer;
mod typed;
mod watch;
