//! What may go into a log: an entry that apply cannot understand stops every replica of its shard (and again after each
//! start), so a frame of which that would be made is an error of its sender.

use crate::protocol::command::resolve;
use crate::protocol::frame::RequestHead;
use crate::protocol::identity::Blocking;
use crate::protocol::request::{Args, Span, parse_array};
use crate::protocol::{coverage, split, transaction};

/// Whether a request, if it is a write, makes an entry that can be applied. `spans` is room to work in.
pub fn can_be_logged(head: &RequestHead, body: &[u8], spans: &mut Vec<Span>) -> bool {
    spans.clear();
    match head.blocking {
        _ if !head.write => true,
        _ if head.covers => coverage::split(body).is_ok_and(|(_, request)| parse_array(request, spans).is_ok()),
        _ if head.split => split::check(body, spans).is_ok(),
        _ if head.transaction => transaction::split(body, spans).is_ok(),
        Some(Blocking::Cancel(_)) => true,
        Some(Blocking::Wait) => {
            // What no table knows is answered by an error, like anywhere else.
            parse_array(body, spans).is_ok() && resolve(Args::new(body, spans)).map_or(true, |spec| spec.is_blocking())
        }
        None => parse_array(body, spans).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Entry, Keyspace};
    use crate::protocol::frame::ReadLevel;
    use crate::protocol::identity::Identity;
    use crate::topology::{Epoch, LogIndex, LogTime, SessionId, ShardId, Slot, WriteId};

    fn head(blocking: Option<Blocking>, transaction: bool) -> RequestHead {
        let id = WriteId { session: SessionId(1), sequence: 1 };
        RequestHead {
            id: 1,
            shard: ShardId(1),
            client: 1,
            generation: 0,
            write: true,
            resp3: false,
            after_writes: false,
            transaction,
            split: false,
            covers: false,
            retried: false,
            level: ReadLevel::Session,
            slot: Some(Slot::of_key(b"k")),
            epoch: Epoch(1),
            remaining_ms: 1000,
            floor: LogIndex(0),
            identity: Some(Identity { id, low: 1, born: LogTime(0) }),
            blocking,
        }
    }

    #[test]
    fn what_is_let_in_can_be_applied_and_what_is_kept_out_cannot() {
        let (wait, plain) = (head(Some(Blocking::Wait), false), head(None, false));
        for (head, body, expected) in [
            (wait, &b"*3\r\n$5\r\nBLPOP\r\n$1\r\nk\r\n$1\r\n0\r\n"[..], true),
            (wait, b"*1\r\n$5\r\nBLPOP\r\n", true),
            (wait, b"*1\r\n$7\r\nUNKNOWN\r\n", true),
            (wait, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", false),
            (wait, b"", false),
            (plain, b"*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n", true),
            (plain, b"*2\r\n$4\r\nINCR\r\n", false),
            (plain, b"INCR k\r\n", false),
            (plain, b"", false),
        ] {
            assert_eq!(can_be_logged(&head, body, &mut Vec::new()), expected, "{}", body.escape_ascii());
            let (time, seed, resp3) = (LogTime(1), 0, false);
            let entry = match head.blocking {
                None => Entry::Write { seen: 0, time, seed, resp3, identity: head.identity, request: body },
                Some(_) => Entry::Block { seen: 0, time, seed, resp3, identity: head.identity.unwrap(), request: body },
            };
            assert_eq!(Keyspace::new(1).apply(&entry, &mut Vec::new()).is_ok(), expected);
        }
        assert!(!can_be_logged(&head(None, true), b"*1\r\n", &mut Vec::new()));
        assert!(can_be_logged(&RequestHead { write: false, ..plain }, b"", &mut Vec::new()), "reads are not logged");
    }
}
