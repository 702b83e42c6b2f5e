//! kv-trait
mod error;
mod limits;
mod runtime;
pub use error::{Effect, Error, ErrorKind, Result};
pub use limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use runtime::{BlockingWork, PoolId, Runtime};
