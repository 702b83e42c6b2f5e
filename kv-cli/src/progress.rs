//! How far a long command is: on standard error, only where somebody watches, gone when it ends.

use crate::args::Args;
use crate::terminal;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

const OF_TOTAL: &str = "{wide_bar} {percent}% {msg}";
const ENDLESS: &str = "{spinner} {msg}";

pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `total` in any unit, `None` where the end is not known.
    pub(crate) fn new(args: &Args, total: Option<u64>) -> Self {
        if args.quiet || args.json || !terminal::is_watched() {
            return Self::hidden();
        }
        let template = if total.is_some() { OF_TOTAL } else { ENDLESS };
        let style =
            ProgressStyle::with_template(template).expect("the templates above are well-formed");
        let bar = total
            .map_or_else(ProgressBar::new_spinner, ProgressBar::new)
            .with_style(style)
            .with_finish(ProgressFinish::AndClear);
        Self { bar }
    }

    /// Progress that nobody sees: the command's answer goes to the same terminal.
    pub(crate) fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    pub(crate) fn at(&self, position: u64, message: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message());
            self.bar.set_position(position);
        }
    }
}
