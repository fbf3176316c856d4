//! `CONFIG`: reading and setting parameters.

use super::parameter_kind::{Kind, Unfit};
use super::parameters::{find, is_hidden};
use super::{Call, Effect, help};
use crate::protocol::errors;
use crate::protocol::glob;

impl Call<'_, '_> {
    pub(super) fn config(&mut self) -> Effect {
        match self.spec.own_name() {
            "get" => self.config_get(),
            "help" => self.help(help::CONFIG),
            "resetstat" => {
                self.reply.ok();
                return Effect::ResetStatistics;
            }
            "rewrite" => self.reply.error("ERR The server is running without a config file"),
            "set" => self.config_set(),
            _ => self.subcommand_syntax(),
        }
        Effect::None
    }

    /// A name without a pattern is answered as the client wrote it.
    fn config_get(&mut self) {
        let parameters = &self.around.desk.parameters;
        let mut found: Vec<(&'static str, &[u8], String)> = Vec::new();
        for wanted in self.args.from(2) {
            let is_pattern = wanted.iter().any(|byte| b"[*?".contains(byte));
            let fits = |name: &str| match is_pattern {
                true => !is_hidden(name) && glob::matches_nocase(wanted, name.as_bytes()),
                false => name.as_bytes().eq_ignore_ascii_case(wanted),
            };
            for (name, value) in parameters.values(fits) {
                if found.iter().all(|(known, ..)| *known != name) {
                    found.push((name, if is_pattern { name.as_bytes() } else { wanted }, value));
                }
            }
        }
        self.reply.map(found.len());
        for (_, name, value) in found {
            self.reply.bulk(name);
            self.reply.bulk(value.as_bytes());
        }
    }

    /// All or nothing: the names first, then the values, then they are kept.
    fn config_set(&mut self) {
        let args = self.args;
        if !args.len().is_multiple_of(2) {
            return self.reply.error(errors::SYNTAX);
        }
        let mut found = Vec::new();
        for at in (2..args.len()).step_by(2) {
            let Some((name, kind)) = find(args.get(at)) else {
                let before = "ERR Unknown option or number of arguments for CONFIG SET - '";
                return self.error_quoting(before, args.get(at), "'");
            };
            found.push((name, kind, at));
        }
        let parameters = &self.around.desk.parameters;
        for (index, (name, kind, at)) in found.iter().enumerate() {
            let is_closed = matches!(kind, Kind::Fixed | Kind::Protected);
            // Tools set `requirepass ""` and the like without need.
            if is_closed && parameters.value(name).as_bytes() != args.get(at + 1) {
                let Err(Unfit(reason)) = kind.fit(args.get(at + 1), "") else { continue };
                return self.config_failed(args.get(*at), &reason);
            }
            if found[..index].iter().any(|(earlier, ..)| earlier == name) {
                return self.config_failed(args.get(*at), "duplicate parameter");
            }
        }
        let mut values = Vec::new();
        for (name, kind, at) in found.into_iter().filter(|(_, kind, _)| !matches!(kind, Kind::Fixed | Kind::Protected))
        {
            match kind.fit(args.get(at + 1), &parameters.value(name)) {
                Ok(value) => values.push((name, value)),
                Err(Unfit(reason)) => return self.config_failed(name.as_bytes(), &reason),
            }
        }
        values.into_iter().for_each(|(name, value)| parameters.put(name, value));
        self.reply.ok();
    }

    fn config_failed(&mut self, name: &[u8], reason: &str) {
        let before = "ERR CONFIG SET failed (possibly related to argument '";
        self.error_quoting(before, name, &format!("') - {reason}"));
    }
}
