//! All types on the same few keys: wrong types, what overwrites any type, what copies, moves and looks at any type.

use super::{Generator, KEYS, Mix};

/// Commands of all types.
pub const MIXED: Mix = Mix {
    families: &[
        (20, Generator::string_command),
        (20, Generator::bit_command),
        (20, Generator::set_command),
        (15, Generator::list_command),
        (15, Generator::hash_command),
        (40, Generator::key_command),
    ],
    keys: &KEYS,
    for_sort: false,
};
