//! A queue of jobs, each known once, claimed by one worker, done or tried again; the power is cut while they work.
//!
//! `cargo run --release -p kv-runtime-tokio --example jobs [SEED]`
//!
//! The disk is simulated, so that its power can be cut. Without `Options::storage` the path is a directory, and nothing else
//! is different.
#![expect(clippy::print_stdout, reason = "what it is for")]

use kv_runtime_tokio::engine::storage::sim::SimDisk;
use kv_runtime_tokio::{ErrorKind, KVLog, Options, Result, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

const JOBS: u64 = 100;
const WORKERS: usize = 8;
const ATTEMPTS_MAX: u32 = 3;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    number: u64,
    attempts: u32,
}

struct Claim {
    id: u64,
    job: Job,
    version: Option<Version>,
}

/// Each job is in one of them.
#[derive(Clone)]
struct Queue {
    waiting: KVLog<u64, Job>,
    claimed: KVLog<u64, Job>,
    failed: KVLog<u64, Job>,
    results: KVLog<u64, u64>,
}

impl Queue {
    /// One process owns a store, so who claimed a job before this open is gone, and the job waits again.
    async fn open(disk: &SimDisk) -> Result<Self> {
        let options = Options::new().storage(disk.storage());
        let waiting: KVLog<u64, Job> = KVLog::load_with("/jobs.kv", options).await?;
        let queue = Self {
            claimed: waiting.keyspace("claimed").await?,
            failed: waiting.keyspace("failed").await?,
            results: waiting.keyspace("results").await?,
            waiting,
        };
        let left = queue.claimed.range(..).collect().await?;
        println!("{} jobs were being worked on", left.len());
        let mut batch = queue.waiting.batch();
        for (id, job) in &left {
            batch.put(id, job).of(&queue.claimed).remove(id);
        }
        batch.commit().await?;
        Ok(queue)
    }

    /// Whether the job is new. Who does not know whether a job was taken, pushes it again.
    async fn push(&self, id: u64, number: u64) -> Result<bool> {
        let job = Job {
            number,
            attempts: 0,
        };
        let mut batch = self.waiting.batch();
        batch.expect(&id, None).put(&id, &job);
        batch.of(&self.claimed).expect(&id, None);
        batch.of(&self.failed).expect(&id, None);
        batch.of(&self.results).expect(&id, None);
        match batch.commit().await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first job that waits, for one worker alone; `None`: none waits.
    async fn claim(&self) -> Result<Option<Claim>> {
        while let Some((id, found)) = self.waiting.range(..).versioned().first().await? {
            let mut job = found.value;
            job.attempts += 1; // counted before it runs: one that takes the process down is not tried for ever
            let mut batch = self.waiting.batch();
            batch.expect(&id, Some(found.version)).remove(&id);
            batch.of(&self.claimed).put(&id, &job);
            match batch.commit().await {
                Ok(written) => {
                    let version = written.versions.last().copied();
                    return Ok(Some(Claim { id, job, version }));
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {} // another worker was faster
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The result is there, and the job is gone, or neither.
    async fn done(&self, claim: &Claim, result: u64) -> Result<()> {
        let mut batch = self.waiting.batch();
        batch
            .of(&self.claimed)
            .expect(&claim.id, claim.version)
            .remove(&claim.id);
        batch.of(&self.results).put(&claim.id, &result);
        batch.commit().await.map(drop)
    }

    /// It waits again, unless it was tried too often.
    async fn retry(&self, claim: &Claim) -> Result<()> {
        let given_up = claim.job.attempts >= ATTEMPTS_MAX;
        let to = if given_up {
            &self.failed
        } else {
            &self.waiting
        };
        let mut batch = self.waiting.batch();
        batch
            .of(&self.claimed)
            .expect(&claim.id, claim.version)
            .remove(&claim.id);
        batch.of(to).put(&claim.id, &claim.job);
        batch.commit().await.map(drop)
    }
}

/// Some jobs fail at first, and those that 13 divides always.
fn square(job: &Job) -> Option<u64> {
    let fails =
        job.number.is_multiple_of(13) || (job.number.is_multiple_of(5) && job.attempts == 1);
    (!fails).then_some(job.number * job.number)
}

/// Works until nothing waits, and tells of each job that is done.
async fn work(queue: Queue, done: UnboundedSender<(u64, u64)>) -> Result<()> {
    while let Some(claim) = queue.claim().await? {
        tokio::task::yield_now().await;
        match square(&claim.job) {
            None => queue.retry(&claim).await?,
            Some(result) => {
                queue.done(&claim, result).await?;
                if done.send((claim.id, result)).is_err() {
                    return Ok(()); // nobody listens any more
                }
            }
        }
    }
    Ok(())
}

pub(crate) async fn run(seed: u64) -> Result<()> {
    let disk = SimDisk::new();
    let queue = Queue::open(&disk).await?;
    for id in 0..JOBS {
        assert!(queue.push(id, id).await?);
    }
    assert!(!queue.push(7, 7).await?, "it is known");

    let (sender, mut receiver) = unbounded_channel();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(queue.clone(), sender.clone()));
    }
    drop((queue, sender));
    let mut told = BTreeMap::new();
    while let Some((id, result)) = receiver.recv().await {
        told.insert(id, result);
        if told.len() as u64 == JOBS / 2 {
            disk.power_cut(seed);
        }
    }
    let ends = workers.join_all().await;
    let stopped = ends.iter().filter(|end| end.is_err()).count();
    println!(
        "{} jobs were done when {stopped} workers lost power",
        told.len()
    );

    let queue = Queue::open(&disk).await?;
    for (id, result) in &told {
        assert_eq!(queue.results.get(id).await?, Some(*result), "it was told");
        assert!(!queue.push(*id, *id).await?, "it is known");
    }
    let (sender, _receiver) = unbounded_channel();
    work(queue.clone(), sender).await?;
    let (results, failed) = (queue.results.count().await?, queue.failed.count().await?);
    println!("{results} jobs have results, {failed} failed {ATTEMPTS_MAX} times");
    assert_eq!((results, failed), (92, 8)); // 0, 13, 26, ... 91
    assert!(queue.waiting.is_empty().await? && queue.claimed.is_empty().await?);
    queue.waiting.close().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seed = std::env::args().nth(1);
    run(seed.map_or(Ok(1), |seed| seed.parse())?).await?;
    Ok(())
}
