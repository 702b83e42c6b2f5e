//! What a property is doing: which operations it has under way, and whether any of them moves.
//!
//! Every call of the suite to a store or a fixture is entered here and leaves when it has its answer or is dropped. A
//! property that hangs is then given up by name, with what it waited for, while all others go on. Time is counted in
//! ticks of whoever waits for the property: a process that is stopped does not age.

use crate::fixture::{Key, SyncGate};
use crate::shown::Text;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

/// Operations that a report names; of more it gives the number.
const NAMED: usize = 8;

/// What is under way.
#[derive(Clone, Debug)]
pub(crate) enum Doing {
    /// The property itself, from where it waits for anything.
    Property,
    /// A task that the property spawned.
    Task,
    /// A call of a store's method.
    Operation(&'static str, Key, Option<usize>),
    /// A call of a fixture's method.
    Call(String),
}

impl Doing {
    /// Whether it has to end by itself: a task may go on for as long as its property does.
    const fn is_operation(&self) -> bool {
        matches!(self, Self::Operation(..) | Self::Call(_))
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property => f.write_str("the property itself"),
            Self::Task => f.write_str("a task that it spawned"),
            Self::Operation(method, key, None) => write!(f, "{method} {}", Text(key)),
            Self::Operation(method, key, Some(bytes)) => {
                write!(f, "{method} {} to {bytes} bytes", Text(key))
            }
            Self::Call(what) => f.write_str(what),
        }
    }
}

struct Entry {
    doing: Doing,
    /// Of which store, if there are several.
    place: Arc<str>,
    /// The tick of the first poll.
    began: Option<u64>,
    polls: u64,
    in_poll: bool,
    /// Calls of the wakers that it was polled with, since the last poll.
    woken: Arc<AtomicU64>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}: ", self.doing, self.place)?;
        let woken = self.woken.load(Ordering::SeqCst);
        match (self.polls, self.in_poll) {
            (0, false) => f.write_str("made, and not polled yet"),
            (polls, true) => write!(
                f,
                "its poll number {polls} has not returned, so its thread is blocked or busy in it"
            ),
            (polls, false) if !self.doing.is_operation() => {
                write!(f, "pending, polled {polls} times")
            }
            (polls, false) if woken == 0 => write!(
                f,
                "pending, polled {polls} times, and its waker was not called since the last poll"
            ),
            (polls, false) => write!(
                f,
                "pending, polled {polls} times, and its waker was called since, but it was not polled again"
            ),
        }
    }
}

#[derive(Default)]
struct State {
    tick: u64,
    /// The tick at which something last began or ended.
    moved: u64,
    next: u64,
    entries: BTreeMap<u64, Entry>,
    ended: u64,
    last_ended: Option<String>,
    panics: Vec<String>,
    gates: Vec<Weak<Mutex<Box<dyn SyncGate>>>>,
}

/// Watches one property.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    state: Arc<Mutex<State>>,
    given_up: Arc<AtomicBool>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One tick later. Returns for how many ticks nothing began or ended, or an operation has not ended.
    pub(crate) fn tick(&self) -> u64 {
        let mut state = self.lock();
        state.tick += 1;
        let operations = state
            .entries
            .values()
            .filter(|entry| entry.doing.is_operation());
        let oldest = operations.filter_map(|entry| entry.began).min();
        state.tick - oldest.unwrap_or(state.moved).min(state.moved)
    }

    /// What is under way now, for a message.
    pub(crate) fn report(&self) -> String {
        let state = self.lock();
        let mut lines = vec![format!("{} operations have ended", state.ended)];
        lines.extend(
            state
                .last_ended
                .as_ref()
                .map(|last| format!("the last of them: {last}")),
        );
        // Operations first, and of those the ones that wait longest.
        let mut entries: Vec<&Entry> = state.entries.values().collect();
        entries.sort_by_key(|entry| {
            let unpolled = entry.began.is_none();
            (!entry.doing.is_operation(), unpolled, entry.began)
        });
        lines.extend(
            entries
                .iter()
                .take(NAMED)
                .map(|entry| format!("waits: {entry}")),
        );
        if entries.len() > NAMED {
            lines.push(format!("and {} more wait", entries.len() - NAMED));
        }
        for gate in state.gates.iter().filter_map(Weak::upgrade) {
            if let Ok(gate) = gate.try_lock() {
                lines.push(format!("a gate holds {} syncs", gate.held()));
            }
        }
        lines.extend(
            state
                .panics
                .iter()
                .map(|panic| format!("a waker panicked: {panic}")),
        );
        lines.join("\n  ")
    }

    /// Lets go of what the property holds, and ends it when it next touches a store: it must not keep threads from the
    /// other properties.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
        let gates: Vec<_> = self.lock().gates.drain(..).collect();
        for gate in gates.iter().filter_map(Weak::upgrade) {
            if let Ok(gate) = gate.try_lock() {
                gate.open();
            }
        }
    }

    fn end_if_given_up(&self) {
        if self.given_up.load(Ordering::SeqCst) && !std::thread::panicking() {
            // Silently: the property was reported as hanging.
            resume_unwind(Box::new("given up"));
        }
    }

    /// Keeps what was caught of a waker's panic: whoever called the waker may swallow it.
    pub(crate) fn waker_panicked(&self, panic: &(dyn Any + Send)) {
        let text = text_of(panic).to_owned();
        self.lock().panics.push(text);
    }

    /// # Panics
    /// If a waker did.
    pub(crate) fn assert_no_waker_panicked(&self) {
        let panics = std::mem::take(&mut self.lock().panics);
        assert!(
            panics.is_empty(),
            "a waker panicked, and the store swallowed it: {}",
            panics.join("; ")
        );
    }

    pub(crate) fn watch<F: Future + Unpin>(
        &self,
        doing: Doing,
        place: &Arc<str>,
        future: F,
    ) -> Watched<F> {
        let woken = Arc::default();
        let mut state = self.lock();
        state.next += 1;
        state.moved = state.tick;
        let id = state.next;
        let entry = Entry {
            doing,
            place: Arc::clone(place),
            began: None,
            polls: 0,
            in_poll: false,
            woken: Arc::clone(&woken),
        };
        state.entries.insert(id, entry);
        drop(state);
        Watched {
            future: Some(future),
            watch: self.clone(),
            id,
            woken,
            waker: None,
        }
    }

    pub(crate) fn gate(&self, gate: Box<dyn SyncGate>) -> Box<dyn SyncGate> {
        let gate = Arc::new(Mutex::new(gate));
        let mut state = self.lock();
        state.gates.retain(|gate| gate.strong_count() > 0);
        state.gates.push(Arc::downgrade(&gate));
        drop(state);
        Box::new(WatchedGate {
            gate,
            watch: self.clone(),
        })
    }
}

