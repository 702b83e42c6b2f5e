//! Changes as they come, as a stream: whoever waits takes no thread, and what is to be read is read on the runtime's blocking
//! threads.

use super::piece::{Item, StopOnDrop};
use super::{KVLog, resumed, version_of};
use crate::fault::shown_key;
use crate::format::ids::Seqno;
use crate::hop::caught;
use crate::hop::hop;
use crate::watch::{Change, Watch};
use futures_core::Stream;
use kv_trait::key::{self, Key, KeyBounds, PrefixOf, encode_prefix};
use kv_trait::{
    Codec, Error, ErrorKind, Event, EventKind, Items, KeyRange, Result, Runtime, Version, Watches,
    async_trait,
};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// So many changes or pieces, and the runtime is asked whether the task should give way.
const CHANGES_A_TURN: u32 = 32;

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// The changes of the keys that begin with `prefix`, in the order of writes, each as soon as it is durable and visible:
    /// those that are written from this call on, or behind a version that is remembered ([`WatchStream::after`]). Prefixes are
    /// those of [`KVLog::prefix`]. Does not block.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// let mut jobs = store.watch("job/");
    /// store.put("job/1", &7).await?;
    /// store.put("other", &0).await?;
    /// store.remove("job/1").await?;
    /// let put = jobs.next().await.expect("the store is open")?;
    /// assert_eq!((put.key(), put.value()), (Some(&"job/1".to_owned()), Some(&7)));
    /// let removed = jobs.next().await.expect("the store is open")?;
    /// assert_eq!((removed.key(), removed.value()), (Some(&"job/1".to_owned()), None));
    ///
    /// // Whoever remembers a version goes on behind it, also after a restart.
    /// let mut again = store.watch("job/").after(put.version);
    /// assert_eq!(again.next().await.transpose()?, Some(removed));
    ///
    /// store.close().await?;
    /// assert!(jobs.next().await.is_none()); // the end
    /// # Ok(()) });
    /// ```
    pub fn watch<P>(&self, prefix: &P) -> WatchStream<K, V, R>
    where
        P: PrefixOf<K> + ?Sized,
    {
        self.watch_encoded(encode_prefix::<K, P>(prefix).map(KeyRange::encoded_prefix))
    }

    /// The same for a range of keys, as [`KVLog::range`] has them: `..` for all.
    pub fn watch_range(&self, range: impl KeyBounds<K>) -> WatchStream<K, V, R> {
        let range = range.encode_bounds();
        self.watch_encoded(range.map(|(from, to)| KeyRange::encoded(from, to)))
    }

    fn watch_encoded(&self, range: Result<KeyRange>) -> WatchStream<K, V, R> {
        self.stream_of(range.and_then(|range| self.handle().watch_keys(range)))
    }

    fn stream_of(&self, watch: Result<Watch>) -> WatchStream<K, V, R> {
        let mut stream = WatchStream {
            runtime: self.runtime.clone(),
            decode: decoded::<K, V, C>,
            state: State::Ended,
            ready: VecDeque::new(),
            turn: 0,
            ends_if_too_old: false,
            stop: StopOnDrop::default(),
        };
        stream.begin(watch);
        stream
    }
}

#[async_trait]
impl<K, V, R, C> Watches<K, V> for KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    async fn watch(&self, range: &KeyRange, after: Option<Version>) -> Result<Items<Event<K, V>>> {
        self.runtime.pool()?;
        let mut watch = self.handle().watch_keys(range.clone())?;
        if let Some(version) = after {
            watch = watch.after(Seqno::from(version.to_u64()))?;
        }
        let mut stream = self.stream_of(Ok(watch));
        stream.ends_if_too_old = true;
        Ok(Items::new(stream))
    }
}

/// The changes of some keys, in the order of writes, as a [`Stream`]. Made by [`KVLog::watch`]; what it shows and what it
/// keeps is told at [`Watch`].
///
/// Owned, `Send` and `'static`; it does not keep the store open. While there is nothing it holds a waker and no thread. What
/// there is is read on a blocking thread, in pieces of some hundred changes, or of one that is longer. Each group of writes
/// wakes it, whatever their keys are: many streams of few keys on a busy store are dearer than one that hands on.
///
/// To hold a copy: begin to watch, then read the state, and then apply each change; those that the state has already do no
/// harm.
///
/// # Errors
/// An item that cannot be decoded is an error that names its key, and the stream goes on behind it. `TooOld`: the stream was
/// too slow, and the store has let go of what [`Missed::of`](crate::Missed::of) says; it goes on behind that, and whoever
/// holds a copy reads the state again. `Io`: the next item tries the same again. Behind `Corrupt`, `UnsupportedFormat`,
/// `Closed` and `Unavailable` there is no other item. An error of the prefix or of the beginning is the one item.
///
/// # The end
/// `None`, once the store is closed, its last handle dropped, or the keyspace dropped, and everything was shown.
///
/// # Drop
/// Anywhere: what is being read is given up. The log that it kept goes then.
pub struct WatchStream<K, V, R> {
    runtime: R,
    decode: fn(Change) -> Result<Event<K, V>>,
    state: State<K, V>,
    ready: VecDeque<Item<Event<K, V>>>,
    /// Changes and pieces since the runtime was asked last.
    turn: u32,
    /// As [`Items`] promises it.
    ends_if_too_old: bool,
    stop: StopOnDrop,
}

