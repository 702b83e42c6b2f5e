//! The runtime seam: the little that a store cannot do for itself.
//!
//! A runtime is a value. Nothing here detects executors at compile time, starts threads or keeps time.

use crate::Result;
use std::any::TypeId;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::task::{Context, Poll};

/// Work that may block the thread it runs on.
pub type BlockingWork = Box<dyn FnOnce() + Send + 'static>;

/// Names a pool of blocking threads: two equal values reach the same pool, whatever [`Runtime`] they are from.
///
/// A store compares the pools of all runtimes that use it. One that takes two pools for one does not ask the second while
/// the first holds work of its own, and if the first is stuck, so are those who wait on the second.
///
/// ```
/// use kv_trait::PoolId;
/// struct Ours;
/// struct Theirs;
/// assert_eq!(PoolId::of::<Ours>(0), PoolId::of::<Ours>(0));
/// assert_ne!(PoolId::of::<Ours>(0), PoolId::of::<Ours>(1));
/// assert_ne!(PoolId::of::<Ours>(0), PoolId::of::<Theirs>(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolId(u64);

impl PoolId {
    /// The pool that `R`, a runtime of the caller's own, knows as `id`. Other types may use the same `id`.
    #[must_use]
    pub fn of<R: 'static>(id: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (TypeId::of::<R>(), id).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The pool known by this number, which must be this pool's alone in the whole process: the address of something
    /// that lives as long as it, for example. A number that only one runtime's pools are told apart by belongs into
    /// [`PoolId::of`].
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }
}

/// What a store asks of an async runtime.
///
/// # Duties of an implementor
/// - Work handed to [`Runtime::spawn_blocking`] runs once on a thread where waiting is allowed, or is **dropped**
///   unrun (a runtime that shuts down does that). It is never forgotten.
/// - No method blocks or panics, outside a runtime neither. Where the runtime's own function panics because the system
///   has no thread to give, the panic is caught here, and the work with it: kept on a queue, it would be forgotten.
/// - Pools that do not share their threads have different [`PoolId`]s, those of other implementors included:
///   [`PoolId::of`] with a type of one's own sees to that.
///
/// ```
/// use kv_trait::{BlockingWork, Error, ErrorKind, PoolId, Result, Runtime};
/// use std::task::{Context, Poll};
///
/// /// A thread for each piece of work: no executor is needed, any may be used.
/// #[derive(Clone, Copy, Debug, Default)]
/// struct Threads;
///
/// impl Runtime for Threads {
///     fn pool(&self) -> Result<PoolId> {
///         Ok(PoolId::of::<Self>(0)) // one for the whole process
///     }
///
///     fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
///         let started = std::thread::Builder::new().spawn(work);
///         let none = |source| Error::new(ErrorKind::Unavailable, "no thread to be had").with_source(source);
///         started.map(drop).map_err(none)
///     }
///
///     fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
///         Poll::Ready(()) // threads have no budget
///     }
/// }
///
/// let (sender, receiver) = std::sync::mpsc::channel();
/// Threads.spawn_blocking(Box::new(move || sender.send(7).expect("somebody waits")))?;
/// assert_eq!(receiver.recv(), Ok(7));
/// # Ok::<(), Error>(())
/// ```
pub trait Runtime: Clone + fmt::Debug + Send + Sync + 'static {
    /// The pool of blocking threads that this thread would reach now.
    ///
    /// # Errors
    /// `Unavailable`: this thread is not inside a runtime.
    fn pool(&self) -> Result<PoolId>;

    /// Runs `work` on a thread that may block, now or soon, without waiting for it.
    ///
    /// # Errors
    /// `Unavailable`: there is no such thread to be had. `work` was dropped.
    fn spawn_blocking(&self, work: BlockingWork) -> Result<()>;

    /// Whether a task that could go on without waiting should: the runtime's cooperative budget, where it has one.
    /// `Pending` has arranged for the task to be woken, at once or by somebody who does not wait for the task.
    ///
    /// A store gives way once and then goes on, whatever the second answer would be: a budget that comes back only when the
    /// executor polls the task anew does not come back for a task that polls by itself, in a `block_on` of its own.
    fn poll_proceed(&self, cx: &mut Context<'_>) -> Poll<()>;
}
