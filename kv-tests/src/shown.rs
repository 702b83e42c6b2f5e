//! Bytes as people read them: keys and values in messages are text, what is no text is escaped, and what is long is cut.

use crate::fixture::Key;
use std::fmt;

/// Bytes of a value that a message shows.
const SHOWN_BYTES: usize = 40;

/// Bytes, shown as escaped text.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < bytes.len() {
            write!(f, "... ({} bytes)", bytes.len())?;
        }
        Ok(())
    }
}

/// What a store holds or says, for a message.
pub(crate) trait Show {
    fn show(&self) -> String;
}

impl<T: Show + ?Sized> Show for &T {
    fn show(&self) -> String {
        (**self).show()
    }
}

impl Show for [u8] {
    fn show(&self) -> String {
        Text(self).to_string()
    }
}

impl Show for Vec<u8> {
    fn show(&self) -> String {
        self[..].show()
    }
}

impl Show for Key {
    fn show(&self) -> String {
        self[..].show()
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        let shown = self.as_ref().map(Show::show);
        shown.unwrap_or_else(|| "nothing".into())
    }
}

impl<A: Show, B: Show> Show for (A, B) {
    fn show(&self) -> String {
        format!("{}: {}", self.0.show(), self.1.show())
    }
}

/// Up to as many as a reader can take in.
impl<T: Show> Show for [T] {
    fn show(&self) -> String {
        const SHOWN: usize = 12;
        let mut shown: Vec<String> = self.iter().take(SHOWN).map(Show::show).collect();
        if self.len() > SHOWN {
            shown.push(format!("... ({} in all)", self.len()));
        }
        format!("[{}]", shown.join(", "))
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        self[..].show()
    }
}

/// Two lists of what a store holds are the same; the message shows where they part.
pub(crate) fn assert_same_list<T: Show + PartialEq>(found: &[T], expected: &[T], what: &str) {
    let count = found.len().max(expected.len());
    let parts = (0..count).find(|at| found.get(*at) != expected.get(*at));
    if let Some(at) = parts {
        panic!(
            "{what}: {} found, {} expected; number {at} is {}, expected {}",
            found.len(),
            expected.len(),
            found.get(at).show(),
            expected.get(at).show()
        );
    }
}

/// What a store answered is what was expected; otherwise both are shown as text.
macro_rules! assert_same {
    ($found:expr, $expected:expr $(,)?) => {
        $crate::shown::assert_same!($found, $expected, "{}", stringify!($found))
    };
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => assert!(
                *found == *expected,
                "{}: found {}, expected {}",
                format_args!($($what)+),
                $crate::shown::Show::show(found),
                $crate::shown::Show::show(expected)
            ),
        }
    };
}

pub(crate) use assert_same;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_and_long_ones_are_cut() {
        assert_eq!(Some(b"31".to_vec()).show(), r#""31""#);
        assert_eq!(Key::from(*b"a\0\xff").show(), r#""a\x00\xff""#);
        assert_eq!(None::<Vec<u8>>.show(), "nothing");
        let long = vec![b'v'; 3_000];
        assert_eq!(
            long.show(),
            format!("\"{}\"... (3000 bytes)", "v".repeat(40))
        );
    }

    #[test]
    #[should_panic(expected = r#"the third write: found "3", expected "4""#)]
    fn a_difference_is_told_in_text() {
        assert_same!(
            Some(b"3".to_vec()),
            Some(b"4".to_vec()),
            "the {} write",
            "third"
        );
    }
}
