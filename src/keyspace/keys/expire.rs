//! EXPIRE, TTL and their relatives.

use super::super::call::{CommandError, CommandResult, ReadCall, Word, WriteCall, integer};
use super::super::record::ExpireAt;
use crate::protocol::errors;

/// How a command of the EXPIRE family takes its time.
#[derive(Clone, Copy, Debug)]
pub struct ExpireForm {
    name: &'static str,
    seconds: bool,
    absolute: bool,
}

/// EXPIRE.
pub const EXPIRE: ExpireForm = ExpireForm { name: "expire", seconds: true, absolute: false };
/// PEXPIRE.
pub const PEXPIRE: ExpireForm = ExpireForm { name: "pexpire", seconds: false, absolute: false };
/// EXPIREAT.
pub const EXPIREAT: ExpireForm = ExpireForm { name: "expireat", seconds: true, absolute: true };
/// PEXPIREAT.
pub const PEXPIREAT: ExpireForm = ExpireForm { name: "pexpireat", seconds: false, absolute: true };

/// How a command of the TTL family gives its time.
#[derive(Clone, Copy, Debug)]
pub struct TtlForm {
    seconds: bool,
    absolute: bool,
}

/// TTL.
pub const TTL: TtlForm = TtlForm { seconds: true, absolute: false };
/// PTTL.
pub const PTTL: TtlForm = TtlForm { seconds: false, absolute: false };
/// EXPIRETIME.
pub const EXPIRETIME: TtlForm = TtlForm { seconds: true, absolute: true };
/// PEXPIRETIME.
pub const PEXPIRETIME: TtlForm = TtlForm { seconds: false, absolute: true };

/// Under which conditions an expiry is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    none_yet: bool,
    has_one: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    /// The conditions that these words are.
    pub fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for word in words {
            match Word::of(word).as_slice() {
                b"NX" => conditions.none_yet = true,
                b"XX" => conditions.has_one = true,
                b"GT" => conditions.later = true,
                b"LT" => conditions.earlier = true,
                _ => return Err(CommandError::quoting("ERR Unsupported option ", word)),
            }
        }
        if conditions.none_yet && (conditions.has_one || conditions.later || conditions.earlier) {
            return Err(errors::EXPIRE_NX.into());
        }
        if conditions.later && conditions.earlier {
            return Err(errors::EXPIRE_GT_LT.into());
        }
        Ok(conditions)
    }

    /// Whether they allow another expiry. None yet counts as one at the end of time.
    pub fn allow(self, current: Option<ExpireAt>, wanted: i64) -> bool {
        let current_ms = current.map(|at| at.get() as i64);
        let refused = self.none_yet && current.is_some()
            || self.has_one && current.is_none()
            || self.later && current_ms.is_none_or(|current| wanted <= current)
            || self.earlier && current_ms.is_some_and(|current| wanted >= current);
        !refused
    }
}

pub fn expire(call: &mut WriteCall<'_>, form: ExpireForm) -> CommandResult {
    let conditions = Conditions::parse(call.args.from(3))?;
    let number = integer(call.args, 2)?;
    let now_ms = call.now_ms() as i64;
    let number = if form.seconds { number.checked_mul(1000) } else { Some(number) };
    let wanted = number.and_then(|number| number.checked_add(if form.absolute { 0 } else { now_ms }));
    let wanted = wanted.ok_or_else(|| errors::invalid_expire(form.name))?;
    let key = call.args.get(1);
    let done = match call.find(key).map(|record| record.expire_at) {
        Some(current) if conditions.allow(current, wanted) => {
            match ExpireAt::new(wanted as u64).filter(|_| wanted > now_ms) {
                Some(at) => call.keyspace.set_expiry(key, Some(at)),
                None => call.keyspace.remove(key),
            }
        }
        _ => false,
    };
    call.reply.integer(i64::from(done));
    Ok(())
}

pub fn persist(call: &mut WriteCall<'_>) -> CommandResult {
    let key = call.args.get(1);
    let had_expiry = call.find(key).is_some_and(|record| record.expire_at.is_some());
    if had_expiry {
        call.keyspace.set_expiry(key, None);
    }
    call.reply.integer(i64::from(had_expiry));
    Ok(())
}

pub fn ttl(call: &mut ReadCall<'_>, form: TtlForm) -> CommandResult {
    let answer = match call.peek(call.args.get(1)).map(|record| record.expire_at) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let ms = at.get() - if form.absolute { 0 } else { call.now_ms };
            (if form.seconds { (ms + 500) / 1000 } else { ms }) as i64
        }
    };
    call.reply.integer(answer);
    Ok(())
}
