//! Which connections `CLIENT LIST` and `CLIENT KILL` mean.

use super::facts::ClientView;
use crate::protocol::errors;
use crate::protocol::numbers::parse_i64;
use crate::protocol::request::Args;

/// A choice of connections: those that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    ids: Option<Vec<u64>>,
    address: Option<Vec<u8>>,
    local_address: Option<Vec<u8>>,
    /// A type of client that there is none of: all are normal.
    nobody: bool,
    /// Whether the asking connection is left out.
    skip_own: bool,
}

/// An error reply.
type Refusal = Vec<u8>;

impl ClientFilter {
    /// Whether it means this connection, when `own` asks.
    pub fn matches(&self, client: &ClientView, own: u64) -> bool {
        let fits =
            |wanted: &Option<Vec<u8>>, address: &str| wanted.as_ref().is_none_or(|wanted| wanted == address.as_bytes());
        let left_out = self.nobody || self.skip_own && client.id == own;
        !left_out
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&client.id))
            && fits(&self.address, &client.address)
            && fits(&self.local_address, &client.local_address)
    }

    /// `CLIENT LIST [TYPE type | ID id ...]`.
    pub(super) fn of_list(args: Args<'_>) -> Result<Self, Refusal> {
        let mut filter = Self::default();
        if args.len() == 4 && args.is(2, "type") {
            filter.set_type(args.get(3))?;
        } else if args.len() > 3 && args.is(2, "id") {
            let ids = args.from(3).map(|id| parse_i64(id).ok_or_else(|| error("ERR Invalid client ID")));
            let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
            filter.ids = Some(ids.into_iter().filter_map(|id| u64::try_from(id).ok()).collect());
        } else if args.len() != 2 {
            return Err(error(errors::SYNTAX));
        }
        Ok(filter)
    }

    /// `CLIENT KILL address`, or `CLIENT KILL option value ...`.
    pub(super) fn of_kill(args: Args<'_>) -> Result<Self, Refusal> {
        if args.len() == 3 {
            return Ok(Self { address: Some(args.get(2).to_vec()), ..Self::default() });
        }
        let mut filter = Self { skip_own: true, ..Self::default() };
        for at in (2..args.len()).step_by(2) {
            if at + 1 == args.len() {
                return Err(error(errors::SYNTAX));
            }
            filter.set_option(args, at, args.get(at + 1))?;
        }
        Ok(filter)
    }

    fn set_option(&mut self, args: Args<'_>, at: usize, value: &[u8]) -> Result<(), Refusal> {
        if args.is(at, "id") {
            let number = parse_i64(value).ok_or_else(|| error("ERR client-id should be greater than 0"))?;
            let id = u64::try_from(number).ok().filter(|id| *id > 0);
            self.ids = Some(vec![id.ok_or_else(|| error("ERR client-id should be greater than 0"))?]);
        } else if args.is(at, "type") {
            self.set_type(value)?;
        } else if args.is(at, "addr") {
            self.address = Some(value.to_vec());
        } else if args.is(at, "laddr") {
            self.local_address = Some(value.to_vec());
        } else if args.is(at, "user") {
            if value != b"default" {
                return Err(quoting("ERR No such user '", value));
            }
        } else if args.is(at, "skipme") {
            let word = |text: &str| value.eq_ignore_ascii_case(text.as_bytes());
            if !word("yes") && !word("no") {
                return Err(error(errors::SYNTAX));
            }
            self.skip_own = word("yes");
        } else {
            return Err(error(errors::SYNTAX));
        }
        Ok(())
    }

    fn set_type(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let word = |text: &&str| name.eq_ignore_ascii_case(text.as_bytes());
        if !["normal", "slave", "replica", "pubsub", "master"].iter().any(word) {
            return Err(quoting("ERR Unknown client type '", name));
        }
        self.nobody = !word(&"normal");
        Ok(())
    }
}

fn error(text: &str) -> Refusal {
    format!("-{text}\r\n").into_bytes()
}

fn quoting(before: &str, quoted: &[u8]) -> Refusal {
    let mut reply = Vec::new();
    errors::write_quoting(&mut reply, before, quoted, "'");
    reply
}
