//! kv-runtime-tokio
