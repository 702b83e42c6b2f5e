//! The histories of checkpoints, merges and views, on a store that breaks the rule of each.

/// They are tests of their own elsewhere.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {};
}

#[path = "../histories/checkpoints.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod checkpoints;
#[path = "../histories/erasures.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod erasures;
#[path = "../histories/expiry.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod expiry;
#[path = "../histories/life.rs"]
mod life;
#[path = "../histories/merges.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod merges;
#[path = "../histories/snapshots.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod snapshots;
#[path = "../histories/transactions.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod transactions;
#[path = "../histories/views.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod views;
#[path = "../histories/watches.rs"]
#[expect(dead_code, reason = "not every history has a fault of its own")]
pub(crate) mod watches;
