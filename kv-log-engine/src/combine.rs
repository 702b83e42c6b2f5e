//! Closures that wait for their key's turn, and whoever runs them.
//!
//! Whoever updates a key enters a queue. One runner at a time takes what is queued, reads each key once, runs the closures of a
//! key one after the other on what the one before answered, and writes what the last one answered as one batch, with the
//! condition that nobody wrote the key since it was read. So the runner decides nothing about order: the engine's queue does.
//! A batch that is refused puts its closures back, and they run again on what is there then.
//!
//! The runner is a closure on a blocking thread. It holds no lock while it reads, runs closures or waits. The lock of a queue
//! is the only one, held for moments, and no other is taken under it.

use crate::batch::Batch;
use crate::engine::{Engine, Submitted};
use crate::format::run::full_key;
use crate::hop::{Promise, Promised, caught, promise};
use crate::sync::lock_std as lock;
use kv_trait::codec::{Probed, encode_checked};
use kv_trait::{Codec, Effect, Error, ErrorKind, PoolId, Result};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// Keys are spread over so many queues, each with a runner of its own.
const QUEUES: usize = 4;
/// So many closures are taken at once.
const ROUND_MAX: usize = 1024;
/// And of one key so many that their answers come to this, in bytes, or one.
const ROUND_BYTES: usize = 4 * 1024 * 1024;
/// Behind so many rounds a runner hands over, so that a runtime which shuts down waits for a bounded time.
const TERM_ROUNDS: u32 = 64;
/// A closure runs so often because others wrote in between.
const TRIES_MAX: u32 = 100;

/// What a key holds, or the panic of the closure.
pub(crate) type Outcome<V> = std::thread::Result<Option<V>>;
type Update<V> = Box<dyn FnMut(Option<V>) -> Option<V> + Send>;

/// The updates of one keyspace's handles that wait.
pub(crate) struct Updates<V> {
    queues: [Mutex<Queue<V>>; QUEUES],
}

impl<V> Default for Updates<V> {
    fn default() -> Self {
        let queue = |_| {
            Mutex::new(Queue {
                waiting: BTreeMap::new(),
                next: 0,
                running: false,
                handed: Vec::new(),
            })
        };
        Self {
            queues: std::array::from_fn(queue),
        }
    }
}

struct Queue<V> {
    /// By number, in the order in which they entered. None is here whose future was dropped, so no more are than futures.
    waiting: BTreeMap<u64, Request<V>>,
    next: u64,
    running: bool,
    /// Pools that hold a runner which has not started.
    handed: Vec<PoolId>,
}

impl<V> Queue<V> {
    /// Has everybody who waits look for a runner.
    fn nudge(queue: &Mutex<Self>, change: impl FnOnce(&mut Self)) {
        let mut queue = lock(queue);
        change(&mut queue);
        let promises = queue.waiting.values();
        let promises: Vec<_> = promises
            .map(|request| Arc::clone(&request.promise))
            .collect();
        drop(queue);
        for promise in promises {
            promise.nudge();
        }
    }
}

struct Request<V> {
    number: u64,
    key: Vec<u8>,
    update: Update<V>,
    promise: Arc<Promise<Outcome<V>>>,
    tries: u32,
}

impl<V> Request<V> {
    fn finish(self, outcome: Result<Outcome<V>>) {
        self.promise.finish(outcome);
    }
}

/// One update, as its future sees it. Dropped before a runner took it, it takes it back.
pub(crate) struct Waiting<V> {
    updates: Arc<Updates<V>>,
    queue: usize,
    number: u64,
    /// `None` only while this is being dropped.
    promised: Option<Promised<Outcome<V>>>,
    /// A runner that this one handed to a runtime was dropped unrun.
    dropped: Arc<AtomicBool>,
}

