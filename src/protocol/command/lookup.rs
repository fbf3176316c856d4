//! From the name that a client wrote to its row in the table, without allocation: one multiplication, one comparison.

use super::table::COMMANDS;
use super::table::foreign::FOREIGN;
use super::{CommandId, CommandSpec};
use crate::protocol::errors;
use crate::protocol::reply::ReplyWriter;
use crate::protocol::request::Args;

/// Why a request is not one that the table knows.
#[derive(Clone, Copy, Debug)]
pub enum CommandError {
    /// No command has this name.
    UnknownCommand,
    /// The command has subcommands, this is none of them.
    UnknownSubcommand,
    /// Too few arguments, or too many.
    WrongArity(&'static CommandSpec),
}

impl CommandError {
    /// Appends the error reply to this request.
    pub fn write(self, args: Args<'_>, out: &mut Vec<u8>) {
        match self {
            Self::UnknownCommand => errors::write_unknown_command(out, args),
            Self::UnknownSubcommand => errors::write_unknown_subcommand(out, args),
            Self::WrongArity(spec) => ReplyWriter::new(out, false).error(&errors::wrong_arity(spec.name)),
        }
    }
}

/// All commands; subcommands are inside them.
pub fn all() -> impl ExactSizeIterator<Item = &'static CommandSpec> {
    COMMANDS.iter().copied()
}

/// The command with this name, in whatever case.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static CommandSpec> {
    let folded = fold(name)?;
    let mut place = place_of(folded);
    loop {
        let row = INDEX.rows[place];
        if row == FREE {
            return None;
        }
        let spec = COMMANDS[row as usize];
        // Zeros behind a name look like the zeros that fill it up.
        if INDEX.names[row as usize] == folded && spec.name.len() == name.len() {
            return Some(spec);
        }
        place = (place + 1) % PLACES;
    }
}

/// The command or subcommand with this full name, such as `config|get`.
pub fn lookup_full(name: &[u8]) -> Option<&'static CommandSpec> {
    match memchr::memchr(b'|', name) {
        None => lookup(name),
        Some(bar) => lookup(&name[..bar]).filter(|spec| !spec.subcommands.is_empty())?.subcommand(&name[bar + 1..]),
    }
}

/// The command or subcommand that a request is for, if it has the right number of arguments.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static CommandSpec, CommandError> {
    checked(lookup(args.name()).ok_or(CommandError::UnknownCommand)?, args)
}

/// As [`resolve`], of all commands that plain Redis servers know.
#[inline]
pub fn resolve_with_foreign(args: Args<'_>) -> Result<&'static CommandSpec, CommandError> {
    match lookup(args.name()).or_else(|| lookup_foreign(args.name())) {
        Some(spec) => checked(spec, args),
        None => Err(CommandError::UnknownCommand),
    }
}

#[cold]
fn lookup_foreign(name: &[u8]) -> Option<&'static CommandSpec> {
    let name = name.to_ascii_lowercase();
    FOREIGN.binary_search_by_key(&&name[..], |spec| spec.name.as_bytes()).ok().map(|at| &FOREIGN[at])
}

#[inline]
fn checked(mut spec: &'static CommandSpec, args: Args<'_>) -> Result<&'static CommandSpec, CommandError> {
    if !spec.subcommands.is_empty() && args.len() > 1 {
        spec = spec.subcommand(args.get(1)).ok_or(CommandError::UnknownSubcommand)?;
    }
    // MSET and MSETNX take pairs, which an arity cannot say.
    let pairs = matches!(spec.id, CommandId::MSet | CommandId::MSetNx);
    if !spec.accepts(args.len()) || pairs && args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(spec));
    }
    Ok(spec)
}

/// Names are compared as one number: their bytes in lower case, zeros behind.
const NAME_BYTES_MAX: usize = 16;
const PLACES: usize = 2048;
const FREE: u16 = u16::MAX;

struct Index {
    names: [u128; COMMANDS.len()],
    rows: [u16; PLACES],
}

static INDEX: Index = Index::build();

impl Index {
    const fn build() -> Self {
        let mut index = Self { names: [0; COMMANDS.len()], rows: [FREE; PLACES] };
        let mut row = 0;
        while row < COMMANDS.len() {
            let name = COMMANDS[row].name.as_bytes();
            assert!(name.len() <= NAME_BYTES_MAX && row < FREE as usize);
            let mut bytes = [0; NAME_BYTES_MAX];
            bytes.split_at_mut(name.len()).0.copy_from_slice(name);
            index.names[row] = u128::from_le_bytes(bytes);
            let mut place = place_of(index.names[row]);
            while index.rows[place] != FREE {
                place = (place + 1) % PLACES;
            }
            index.rows[place] = row as u16;
            row += 1;
        }
        index
    }
}

#[inline]
fn fold(name: &[u8]) -> Option<u128> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut bytes = [0; NAME_BYTES_MAX];
    bytes[..name.len()].copy_from_slice(name);
    bytes.make_ascii_lowercase();
    Some(u128::from_le_bytes(bytes))
}

const fn place_of(folded: u128) -> usize {
    const PLACE_BITS: u32 = PLACES.trailing_zeros();
    let mixed = (folded as u64 ^ ((folded >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - PLACE_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::Span;

    #[test]
    fn every_command_is_found_in_any_case() {
        for spec in all() {
            assert_eq!(lookup(spec.name.as_bytes()).unwrap().id, spec.id);
            assert_eq!(lookup(spec.name.to_uppercase().as_bytes()).unwrap().id, spec.id, "{}", spec.name);
            let longer = format!("{}x", spec.name);
            assert!(lookup(longer.as_bytes()).is_none_or(|other| other.name == longer), "{longer}");
        }
        for unknown in ["", "\0", "g", "gett", "get\0", "averyveryverylongname", "lpusk", "@et"] {
            assert!(lookup(unknown.as_bytes()).is_none(), "{unknown:?}");
        }
    }

    #[test]
    fn few_names_share_a_place() {
        let displaced = all().filter(|spec| {
            let folded = fold(spec.name.as_bytes()).unwrap();
            let row = INDEX.rows[place_of(folded)];
            INDEX.names[row as usize] != folded
        });
        assert!(displaced.count() <= 20);
    }

    #[test]
    fn requests_resolve_to_their_row() {
        let resolved = |words: &[&str]| {
            let bytes = words.concat();
            let mut spans = Vec::new();
            for word in words {
                let start = spans.last().map_or(0, |span: &Span| span.end);
                spans.push(Span { start, end: start + word.len() as u32 });
            }
            match resolve(Args::new(bytes.as_bytes(), &spans)) {
                Ok(spec) => spec.name.to_owned(),
                Err(CommandError::WrongArity(spec)) => format!("arity of {}", spec.name),
                Err(error) => format!("{error:?}"),
            }
        };
        assert_eq!(resolved(&["GeT", "k"]), "get");
        assert_eq!(resolved(&["get"]), "arity of get");
        assert_eq!(resolved(&["get", "k", "l"]), "arity of get");
        assert_eq!(resolved(&["mset", "k", "v", "l"]), "arity of mset");
        assert_eq!(resolved(&["mset", "k", "v", "l", "w"]), "mset");
        assert_eq!(resolved(&["config"]), "arity of config");
        assert_eq!(resolved(&["config", "GET"]), "arity of config|get");
        assert_eq!(resolved(&["config", "GET", "x"]), "config|get");
        assert_eq!(resolved(&["config", "nope"]), "UnknownSubcommand");
        assert_eq!(resolved(&["command"]), "command");
        assert_eq!(resolved(&["nope"]), "UnknownCommand");
    }
}
