//! kv-runtime-smol