impl<V> Waiting<V> {
    pub(crate) fn enter(updates: &Arc<Updates<V>>, key: Vec<u8>, update: Update<V>) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let queue = usize::try_from(hasher.finish() % QUEUES as u64).unwrap_or_default();
        let (promise, promised) = promise();
        let mut entered = lock(&updates.queues[queue]);
        let number = entered.next;
        entered.next += 1;
        let request = Request {
            number,
            key,
            update,
            promise: Arc::new(promise),
            tries: 0,
        };
        entered.waiting.insert(number, request);
        drop(entered);
        Self {
            updates: Arc::clone(updates),
            queue,
            number,
            promised: Some(promised),
            dropped: Arc::default(),
        }
    }

    fn queue(&self) -> &Mutex<Queue<V>> {
        &self.updates.queues[self.queue]
    }

    /// What the key holds now, or why not; then, at the latest, it waits no more.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Outcome<V>>> {
        let promised = self.promised.as_ref();
        promised.map_or(Poll::Pending, |promised| promised.poll(cx))
    }

    /// Whether it waits, and nobody runs.
    pub(crate) fn needs_runner(&self) -> bool {
        let queue = lock(self.queue());
        !queue.running && queue.waiting.contains_key(&self.number)
    }

    /// Whether a runtime has dropped what it was handed for this one.
    pub(crate) fn was_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Notes that this pool holds a runner; `false`: it does already, or none is needed any more.
    pub(crate) fn hand_to(&self, pool: PoolId) -> bool {
        let mut queue = lock(self.queue());
        let needed = !queue.running && !queue.handed.contains(&pool);
        if needed {
            queue.handed.push(pool);
        }
        needed
    }

    /// Takes it back, unless a runner has it.
    pub(crate) fn withdraw(&self) -> bool {
        let withdrawn = lock(self.queue()).waiting.remove(&self.number);
        // The closure is dropped here, without the lock.
        withdrawn.is_some()
    }
}

impl<V> Drop for Waiting<V> {
    fn drop(&mut self) {
        // First: a runner that has it, and would put it back, sees that nobody waits, or has put it back by now.
        drop(self.promised.take());
        self.withdraw();
    }
}

/// Runs what is queued, on the thread that it is started on.
pub(crate) struct Runner<V, C> {
    updates: Arc<Updates<V>>,
    queue: usize,
    pool: PoolId,
    /// Who handed it to the pool.
    dropped: Arc<AtomicBool>,
    stage: Stage,
    engine: Engine,
    probed: Probed,
    codec: PhantomData<fn(V, C)>,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Handed,
    Running,
    Over,
}

/// The requests of one key with what each of them made of it.
struct Chain<V> {
    requests: Vec<Request<V>>,
    /// Encoded; `None`: absent.
    answers: Vec<Option<Vec<u8>>>,
}

impl<V, C> Runner<V, C> {
    pub(crate) fn new(waiting: &Waiting<V>, pool: PoolId, engine: Engine, probed: Probed) -> Self {
        Self {
            updates: Arc::clone(&waiting.updates),
            queue: waiting.queue,
            pool,
            dropped: Arc::clone(&waiting.dropped),
            stage: Stage::Handed,
            engine,
            probed,
            codec: PhantomData,
        }
    }

    fn queue(&self) -> &Mutex<Queue<V>> {
        &self.updates.queues[self.queue]
    }
}

impl<V, C> Drop for Runner<V, C> {
    fn drop(&mut self) {
        match self.stage {
            Stage::Over => {}
            Stage::Handed => {
                self.dropped.store(true, Ordering::Release);
                let pool = self.pool;
                Queue::nudge(self.queue(), |queue| {
                    queue.handed.retain(|other| *other != pool);
                });
            }
            Stage::Running => Queue::nudge(self.queue(), |queue| queue.running = false),
        }
    }
}

