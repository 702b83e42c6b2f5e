//! The scans and snapshots that are open: how old they are, and their end where they hold too much.
//!
//! Each pins the files that it may read. One that is forgotten would hold the disk for ever; so whoever lets files go may
//! end the oldest, which then answers *too old*, never something wrong. A scan of a snapshot is as old as that.

use crate::sync::lock_std as lock;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Something that pins what it reads.
pub(crate) trait Pinning: Debug + Send + Sync {
    /// Lets go of all that it pins, for good. `false`: it is in the middle of a step, and is to be asked again.
    fn expire(&self) -> bool;
}

/// All that are open, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// Held for a moment; nothing is called under it.
    state: Mutex<State>,
    /// The store is closed: whoever opens it next may remove files that these still read.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: BTreeMap<Age, Weak<dyn Pinning>>,
}

/// When something was opened, and how many were before.
type Age = (Duration, u64);

/// An entry, taken out when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    views: Arc<Views>,
    age: Age,
}

impl Registration {
    /// Whether the store was closed since, so that nobody keeps its files.
    pub(crate) fn is_closed(&self) -> bool {
        self.views.closed.load(Ordering::Acquire)
    }

    /// Where this one is entered, and when it was opened: for what is opened in its stead.
    pub(crate) const fn origin(&self) -> (&Arc<Views>, Duration) {
        (&self.views, self.age.0)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.views.state).open.remove(&self.age);
    }
}

impl Views {
    /// Enters one that was opened at this moment of the host's clock.
    pub(crate) fn enter(
        self: &Arc<Self>,
        since: Duration,
        pinning: Weak<dyn Pinning>,
    ) -> Registration {
        let mut state = lock(&self.state);
        let age = (since, state.next);
        state.next += 1;
        state.open.insert(age, pinning);
        drop(state);
        Registration {
            views: Arc::clone(self),
            age,
        }
    }

    /// The store is closed, or about to be.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// When the oldest was opened.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let state = lock(&self.state);
        state.open.first_key_value().map(|((since, _), _)| *since)
    }

    /// Ends the oldest, if it was opened before this moment. Whether one was ended.
    pub(crate) fn expire_oldest(&self, before: Duration) -> bool {
        let oldest = {
            let state = lock(&self.state);
            let oldest = state.open.first_key_value();
            oldest.map(|(age, pinning)| (*age, Weak::clone(pinning)))
        };
        let Some((age, pinning)) = oldest.filter(|((since, _), _)| *since < before) else {
            return false;
        };
        let ended = pinning.upgrade().is_none_or(|pinning| pinning.expire());
        if ended {
            lock(&self.state).open.remove(&age);
        }
        ended
    }
}
