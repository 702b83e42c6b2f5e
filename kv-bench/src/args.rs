//! The command line.

use crate::plan::TITLES;
use crate::store::Outcome;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// kvlog beside its peers in one run: interleaved rounds, a child process and a fresh directory for each measurement,
/// every acknowledged write synced, and a check that nothing was lost.
#[derive(Debug, Parser)]
#[command(name = "kv-bench", version, after_help = workloads(), args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) run: RunOptions,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What there is to choose from.
fn workloads() -> String {
    let lines = TITLES.map(|(workload, title)| format!("\n  {workload:4} {title}"));
    format!("Workloads:{}", lines.concat())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures kvlog's parts, beside their targets.
    Micro(MicroOptions),
    /// Prints the tables of what `--json` has written, once more: also of a run that was stopped, or of several.
    Report {
        /// The lines of JSON.
        file: PathBuf,
        /// Charts of W6 over time, as SVG, in this directory.
        #[arg(long, value_name = "DIR")]
        charts: Option<PathBuf>,
    },
    /// One step, in a process of its own.
    #[command(hide = true)]
    Child {
        /// A job as JSON.
        job: String,
    },
}

/// What to run.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    /// Only these workloads: W1 to W10.
    #[arg(long, value_delimiter = ',', value_name = "W")]
    pub(crate) workloads: Vec<String>,
    /// Only these: names of rows, such as fjall-gc, or of engines, such as fjall, for all of its rows.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) peers: Vec<String>,
    /// Only cases whose name has one of these in it, such as "64 tasks" or "queue".
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    pub(crate) cases: Vec<String>,
    /// How often each measurement is made; W6 and W9, which take long, once.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) rounds: u32,
    /// How long each one lasts, where the clock ends it.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) seconds: f64,
    /// Keys that are loaded for reads, opens, scans and pauses.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) keys: u64,
    /// Bytes of their values.
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub(crate) value: usize,
    /// Keys of W6 with values of 100 bytes; a twentieth of them with 4 KiB.
    #[arg(long, default_value_t = 400_000, value_name = "N")]
    pub(crate) churn_keys: u64,
    /// Rounds of W6 after the load, each of as many changes as there are keys.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) churn_rounds: u64,
    /// Cold opens drop the page cache of the whole machine, and directories and inodes. Else only the pages of the
    /// store's files.
    #[arg(long)]
    pub(crate) drop_caches: bool,
    /// Charts of W6 over time, as SVG, in this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) charts: Option<PathBuf>,
    /// One short round of everything: shows that it works, measures nothing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the stores are made. On a memory file system syncs are free, and the figures mean nothing.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Appends a line of JSON for each measurement.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Which parts.
#[derive(Clone, Debug, Args)]
pub(crate) struct MicroOptions {
    /// index, frame, replay, pause, calls; all of them if none is named.
    #[arg(value_name = "PART")]
    pub(crate) parts: Vec<String>,
    /// Keys of the index, records of the replay and of the batch that must not pause readers.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) keys: u64,
    /// How often each measurement is made.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) rounds: u32,
    /// Where the stores are made.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

impl RunOptions {
    /// With what `--quick` means.
    pub(crate) fn settled(mut self) -> Outcome<Self> {
        if self.quick {
            self.rounds = 1;
            self.seconds = 0.05;
            self.keys = 5_000;
            self.churn_keys = 2_000;
            self.churn_rounds = 3;
        }
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err("--seconds must be more than 0".into());
        }
        if self.keys < 1_000 || self.churn_keys < 1_000 {
            return Err("--keys and --churn-keys must be at least 1000".into());
        }
        if self.value == 0 || self.churn_rounds == 0 {
            return Err("--value and --churn-rounds must be at least 1".into());
        }
        Ok(self)
    }
}
