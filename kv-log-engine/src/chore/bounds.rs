//! Keys as bounds of runs: short, because the manifest holds them.

use crate::format::manifest::SEPARATOR_BYTES_MAX;
use crate::format::run::fence::separator;
use crate::format::run::successor;

/// A short bound at or below `key`.
pub(super) fn at_or_below(key: &[u8]) -> &[u8] {
    key.get(..SEPARATOR_BYTES_MAX).unwrap_or(key)
}

/// A short bound above `key`, a close one; `None` where there is none.
pub(super) fn above(key: &[u8]) -> Option<Vec<u8>> {
    if key.len() < SEPARATOR_BYTES_MAX {
        return Some(successor(key));
    }
    let mut bound = at_or_below(key).to_vec();
    while let Some(last) = bound.pop() {
        if let Some(next) = last.checked_add(1) {
            bound.push(next);
            return Some(bound);
        }
    }
    None
}

/// A bound above `last` and not above `next`, if one is wanted: a short one, unless that has been looked for in `vain`.
pub(super) fn between<'k>(
    last: &[u8],
    next: &'k [u8],
    wanted: bool,
    vain: bool,
) -> Option<&'k [u8]> {
    if last.is_empty() || !wanted {
        return None;
    }
    let bound = separator(last, next);
    (bound.len() <= SEPARATOR_BYTES_MAX || vain).then_some(bound)
}

/// The lower of two upper bounds, of which `None` is the highest.
pub(super) fn lower(a: Option<Vec<u8>>, b: Option<&[u8]>) -> Option<Vec<u8>> {
    match (a, b) {
        (Some(a), Some(b)) if *b < *a => Some(b.to_vec()),
        (Some(a), _) => Some(a),
        (None, b) => b.map(<[u8]>::to_vec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_long_keys_are_short_and_on_the_right_side() {
        let mut keys = vec![b"".to_vec(), b"key".to_vec(), vec![7; 255], vec![7; 256]];
        keys.extend([vec![7; 3000], [vec![7; 200], vec![0xff; 100]].concat()]);
        for key in &keys {
            let above = above(key).unwrap();
            assert!(above > *key && above.len() <= SEPARATOR_BYTES_MAX);
            assert!(*at_or_below(key) <= **key && at_or_below(key).len() <= SEPARATOR_BYTES_MAX);
        }
        assert_eq!(above(&[0xff; 300]), None);
        assert_eq!(above(b"k").unwrap(), b"k\0");
    }

    #[test]
    fn the_lower_of_two_ends_is_taken() {
        assert_eq!(lower(None, None), None);
        assert_eq!(lower(None, Some(b"a")).unwrap(), b"a");
        assert_eq!(lower(Some(b"b".to_vec()), Some(b"a")).unwrap(), b"a");
        assert_eq!(lower(Some(b"a".to_vec()), None).unwrap(), b"a");
    }
}
