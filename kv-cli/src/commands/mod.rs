//! What each command does. Every one that needs a store opens it, does one thing, and closes it.

mod about;
mod compact;
mod read;
mod stats;
mod transfer;
mod verify;
mod write;

use crate::args::{Args, Command};
use crate::failure::Failure;
use crate::spelling::plain;
use crate::terminal;
use crate::text::counted;
use kv_log_engine::{Create, Engine, Options, Scan, TornTail};
use kv_trait::{Error, ErrorKind};
use std::error::Error as _;
use std::ffi::OsString;
use std::io::ErrorKind::NotADirectory;
use std::ops::Bound;
use std::path::Path;
use std::process::ExitCode;

type Outcome = Result<ExitCode, Failure>;

const NO: u8 = 1;
const DAMAGED: u8 = 3;

pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Init { segment_size } => write::init(args, *segment_size),
        Command::Get {
            keys,
            spelling,
            or,
            null,
        } => {
            refuse_both(*null, args.json)?;
            let or = or.as_deref().map(plain).transpose()?;
            read::get(args, &spelling.key_as.all(keys)?, or.as_deref(), *null)
        }
        Command::Set {
            key,
            spelling,
            value,
            create,
            prev,
            force_raw,
        } => {
            let open = || open_to_write(args, *create, *force_raw);
            write::set(args, open, &spelling.key_as.bytes(key)?, value, *prev)
        }
        Command::Del {
            keys,
            spelling,
            force_raw,
        } => {
            let open = || open_to_write(args, false, *force_raw);
            write::del(args, open, &spelling.key_as.all(keys)?)
        }
        Command::Scan {
            prefix,
            spelling,
            from,
            to,
            limit,
            keys_only,
            count,
            null,
        } => {
            refuse_both(*null, args.json)?;
            let spelled = |given: &Option<OsString>| spelling.key_as.one(given.as_deref());
            let (prefix, from, to) = (spelled(prefix)?, spelled(from)?, spelled(to)?);
            let bounds = bounds(prefix, from, to);
            let limit = limit.unwrap_or(usize::MAX);
            read::scan(args, &bounds, limit, *keys_only, *count, *null)
        }
        Command::Import {
            file,
            create,
            batch,
            force_raw,
        } => transfer::import(args, file, *create, *batch as usize, *force_raw),
        Command::Export { prefix, spelling } => {
            let prefix = spelling.key_as.one(prefix.as_deref())?;
            transfer::export(args, prefix)
        }
        Command::Stats => stats::stats(args),
        Command::Verify => verify::verify_store(args),
        Command::Compact => compact::compact(args),
        Command::Completions { shell } => about::completions(*shell),
        Command::Man { command } => about::man(command.as_deref()),
    }
}

/// The parser does not see an option of a command and a global one before it together.
fn refuse_both(null: bool, json: bool) -> Result<(), Failure> {
    if null && json {
        let hint = "leave one out: JSON is one object a line, and escapes what it must";
        return Err(Failure::input("-0 cannot be used with --json", hint));
    }
    Ok(())
}

fn path(args: &Args) -> Result<&Path, Failure> {
    // An empty variable is an unset one.
    let named = args.path.as_deref().filter(|it| *it != Path::new(""));
    named.ok_or_else(|| {
        Failure::input(
            "no store was named",
            "give its directory with --path, or in KVLOG_PATH",
        )
    })
}

fn options(args: &Args) -> Options {
    Options::new().lock_timeout(args.lock_timeout)
}

/// A torn tail of no bytes.
fn cut_short(torn: &TornTail) -> String {
    let path = torn.path.display();
    format!("{path} {}: a crash, or somebody cut it", torn.cause)
}

fn torn_tail(torn: &TornTail) -> String {
    let path = torn.path.display();
    if torn.bytes == 0 {
        return cut_short(torn);
    }
    let kept = match &torn.quarantine {
        // More than its head can hold, and kept nowhere: it was not cut.
        None if torn.bytes > torn.head.len() as u64 => {
            return format!(
                "{} never-acknowledged bytes at the end of {path} are not served; they stay there until a write finds \
                 where to keep them",
                torn.bytes
            );
        }
        None => "they are kept in no file, being too few".to_owned(),
        Some(kept) if torn.quarantined_bytes < torn.bytes => {
            let (count, kept) = (torn.quarantined_bytes, kept.display());
            format!("the first {count} of them are kept in {kept}")
        }
        Some(kept) => format!("they are kept in {}", kept.display()),
    };
    format!(
        "cut {} never-acknowledged bytes at the end of {path}; {kept}",
        torn.bytes
    )
}

