//! Where the keys are among the arguments of a request.

use super::flags::KeyFlags;

/// A run of keys: the first position, how far it goes, what is done to them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// The position of the first key; the command's name is at 0.
    pub first: u8,
    /// The last position, relative to the first; from the end if negative (-1 is the last argument).
    pub last: i8,
    /// One key in every so many arguments.
    pub step: u8,
    /// What the command does to them.
    pub flags: KeyFlags,
    /// A remark for people.
    pub note: Option<&'static str>,
}

impl KeySpec {
    /// One past the last position in a request of `count` arguments.
    const fn end(&self, count: usize) -> usize {
        let end = if self.last < 0 {
            (count + 1).saturating_sub(self.last.unsigned_abs() as usize)
        } else {
            self.first as usize + self.last as usize + 1
        };
        if end < count { end } else { count }
    }
}

/// The positions of the keys of one request.
#[derive(Clone, Debug)]
pub struct KeyPositions {
    specs: &'static [KeySpec],
    count: usize,
    next: usize,
}

impl KeyPositions {
    pub(super) const fn new(specs: &'static [KeySpec], count: usize) -> Self {
        let next = if specs.is_empty() { 0 } else { specs[0].first as usize };
        Self { specs, count, next }
    }

    /// As the iterator, with what the command does to each key.
    pub fn next_with_flags(&mut self) -> Option<(usize, KeyFlags)> {
        while let [spec, rest @ ..] = self.specs {
            if self.next < spec.end(self.count) {
                let position = self.next;
                self.next += spec.step as usize;
                return Some((position, spec.flags));
            }
            self.specs = rest;
            self.next = rest.first().map_or(0, |spec| spec.first as usize);
        }
        None
    }
}

impl Iterator for KeyPositions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.next_with_flags().map(|(position, _)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lookup;

    #[test]
    fn keys_are_where_the_table_says() {
        let cases: &[(&str, usize, &[usize])] = &[
            ("get", 2, &[1]),
            ("ping", 2, &[]),
            ("mget", 4, &[1, 2, 3]),
            ("mset", 5, &[1, 3]),
            ("mset", 4, &[1, 3]),
            ("bitop", 5, &[2, 3, 4]),
            ("lcs", 5, &[1, 2]),
            ("copy", 5, &[1, 2]),
            ("rename", 3, &[1, 2]),
            ("rename", 2, &[1]),
            ("get", 1, &[]),
            ("mget", 1, &[]),
            ("bitop", 1, &[]),
        ];
        for (name, count, positions) in cases {
            let spec = lookup(name.as_bytes()).unwrap();
            assert_eq!(spec.key_positions(*count).collect::<Vec<_>>(), *positions, "{name} with {count}");
        }
        let object = lookup(b"object").unwrap();
        let encoding = object.subcommands.iter().find(|sub| sub.own_name() == "encoding").unwrap();
        assert_eq!(encoding.key_positions(3).collect::<Vec<_>>(), [2]);
    }
}
