//! Standard error: errors and notes, for people in colour where that is wanted, for programs as JSON lines.

use crate::failure::Failure;
use crate::text::{harmless, harmless_json};
use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use serde_json::json;
use std::io::{self, IsTerminal, Write};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = Style::new().bold();
const HINT: Style = Style::new().dimmed();

/// Decides about colour for everything that follows, the parser's help included.
pub(crate) fn choose(color: ColorChoice) {
    let choice = match color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether there is somebody to read a question and to answer it.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && is_watched()
}

/// Asks, and waits for the answer; the end of the input, and whatever is no yes, is a no.
pub(crate) fn ask(question: &str) -> io::Result<bool> {
    let mut stream = anstream::stderr().lock();
    write!(stream, "{} [y/N] ", harmless(question))?;
    stream.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
}

/// Says why a command ended early.
pub(crate) fn report(failure: &Failure, json: bool) -> io::Result<()> {
    let text = match failure {
        failure if json => harmless_json(&failure.to_json()),
        Failure::Usage(text) => usage(text),
        failure => format!(
            "{ERROR}error:{ERROR:#} {} {HINT}({}){HINT:#}",
            harmless(&failure.message()),
            harmless(&failure.hint())
        ),
    };
    say(&text)
}

/// The parser's words with its line breaks; what was given to it may hold anything.
fn usage(text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(harmless).collect();
    let text = lines.join("\n");
    match text.strip_prefix("error:") {
        Some(text) => format!("{ERROR}error:{ERROR:#}{text}"),
        None => text,
    }
}

/// A remark beside the answer. One that cannot be told changes neither the answer nor the exit code: what the command
/// was asked for is done, and that is what the exit code is about.
pub(crate) fn note(message: &str, json: bool) {
    let text = if json {
        harmless_json(&json!({ "note": { "message": message } }).to_string())
    } else {
        format!("{NOTE}note:{NOTE:#} {}", harmless(message))
    };
    match say(&text) {
        Ok(()) | Err(_) => {}
    }
}

/// The one place where text goes to standard error; escape sequences that are not wanted are taken out here.
fn say(text: &str) -> io::Result<()> {
    let mut stream = anstream::stderr().lock();
    writeln!(stream, "{text}")?;
    stream.flush()
}