fn open(args: &Args, create: Create) -> Result<Engine, Failure> {
    open_with(args, create, options(args))
}

fn open_with(args: &Args, create: Create, options: Options) -> Result<Engine, Failure> {
    let store = Engine::open(path(args)?, options.create(create)).map_err(|error| {
        let hint = hint_for_open(&error, create);
        Failure::Store { error, hint }
    })?;
    let report = store.recovery_report();
    if let Some(torn) = &report.torn_tail {
        note(args, &torn_tail(torn));
    }
    if let Some(parent) = &report.unsynced_parent {
        let message = format!(
            "{} cannot be read, so whether the store's own name in it is durable is not known",
            parent.display()
        );
        note(args, &message);
    }
    // Whoever made a store in the wrong directory should hear it at once, and not each time.
    if report.created && !report.foreign.is_empty() {
        note(args, &beside(store.path(), &report.foreign));
    }
    Ok(store)
}

/// What helps depends on what was to be done: who wants to make a store is not told to make one first.
fn hint_for_open(error: &Error, create: Create) -> Option<&'static str> {
    let io = error.source().and_then(|source| source.downcast_ref());
    let io = io.map(std::io::Error::kind);
    match (error.kind(), io) {
        (ErrorKind::NotFound, Some(NotADirectory)) => Some("check the path"),
        (ErrorKind::NotFound, Some(_)) if create != Create::Never => {
            Some("create that directory first, or check the path")
        }
        (ErrorKind::NotFound, None) if create != Create::Never => Some("give another path"),
        (ErrorKind::InvalidInput, _) if create == Create::New => Some("give another path"),
        _ => None,
    }
}

/// The names that a new store was made beside.
fn beside(path: &Path, foreign: &[String]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown = foreign[..foreign.len().min(SHOWN_MAX)].join(", ");
    let more = match foreign.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {}", counted(more as u64, "other")),
    };
    let path = path.display();
    format!(
        "the store was made in a directory that holds more, which is left alone: {shown}{more} in {path}"
    )
}

fn open_to_write(args: &Args, create: bool, force_raw: bool) -> Result<Engine, Failure> {
    let create = if create {
        Create::IfMissing
    } else {
        Create::Never
    };
    let store = open(args, create)?;
    refuse_typed(&store, force_raw)?;
    Ok(store)
}

/// A remark for people, on standard error.
fn note(args: &Args, message: &str) {
    if !args.quiet {
        terminal::note(message, args.json);
    }
}

/// The codecs of a store whose keys or values are more than bytes.
fn types(store: &Engine) -> Option<String> {
    let recorded = store.fingerprint();
    let raw = recorded.key().name() == "raw" && recorded.value().name() == "raw";
    (!raw).then(|| {
        format!(
            "keys: {}, values: {}",
            recorded.key_type(),
            recorded.value_type()
        )
    })
}

/// Raw bytes among typed ones would be misread by the program that owns the store.
fn refuse_typed(store: &Engine, force: bool) -> Result<(), Failure> {
    let Some(types) = types(store).filter(|_| !force) else {
        return Ok(());
    };
    let message = format!(
        "the store was made by a program for its own types ({types}), which bytes from here may not be"
    );
    Err(Failure::Store {
        error: Error::new(ErrorKind::UnsupportedFormat, message),
        hint: Some("let that program write, or pass --force-raw if these bytes are what it writes"),
    })
}

fn close(store: &Engine) -> Result<(), Failure> {
    store.close().map_err(Failure::from)
}

type Edge = Bound<Vec<u8>>;

/// The keys that begin with the prefix and lie between these two.
fn bounds(prefix: Option<Vec<u8>>, from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> (Edge, Edge) {
    let behind = prefix.as_deref().and_then(behind_prefix);
    let lowest = from.into_iter().chain(prefix).max();
    let highest = to.into_iter().chain(behind).min();
    (
        lowest.map_or(Bound::Unbounded, Bound::Included),
        highest.map_or(Bound::Unbounded, Bound::Excluded),
    )
}

/// The first key that no longer begins with the prefix; `None` if there is none.
fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut behind = prefix.to_vec();
    while let Some(last) = behind.pop() {
        if last < u8::MAX {
            behind.push(last + 1);
            return Some(behind);
        }
    }
    None
}

fn start_scan(store: &Engine, bounds: &(Edge, Edge)) -> Result<Scan, Failure> {
    let bounds = (
        bounds.0.as_ref().map(Vec::as_slice),
        bounds.1.as_ref().map(Vec::as_slice),
    );
    Ok(store.scan(bounds)?)
}
