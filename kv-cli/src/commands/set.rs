//! One value stored: `set`, with its conditions.

use super::{NO, Outcome, close, note, path};
use crate::args::{Args, Condition, Set};
use crate::failure::Failure;
use crate::output::{Output, put_bytes};
use crate::spelling::{Keys, plain};
use crate::text::escaped;
use kv_log_engine::{Batch, Engine, Receipt, Seqno};
use kv_trait::{Error, ErrorKind, VALUE_BYTES_MAX};
use serde_json::{Map, Value};
use std::ffi::OsStr;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

/// How often a condition is judged anew where somebody else was faster: each time is one in which somebody has written.
const ROUNDS_MAX: usize = 100;

pub(super) fn set(
    args: &Args,
    asked: &Set,
    open: impl FnOnce() -> Result<Engine, Failure>,
) -> Outcome {
    // A command without a store fails before it waits for its input.
    path(args)?;
    let key_as = asked.spelling.key_as;
    let tried = key_as.tried(&asked.key)?;
    let condition = Wanted::of(&asked.condition)?;
    let value = value_of(&asked.value)?;
    // Tried before the store is opened: a producer on the same pipe may need the store first, and what cannot be stored must
    // not leave a new store behind.
    Batch::new().put(tried.as_deref().unwrap_or_default(), &value)?;
    let store = open()?;
    let keys = key_as.keys(store.fingerprint())?;
    let key = keys.key(&asked.key)?;
    let write = Write {
        key: &key,
        value: &value,
        ttl: asked.ttl,
        prev: asked.prev,
    };
    let before = match write.under(&store, condition.as_ref())? {
        Ok(receipt) => receipt.into_priors()?.into_iter().next().flatten(),
        Err(why) => {
            close(&store)?;
            report_refusal(args, &keys, &key, &why)?;
            return Ok(ExitCode::from(NO));
        }
    };
    close(&store)
        .and_then(|()| report(args, &keys, &key, before.as_deref(), asked.prev))
        .map_err(|cause| cause.after("the value is stored and durable", None))?;
    Ok(ExitCode::SUCCESS)
}

/// What has to be there.
enum Wanted {
    Absent,
    Present,
    Value(Vec<u8>),
    Version(Seqno),
}

impl Wanted {
    fn of(given: &Condition) -> Result<Option<Self>, Failure> {
        let value = given.if_value.as_deref().map(plain).transpose()?;
        Ok(match (value, given.if_version) {
            _ if given.if_absent => Some(Self::Absent),
            _ if given.if_present => Some(Self::Present),
            (Some(value), _) => Some(Self::Value(value)),
            (None, Some(version)) => Some(Self::Version(version.into())),
            (None, None) => None,
        })
    }

    /// Why it does not hold for what is there.
    fn refuses(&self, found: Option<&(Seqno, Vec<u8>)>) -> Option<String> {
        match (self, found) {
            (Self::Absent, Some(_)) => Some("it is there".to_owned()),
            (Self::Present | Self::Value(_) | Self::Version(_), None) => {
                Some("it is absent".to_owned())
            }
            (Self::Value(wanted), Some((_, value))) if value != wanted => {
                Some("it has another value".to_owned())
            }
            (Self::Version(wanted), Some((version, _))) if version != wanted => {
                Some(format!("it has version {version}"))
            }
            _ => None,
        }
    }
}

/// What is to be written.
struct Write<'a> {
    key: &'a [u8],
    value: &'a [u8],
    ttl: Option<Duration>,
    prev: bool,
}

impl Write<'_> {
    fn batch(&self, store: &Engine) -> Result<Batch, Error> {
        let mut batch = store.batch();
        match self.ttl {
            Some(ttl) => batch.put_until(self.key, self.value, store.expiry_after(ttl)?)?,
            None => batch.put(self.key, self.value)?,
        }
        Ok(if self.prev {
            batch.with_priors()
        } else {
            batch
        })
    }

    /// Writes it if the condition holds, or says why that does not. What is judged is a version, and the write is bound to
    /// that: it happens on what was looked at, or not at all.
    fn under(
        &self,
        store: &Engine,
        condition: Option<&Wanted>,
    ) -> Result<Result<Receipt, String>, Failure> {
        let Some(condition) = condition else {
            return Ok(Ok(store.write(self.batch(store)?)?));
        };
        let mut rounds = 0;
        loop {
            let found = store.get_versioned(self.key)?;
            if let Some(why) = condition.refuses(found.as_ref()) {
                return Ok(Err(why));
            }
            let mut batch = self.batch(store)?;
            batch.expect(self.key, found.map(|(version, _)| version))?;
            rounds += 1;
            match store.write(batch) {
                Err(error) if error.kind() == ErrorKind::Conflict && rounds < ROUNDS_MAX => {}
                written => return Ok(Ok(written?)),
            }
        }
    }
}

