//! A yes before much is removed.

use crate::failure::Failure;
use crate::terminal;

/// Where nobody can be asked, the command line has to say it: before the store is opened.
pub(super) fn refuse_unasked(yes: bool) -> Result<(), Failure> {
    if yes || terminal::can_ask() {
        return Ok(());
    }
    Err(Failure::input(
        "this removes much, and there is no terminal to ask on whether it shall",
        "pass --yes",
    ))
}

/// Whether somebody has said yes, on the command line or now.
pub(super) fn confirm(yes: bool, question: &str) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    terminal::ask(question).map_err(|source| Failure::stream("cannot ask on the terminal", source))
}
