//! What is said of commands and keys in single words, as small sets in the order that Redis lists them.

macro_rules! words {
    ($(#[$set_doc:meta])* $set:ident of $(#[$doc:meta])* $word:ident { $($variant:ident $text:literal)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the words are Redis's")]
        pub enum $word { $($variant),+ }

        impl $word {
            const ALL: &[(Self, &str)] = &[$((Self::$variant, $text)),+];

            /// The word with this text, in whatever case.
            pub fn named(text: &[u8]) -> Option<Self> {
                Self::ALL.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(text)).map(|(word, _)| *word)
            }
        }

        $(#[$set_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $set(u32);

        impl $set {
            /// The set of these words.
            pub const fn of(words: &[$word]) -> Self {
                let (mut bits, mut at) = (0, 0);
                while at < words.len() {
                    bits |= 1 << words[at] as u32;
                    at += 1;
                }
                Self(bits)
            }

            /// Whether the word is in the set.
            pub const fn has(self, word: $word) -> bool {
                self.0 >> word as u32 & 1 == 1
            }

            /// The texts of the words in the set.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                $word::ALL.iter().filter(move |(word, _)| self.has(*word)).map(|(_, name)| *name)
            }
        }
    };
}

words! {
    /// What is said of a command.
    Flags of
    /// One thing that is said of a command.
    Flag {
        Write "write"
        Read "readonly"
        DenyOom "denyoom"
        Admin "admin"
        NoScript "noscript"
        Blocking "blocking"
        Loading "loading"
        Stale "stale"
        SkipSlowLog "skip_slowlog"
        Fast "fast"
        NoAuth "no_auth"
        NoAsyncLoading "no_async_loading"
        NoMulti "no_multi"
        MovableKeys "movablekeys"
        AllowBusy "allow_busy"
    }
}

words! {
    /// The categories of a command in access control.
    Categories of
    /// One category in access control.
    Category {
        Keyspace "keyspace"
        Read "read"
        Write "write"
        Set "set"
        SortedSet "sortedset"
        List "list"
        Hash "hash"
        String "string"
        Bitmap "bitmap"
        HyperLogLog "hyperloglog"
        Geo "geo"
        Stream "stream"
        PubSub "pubsub"
        Admin "admin"
        Fast "fast"
        Slow "slow"
        Blocking "blocking"
        Dangerous "dangerous"
        Connection "connection"
        Transaction "transaction"
        Scripting "scripting"
    }
}

words! {
    /// What a command does to a key.
    KeyFlags of
    /// One thing that a command does to a key.
    KeyFlag {
        Ro "RO"
        Rw "RW"
        Ow "OW"
        Rm "RM"
        Access "access"
        Update "update"
        Insert "insert"
        Delete "delete"
        VariableFlags "variable_flags"
    }
}

impl Categories {
    /// The categories that follow from a command's flags.
    pub(super) const fn implied_by(flags: Flags) -> Self {
        let mut set = Self::of(&[if flags.has(Flag::Fast) { Category::Fast } else { Category::Slow }]);
        if flags.has(Flag::Write) {
            set = set.and(Self::of(&[Category::Write]));
        }
        if flags.has(Flag::Read) {
            set = set.and(Self::of(&[Category::Read]));
        }
        if flags.has(Flag::Admin) {
            set = set.and(Self::of(&[Category::Admin, Category::Dangerous]));
        }
        set
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
