//! Who is measured: engines, and the forms in which an application calls them.

mod fjall;
mod kvlog;
mod lmdb;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod surrealkv;

pub(crate) use self::fjall::Fjall;
pub(crate) use self::kvlog::{Kvlog, KvlogTasks};
pub(crate) use self::lmdb::Lmdb;
pub(crate) use self::redb::Redb;
#[cfg(feature = "rocksdb")]
pub(crate) use self::rocksdb::RocksDb;
pub(crate) use self::surrealkv::Surreal;

use crate::protocol::cache_bytes_default;
use crate::store::Outcome;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The size of the cache of this process's store; a child sets it once.
static CACHE_BYTES: OnceLock<u64> = OnceLock::new();

/// Where an engine has a cache of its own, this is its size.
fn cache_bytes() -> u64 {
    *CACHE_BYTES.get_or_init(cache_bytes_default)
}

/// Before the first open.
pub(crate) fn set_cache_bytes(bytes: u64) -> Outcome {
    let set = CACHE_BYTES.set(bytes);
    set.map_err(|_bytes| "the cache has a size already".into())
}

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    Kvlog,
    SurrealKv,
    Fjall,
    Redb,
    Lmdb,
    #[cfg(feature = "rocksdb")]
    RocksDb,
}

/// How it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// From tasks, through its own async interface.
    Tasks,
    /// The same, with the one variant worth a row: kvlog's `set`, surrealkv's preallocated log.
    Variant,
    /// From threads.
    Threads,
    /// From tasks, each call on the blocking pool.
    Hop,
    /// From tasks, writes through a channel to one batching writer.
    Gather,
}

/// A row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Contender {
    pub(crate) engine: Engine,
    pub(crate) form: Form,
}

impl Engine {
    pub(crate) const ALL: &[Self] = &[
        Self::Kvlog,
        Self::SurrealKv,
        Self::Fjall,
        Self::Redb,
        Self::Lmdb,
        #[cfg(feature = "rocksdb")]
        Self::RocksDb,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvlog => "kvlog",
            Self::SurrealKv => "surrealkv",
            Self::Fjall => "fjall",
            Self::Redb => "redb",
            Self::Lmdb => "lmdb",
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => "rocksdb",
        }
    }

    /// The crate whose version counts.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Kvlog => "kv-log-engine",
            Self::Lmdb => "heed",
            other => other.name(),
        }
    }

    /// How its acknowledged writes are made durable, and what else is not its default.
    pub(crate) const fn settings(self) -> &'static str {
        match self {
            Self::Kvlog => kvlog::SETTINGS,
            Self::SurrealKv => surrealkv::SETTINGS,
            Self::Fjall => fjall::SETTINGS,
            Self::Redb => redb::SETTINGS,
            Self::Lmdb => lmdb::SETTINGS,
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => rocksdb::SETTINGS,
        }
    }

    /// Whether it has an async interface of its own.
    const fn is_async(self) -> bool {
        matches!(self, Self::Kvlog | Self::SurrealKv)
    }

    fn with(self, form: Form) -> Contender {
        Contender { engine: self, form }
    }
}

impl Contender {
    /// As in the tables: the engine, and a suffix for the form.
    pub(crate) fn name(self) -> String {
        let suffix = match (self.form, self.engine) {
            (Form::Tasks, _) => "",
            (Form::Variant, Engine::Kvlog) => "-set",
            (Form::Variant, _) => "-pre",
            (Form::Threads, _) => "-threads",
            (Form::Hop, _) => "-hop",
            (Form::Gather, _) => "-gc",
        };
        format!("{}{suffix}", self.engine.name())
    }

    /// Whether somebody had to wrap it.
    pub(crate) const fn is_wrapped(self) -> bool {
        matches!(self.form, Form::Hop | Form::Gather)
    }

    /// All who can write from tasks or threads at once.
    pub(crate) fn writers() -> Vec<Self> {
        let mut writers = Self::tasks();
        for engine in Engine::ALL {
            if !matches!(engine, Engine::SurrealKv) {
                writers.push(engine.with(Form::Threads));
            }
        }
        writers.sort();
        writers
    }

    /// All who are called from tasks and write.
    pub(crate) fn tasks() -> Vec<Self> {
        let forms = |engine: &Engine| {
            let forms = if engine.is_async() {
                [Form::Tasks, Form::Variant]
            } else {
                [Form::Hop, Form::Gather]
            };
            forms.map(|form| engine.with(form))
        };
        Engine::ALL.iter().flat_map(forms).collect()
    }

    /// All who are called from tasks and read.
    pub(crate) fn readers() -> Vec<Self> {
        let form = |engine: &Engine| {
            let form = if engine.is_async() {
                Form::Tasks
            } else {
                Form::Hop
            };
            engine.with(form)
        };
        Engine::ALL.iter().map(form).collect()
    }

    /// All, from threads.
    pub(crate) fn threads() -> Vec<Self> {
        let form = |engine: &Engine| engine.with(Form::Threads);
        Engine::ALL.iter().map(form).collect()
    }

    /// All who transact: surrealkv's commit is async, the others' block.
    pub(crate) fn transactors() -> Vec<Self> {
        let form = |engine: &Engine| match engine {
            Engine::SurrealKv => engine.with(Form::Tasks),
            _ => engine.with(Form::Threads),
        };
        Engine::ALL.iter().map(form).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut rows: BTreeSet<Contender> = Contender::writers().into_iter().collect();
        rows.extend(Contender::readers());
        rows.extend(Contender::threads());
        let names: BTreeSet<String> = rows.iter().map(|row| row.name()).collect();
        assert_eq!(names.len(), rows.len());
        assert!(names.contains("kvlog-set") && names.contains("surrealkv-pre"));
        assert!(names.contains("fjall-gc") && names.contains("lmdb-threads"));
    }

    #[test]
    fn every_engine_is_in_every_workload() {
        let lists = [
            Contender::writers(),
            Contender::tasks(),
            Contender::readers(),
            Contender::threads(),
            Contender::transactors(),
        ];
        for list in lists {
            let engines: BTreeSet<Engine> = list.iter().map(|row| row.engine).collect();
            assert_eq!(engines.len(), Engine::ALL.len());
        }
    }
}
