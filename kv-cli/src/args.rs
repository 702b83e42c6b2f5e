//! What can be asked on the command line.

use crate::parse;
use crate::spelling::KeyAs;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ColorChoice, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A durable key-value store on the command line.
///
/// Keys and values are bytes. What is given here is taken as it is, with --key-as hex or base64 keys are what is spelled so.
///
/// Every command but `completions` and `man` opens the store, those that only read too, and nobody else may have it open
/// meanwhile: neither a program nor another kvlog. All but `verify` need permission to write. Opening repairs what a
/// crash left behind: it cuts a torn tail, which it keeps in `quarantine`, and deletes files that nothing refers to.
/// `verify` takes the lock as well, but changes no data.
///
/// Exit codes:
///
/// 0: done. Also when what changed the store is done, and whoever was to read the report went away.
///
/// 1: no. A key of `get` is absent, without --or, or one of `contains`; the condition of a `set` does not hold, and nothing
/// was stored; `del` found none of its keys; `scan` found no record, `watch` no change, or `export` none that begins with its prefix. A count,
/// and a limit of 0, are answered with 0.
///
/// 2: what was given is wrong: the command line, a key or value that is too long, a line of an import; or `init` found a
/// store there already, or `keyspaces create` a keyspace.
///
/// 3: damage was found.
///
/// 4: it cannot be done here and now. At the path is no store, or something else; in the store no such keyspace; another process has the store; it has
/// types, and --force-raw was not given, or a version that is not known; the system failed to read, to write, or to make
/// room.
///
/// 5: whether a write happened is unknown: look before trying again.
///
/// 130: Ctrl-C ended `compact` before it was done, or 143: SIGTERM. What it had done is kept.
///
/// 141: whoever read the output went away before its end, as with other programs that SIGPIPE ends; nothing is said then.
///
/// With --json each command prints the shape that its help shows, one object a line. Bytes that are no UTF-8 stand in
/// base64 under the name with `_b64` behind it: `key_b64`, `value_b64`, `prev_b64`, `path_b64`. Standard error then has
/// `{"error": {"code": EXIT CODE, "kind": WORD, "effect": WORD, "message": TEXT, "hint": TEXT}}` and
/// `{"note": {"message": TEXT}}`. The effect is what became of the write that failed: `nothing`; `unknown`, and then look
/// before trying again; or `applied`: it is durable, and only what came after it failed.
#[derive(Debug, Parser)]
#[command(name = "kvlog", version, arg_required_else_help = true)]
pub(crate) struct Args {
    /// The store's directory.
    // The parser for paths would take an empty variable for wrong usage, whatever else was given.
    #[arg(short, long, env = "KVLOG_PATH", global = true, value_hint = ValueHint::DirPath,
        value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) path: Option<PathBuf>,

    /// The keyspace whose keys the command is about. Without it, or with an empty name, the store's own, which has no name.
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) keyspace: Option<String>,

    /// JSON on standard output, and errors as JSON on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// No summaries, notes or progress.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Wait so long for a store that somebody else has open: seconds, or a number with ms, s, m or h, as in 500ms or 1.5s.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse::time, global = true)]
    pub(crate) lock_timeout: Duration,

    /// Colour on standard error. `auto` means on a terminal, unless NO_COLOR or CLICOLOR_FORCE say otherwise.
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto, global = true)]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an empty store.
    ///
    /// With --json: `{"path": PATH, "created": true}`
    Init {
        /// The size at which a segment is sealed, for example 64MiB.
        #[arg(long, value_parser = parse::segment_size, value_name = "SIZE")]
        segment_size: Option<u64>,
    },
    /// Print the values of keys. One key: exactly its bytes. Several: key, tab, value.
    ///
    /// One value goes to a pipe or a file as it is; on a terminal it is escaped as `scan` does, and a newline follows.
    /// Several are always escaped, so that each line is a key and its value; -0 has the bytes.
    ///
    /// With --json, for each key: `{"key": KEY, "value": VALUE}`; an absent value is null. With --versioned also
    /// `"version": NUMBER`, null for an absent key.
    Get(Get),
    /// Whether keys are there: exit code 0 if all are, 1 if one is not.
    ///
    /// No value is read, and nothing is printed; a note names each key that is absent.
    ///
    /// With --json, for each key: `{"key": KEY, "present": BOOL}`
    Contains {
        #[arg(required = true)]
        keys: Vec<OsString>,
        #[command(flatten)]
        spelling: Spelling,
    },
    /// Store a value. Returns when it is durable.
    ///
    /// Standard input is read to its end before the store is opened, so `kvlog get A | kvlog set B -` works on one store.
    /// A pipe does not tell whether its producer failed: what came before the end is the value, and nothing at all is the
    /// empty value. Where that matters, go through a file.
    ///
    /// With a condition that does not hold nothing is stored: exit code 1.
    ///
    /// With --json: `{"key": KEY, "durable": true}`, and with --prev also `"prev": VALUE`, null if there was none; where a
    /// condition does not hold `{"key": KEY, "stored": false}`.
    Set(Set),
    /// Remove keys: all that are there, or none.
    ///
    /// With --prefix or --range all keys that lie there, however many: asks on a terminal whether it shall, and does nothing
    /// where there is none, without --yes. With --key-as u64, i64 or tuple a store of such keys needs no --force-raw.
    ///
    /// With --json: `{"removed": COUNT, "durable": true}`. An error that comes after the removal has `"removed": COUNT` too.
    Del(Del),
    /// List keys and values in the order of the keys, as they are at one point.
    ///
    /// A newline is shown as \n, a tab as \t, a backslash as two; other control characters, the separators of lines and
    /// paragraphs, the marks that turn the direction of writing, and what is no UTF-8 as \xNN for each byte. Everything else
    /// is shown as it is.
    ///
    /// With --json, for each record: `{"key": KEY, "value": VALUE}`; with --keys-only: `{"key": KEY}`; with --versioned also
    /// `"version": NUMBER`; with --count once: `{"count": COUNT}`
    Scan(Scan),
    /// How many keys there are, at one point. Reads no values.
    ///
    /// With --json: `{"count": COUNT}`
    Count {
        #[command(flatten)]
        among: Among,
    },
    /// List, create, drop and clear keyspaces: keys of their own beside each other, in one store.
    ///
    /// A keyspace is named with --keyspace in front of or behind every other command. Keyspaces have types of their own; one
    /// that is created here holds plain bytes.
    ///
    /// With --json: what the help of each shows.
    #[command(subcommand)]
    Keyspaces(Keyspaces),
    /// What was written behind a version, in the order of writes, as far as the log still has it.
    ///
    /// A store has one owner: while this has it nobody writes, and the command ends when everything is shown. A program that
    /// wants to be told of what it writes itself calls `watch`. A note says which versions the log does not have any more.
    ///
    /// Each line has the version, the word put, remove, erase or drop, and the key, behind a put with its value; an erasure has
    /// the key from which on and the one up to which everything went, empty where there is no end.
    ///
    /// With --json, for each: `{"version": NUMBER, "change": WORD, "ends_batch": BOOL}`, with `"key": KEY`, `"value": VALUE` and
    /// `"expires_at_ms": NUMBER`, or with `"from": KEY` and `"to": KEY`, null where there is no end.
    Watch(Watch),
    /// Store the records of a file of JSON lines: `{"key": "...", "value": ...}`.
    ///
    /// A value that is a string is stored as its text, any other as its JSON; `key_b64` and `value_b64` have bytes in base64.
    /// A line may also have `"keyspace": NAME`: the record goes there; and `"expires_at_ms": NUMBER`, in milliseconds since
    /// 1970: it is gone then. `{"keyspace": NAME, "types": TEXT}` makes a keyspace with its types, or refuses one that has
    /// others; a keyspace that no such line comes for is made with --create, for bytes. With --keyspace the records go there,
    /// and a line of another one is refused.
    ///
    /// The store is opened when the first line is there, so what `export` prints goes back into the same store by way of a
    /// file, not of a pipe.
    ///
    /// With --json: `{"path": PATH, "imported": COUNT, "keys": COUNT, "durable": true}`, the keys as `stats` counts them. An
    /// error has `"imported": COUNT` too: so many records are durable.
    Import {
        /// The file; `-` is standard input.
        #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Create the store, and keyspaces of bytes, if they are not there.
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
    ///
    /// Of all keyspaces, at one point: first the store's own, then each that has a name behind a line with its types. With
    /// --keyspace, or with a prefix, of that one or the store's own (`--keyspace ''`) alone, as lines that say no keyspace:
    /// they go wherever `import --keyspace` puts them.
    ///
    /// The types of the store's own keyspace are not carried, and a note says so where a program wrote it: a new store made
    /// from the lines holds raw bytes, and that program refuses it. To keep the types let the program create the new store, and
    /// import into that with --force-raw.
    ///
    /// For each record, with --json or without: `{"key": KEY, "value": VALUE}`, with `"keyspace": NAME` where it is one of
    /// those, and `"expires_at_ms": NUMBER` where it expires; for each keyspace `{"keyspace": NAME, "types": TEXT}`.
    Export {
        /// Only keys that begin with this.
        prefix: Option<OsString>,
        #[command(flatten)]
        spelling: Spelling,
    },
    /// Sizes and counts, what is live, what the store does and what it waits for.
    ///
    /// The number of keys is exact while the store has no run. Then it is an estimate, shown as `about`, because a write looks
    /// nothing up; `scan --count` counts.
    ///
    /// With --json: `{"path", "keys", "keys_exact", "last_seqno", "bytes", "live_bytes", "disk_bytes", "garbage_bytes",
    /// "index_bytes", "memory": {"budget", "memtable", "frozen", "cache"}, "checkpoint_seqno", "log_bytes_since_checkpoint",
    /// "open_segment_files", "pressure", "chore", "last_chore_error", "oldest_view", "poisoned", "read_only", "key_codec",
    /// "key_type", "value_codec", "value_type", "tag", "segments": [{"id", "kind", "bytes", "live_bytes", "active"}],
    /// "levels": [{"runs", "bytes", "entries", "tombstones"}], "since_open": {"groups", "batches", "records",
    /// "frame_bytes", "failed_groups", "rotations", "checkpoints", "merge_units", "segments_released", "written": {"log",
    /// "checkpoint", "merge", "values", "manifest"}}}`. `bytes` and `live_bytes` are of the segments alone. The pressure, for
    /// which writers wait, is null, `memory`, `levels` or `disk`; the chore under way null, `checkpoint`, `merge` or `unlink`;
    /// the error of the last chore null or `{"kind", "message"}`; the oldest scan or snapshot null or `{"age_ms",
    /// "pinned_bytes"}`; `read_only` null or why no writes are taken.
    Stats,
    /// Read and check everything; changes no data.
    ///
    /// Names all damage: the file, where, why, and the keys at risk, which are those whose last record cannot be read. Damage
    /// is exit code 3. What an open would repair is named and left as it is.
    ///
    /// Takes the store's lock, as the other commands do, but needs no permission to write: where it has it, it leaves its
    /// name in the file LOCK.
    ///
    /// With --json: `{"clean", "segments", "value_segments", "runs", "levels", "bytes", "separated_values", "frames",
    /// "records", "keys", "torn_tail", "foreign": [NAME], "debris": [NAME], "damages": [{"path", "offset", "end", "cause",
    /// "records", "keys_at_risk": [{"key": KEY}], "more_keys", "unnamed_records"}], "more_damages"}`; the torn tail is null or
    /// `{"path", "offset", "bytes", "cause"}`. `bytes` is what segments and runs take; the frames and records are those that
    /// runs do not have.
    Verify,
    /// Do all background work that there is to do, so that the store takes as little as it can.
    ///
    /// Nothing needs it: a store keeps within its bounds by itself. It is for the moment before a backup, or after most of a
    /// store was deleted. It writes what lives into one level of runs, and removes the files that nothing refers to any
    /// more; until then both take room.
    ///
    /// Ctrl-C ends it at the next step, after some milliseconds: what was done is kept, and the next `compact` goes on from
    /// there. A second one ends the process at once, which loses the step under way and no record.
    ///
    /// With --json: `{"path", "finished", "disk_bytes_before", "disk_bytes_after", "levels_before", "levels_after", "units",
    /// "bytes_written", "segments_released"}`, where `finished` is false after Ctrl-C.
    Compact,
    /// Print a completion script for a shell.
    Completions { shell: Shell },
    /// Print the manual page, or that of one command, in roff.
    Man {
        /// A command, for example scan.
        command: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    #[arg(required = true)]
    pub(crate) keys: Vec<OsString>,
    #[command(flatten)]
    pub(crate) spelling: Spelling,
    /// Print this instead of an absent value, and do not fail.
    #[arg(long)]
    pub(crate) or: Option<OsString>,
    /// Print the version before the value, with a tab between, on a line of its own: the place of the key's last write in the
    /// order of writes, which `set --if-version` takes.
    #[arg(long, conflicts_with = "or")]
    pub(crate) versioned: bool,
    /// End the value with a zero byte; of several, end each key and each value with one. Escape nothing, except on a
    /// terminal.
    #[arg(short = '0')]
    pub(crate) null: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) spelling: Spelling,
    /// The value; `-` reads it from standard input.
    #[arg(allow_hyphen_values = true)]
    pub(crate) value: OsString,
    /// Create the store, and the keyspace, if it is not there.
    #[arg(long)]
    pub(crate) create: bool,
    /// Print the value that was there before.
    #[arg(long)]
    pub(crate) prev: bool,
    /// The value is gone after so long: seconds, or a number with ms, s, m or h, as in 5m. Without it a value stays.
    #[arg(long, value_name = "TIME", value_parser = parse::ttl)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) condition: Condition,
    /// Write raw bytes into a store whose values were written by another codec.
    #[arg(long)]
    pub(crate) force_raw: bool,
}