/// The message of a panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// A future that is entered while it is alive.
pub(crate) struct Watched<F> {
    /// `None`: it has ended.
    future: Option<F>,
    watch: Watch,
    id: u64,
    woken: Arc<AtomicU64>,
    /// What the future was last polled with. The same waker is wrapped once: a store may compare them.
    waker: Option<(Waker, Waker)>,
}

impl<F> Watched<F> {
    fn waker(&mut self, given: &Waker) -> Waker {
        match &self.waker {
            Some((known, wrapped)) if known.will_wake(given) => wrapped.clone(),
            _ => {
                let wrapped = Waker::from(Arc::new(CountingWaker {
                    inner: given.clone(),
                    woken: Arc::clone(&self.woken),
                    watch: self.watch.clone(),
                }));
                self.waker = Some((given.clone(), wrapped.clone()));
                wrapped
            }
        }
    }

    fn leave(&self, answered: bool) {
        let mut state = self.watch.lock();
        state.moved = state.tick;
        let Some(entry) = state.entries.remove(&self.id) else {
            return; // it had left
        };
        if answered && entry.doing.is_operation() {
            state.ended += 1;
            state.last_ended = Some(format!("{}{}", entry.doing, entry.place));
        }
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.watch.end_if_given_up();
        let mut is_operation = false;
        {
            let mut state = self.watch.lock();
            let tick = state.tick;
            if let Some(entry) = state.entries.get_mut(&self.id) {
                is_operation = entry.doing.is_operation();
                entry.began.get_or_insert(tick);
                entry.polls += 1;
                entry.in_poll = true;
                entry.woken.store(0, Ordering::SeqCst);
            }
        }
        // The executor knows its own tasks: only operations are polled with another waker.
        let waker = if is_operation {
            self.waker(cx.waker())
        } else {
            cx.waker().clone()
        };
        let future = self.future.as_mut().expect("not polled after its end");
        let polled = Pin::new(future).poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            self.future = None;
            self.leave(true);
        } else if let Some(entry) = self.watch.lock().entries.get_mut(&self.id) {
            entry.in_poll = false;
        }
        polled
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        // The store may wait in its own drop: only then it is over.
        drop(self.future.take());
        self.leave(false);
    }
}

/// Counts, and does not let a panic of the waker get lost.
struct CountingWaker {
    inner: Waker,
    woken: Arc<AtomicU64>,
    watch: Watch,
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.inner.wake_by_ref())) {
            self.watch.waker_panicked(&*panic);
            resume_unwind(panic);
        }
    }
}

struct WatchedGate {
    gate: Arc<Mutex<Box<dyn SyncGate>>>,
    watch: Watch,
}

impl SyncGate for WatchedGate {
    fn held(&self) -> usize {
        self.watch.end_if_given_up();
        self.gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .held()
    }

    fn open(&self) {
        self.gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stepped::idle_waker;
    use std::future::{pending, ready};

    fn poll<F: Future + Unpin>(watched: &mut Watched<F>) -> bool {
        let waker = idle_waker();
        Pin::new(watched)
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    }

    fn operation() -> Doing {
        Doing::Operation("get", Key::from(*b"k\0"), None)
    }

    #[test]
    fn what_moves_is_no_hang_and_an_operation_without_an_answer_is_one() {
        let (watch, place) = (Watch::default(), "".into());
        for _ in 0..100 {
            assert!(poll(&mut watch.watch(operation(), &place, ready(()))));
            assert_eq!(watch.tick(), 1);
        }
        let mut task = watch.watch(Doing::Task, &place, pending::<()>());
        assert!(!poll(&mut task));
        let mut waits = watch.watch(operation(), &place, pending::<()>());
        assert!(!poll(&mut waits));
        for ticks in 1..10 {
            assert!(poll(&mut watch.watch(operation(), &place, ready(()))));
            assert_eq!(watch.tick(), ticks, "since its first poll");
        }
        let report = watch.report();
        assert!(
            report.contains(r#"waits: get "k\x00": pending, polled 1 times"#),
            "{report}"
        );
        drop(waits);
        assert_eq!(watch.tick(), 1, "a task may go on");
    }

    #[test]
    fn the_same_waker_stays_the_same_and_its_calls_are_counted() {
        let (watch, place) = (Watch::default(), "".into());
        let mut watched = watch.watch(operation(), &place, pending::<()>());
        let (first, second) = (idle_waker(), idle_waker());
        let wrapped = watched.waker(&first);
        assert!(wrapped.will_wake(&watched.waker(&first)));
        assert!(!wrapped.will_wake(&watched.waker(&second)));
        wrapped.wake_by_ref();
        assert_eq!(watched.woken.load(Ordering::SeqCst), 1);
    }
}
