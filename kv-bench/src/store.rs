//! What a store under test must be able to do, and the two ways in which an application wraps a blocking one.
//!
//! A peer implements [`Store`]; one with an async interface of its own implements [`TaskStore`] too. The others come to
//! tasks through [`Hop`] (each call on the blocking pool) and [`Gather`] (writes through a channel to one thread that
//! commits whatever is queued as one batch), which is what an expert user would bolt on.

use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

/// Why a measurement could not be made.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;
/// What everything here returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;
/// All keys have 16 bytes.
pub(crate) type Key = [u8; 16];
/// A key and its value.
pub(crate) type Record = (Key, Vec<u8>);
/// A key and its new value; `None`: it goes.
pub(crate) type Change = (Key, Option<Vec<u8>>);

/// What a scan has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) records: u64,
    /// Of keys and values.
    pub(crate) bytes: u64,
    /// Of every byte: who scans reads, and nobody wins by handing out what lies in a map unread.
    pub(crate) sum: u64,
}

impl Scanned {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.records += 1;
        self.bytes += key.len() as u64 + value.len() as u64;
        for bytes in [key, value] {
            let (words, rest) = bytes.as_chunks::<8>();
            let words = words.iter().map(|word| u64::from_le_bytes(*word));
            let rest = rest.iter().map(|byte| u64::from(*byte));
            self.sum = words.chain(rest).fold(self.sum, u64::wrapping_add);
        }
    }
}

/// An open store, called from threads. Every write is durable (on the device, not only in the page cache) when the
/// call returns.
pub(crate) trait Store: Send + Sync + Sized + 'static {
    /// Opens the store in `path`, or makes it there. Needs a tokio runtime around it, for those who use one.
    fn open(path: &Path) -> Outcome<Self>;

    /// One record, durable when it returns.
    fn put(&self, key: &Key, value: &[u8]) -> Outcome;

    /// Many changes, as one atomic batch with one sync.
    fn write(&self, changes: &[Change]) -> Outcome;

    /// A copy of the value.
    fn get(&self, key: &Key) -> Outcome<Option<Vec<u8>>>;

    /// At most `limit` records in order, from `from` on.
    fn scan(&self, from: &Key, limit: u64) -> Outcome<Scanned>;

    /// Writes the accounts that [`Store::transfer`] will work on.
    fn seed(&self, accounts: &[Record]) -> Outcome {
        let puts = accounts
            .iter()
            .map(|(key, value)| (*key, Some(value.clone())));
        self.write(&puts.collect::<Vec<Change>>())
    }

    /// Moves 1 from one account to another, serializable and durable; `false`: a conflict, nothing happened.
    fn transfer(&self, from: &Key, to: &Key) -> Outcome<bool>;

    /// What it has counted since the open, as far as it tells.
    fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Leaves nothing to recover.
    fn close(self) -> Outcome;
}

/// What a store says of its own work since the open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Bytes that it has written to its files: logs, runs and everything else.
    pub(crate) written_bytes: Option<u64>,
    /// Entries written anew: into the log, and again by each merge.
    pub(crate) entries: Option<u64>,
    /// Blocks that lookups have read or found in a cache.
    pub(crate) blocks: Option<u64>,
}

/// An open store, called from tasks. Durable as [`Store`] is.
pub(crate) trait TaskStore: Send + Sync + Sized + 'static {
    fn open(path: PathBuf) -> impl Future<Output = Outcome<Self>> + Send;
    fn put(&self, key: Key, value: Vec<u8>) -> impl Future<Output = Outcome> + Send;
    fn get(&self, key: Key) -> impl Future<Output = Outcome<Option<Vec<u8>>>> + Send;
    fn write(&self, changes: Vec<Change>) -> impl Future<Output = Outcome> + Send;
    fn seed(&self, accounts: Vec<Record>) -> impl Future<Output = Outcome> + Send;
    fn transfer(&self, from: Key, to: Key) -> impl Future<Output = Outcome<bool>> + Send;
}

/// Two accounts after 1 went from the first to the second. Accounts are numbers of 8 bytes that may wrap.
pub(crate) fn moved(from: &[u8], to: &[u8]) -> Outcome<([u8; 8], [u8; 8])> {
    let from = balance(from)?.wrapping_sub(1);
    let to = balance(to)?.wrapping_add(1);
    Ok((from.to_le_bytes(), to.to_le_bytes()))
}

/// What an account holds.
pub(crate) fn balance(bytes: &[u8]) -> Outcome<u64> {
    Ok(u64::from_le_bytes(bytes.try_into()?))
}