impl<V: Send + Sync + 'static, C: Codec<V>> Runner<V, C> {
    pub(crate) fn run(mut self) {
        let mut queue = lock(self.queue());
        queue.handed.retain(|other| *other != self.pool);
        let others = std::mem::replace(&mut queue.running, true);
        drop(queue);
        if others {
            self.stage = Stage::Over;
            return;
        }
        self.stage = Stage::Running;
        for _ in 0..TERM_ROUNDS {
            let taken = self.take();
            if taken.is_empty() {
                self.stage = Stage::Over;
                return;
            }
            self.round(taken);
        }
        // Dropped as running: whoever waits looks for another one.
    }

    /// What is queued, by key; nothing: this runner has ended, and whoever comes next needs another one.
    fn take(&self) -> BTreeMap<Vec<u8>, Vec<Request<V>>> {
        let mut queue = lock(self.queue());
        let mut taken: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for _ in 0..ROUND_MAX {
            let Some((_, request)) = queue.waiting.pop_first() else {
                break;
            };
            taken.entry(request.key.clone()).or_default().push(request);
        }
        queue.running = !taken.is_empty();
        taken
    }

    /// Those that have to run once more, before whoever came behind them; but for those whose futures were dropped.
    fn put_back(&self, requests: impl IntoIterator<Item = Request<V>>) {
        let mut abandoned = Vec::new();
        let mut queue = lock(self.queue());
        for request in requests {
            if request.promise.is_abandoned() {
                abandoned.push(request);
            } else {
                queue.waiting.insert(request.number, request);
            }
        }
        drop(queue);
        // What the closures own is dropped without the lock.
        drop(abandoned);
    }

    /// Runs all that was taken, submits a batch for each key, and answers when each is durable.
    fn round(&self, taken: BTreeMap<Vec<u8>, Vec<Request<V>>>) {
        let mut submitted = Vec::with_capacity(taken.len());
        for (key, requests) in taken {
            submitted.extend(self.run_key(&key, requests));
        }
        for (write, chain) in submitted {
            match write.wait() {
                Ok(_) => answer::<V, C>(chain, Effect::Applied),
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    self.try_again(chain.requests, &error);
                }
                Err(error) => refuse(chain.requests, &error),
            }
        }
    }

    fn try_again(&self, requests: Vec<Request<V>>, error: &Error) {
        let mut again = Vec::with_capacity(requests.len());
        for mut request in requests {
            request.tries += 1;
            if request.tries < TRIES_MAX {
                again.push(request);
            } else {
                request.finish(Err(error.clone()));
            }
        }
        self.put_back(again);
    }

    /// Runs the closures of one key, and submits what they come to; `None`: all are answered, or back in the queue.
    fn run_key(&self, key: &[u8], requests: Vec<Request<V>>) -> Option<(Submitted, Chain<V>)> {
        let read = match self.read(key) {
            Ok(read) => read,
            Err(error) => {
                refuse(requests, &error);
                return None;
            }
        };
        let chain = self.run_chain(&read, requests);
        let last = chain.answers.last()?.as_deref();
        if last == read.value.as_deref() {
            answer::<V, C>(chain, Effect::Nothing);
            return None;
        }
        let stays = chain.answers.iter().all(Option::is_some);
        let expiry_ms = read.expiry_ms.filter(|_| stays);
        let batch = read.batch(&self.engine, key, last, expiry_ms);
        match batch.and_then(|batch| self.engine.submit(batch)) {
            Ok(write) => Some((write, chain)),
            Err(error) => {
                refuse(chain.requests, &error);
                None
            }
        }
    }

    fn read(&self, key: &[u8]) -> Result<Read> {
        let view = self.engine.view_of_keyspace()?;
        let full_key = full_key(self.engine.keyspace_id(), key);
        let known = view.version(&full_key)?;
        Ok(Read {
            seqno: known.map(|known| known.seqno),
            expiry_ms: known.and_then(|known| known.expiry_ms),
            value: view.lookup(&full_key).read()?,
        })
    }

    /// Runs closures one after the other. Who panics, or answers what cannot be encoded, is told so and leaves, and the others
    /// run again without: what the value was before is gone with the closure.
    fn run_chain(&self, read: &Read, mut requests: Vec<Request<V>>) -> Chain<V> {
        loop {
            let mut answers: Vec<Option<Vec<u8>>> = Vec::with_capacity(requests.len());
            let mut bytes = 0;
            let mut value = match caught(|| read.decode::<V, C>()) {
                Ok(Ok(value)) => Some(value),
                Ok(Err(error)) => {
                    refuse(requests, &error);
                    return Chain::empty();
                }
                Err(panic) if requests.is_empty() => std::panic::resume_unwind(panic),
                Err(panic) => {
                    requests.remove(0).finish(Ok(Err(panic)));
                    continue;
                }
            };
            let mut failed = None;
            for (at, request) in requests.iter_mut().enumerate() {
                if bytes >= ROUND_BYTES {
                    break;
                }
                let given = value.take().flatten();
                match caught(|| self.step(&mut request.update, given)) {
                    Ok(Ok((next, answer))) => {
                        bytes += answer.as_ref().map_or(0, Vec::len);
                        answers.push(answer);
                        value = Some(next);
                    }
                    Ok(Err(error)) => failed = Some((at, Err(error))),
                    Err(panic) => failed = Some((at, Ok(Err(panic)))),
                }
                if failed.is_some() {
                    break;
                }
            }
            if let Some((at, outcome)) = failed {
                requests.remove(at).finish(outcome);
                continue;
            }
            self.put_back(requests.drain(answers.len()..));
            return Chain { requests, answers };
        }
    }

    fn step(&self, update: &mut Update<V>, given: Option<V>) -> Result<Stepped<V>> {
        let next = update(given);
        let answer = match &next {
            None => None,
            Some(next) => {
                let mut bytes = Vec::new();
                encode_checked::<V, C>(next, self.probed, &mut bytes)?;
                Some(bytes)
            }
        };
        Ok((next, answer))
    }
}

