//! Records as they come: a stream whose pieces are read on the runtime's blocking threads, one ahead; and an iterator for
//! threads that may block.

use super::piece::{Item, Reader, StopOnDrop};
use super::resumed;
use crate::hop::hop;
use futures_core::Stream;
use kv_trait::{Result, Runtime};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// So many records are handed on before the runtime is asked whether the task should give way.
const RECORDS_A_TURN: u32 = 32;

/// The records of one consistent point, in order, as a [`Stream`]. Made by [`Records::stream`](super::Records::stream).
///
/// Owned, `Send` and `'static`; the store may be dropped or closed meanwhile. A piece of some hundred records is read on a
/// blocking thread while those of the piece before are taken; so it holds two pieces, each of at most 512 records and 256 KiB,
/// or of one record that is longer.
///
/// An item that cannot be read or decoded is an error that names its key, and the stream goes on behind it. Behind `TooOld`,
/// `Closed` and `Unavailable` there is no other item.
///
/// ```
/// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
/// # my::with_store(async |store| {
/// store.put_many([("ann", &1), ("bob", &2), ("eve", &3)]).await?;
/// let mut records = store.range("b"..).stream();
/// store.remove("eve").await?; // later: does not show
/// while let Some(record) = records.next().await {
///     let (name, number) = record?;
///     println!("{name}: {number}"); // bob: 2, eve: 3
/// }
/// # Ok(()) });
/// ```
///
/// # Drop
/// Anywhere: a piece that is being read ends at its next record. What it pins is let go of then.
pub struct RecordStream<T, R> {
    runtime: R,
    state: State<T>,
    ready: VecDeque<Item<T>>,
    /// Records since the runtime was asked last.
    turn: u32,
    stop: StopOnDrop,
}

type Piece<T> = (VecDeque<Item<T>>, Option<Reader<T>>);
type Reading<T> = Pin<Box<dyn Future<Output = Result<Piece<T>>> + Send>>;

enum State<T> {
    /// Not asked yet.
    Fresh(Reader<T>),
    Reading(Reading<T>),
    /// Read ahead, and not looked at yet.
    Arrived(Result<Piece<T>>),
    Ended,
}

/// Nothing in it is pinned but what is boxed.
impl<T, R> Unpin for RecordStream<T, R> {}

impl<T, R: fmt::Debug> fmt::Debug for RecordStream<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordStream")
            .field("runtime", &self.runtime)
            .field("read_ahead", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static, R: Runtime> RecordStream<T, R> {
    /// `reader`: or why there is none, which is its one item.
    pub(super) fn new(runtime: R, reader: Result<Reader<T>>) -> Self {
        let (state, ready) = match reader {
            Ok(reader) => (State::Fresh(reader), VecDeque::new()),
            Err(error) => (State::Ended, VecDeque::from([Ok(Err(error))])),
        };
        Self {
            runtime,
            state,
            ready,
            turn: 0,
            stop: StopOnDrop::default(),
        }
    }

    /// The next item; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping it loses no item.
    ///
    /// # Errors
    /// `Codec`, `Corrupt`, `Io`: this one cannot be read; others may follow. `TooOld`, `Closed`, `Unavailable`: the last
    /// item.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn read(&self, mut reader: Reader<T>) -> Reading<T> {
        let runtime = self.runtime.clone();
        let stopped = Arc::clone(&self.stop.0);
        Box::pin(async move {
            let work = move || {
                let (items, more) = reader.piece(&stopped);
                // Let go of on this thread, if it was the last piece.
                Ok((items, more.then_some(reader)))
            };
            hop(&runtime, work).await
        })
    }

    /// Hands the next piece to the runtime, and looks after it when it is wanted.
    fn read_ahead(&mut self, reader: Option<Reader<T>>) {
        self.state = match reader {
            None => State::Ended,
            Some(reader) => {
                let mut reading = self.read(reader);
                let mut nobody = Context::from_waker(Waker::noop());
                match reading.as_mut().poll(&mut nobody) {
                    Poll::Ready(piece) => State::Arrived(piece),
                    Poll::Pending => State::Reading(reading),
                }
            }
        };
    }

    fn arrived(&mut self, piece: Result<Piece<T>>) {
        match piece {
            Ok((items, reader)) => {
                self.ready = items;
                self.read_ahead(reader);
            }
            Err(error) => {
                self.state = State::Ended;
                self.ready.push_back(Ok(Err(error)));
            }
        }
    }
}

impl<T: Send + 'static, R: Runtime> Stream for RecordStream<T, R> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        if this.turn >= RECORDS_A_TURN {
            // Once, and then on: see `Runtime::poll_proceed`.
            this.turn = 0;
            ready!(this.runtime.poll_proceed(cx));
        }
        loop {
            if let Some(item) = this.ready.pop_front() {
                this.turn += 1;
                return Poll::Ready(Some(resumed(item)));
            }
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Fresh(reader) => this.state = State::Reading(this.read(reader)),
                State::Arrived(piece) => this.arrived(piece),
                State::Reading(mut reading) => match reading.as_mut().poll(cx) {
                    Poll::Ready(piece) => this.arrived(piece),
                    Poll::Pending => {
                        this.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

/// The same records as an iterator that blocks. Made by [`Records::blocking`](super::Records::blocking).
///
/// For threads that may wait: what is not in memory is read from the disk where it is iterated. It needs no runtime.
pub struct RecordIter<T> {
    /// `Err`: why there is none, until it was told.
    reader: Result<Option<Reader<T>>>,
}

impl<T> fmt::Debug for RecordIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordIter").finish_non_exhaustive()
    }
}

impl<T> RecordIter<T> {
    pub(super) fn new(reader: Result<Reader<T>>) -> Self {
        Self {
            reader: reader.map(Some),
        }
    }
}

impl<T> Iterator for RecordIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match std::mem::replace(&mut self.reader, Ok(None)) {
            Err(error) => Some(Err(error)),
            Ok(reader) => {
                let mut reader = reader?;
                let item = reader.item()?;
                self.reader = Ok(Some(reader));
                Some(item)
            }
        }
    }
}
