//! Where the keys lie that a command is about.

use kv_trait::key::prefix_end;
use std::ops::Bound;

/// From the first key on, up to and without the other; without one there is no end on that side. A first one behind the
/// other is no mistake: nothing lies between.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edges {
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
}

impl Edges {
    /// The keys that begin with the prefix and lie between the other two.
    pub(crate) fn new(prefix: Option<Vec<u8>>, from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Self {
        let behind = prefix.as_deref().and_then(prefix_end);
        Self {
            from: from.into_iter().chain(prefix).max(),
            to: to.into_iter().chain(behind).min(),
        }
    }

    /// All there are.
    pub(crate) const fn all() -> Self {
        Self {
            from: None,
            to: None,
        }
    }

    /// What is left of them behind this key, or before it where the last comes first.
    pub(crate) fn behind(self, after: Option<Vec<u8>>, reverse: bool) -> Self {
        let Self { from, to } = self;
        if reverse {
            let to = to.into_iter().chain(after).min();
            return Self { from, to };
        }
        let next = after.map(|mut key| {
            key.push(0);
            key
        });
        let from = from.into_iter().chain(next).max();
        Self { from, to }
    }

    pub(crate) fn range(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let from = self.from.as_deref();
        let to = self.to.as_deref();
        (
            from.map_or(Bound::Unbounded, Bound::Included),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn a_cursor_leaves_what_is_on_its_far_side() {
        let all = || Edges::new(key("k"), None, None);
        let behind = all().behind(key("kb"), false);
        assert_eq!(
            behind,
            Edges {
                from: key("kb\0"),
                to: key("l")
            }
        );
        let before = all().behind(key("kb"), true);
        assert_eq!(
            before,
            Edges {
                from: key("k"),
                to: key("kb")
            }
        );
        for reverse in [false, true] {
            assert_eq!(all().behind(None, reverse), all());
        }
        // A cursor outside takes nothing away, or everything.
        assert_eq!(all().behind(key("a"), false), all());
        assert_eq!(all().behind(key("z"), true), all());
    }

    #[test]
    fn the_narrowest_edges_win() {
        let edges = Edges::new(key("k"), key("a"), key("kx"));
        assert_eq!(
            edges,
            Edges {
                from: key("k"),
                to: key("kx")
            }
        );
        let edges = Edges::new(Some(vec![0xff]), None, None);
        assert_eq!(
            edges,
            Edges {
                from: Some(vec![0xff]),
                to: None
            }
        );
    }
}
