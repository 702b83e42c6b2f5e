//! Sizes that every store accepts. They are constants so that a store can check them before it does anything.

/// The longest encoded key, in bytes (64 KiB). The shortest is empty, and legal.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// The longest encoded value, in bytes (512 MiB). The shortest is empty, and legal.
pub const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;
