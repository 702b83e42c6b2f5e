//! What a store hands out one after the other.

use crate::{Error, Result};
use futures_core::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A [`Stream`] of items, whatever makes them: owned, `Send`, and independent of the handle that it came from.
///
/// An item that cannot be read is an error, and the stream goes on behind it. After `TooOld`, `Closed` and `Unavailable`
/// there is no other item. Dropping it ends it.
pub struct Items<T>(Pin<Box<dyn Stream<Item = Result<T>> + Send>>);

impl<T> Items<T> {
    /// What this stream yields.
    pub fn new(stream: impl Stream<Item = Result<T>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }

    /// The next item; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping it loses no item.
    ///
    /// # Errors
    /// Those of the method that made the stream.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| self.0.as_mut().poll_next(cx)).await
    }

    /// All items that are left, up to the first error.
    ///
    /// # Errors
    /// The first.
    pub async fn all(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}

impl<T: Send + Unpin + 'static> Items<T> {
    /// Items that are there already.
    pub fn of(items: impl IntoIterator<Item = Result<T>>) -> Self {
        Self::new(Ready(items.into_iter().collect()))
    }

    /// One error and no item.
    #[must_use]
    pub fn failed(error: Error) -> Self {
        Self::of([Err(error)])
    }
}

impl<T> Stream for Items<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

struct Ready<T>(VecDeque<Result<T>>);

impl<T: Unpin> Stream for Ready<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front())
    }
}
