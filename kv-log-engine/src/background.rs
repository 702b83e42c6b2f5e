//! Who does the store's chores when nobody waits for them.
//!
//! Nothing depends on it: where chores fall behind, the leader does them itself before the next group. Here they are done in
//! time, a slice at a time, by whoever has just written: a synchronous caller in place, a task on a blocking thread of its
//! runtime, or the store's own thread if it was asked for one. A closure that a runtime has not run yet holds nothing, not
//! even the store; each slice is a closure of its own, so that a runtime which shuts down waits for one slice at most.

use crate::chore::{Chores, Progress};
use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, PoolId, Result, Runtime};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// The store's own thread looks around as often as this when nobody tells it to.
const LOOK_AROUND: Duration = Duration::from_millis(200);

/// Who is asked.
#[derive(Debug)]
enum Workers {
    /// Whoever has written.
    Callers,
    /// A thread of the store's own, until a close has waited for its end.
    Thread(Arc<Bell>, Mutex<Option<JoinHandle<()>>>),
    /// Nobody: a test does it by hand.
    None,
}

/// Chores, and who does them.
#[derive(Debug)]
pub(crate) struct Background {
    chores: Arc<Chores>,
    workers: Workers,
    /// The pools that hold a closure which has not run yet. Taken alone, for a moment.
    handed: Mutex<Vec<PoolId>>,
}

impl Background {
    /// Chores that whoever writes does, or nobody.
    pub(crate) fn new(chores: Arc<Chores>, by_hand: bool) -> Arc<Self> {
        let workers = if by_hand {
            Workers::None
        } else {
            Workers::Callers
        };
        Arc::new(Self {
            chores,
            workers,
            handed: Mutex::default(),
        })
    }

    /// Chores with a thread of their own. It ends with the store.
    ///
    /// # Errors
    /// `Io`: there is no thread to be had.
    pub(crate) fn with_thread(chores: Arc<Chores>) -> Result<Arc<Self>> {
        let bell = Arc::new(Bell::default());
        let (heard, weak) = (Arc::clone(&bell), Arc::downgrade(&chores));
        let thread = std::thread::Builder::new().name("kvlog-chores".to_owned());
        let started = thread.spawn(move || work(&weak, &heard));
        let started = started.map_err(|source| {
            Error::new(ErrorKind::Io, "cannot start the thread for chores").with_source(source)
        })?;
        Ok(Arc::new(Self {
            chores,
            workers: Workers::Thread(bell, Mutex::new(Some(started))),
            handed: Mutex::default(),
        }))
    }

    pub(crate) const fn chores(&self) -> &Arc<Chores> {
        &self.chores
    }

    /// A synchronous caller has written: it does a slice, if one is due. Blocks.
    pub(crate) fn after_write(&self) {
        match &self.workers {
            // What fails is shown in `Stats`, and told to whoever has to wait for it.
            Workers::Callers if self.chores.due_in_time() => drop(self.chores.slice()),
            Workers::Thread(bell, _) if self.chores.due_in_time() => bell.ring(),
            Workers::Callers | Workers::Thread(..) | Workers::None => {}
        }
    }

    /// A task has written: a slice is handed to its runtime, if one is due. Never blocks.
    pub(crate) fn after_task<R: Runtime>(self: &Arc<Self>, runtime: &R) {
        if !self.chores.due_in_time() {
            return;
        }
        match &self.workers {
            Workers::Callers => self.hand(runtime),
            Workers::Thread(bell, _) => bell.ring(),
            Workers::None => {}
        }
    }

    /// Hands a slice to a runtime, unless its pool holds one already. Where that takes no work, the next write asks again.
    fn hand<R: Runtime>(self: &Arc<Self>, runtime: &R) {
        let Ok(pool) = runtime.pool() else {
            return;
        };
        {
            let mut handed = lock(&self.handed);
            if handed.contains(&pool) {
                return;
            }
            handed.push(pool);
        }
        let token = Token {
            background: Arc::downgrade(self),
            pool,
        };
        let again = runtime.clone();
        let work = Box::new(move || token.run(&again));
        match runtime.spawn_blocking(work) {
            Ok(()) | Err(_) => {}
        }
    }

    /// The store is going: what is being done ends with its slice.
    pub(crate) fn stop(&self) {
        self.chores.stop();
        if let Workers::Thread(bell, _) = &self.workers {
            bell.ring();
        }
    }

    /// Waits for the end of the store's own thread, behind [`Background::stop`]. Blocks.
    pub(crate) fn join(&self) {
        if let Workers::Thread(_, thread) = &self.workers
            && let Some(thread) = lock(thread).take()
        {
            // If it has panicked, the store is poisoned and says so.
            match thread.join() {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// A closure's right to do a slice. Dropped unrun, its pool may be asked again.
#[derive(Debug)]
struct Token {
    background: Weak<Background>,
    pool: PoolId,
}

impl Token {
    fn run<R: Runtime>(self, runtime: &R) {
        let Some(background) = self.background.upgrade() else {
            return;
        };
        drop(self); // from here on another one may be handed over
        if background.chores.slice() == Progress::Worked && background.chores.due_in_time() {
            background.hand(runtime);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(background) = self.background.upgrade() {
            lock(&background.handed).retain(|holder| *holder != self.pool);
        }
    }
}

/// Wakes the store's own thread.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    told: Condvar,
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.told.notify_one();
    }

    /// Until it is rung, or for a while.
    fn wait(&self) {
        let rung = lock(&self.rung);
        let waited = self
            .told
            .wait_timeout_while(rung, LOOK_AROUND, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

/// The store's own thread: slices while there are any, until the store is gone.
fn work(chores: &Weak<Chores>, bell: &Bell) {
    loop {
        let Some(strong) = chores.upgrade() else {
            return;
        };
        if strong.is_stopped() {
            return;
        }
        let worked = strong.due_in_time() && strong.slice() == Progress::Worked;
        drop(strong); // between two slices it keeps nothing
        if !worked {
            bell.wait();
        }
    }
}
