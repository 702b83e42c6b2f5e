//! kvlog
fn main() {}