/// An account must be there.
pub(crate) fn present<V>(value: Option<V>) -> Outcome<V> {
    value.ok_or_else(|| "a record is missing".into())
}

/// Each call on the runtime's blocking pool.
#[derive(Debug)]
pub(crate) struct Hop<S>(Arc<S>);

impl<S: Store> Hop<S> {
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&S) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let store = Arc::clone(&self.0);
        spawn_blocking(move || work(&store)).await?
    }
}

impl<S: Store> TaskStore for Hop<S> {
    async fn open(path: PathBuf) -> Outcome<Self> {
        let store = spawn_blocking(move || S::open(&path)).await??;
        Ok(Self(Arc::new(store)))
    }

    async fn put(&self, key: Key, value: Vec<u8>) -> Outcome {
        self.call(move |store| store.put(&key, &value)).await
    }

    async fn get(&self, key: Key) -> Outcome<Option<Vec<u8>>> {
        self.call(move |store| store.get(&key)).await
    }

    async fn write(&self, changes: Vec<Change>) -> Outcome {
        self.call(move |store| store.write(&changes)).await
    }

    async fn seed(&self, accounts: Vec<Record>) -> Outcome {
        self.call(move |store| store.seed(&accounts)).await
    }

    async fn transfer(&self, from: Key, to: Key) -> Outcome<bool> {
        self.call(move |store| store.transfer(&from, &to)).await
    }
}

/// A record on its way to the batching writer, and who waits for it.
struct Request {
    change: Change,
    answer: oneshot::Sender<Result<(), String>>,
}

/// Writes through a channel to one thread, which commits everything queued as one batch; the rest as [`Hop`].
#[derive(Debug)]
pub(crate) struct Gather<S> {
    hop: Hop<S>,
    queue: mpsc::UnboundedSender<Request>,
}

/// One batch of the writer has at most this many records.
const GATHER_RECORDS_MAX: usize = 4096;

impl<S: Store> TaskStore for Gather<S> {
    async fn open(path: PathBuf) -> Outcome<Self> {
        let hop = Hop::<S>::open(path).await?;
        let (queue, requests) = mpsc::unbounded_channel();
        let store = Arc::clone(&hop.0);
        thread::Builder::new()
            .name("gather".to_owned())
            .spawn(move || write_batches(&*store, requests))?;
        Ok(Self { hop, queue })
    }

    async fn put(&self, key: Key, value: Vec<u8>) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let change = (key, Some(value));
        if self.queue.send(Request { change, answer }).is_err() {
            return Err("the batching writer is gone".into());
        }
        Ok(answered.await??)
    }

    async fn get(&self, key: Key) -> Outcome<Option<Vec<u8>>> {
        self.hop.get(key).await
    }

    async fn write(&self, changes: Vec<Change>) -> Outcome {
        self.hop.write(changes).await
    }

    async fn seed(&self, accounts: Vec<Record>) -> Outcome {
        self.hop.seed(accounts).await
    }

    async fn transfer(&self, from: Key, to: Key) -> Outcome<bool> {
        self.hop.transfer(from, to).await
    }
}

fn write_batches<S: Store>(store: &S, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut changes = Vec::new();
    let mut answers = Vec::new();
    while let Some(first) = requests.blocking_recv() {
        let mut next = Some(first);
        while let Some(Request { change, answer }) = next {
            changes.push(change);
            answers.push(answer);
            next = if changes.len() < GATHER_RECORDS_MAX {
                requests.try_recv().ok()
            } else {
                None
            };
        }
        let outcome = store.write(&changes).map_err(|failure| failure.to_string());
        changes.clear();
        for answer in answers.drain(..) {
            drop(answer.send(outcome.clone())); // whoever went away does not want to know
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_keeps_the_sum_even_when_a_balance_wraps() {
        let (from, to) = moved(&0_u64.to_le_bytes(), &5_u64.to_le_bytes()).unwrap();
        assert_eq!(balance(&from).unwrap(), u64::MAX);
        assert_eq!(balance(&to).unwrap(), 6);
        let sum = balance(&from).unwrap().wrapping_add(balance(&to).unwrap());
        assert_eq!(sum, 5);
    }

    #[test]
    fn a_scan_has_read_every_byte() {
        let sum = |value: &[u8]| {
            let mut scanned = Scanned::default();
            scanned.add(b"key", value);
            scanned.sum
        };
        let value = [0_u8; 19];
        for at in 0..value.len() {
            let mut other = value;
            other[at] = 1;
            assert_ne!(sum(&other), sum(&value));
        }
    }

    #[test]
    fn an_account_of_another_length_is_refused() {
        assert!(balance(b"short").is_err());
    }
}
