//! How to answer a command line that is not understood.

use clap::ColorChoice;
use std::ffi::OsString;

/// What has to be known before the command line is understood: how to say that it is not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) json: bool,
    pub(crate) color: ColorChoice,
}

impl Manner {
    pub(crate) fn of(given: &[OsString]) -> Self {
        let mut manner = Self {
            json: false,
            color: ColorChoice::Auto,
        };
        let mut words = given.iter().skip(1).map(|word| word.to_string_lossy());
        while let Some(word) = words.next() {
            let color = match word.as_ref() {
                "--" => break,
                "--json" => {
                    manner.json = true;
                    continue;
                }
                "--color" => words.next(),
                word => word.strip_prefix("--color=").map(|it| it.to_owned().into()),
            };
            // A word that is no colour is about to be refused by the parser.
            if let Some(Ok(color)) = color.map(|word| word.parse()) {
                manner.color = color;
            }
        }
        manner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manner_of_an_answer_is_known_without_understanding_the_question() {
        let manner = |words: &[&str]| {
            let given: Vec<OsString> = words.iter().map(Into::into).collect();
            let Manner { json, color } = Manner::of(&given);
            (json, color)
        };
        let (auto, never) = (ColorChoice::Auto, ColorChoice::Never);
        assert_eq!(manner(&["--json", "get"]), (false, auto), "the program");
        assert_eq!(manner(&["kvlog", "bogus", "--json"]), (true, auto));
        assert_eq!(manner(&["kvlog", "get", "--", "--json"]), (false, auto));
        assert_eq!(manner(&["kvlog", "--color", "never"]), (false, never));
        assert_eq!(manner(&["kvlog", "--color=never", "x"]), (false, never));
        assert_eq!(manner(&["kvlog", "--color", "pink"]), (false, auto));
    }
}
