//! What the binary says about itself: completions and the manual. No store is needed.

use super::Outcome;
use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, cannot_write};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use std::process::ExitCode;

pub(super) fn completions(shell: Shell) -> Outcome {
    // Into memory first: the generator panics where a write fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "kvlog", &mut script);
    print(&script)
}

pub(super) fn man(command: Option<&str>) -> Outcome {
    let mut program = Args::command();
    program.build();
    let described = match command {
        None => Some(&program),
        Some(name) => program.find_subcommand(name),
    };
    let Some(described) = described else {
        let message = format!("there is no command '{}'", command.unwrap_or_default());
        return Err(Failure::input(message, "try 'kvlog --help'"));
    };
    let mut page = Vec::new();
    Man::new(described.clone())
        .render(&mut page)
        .map_err(cannot_write)?;
    print(&page)
}

fn print(bytes: &[u8]) -> Outcome {
    let mut output = Output::new();
    output.bytes(bytes)?;
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}