fn report(
    args: &Args,
    keys: &Keys,
    key: &[u8],
    before: Option<&[u8]>,
    prev: bool,
) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        let mut object = Map::new();
        keys.put(&mut object, key);
        match before {
            Some(before) => put_bytes(&mut object, "prev", before),
            None if prev => drop(object.insert("prev".to_owned(), Value::Null)),
            None => {}
        }
        object.insert("durable".to_owned(), Value::Bool(true));
        output.json(&Value::Object(object))?;
    } else if let Some(before) = before {
        output.shown(before)?;
        if output.is_terminal() {
            output.bytes(b"\n")?;
        }
    }
    output.finish()
}

fn report_refusal(args: &Args, keys: &Keys, key: &[u8], why: &str) -> Result<(), Failure> {
    let mut output = Output::new();
    if args.json {
        let mut object = Map::new();
        keys.put(&mut object, key);
        object.insert("stored".to_owned(), Value::Bool(false));
        output.json(&Value::Object(object))?;
    }
    output.finish()?;
    if !args.json {
        note(
            args,
            &format!("{} is not stored: {why}", escaped(&keys.line(key))),
        );
    }
    Ok(())
}

/// The value, with all of its input read.
fn value_of(given: &OsStr) -> Result<Vec<u8>, Failure> {
    if given == "-" {
        read_value()
    } else {
        plain(given)
    }
}

/// Standard input, up to one byte more than a value may have: the store refuses that one.
fn read_value() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    std::io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|source| Failure::stream("cannot read standard input", source))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Command;
    use clap::Parser;
    use kv_log_engine::Options;
    use kv_log_engine::storage::sim::{EIO, Fault, FaultKind, OpKind, SimDisk};

    /// Runs `set k new --prev` on a disk that fails one call of this kind once the store is open.
    fn set_on_failing_disk(failing: OpKind) -> (SimDisk, Failure) {
        let disk = SimDisk::new();
        let open = || Engine::open("/db", Options::new().storage(disk.storage()));
        let store = open().unwrap();
        // Long enough to stay in its segment: short values are in memory, and no read of them fails.
        store.put(b"k", &[b'o'; 2000]).unwrap();
        // Not closed: the next open does all that it owes the disk before it serves.
        drop(store);
        let args = Args::parse_from(["kvlog", "-p", "/db", "set", "k", "new", "--prev"]);
        let Command::Set(asked) = &args.command else {
            panic!("it is a set");
        };
        let open_and_break = || {
            let store = open()?;
            let fault = Fault::new(FaultKind::Errno(EIO)).on(failing);
            disk.inject(fault.path_contains(".seg"));
            Ok(store)
        };
        let failure = set(&args, asked, open_and_break).unwrap_err();
        disk.clear_faults();
        (disk, failure)
    }

    #[test]
    fn a_set_whose_prior_value_cannot_be_read_says_that_it_is_durable() {
        let (disk, failure) = set_on_failing_disk(OpKind::Read);
        assert!(
            failure
                .message()
                .ends_with("; it was written all the same, and is durable"),
            "{}",
            failure.message()
        );
        assert_eq!(failure.hint(), "it is done: do not repeat it");
        let json: Value = serde_json::from_str(&failure.to_json()).unwrap();
        assert_eq!(
            (&json["error"]["effect"], &json["error"]["code"]),
            (&"applied".into(), &4.into())
        );
        disk.power_cut_losing_all();
        let store = Engine::open("/db", Options::new().storage(disk.storage())).unwrap();
        assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_set_whose_sync_fails_says_that_nobody_knows() {
        let (_, failure) = set_on_failing_disk(OpKind::Sync);
        assert!(
            failure
                .message()
                .ends_with("; whether it was written is unknown"),
            "{}",
            failure.message()
        );
        let json: Value = serde_json::from_str(&failure.to_json()).unwrap();
        assert_eq!(
            (&json["error"]["effect"], &json["error"]["code"]),
            (&"unknown".into(), &5.into())
        );
    }
}