/// What a closure answered, and its encoding.
type Stepped<V> = (Option<V>, Option<Vec<u8>>);

/// What a key holds.
struct Read {
    seqno: Option<crate::Seqno>,
    expiry_ms: Option<u64>,
    value: Option<Vec<u8>>,
}

impl Read {
    fn decode<V, C: Codec<V>>(&self) -> Result<Option<V>> {
        self.value.as_deref().map(C::decode).transpose()
    }

    /// The key holds `value`, if it is still as it was read.
    fn batch(
        &self,
        engine: &Engine,
        key: &[u8],
        value: Option<&[u8]>,
        expiry_ms: Option<u64>,
    ) -> Result<Batch> {
        let mut batch = engine.batch();
        batch.expect(key, self.seqno)?;
        match (value, expiry_ms) {
            (None, _) => batch.delete(key)?,
            (Some(value), None) => batch.put(key, value)?,
            (Some(value), Some(expiry_ms)) => batch.put_until_with(key, expiry_ms, |out| {
                out.extend_from_slice(value);
                Ok(())
            })?,
        }
        Ok(batch)
    }
}

impl<V> Chain<V> {
    const fn empty() -> Self {
        Self {
            requests: Vec::new(),
            answers: Vec::new(),
        }
    }
}

fn refuse<V>(requests: Vec<Request<V>>, error: &Error) {
    for request in requests {
        request.finish(Err(error.clone()));
    }
}

/// Tells each what it answered. A panic of the decoding is for whom it is decoded.
fn answer<V, C: Codec<V>>(chain: Chain<V>, effect: Effect) {
    for (request, answer) in chain.requests.into_iter().zip(chain.answers) {
        let decoded = caught(|| answer.as_deref().map(C::decode).transpose());
        let outcome = match decoded {
            Ok(Ok(value)) => Ok(Ok(value)),
            Ok(Err(error)) => Err(error.with_effect(effect)),
            Err(panic) => Ok(Err(panic)),
        };
        request.finish(outcome);
    }
}
