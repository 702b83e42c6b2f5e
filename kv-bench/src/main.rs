//! kvlog beside its peers in one run, and micro-benchmarks of its parts. docs/PERFORMANCE.md says how to run it and what
//! each workload is.
//!
//! `run` goes through the rounds; each measurement is made by a child process (`protocol`, `workloads`) with one of the
//! contenders (`peers`) on a directory of its own, and another child checks that nothing was lost. A bench that does not
//! check measures whoever forgets most.

mod args;
mod chart;
mod histogram;
mod keys;
mod life;
mod micro;
mod peers;
mod plan;
mod protocol;
mod run;
mod series;
mod store;
mod system;
mod table;
mod workloads;

use args::{Arguments, Command};
use clap::Parser;
use std::io::{Write, stderr};
use std::process::ExitCode;
use store::Outcome;

fn main() -> ExitCode {
    let done = work(Arguments::parse());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed, the exit code must do.
            drop(writeln!(stderr(), "kv-bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn work(arguments: Arguments) -> Outcome {
    match arguments.command {
        None => run::run(arguments.run),
        Some(Command::Micro(options)) => micro::run(&options),
        Some(Command::Report { file, charts }) => run::report(&file, charts.as_deref()),
        Some(Command::Child { job }) => workloads::run(&serde_json::from_str(&job)?),
    }
}