/// What must be there for a value to be stored. At most one is given.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Condition {
    /// Only if the key is absent.
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Only if the key is there.
    #[arg(long)]
    pub(crate) if_present: bool,
    /// Only if the key has this value.
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) if_value: Option<OsString>,
    /// Only if the key has this version, as `get --versioned` prints it.
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Del {
    #[arg(required_unless_present_any = ["prefix", "range"])]
    pub(crate) keys: Vec<OsString>,
    #[command(flatten)]
    pub(crate) spelling: Spelling,
    /// All keys that begin with this.
    #[arg(long, conflicts_with_all = ["keys", "range"])]
    pub(crate) prefix: Option<OsString>,
    /// All keys from the first on, up to and without the other.
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], allow_hyphen_values = true, conflicts_with = "keys")]
    pub(crate) range: Option<Vec<OsString>>,
    /// Remove without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Remove from a store whose keys were written by another codec.
    #[arg(long)]
    pub(crate) force_raw: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) among: Among,
    /// Go on behind this key, wherever it lies: where a scan with a limit has ended.
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<OsString>,
    /// From the last key to the first. --from and --to stay what they are; --after is in front of that key then.
    #[arg(long)]
    pub(crate) reverse: bool,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Keys without values.
    #[arg(long, visible_alias = "keys")]
    pub(crate) keys_only: bool,
    /// The version between key and value: what `get --versioned` prints.
    #[arg(long)]
    pub(crate) versioned: bool,
    /// Only how many.
    #[arg(long, conflicts_with_all = ["keys_only", "versioned", "null"])]
    pub(crate) count: bool,
    /// End keys and values with a zero byte instead of tab and newline. Escape nothing, except on a terminal.
    #[arg(short = '0')]
    pub(crate) null: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Only keys that begin with this.
    pub(crate) prefix: Option<OsString>,
    #[command(flatten)]
    pub(crate) spelling: Spelling,
    /// Behind this version, as `get --versioned` or an earlier answer has it.
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    pub(crate) after: u64,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
}

