//! kv-log-engine

pub mod storage;
