//! What can be asked on the command line.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// A durable key-value store on the command line.
///
/// Keys and values are bytes; text given here is taken as its UTF-8. Exit codes: 0 done, 1 no (absent key, nothing
/// matched), 2 wrong usage, 3 damage found, 4 the disk or another process is in the way, 5 outcome unknown.
#[derive(Debug, Parser)]
#[command(name = "kvlog", version, arg_required_else_help = true)]
pub(crate) struct Args {
    /// The store's directory.
    #[arg(short, long, env = "KVLOG_PATH", global = true)]
    pub(crate) path: Option<PathBuf>,

    /// JSON on standard output, and errors as JSON on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// No summaries on standard error.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Wait so many seconds for a store that somebody else has open.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, global = true)]
    pub(crate) lock_timeout: u64,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an empty store.
    Init {
        /// The size at which a segment is sealed, for example 64MiB.
        #[arg(long, value_parser = parse_size, value_name = "SIZE")]
        segment_size: Option<u64>,
    },
    /// Print the values of keys. One key: exactly its bytes. Several: key, tab, value.
    Get {
        #[arg(required = true)]
        keys: Vec<String>,
        /// Print this instead of an absent value, and do not fail.
        #[arg(long)]
        or: Option<String>,
    },
    /// Store a value. Returns when it is durable.
    Set {
        key: String,
        /// The value; `-` reads it from standard input.
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Create the store if it is not there.
        #[arg(long)]
        create: bool,
        /// Print the value that was there before.
        #[arg(long)]
        prev: bool,
        /// Write raw bytes into a store whose values were written by another codec.
        #[arg(long)]
        force_raw: bool,
    },
    /// Remove keys.
    Del {
        #[arg(required = true)]
        keys: Vec<String>,
        /// Remove from a store whose keys were written by another codec.
        #[arg(long)]
        force_raw: bool,
    },
    /// List keys and values in the order of the keys, as they are at one point.
    Scan {
        /// Only keys that begin with this.
        prefix: Option<String>,
        /// From this key on.
        #[arg(long)]
        from: Option<String>,
        /// Up to and without this key.
        #[arg(long)]
        to: Option<String>,
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
        /// Keys without values.
        #[arg(long)]
        keys_only: bool,
        /// Only how many.
        #[arg(long)]
        count: bool,
        /// End keys and values with a zero byte instead of tab and newline, and escape nothing.
        #[arg(short = '0')]
        null: bool,
    },
    /// Store the records of a file of JSON lines: {"key": "...", "value": ...}.
    Import {
        /// The file; `-` is standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Create the store if it is not there.
        #[arg(long)]
        create: bool,
        /// Records that become durable together.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        batch: u32,
        /// Write raw bytes into a store whose values were written by another codec.
        #[arg(long)]
        force_raw: bool,
    },
    /// Print all records as JSON lines; `import` reads them back to the same bytes.
    Export {
        /// Only keys that begin with this.
        prefix: Option<String>,
    },
    /// Sizes and counts.
    Stats,
    /// Read and check everything, without changing anything.
    Verify,
}

/// A number of bytes, with an optional binary unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|error| format!("{digits:?}: {error}"))?;
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        other => return Err(format!("unknown unit {other:?}; use KiB, MiB or GiB")),
    };
    number
        .checked_mul(unit)
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_have_binary_units_and_overflow_is_an_error() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("64MB").is_err());
        assert!(parse_size("99999999999GiB").is_err());
    }
}
