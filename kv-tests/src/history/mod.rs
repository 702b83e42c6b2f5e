//! Histories of concurrent operations: recorded as their callers saw them, and judged.
//!
//! A [`Recorder`] has a clock of its own. It notes for each call when it began, when it ended, what it read, what it
//! wrote, and whether it surely happened: a write with effect *unknown*, one whose future was dropped, and one that was
//! under way when the power was cut may have happened or not ([`Recorder::cut`]). [`Recording`] is a store that keeps
//! such notes of all that is asked of it.
//!
//! [`linearizable`] and [`serializable`] look for one order of the calls that explains every answer and agrees with real
//! time: what ended before another began comes before it. A history without such an order is a bug of the store,
//! whatever caused it: a lost update, a stale read, a batch seen in part, write skew, a phantom. A history that has one
//! proves nothing about others.
//!
//! ```
//! use kv_tests::fixture::Key;
//! use kv_tests::history::{Recorder, Verdict, linearizable};
//!
//! let recorder = Recorder::default();
//! let key = Key::from(*b"k");
//!
//! let mut write = recorder.begin();
//! write.writes(&key, Some(b"1"));
//! write.happened();
//!
//! let mut stale = recorder.begin();
//! stale.reads(&key, None);
//! stale.happened();
//!
//! assert!(matches!(linearizable(&Default::default(), &recorder.calls(), 1_000), Verdict::Broken(_)));
//! ```

mod begun;
mod call;
mod commits;
mod judge;
mod recorder;
mod recording;
mod search;
mod work;

pub use call::{Call, Certainty, Ranged};
pub use judge::{Verdict, assert_fits, linearizable, serializable};
pub use recorder::{Pending, Recorder};
pub use recording::Recording;
pub use work::{Work, keys};
