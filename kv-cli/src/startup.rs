//! A look at standard output before `main`: whether it was closed when the process began (`kvlog export >&-`).
//!
//! The standard library opens /dev/null in the place of a closed standard stream before `main`, so that everything
//! written to it would be lost without an error. Only who looks earlier sees it. The place for that is the list of
//! functions which the loader calls first, and putting one there is the only `unsafe` attribute of the workspace: nothing
//! is dereferenced, and no function is called but one of the standard library that asks the system about a descriptor.

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

pub(crate) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
mod look {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;

    extern "C" fn look() {
        // A duplicate can be had of whatever is open.
        let closed = std::io::stdout().as_fd().try_clone_to_owned().is_err();
        super::STDOUT_WAS_CLOSED.store(closed, Ordering::Relaxed);
    }

    // SAFETY: the section holds pointers to functions with C's calling convention, which are called once, on one thread,
    // before `main`; `look` is one, takes no arguments, and neither unwinds nor needs anything that `main` sets up.
    #[expect(unsafe_code, reason = "see the head of the module")]
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;
}
