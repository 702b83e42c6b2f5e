//! `kvlog`: a durable key-value store on the command line, at the level of bytes.
//!
//! `args` says what can be asked, `commands` does it, `input` and `output` turn JSON lines and terminals into bytes and
//! back, `failure` turns errors into one line and an exit code.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod failure;
mod input;
mod output;

use args::Args;
use clap::Parser;
use failure::Failure;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    match commands::run(&args) {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => report(&failure, args.json),
    }
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    let text = if json {
        failure.to_json()
    } else {
        failure.to_line()
    };
    // With standard error gone there is nobody left to tell; the exit code still does.
    match writeln!(std::io::stderr(), "{text}") {
        Ok(()) | Err(_) => failure.exit_code(),
    }
}
