//! Commands that may block: which ones, and how long their clients want to wait.

use std::time::Duration;

use super::{CommandId, CommandSpec};
use crate::protocol::errors;
use crate::protocol::numbers::parse_float;
use crate::protocol::request::Args;

/// Time-outs must leave room for the present time in milliseconds, as in Redis.
const MILLISECONDS_MAX: i64 = i64::MAX - (1 << 42);

impl CommandSpec {
    /// Whether its client may have to wait.
    pub const fn is_blocking(&self) -> bool {
        use CommandId as C;
        matches!(
            self.id,
            C::BLMove | C::BLMPop | C::BLPop | C::BRPop | C::BRPopLPush | C::BZMPop | C::BZPopMax | C::BZPopMin
        )
    }
}

/// How long the client of a blocking command wants to wait; none: for ever.
///
/// # Errors
/// What is wrong with the time-out, or with what Redis looks at before it.
pub fn blocking_timeout(spec: &CommandSpec, args: Args<'_>) -> Result<Option<Duration>, &'static str> {
    let position = match spec.id {
        CommandId::BLMove => {
            let is_end = |at| args.is(at, "left") || args.is(at, "right");
            if !is_end(3) || !is_end(4) {
                return Err(errors::SYNTAX);
            }
            5
        }
        CommandId::BLMPop | CommandId::BZMPop => 1,
        _ => args.len() - 1,
    };
    match parse_float(args.get(position)).ok_or(errors::TIMEOUT_NOT_A_FLOAT)?.thousandfold() {
        ..0 => Err(errors::TIMEOUT_NEGATIVE),
        0 => Ok(None),
        milliseconds if milliseconds > MILLISECONDS_MAX => Err(errors::TIMEOUT_OUT_OF_RANGE),
        milliseconds => Ok(Some(Duration::from_millis(milliseconds.unsigned_abs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::resolve;
    use crate::protocol::request::{parse_array, write_array};

    fn timeout_of(line: &str) -> Result<Option<Duration>, &'static str> {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        write_array(&mut bytes, words.into_iter());
        parse_array(&bytes, &mut spans).unwrap();
        let args = Args::new(&bytes, &spans);
        let spec = resolve(args).unwrap();
        assert!(spec.is_blocking(), "{line}");
        blocking_timeout(spec, args)
    }

    #[test]
    fn timeouts_are_read_where_each_command_has_them() {
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        assert_eq!(timeout_of("BLPOP a b 3"), seconds(3));
        assert_eq!(timeout_of("BRPOP a 0"), Ok(None));
        assert_eq!(timeout_of("BRPOP a 0.0001"), Ok(Some(Duration::from_millis(1))));
        assert_eq!(timeout_of("BRPOP a -0.0001"), Ok(None));
        assert_eq!(timeout_of("BRPOPLPUSH a b 4"), seconds(4));
        assert_eq!(timeout_of("BLMOVE a b LEFT right 4"), seconds(4));
        assert_eq!(timeout_of("BLMOVE a b LEFT up x"), Err(errors::SYNTAX));
        assert_eq!(timeout_of("BLPOP a x"), Err("ERR timeout is not a float or out of range"));
        assert_eq!(timeout_of("BLPOP a -1"), Err("ERR timeout is negative"));
        assert_eq!(timeout_of("BLPOP a 0x7FFFFFFFFFFFFFFF"), Err("ERR timeout is out of range"));
    }
}
