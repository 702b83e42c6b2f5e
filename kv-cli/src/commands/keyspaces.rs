//! Keyspaces: what a command is about, and `keyspaces`.

use super::confirm::{confirm, refuse_unasked};
use super::{NO, Outcome, close, note, open};
use crate::args::{Args, Removal};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::counted;
use kv_log_engine::{Create, Engine, KeyspaceInfo};
use kv_trait::{Error, ErrorKind, Fingerprint};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Whoever reads a line has the name before the tab, and the types behind it.
fn line(keyspace: &KeyspaceInfo) -> String {
    let types = &keyspace.fingerprint;
    let tag = types.tag();
    format!(
        "keys: {}  values: {}{}",
        types.key_type(),
        types.value_type(),
        tag.map_or_else(String::new, |tag| format!("  tag: {tag}"))
    )
}

/// The name that was asked for; an empty one is none.
pub(super) fn named(args: &Args) -> Option<&str> {
    args.keyspace.as_deref().filter(|name| !name.is_empty())
}

/// What the command is about, for messages.
pub(super) fn what(args: &Args) -> String {
    named(args).map_or_else(|| "the store".to_owned(), called)
}

/// A keyspace, for messages.
pub(super) fn called(name: &str) -> String {
    format!("keyspace {name:?}")
}

/// For the commands that are about the whole store, or about none.
pub(super) fn refuse_named(args: &Args, command: &str) -> Result<(), Failure> {
    if named(args).is_none() {
        return Ok(());
    }
    Err(Failure::input(
        format!("--keyspace cannot be used with `{command}`"),
        "leave it out: the command is about the whole store; `count --keyspace` counts the keys of one",
    ))
}

/// The handle of the keyspace that the command is about, which is made if it is to be.
pub(super) fn enter(args: &Args, store: Engine, create: bool) -> Result<Engine, Failure> {
    match named(args) {
        Some(name) => find(&store, name, create),
        None => Ok(store),
    }
}

/// The handle of a keyspace, with whatever types it has; made, of bytes, if it is to be.
pub(super) fn find(store: &Engine, name: &str, create: bool) -> Result<Engine, Failure> {
    let known = store.keyspaces()?;
    let known = known.iter().find(|known| known.name == name);
    match known {
        Some(known) => Ok(store.keyspace(name, &known.fingerprint)?),
        None if create => Ok(store.keyspace(name, &Fingerprint::raw())?),
        None => Err(absent(store, name)),
    }
}

fn absent(store: &Engine, name: &str) -> Failure {
    let path = store.path().display();
    let message = format!("there is no {} in {path}", called(name));
    Failure::Store {
        error: Error::new(ErrorKind::NotFound, message),
        hint: Some(
            "`kvlog keyspaces list` names those that are there, `kvlog keyspaces create` makes one",
        ),
    }
}

pub(super) fn list(args: &Args) -> Outcome {
    let store = open(args, Create::Never)?;
    let mut output = Output::new();
    for keyspace in store.keyspaces()? {
        if args.json {
            output.json(&to_json(&keyspace))?;
        } else {
            let types = line(&keyspace);
            output.fields([keyspace.name.as_bytes(), types.as_bytes()])?;
        }
    }
    output.finish()?;
    close(&store)?;
    Ok(ExitCode::SUCCESS)
}

fn to_json(keyspace: &KeyspaceInfo) -> Value {
    let types = &keyspace.fingerprint;
    json!({
        "keyspace": keyspace.name,
        "id": keyspace.id,
        "key_codec": types.key().to_string(),
        "key_type": types.key_type(),
        "value_codec": types.value().to_string(),
        "value_type": types.value_type(),
        "tag": types.tag(),
    })
}

pub(super) fn create(args: &Args, names: &[String]) -> Outcome {
    let store = open(args, Create::Never)?;
    let known = store.keyspaces()?;
    // Before the first is made: all of them, or none for a name that is taken or stands there twice.
    for (at, name) in names.iter().enumerate() {
        let taken = known.iter().any(|known| known.name == *name);
        if taken || names[..at].contains(name) {
            let path = store.path().display();
            let message = format!("there is a {} in {path} already", called(name));
            return Err(Failure::input(message, "give another name"));
        }
    }
    each(args, &store, names, "created", |name| {
        store.keyspace(name, &Fingerprint::raw()).map(drop)
    })
}

/// What becomes of a keyspace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Removed {
    Dropped,
    Cleared,
}

pub(super) fn remove(args: &Args, removal: &Removal, removed: Removed) -> Outcome {
    refuse_unasked(removal.yes)?;
    let store = open(args, Create::Never)?;
    let mut handles = Vec::new();
    for name in &removal.names {
        handles.push(find(&store, name, false)?);
    }
    // Nobody is asked: nothing need be read, and what cannot be read can go.
    if !removal.yes {
        let mut keys = 0;
        for handle in &handles {
            keys += count(handle)?;
        }
        let names = removal.names.join(", ");
        let path = store.path().display();
        let keys = counted(keys, "key");
        let question = match removed {
            Removed::Dropped => format!("drop {names} with {keys} from {path}?"),
            Removed::Cleared => format!("remove {keys} of {names} from {path}?"),
        };
        if !confirm(removal.yes, &question)? {
            close(&store)?;
            note(args, "nothing was removed");
            return Ok(ExitCode::from(NO));
        }
    }
    let word = match removed {
        Removed::Dropped => "dropped",
        Removed::Cleared => "cleared",
    };
    each(args, &store, &removal.names, word, |name| match removed {
        // One that stands there twice is gone already.
        Removed::Dropped => store.drop_keyspace(name).map(drop),
        Removed::Cleared => handles
            .iter()
            .zip(&removal.names)
            .filter(|(_, known)| *known == name)
            .try_for_each(|(handle, _)| handle.clear()),
    })
}

fn count(keyspace: &Engine) -> Result<u64, Failure> {
    let mut scan = keyspace.scan(..)?;
    let mut count = 0;
    while scan.next_key().transpose()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Does it to one after the other, closes the store, and says what is done: also where something fails after it.
fn each(
    args: &Args,
    store: &Engine,
    names: &[String],
    word: &'static str,
    mut one: impl FnMut(&String) -> Result<(), Error>,
) -> Outcome {
    for (at, name) in names.iter().enumerate() {
        one(name).map_err(|error| {
            let cause = Failure::from(error);
            match at {
                0 => cause,
                _ => Failure::Partly {
                    done: format!("{word}: {}", names[..at].join(", ")),
                    count: (word, at as u64),
                    cause: Box::new(cause),
                },
            }
        })?;
    }
    let reported = close(store).and_then(|()| report(args, names, word));
    reported.map_err(|cause| {
        let done = format!("{word}: {}", names.join(", "));
        cause.after(done, Some((word, names.len() as u64)))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn report(args: &Args, names: &[String], word: &str) -> Result<(), Failure> {
    let mut output = Output::new();
    for name in names {
        if args.json {
            output.json(&json!({ "keyspace": name, word: true }))?;
        } else if !args.quiet {
            output.line(&format!("{word} keyspace {name}"))?;
        }
    }
    output.finish()
}
