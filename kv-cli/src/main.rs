//! `kvlog`: a durable key-value store on the command line, at the level of bytes.
//!
//! `args` says what can be asked, `manner` how to answer what cannot, `parse` what sizes and times are, `spelling` and `typed`
//! what a key is, `commands` does it, `input` and `output` turn JSON lines into bytes and back, `terminal` and `progress` speak
//! to people, `failure` turns errors into one line and an exit code, `startup` looks at what was handed to the process, `stop`
//! at whether it is to end.

mod args;
mod commands;
mod failure;
mod input;
mod manner;
mod output;
mod parse;
mod progress;
mod spelling;
mod startup;
mod stop;
mod terminal;
mod text;
mod typed;

use args::Args;
use clap::Parser;
use clap::error::ErrorKind;
use failure::Failure;
use manner::Manner;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    let manner = Manner::of(&given);
    terminal::choose(manner.color);
    let (json, outcome) = match Args::try_parse_from(given) {
        Ok(args) => {
            // What was guessed gives way to what was understood.
            terminal::choose(args.color);
            (args.json, commands::run(&args))
        }
        Err(answer) => (manner.json, without_command(&answer)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.without_reader().unwrap_or_else(|| {
            // With standard error gone there is nobody left to tell; the exit code still does.
            match terminal::report(&failure, json) {
                Ok(()) | Err(_) => failure.exit_code(),
            }
        }),
    }
}

/// Help and version go to standard output; anything else that the parser answers is wrong usage.
fn without_command(answer: &clap::Error) -> Result<ExitCode, Failure> {
    match answer.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => output::refuse_closed()
            .and_then(|()| answer.print().map_err(output::cannot_write))
            .map(|()| ExitCode::SUCCESS),
        _ => Err(Failure::Usage(answer.render().to_string())),
    }
}
