//! Which keys of a slot changed since some position of the log.
//!
//! A key is here if it was set, changed or removed, or might have been: too many are sent once more, too few are lost. The set
//! is made of shared chunks, so that a frozen copy of the state costs nothing.

use super::super::chunk_map::ChunkMap;
use super::super::record::Key;

/// Keys that changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Whether all keys went at once before these changed.
    pub is_reset: bool,
    keys: ChunkMap<Key>,
}

impl Changes {
    /// Notes a key.
    pub fn note(&mut self, key: &[u8]) {
        let order = |other: &Key| other.as_bytes().cmp(key);
        if self.keys.find(order).is_none() {
            self.keys.insert(Key::new(key), order);
        }
    }

    /// All keys are gone at once.
    pub fn reset(&mut self) {
        *self = Self { is_reset: true, keys: ChunkMap::default() };
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys in order, from the first after `after` on.
    pub fn keys_after(&self, after: Option<&[u8]>) -> impl Iterator<Item = &Key> {
        let after = after.map(<[u8]>::to_vec);
        let order = move |other: &Key| match &after {
            // What equals the key is before the place that is looked for.
            Some(after) => other.as_bytes().cmp(after).then(std::cmp::Ordering::Less),
            None => std::cmp::Ordering::Greater,
        };
        self.keys.range_from(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_there_once_and_in_order() {
        let mut changes = Changes::default();
        for number in (0..1000).rev().chain(0..1000) {
            changes.note(format!("{number:04}").as_bytes());
        }
        assert_eq!(changes.len(), 1000);
        let keys: Vec<&[u8]> = changes.keys_after(None).map(Key::as_bytes).collect();
        assert!(keys.len() == 1000 && keys.is_sorted());
        assert_eq!(changes.keys_after(Some(b"0998")).map(Key::as_bytes).collect::<Vec<_>>(), [b"0999"]);
        assert_eq!(changes.keys_after(Some(b"0500x")).next().map(Key::as_bytes), Some(&b"0501"[..]));
        changes.reset();
        assert!(changes.is_reset && changes.len() == 0);
    }
}
