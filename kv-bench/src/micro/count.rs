//! Counts what is allocated, so that a part's memory is known to the byte.
//!
//! Each thread counts for itself, in a cell that needs neither lock nor atomic: the peers of a run allocate on many
//! threads, and a shared counter would be measured with them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// Bytes that this thread has allocated more than it has freed, each allocation as large as glibc makes it: 8 bytes of
/// its own, rounded up to 16, at least 32.
pub(super) fn held_bytes() -> i64 {
    HELD.get()
}

fn chunk_bytes(layout: Layout) -> i64 {
    let bytes = (layout.size() + 8).next_multiple_of(16).max(32);
    i64::try_from(bytes).expect("an allocation is at most isize::MAX")
}

fn count(bytes: i64) {
    // Threads that end free after their cells are gone.
    let _gone = HELD.try_with(|held| held.set(held.get() + bytes));
}

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: everything is the system allocator's doing; the counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(chunk_bytes(layout));
        // SAFETY: the caller promises what the system's asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-chunk_bytes(layout));
        // SAFETY: the caller promises what the system's asks for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(chunk_bytes(layout));
        // SAFETY: the caller promises what the system's asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(-chunk_bytes(layout));
        if let Ok(layout) = Layout::from_size_align(size, layout.align()) {
            count(chunk_bytes(layout));
        }
        // SAFETY: the caller promises what the system's asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted_until_it_is_freed() {
        let before = held_bytes();
        let mut bytes = vec![0_u8; 1000];
        assert_eq!(held_bytes() - before, 1008);
        bytes.reserve_exact(3000);
        assert_eq!(held_bytes() - before, 4016);
        drop(bytes);
        assert_eq!(held_bytes() - before, 0);
        drop(Box::new(1_u8));
        assert_eq!(held_bytes() - before, 0);
    }
}
