//! Changes gathered, and given out in the order of their keys: a tree that is larger than the processor's caches takes
//! many changes several times faster in order than as they come, because each of its nodes is fetched once.

/// So many changes, or bytes of keys and values, are given out together: a few MiB of memory.
const ITEMS_MAX: usize = 64 * 1024;
const CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Changes by key. Those of one key stay in the order in which they came.
#[derive(Debug)]
pub(crate) struct Gather<T> {
    /// Each key with its value behind it.
    content: Vec<u8>,
    items: Vec<Item<T>>,
}

#[derive(Debug)]
struct Item<T> {
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
    what: T,
}

impl<T> Default for Gather<T> {
    fn default() -> Self {
        Self {
            content: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl<T> Gather<T> {
    /// Adds a change. `true`: there are so many now that they should be given out.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], what: T) -> bool {
        self.items.push(Item {
            start: self.content.len(),
            key_bytes: key.len(),
            value_bytes: value.len(),
            what,
        });
        self.content.extend_from_slice(key);
        self.content.extend_from_slice(value);
        self.items.len() >= ITEMS_MAX || self.content.len() >= CONTENT_BYTES_MAX
    }

    /// Gives out all changes, in the order of the keys.
    pub(crate) fn give_out(&mut self, mut take: impl FnMut(&[u8], &[u8], &T)) {
        let content = &*self.content;
        let key_of = |item: &Item<T>| &content[item.start..item.start + item.key_bytes];
        let shared = shared_by_all(self.items.iter().map(key_of));
        // What decides nearly every comparison lies in what is sorted; the rest is looked up.
        let mut order: Vec<(u64, usize)> = self
            .items
            .iter()
            .enumerate()
            .map(|(at, item)| (head(&key_of(item)[shared..]), at))
            .collect();
        order.sort_unstable_by(|(one_head, one), (other_head, other)| {
            one_head.cmp(other_head).then_with(|| {
                let keys = key_of(&self.items[*one]).cmp(key_of(&self.items[*other]));
                keys.then(one.cmp(other))
            })
        });
        for (_, at) in order {
            let item = &self.items[at];
            let value_at = item.start + item.key_bytes;
            let value = &content[value_at..value_at + item.value_bytes];
            take(key_of(item), value, &item.what);
        }
        self.items.clear();
        self.content.clear();
    }
}

/// How many bytes all keys begin with in common.
fn shared_by_all<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = keys.next() else {
        return 0;
    };
    keys.fold(first.len(), |shared, key| {
        if key.starts_with(&first[..shared]) {
            return shared;
        }
        super::block::common(&first[..shared], key)
    })
}

/// The first eight bytes; what is shorter sorts before what it begins.
fn head(key: &[u8]) -> u64 {
    let bytes = key.first_chunk::<8>().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded[..key.len()].copy_from_slice(key);
        padded
    });
    bytes
        .into_iter()
        .fold(0, |head, byte| head << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gathered_changes_come_in_order_of_keys_and_for_one_key_as_they_came(
            shared in vec(0_u8..3, 0..12), tails in vec(vec(0_u8..3, 0..12), 0..200),
        ) {
            let mut gather = Gather::default();
            let mut expected = Vec::new();
            for (number, tail) in tails.into_iter().enumerate() {
                let key = [&*shared, &*tail].concat();
                prop_assert!(!gather.push(&key, &(number as u64).to_le_bytes(), number));
                expected.push((key, number));
            }
            expected.sort();
            let mut given = Vec::new();
            gather.give_out(|key, value, number| {
                assert_eq!(value, (*number as u64).to_le_bytes());
                given.push((key.to_vec(), *number));
            });
            prop_assert_eq!(given, expected);
            gather.give_out(|_, _, _| unreachable!("all were given out"));
        }
    }
}