/// For the commands that are about keys which lie together.
#[derive(Debug, clap::Args)]
pub(crate) struct Among {
    /// Only keys that begin with this.
    pub(crate) prefix: Option<OsString>,
    /// The same, by name.
    #[arg(long = "prefix", value_name = "PREFIX", conflicts_with = "prefix")]
    pub(crate) named_prefix: Option<OsString>,
    #[command(flatten)]
    pub(crate) spelling: Spelling,
    /// From this key on.
    #[arg(long)]
    pub(crate) from: Option<OsString>,
    /// Up to and without this key.
    #[arg(long)]
    pub(crate) to: Option<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keyspaces {
    /// The keyspaces that have a name, in the order in which they were made, with their types.
    ///
    /// With --json, for each: `{"keyspace": NAME, "id": NUMBER, "key_codec", "key_type", "value_codec", "value_type", "tag"}`
    List,
    /// Create empty keyspaces of plain bytes.
    ///
    /// With --json, for each: `{"keyspace": NAME, "created": true}`
    Create {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove keyspaces, and everything in them. Asks on a terminal whether it shall.
    ///
    /// A keyspace that is created with the same name later is another one, and empty.
    ///
    /// With --json, for each: `{"keyspace": NAME, "dropped": true}`
    Drop(Removal),
    /// Remove all keys of keyspaces, which stay. Asks on a terminal whether it shall.
    ///
    /// With --json, for each: `{"keyspace": NAME, "cleared": true}`
    Clear(Removal),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Removal {
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Remove without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// For the commands that are given keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Spelling {
    /// How the keys and prefixes on the command line are spelled.
    #[arg(long, value_name = "SPELLING", default_value = "str")]
    pub(crate) key_as: KeyAs,
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
    fn every_command_with_a_store_says_what_its_json_is() {
        for command in Args::command().get_subcommands() {
            let about = command.get_long_about().map(ToString::to_string);
            let says = about.is_some_and(|text| text.contains("--json"));
            let needs_no_store = matches!(command.get_name(), "completions" | "man");
            assert_ne!(says, needs_no_store, "{}", command.get_name());
        }
    }
}
