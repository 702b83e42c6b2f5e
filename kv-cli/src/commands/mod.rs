//! What each command does. Every one that needs a store opens it, does one thing, and closes it.

mod about;
mod compact;
mod confirm;
mod del;
mod edges;
mod export;
mod import;
mod init;
mod keyspaces;
mod read;
mod set;
mod stats;
mod verify;
mod watch;

use crate::args::{Among, Args, Command, Keyspaces};
use crate::failure::Failure;
use crate::spelling::{KeyAs, Keys};
use crate::terminal;
use crate::text::counted;
use edges::Edges;
use keyspaces::Removed;
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
        Command::Init { segment_size } => {
            keyspaces::refuse_named(args, "init")?;
            init::init(args, *segment_size)
        }
        Command::Get(asked) => {
            refuse_both(asked.null, args.json)?;
            read::get(args, asked)
        }
        Command::Contains { keys, spelling } => read::contains(args, keys, spelling.key_as),
        Command::Set(asked) => {
            // A store that is made here has keys of bytes: whoever spells them otherwise means one that is there.
            let key_as = asked.spelling.key_as;
            let create = asked.create && !key_as.is_typed();
            let open = || open_for_keys(args, create, asked.force_raw, key_as, true);
            set::set(args, asked, open)
        }
        Command::Del(asked) => {
            let key_as = asked.spelling.key_as;
            let open = || open_for_keys(args, false, asked.force_raw, key_as, false);
            del::del(args, asked, open)
        }
        Command::Scan(asked) => {
            refuse_both(asked.null, args.json)?;
            read::scan(args, asked)
        }
        Command::Count { among } => read::count(args, among),
        Command::Watch(asked) => watch::watch(args, asked),
        Command::Keyspaces(asked) => {
            keyspaces::refuse_named(args, "keyspaces")?;
            match asked {
                Keyspaces::List => keyspaces::list(args),
                Keyspaces::Create { names } => keyspaces::create(args, names),
                Keyspaces::Drop(removal) => keyspaces::remove(args, removal, Removed::Dropped),
                Keyspaces::Clear(removal) => keyspaces::remove(args, removal, Removed::Cleared),
            }
        }
        Command::Import {
            file,
            create,
            batch,
            force_raw,
        } => {
            let asked = import::Asked {
                create: *create,
                batch: *batch as usize,
                force_raw: *force_raw,
            };
            import::import(args, file, asked)
        }
        Command::Export { prefix, spelling } => {
            export::export(args, prefix.as_deref(), spelling.key_as)
        }
        Command::Stats => {
            keyspaces::refuse_named(args, "stats")?;
            stats::stats(args)
        }
        Command::Verify => {
            keyspaces::refuse_named(args, "verify")?;
            verify::verify_store(args)
        }
        Command::Compact => {
            keyspaces::refuse_named(args, "compact")?;
            compact::compact(args)
        }
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

/// The keyspace that a command writes bytes to.
fn open_to_write(args: &Args, create: bool, force_raw: bool) -> Result<Engine, Failure> {
    let store = open_keyspace_to_write(args, create)?;
    refuse_typed(&keyspaces::what(args), &store, force_raw)?;
    Ok(store)
}

/// The same for keys that may be spelled by their values: the bytes of these are what the store's program writes.
fn open_for_keys(
    args: &Args,
    create: bool,
    force_raw: bool,
    key_as: KeyAs,
    with_values: bool,
) -> Result<Engine, Failure> {
    let store = open_keyspace_to_write(args, create)?;
    key_as.keys(store.fingerprint())?;
    let values = store.fingerprint().value().name() == "raw";
    let fits = key_as.is_typed() && (values || !with_values);
    refuse_typed(&keyspaces::what(args), &store, force_raw || fits)?;
    Ok(store)
}

fn open_keyspace_to_write(args: &Args, create: bool) -> Result<Engine, Failure> {
    let create = if create {
        Create::IfMissing
    } else {
        Create::Never
    };
    let store = open(args, create)?;
    keyspaces::enter(args, store, create == Create::IfMissing)
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
fn refuse_typed(what: &str, store: &Engine, force: bool) -> Result<(), Failure> {
    let Some(types) = types(store).filter(|_| !force) else {
        return Ok(());
    };
    let message = format!(
        "{what} was made by a program for its own types ({types}), which bytes from here may not be"
    );
    Err(Failure::Store {
        error: Error::new(ErrorKind::UnsupportedFormat, message),
        hint: Some("let that program write, or pass --force-raw if these bytes are what it writes"),
    })
}

fn close(store: &Engine) -> Result<(), Failure> {
    store.close().map_err(Failure::from)
}

/// The keyspace that a command reads.
fn open_keyspace(args: &Args) -> Result<Engine, Failure> {
    let store = open(args, Create::Never)?;
    keyspaces::enter(args, store, false)
}

/// Whether the key is there; its value is not read.
fn is_there(store: &Engine, key: &[u8]) -> Result<bool, Failure> {
    let only = (Bound::Included(key), Bound::Included(key));
    Ok(store.scan(only)?.next_key().transpose()?.is_some())
}

/// Refuses misspelled ends before the store is opened.
fn try_edges(among: &Among) -> Result<(), Failure> {
    let prefix = among.prefix.as_ref().or(among.named_prefix.as_ref());
    for one in [prefix, among.from.as_ref(), among.to.as_ref()] {
        among
            .spelling
            .key_as
            .tried_one(one.map(OsString::as_os_str))?;
    }
    Ok(())
}

/// Where the keys lie that a command is about.
fn edges(among: &Among, keys: &Keys) -> Result<Edges, Failure> {
    let prefix = among.prefix.as_ref().or(among.named_prefix.as_ref());
    let [prefix, from, to] = [prefix, among.from.as_ref(), among.to.as_ref()]
        .map(|one| keys.start_of(one.map(OsString::as_os_str)));
    Ok(Edges::new(prefix?, from?, to?))
}

fn start_scan(store: &Engine, edges: &Edges) -> Result<Scan, Failure> {
    Ok(store.scan(edges.range())?)
}