type Piece<K, V> = (VecDeque<Item<Event<K, V>>>, Option<Box<Watch>>);
type Reading<K, V> = Pin<Box<dyn Future<Output = Result<Piece<K, V>>> + Send>>;

enum State<K, V> {
    /// Nothing is read.
    Idle(Box<Watch>),
    Reading(Reading<K, V>),
    Ended,
}

/// Nothing in it is pinned but what is boxed.
impl<K, V, R> Unpin for WatchStream<K, V, R> {}

impl<K, V, R: fmt::Debug> fmt::Debug for WatchStream<K, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("runtime", &self.runtime)
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl<K, V, R> WatchStream<K, V, R> {
    fn begin(&mut self, watch: Result<Watch>) {
        match watch {
            Ok(watch) => self.state = State::Idle(Box::new(watch)),
            Err(error) => {
                self.state = State::Ended;
                self.ready.push_back(Ok(Err(error)));
            }
        }
    }
}

impl<K, V, R> WatchStream<K, V, R>
where
    K: Send + 'static,
    V: Send + 'static,
    R: Runtime,
{
    /// From behind this version on, as far as the log still has what was written then: see [`Watch::after`]. If it has not, the
    /// first item is `TooOld`, and the stream goes on behind what is missing. For a stream that was not polled yet.
    ///
    /// A version that was not written yet is an error, `InvalidInput`, and the one item: it is of another store, or of the
    /// future of one that was put back.
    #[must_use]
    pub fn after(mut self, version: Version) -> Self {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Idle(watch) => self.begin((*watch).after(Seqno::from(version.to_u64()))),
            state => self.state = state,
        }
        self
    }

    /// The next change; `None`: the store was closed, and everything was shown.
    ///
    /// # Cancel safety
    /// Dropping it loses no change.
    ///
    /// # Errors
    /// See [`WatchStream`].
    pub async fn next(&mut self) -> Option<Result<Event<K, V>>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn read(&self, mut watch: Box<Watch>) -> Reading<K, V> {
        let (runtime, decode) = (self.runtime.clone(), self.decode);
        let stopped = Arc::clone(&self.stop.0);
        Box::pin(async move {
            let work = move || {
                let (changes, more) = watch.piece(&stopped);
                let decode = |change: Result<Change>| caught(|| change.and_then(decode));
                let items = changes.into_iter().map(decode).collect();
                // Let go of on this thread, if it was the last piece.
                Ok((items, more.then_some(watch)))
            };
            hop(&runtime, work).await
        })
    }
}

impl<K, V, R> Stream for WatchStream<K, V, R>
where
    K: Send + 'static,
    V: Send + 'static,
    R: Runtime,
{
    type Item = Result<Event<K, V>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.turn >= CHANGES_A_TURN {
                // Once, and then on: see `Runtime::poll_proceed`.
                this.turn = 0;
                ready!(this.runtime.poll_proceed(cx));
            }
            this.turn += 1;
            if let Some(item) = this.ready.pop_front() {
                let item = resumed(item);
                if this.ends_if_too_old && is_too_old(&item) {
                    this.state = State::Ended;
                    this.ready.clear();
                }
                return Poll::Ready(Some(item));
            }
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(watch) => {
                    if watch.poll_ready(cx).is_pending() {
                        this.state = State::Idle(watch);
                        return Poll::Pending;
                    }
                    this.state = State::Reading(this.read(watch));
                }
                State::Reading(mut reading) => match reading.as_mut().poll(cx) {
                    Poll::Ready(Ok((items, watch))) => {
                        this.ready = items;
                        this.state = watch.map_or(State::Ended, State::Idle);
                    }
                    Poll::Ready(Err(error)) => this.ready.push_back(Ok(Err(error))),
                    Poll::Pending => {
                        this.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

fn is_too_old<T>(item: &Result<T>) -> bool {
    matches!(item, Err(error) if error.kind() == ErrorKind::TooOld)
}

fn decoded<K: Key, V, C: Codec<V>>(change: Change) -> Result<Event<K, V>> {
    Ok(Event {
        version: version_of(change.version),
        ends_batch: change.ends_batch,
        kind: match change.kind {
            EventKind::Put {
                key,
                value,
                expires_at,
            } => EventKind::Put {
                value: named(&key, C::decode(&value))?,
                key: named(&key, key::decode(&key))?,
                expires_at,
            },
            EventKind::Remove { key } => EventKind::Remove {
                key: named(&key, key::decode(&key))?,
            },
            EventKind::Erase { keys } => EventKind::Erase { keys },
            EventKind::Drop => EventKind::Drop,
        },
    })
}

fn named<T>(key: &[u8], decoded: Result<T>) -> Result<T> {
    decoded.map_err(|error| {
        let message = format!("the change of key {} cannot be read", shown_key(key));
        Error::new(error.kind(), message).with_source(error)
    })
}
