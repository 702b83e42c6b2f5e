//! The child's side: one step of one workload with one contender.

mod churn;
pub(crate) mod lanes;
pub(crate) mod life;
mod pause;
mod read;
mod write;

#[cfg(feature = "rocksdb")]
use crate::peers::RocksDb;
use crate::peers::{Engine, Fjall, Form, Kvlog, KvlogTasks, Lmdb, Redb, Surreal, set_cache_bytes};
use crate::protocol::{Job, Reply, Task, reply_and_wait};
use crate::store::{Gather, Hop, Outcome, Store, TaskStore};
use crate::system;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A child that has not answered by then is stuck, and ends itself: this, and a second more for so many keys.
const PATIENCE: Duration = Duration::from_secs(900);
const KEYS_A_SECOND_AT_LEAST: u64 = 2_000;

/// Does the job, answers, and waits to be killed with the store still open.
pub(crate) fn run(job: &Job) -> Outcome {
    let watch = thread::Builder::new().name("watch".to_owned());
    let patience = PATIENCE + Duration::from_secs(job.keys / KEYS_A_SECOND_AT_LEAST);
    watch.spawn(move || {
        thread::sleep(patience);
        std::process::abort();
    })?;
    set_cache_bytes(job.cache_bytes)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(system::processors())
        .enable_all()
        .build()?;
    let _context = runtime.enter();
    match job.contender.engine {
        Engine::Kvlog => dispatch::<Kvlog, KvlogTasks<false>, KvlogTasks<true>>(&runtime, job),
        Engine::SurrealKv => {
            dispatch::<Surreal<false>, Surreal<false>, Surreal<true>>(&runtime, job)
        }
        Engine::Fjall => wrapped::<Fjall>(&runtime, job),
        Engine::Redb => wrapped::<Redb>(&runtime, job),
        Engine::Lmdb => wrapped::<Lmdb>(&runtime, job),
        #[cfg(feature = "rocksdb")]
        Engine::RocksDb => wrapped::<RocksDb>(&runtime, job),
    }
}

fn wrapped<S: Store>(runtime: &Runtime, job: &Job) -> Outcome {
    dispatch::<S, Hop<S>, Gather<S>>(runtime, job)
}

/// `T` is what the forms [`Form::Tasks`] and [`Form::Hop`] mean, `V` what [`Form::Variant`] and [`Form::Gather`] do.
fn dispatch<S, T, V>(runtime: &Runtime, job: &Job) -> Outcome
where
    S: Store,
    T: TaskStore,
    V: TaskStore,
{
    match (&job.task, job.contender.form) {
        (Task::Load, _) => reply_and_wait(&life::load::<S>(job)?),
        (Task::LoadAloud, _) => life::load_aloud::<S>(job),
        (Task::Churn { churn, rounds }, _) => {
            reply_and_wait(&churn::churn::<S>(job, *churn, *rounds)?)
        }
        (Task::Lookup { absent }, _) => answer(read::lookup::<S>(job, *absent)?),
        (Task::Pause { puts }, Form::Threads) => answer(pause::from_threads::<S>(job, *puts)?),
        (Task::Check { expected }, _) => answer(life::check::<S>(job, expected)?),
        (Task::Settle, _) => reply_and_wait(&life::settle::<S>(job)?),
        (Task::Age, _) => answer(life::age::<S>(job)?),
        (Task::Open { cold }, _) => answer(life::open::<S>(job, *cold)?),
        (Task::Scan { limit }, _) => answer(read::scan::<S>(job, *limit)?),
        (Task::Put, Form::Threads) => answer(write::put_from_threads::<S>(job)?),
        (Task::Get { zipf }, Form::Threads) => answer(read::get_from_threads::<S>(job, *zipf)?),
        (Task::Transfer, Form::Threads) => answer(write::transfer_from_threads::<S>(job)?),
        (Task::Mixed, Form::Threads) => Err("the mixed workload is for tasks".into()),
        (_, Form::Tasks | Form::Hop) => from_tasks::<T>(runtime, job),
        (_, Form::Variant | Form::Gather) => from_tasks::<V>(runtime, job),
    }
}

fn from_tasks<T: TaskStore>(runtime: &Runtime, job: &Job) -> Outcome {
    match &job.task {
        Task::Put => answer(runtime.block_on(write::put_from_tasks::<T>(job))?),
        Task::Mixed => answer(runtime.block_on(write::mixed::<T>(job))?),
        Task::Pause { puts } => answer(runtime.block_on(pause::from_tasks::<T>(job, *puts))?),
        Task::Transfer => answer(runtime.block_on(write::transfer_from_tasks::<T>(job))?),
        Task::Get { zipf } => answer(runtime.block_on(read::get_from_tasks::<T>(job, *zipf))?),
        task => Err(format!("{task:?} is not for tasks").into()),
    }
}

/// The store stays open until the parent has killed this process.
fn answer<S>((reply, store): (Reply, S)) -> Outcome {
    reply_and_wait(&reply)?;
    drop(store);
    Ok(())
}
