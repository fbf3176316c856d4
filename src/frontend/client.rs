//! `CLIENT`: what a connection is called, how it is answered, and what may be done to others.

use std::time::Duration;

use super::client_filter::ClientFilter;
use super::connection::is_label;
use super::session::Replies;
use super::{Call, ClientView, Effect, help};
use crate::protocol::errors;
use crate::protocol::frame::ReadLevel;
use crate::protocol::identity::CancelHow;

impl Call<'_, '_> {
    pub(super) fn client(&mut self) -> Effect {
        match self.spec.own_name() {
            "caching" => self.reply.error(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                 enabled",
            ),
            "getname" => self.client_get_name(),
            "getredir" => self.reply.integer(-1),
            "help" => self.help(help::CLIENT),
            "id" => self.reply.integer(self.session.id() as i64),
            "info" => self.client_info(),
            "kill" => return self.client_kill(),
            "list" => self.client_list(),
            "no-evict" => {
                if let Some(on) = self.switch() {
                    self.session.set_no_evict(on);
                }
            }
            "no-touch" => {
                if let Some(on) = self.switch() {
                    self.session.set_no_touch(on);
                }
            }
            "pause" => return self.client_pause(),
            "reads" => self.client_reads(),
            "reply" => self.client_reply(),
            "setinfo" => self.client_set_info(),
            "setname" => self.client_set_name(),
            "tracking" => self.client_tracking(),
            "trackinginfo" => self.client_tracking_info(),
            "unblock" => return self.client_unblock(),
            "unpause" => {
                self.reply.ok();
                return Effect::Unpause;
            }
            _ => self.subcommand_syntax(),
        }
        Effect::None
    }

    /// The error for arguments that do not fit a subcommand.
    pub(super) fn subcommand_syntax(&mut self) {
        let mut error = Vec::new();
        errors::write_subcommand_syntax(&mut error, self.args);
        self.reply.raw(&error);
    }

    /// Answers `ON` and `OFF`; `None` for anything else.
    fn switch(&mut self) -> Option<bool> {
        let on = self.args.is(2, "on");
        if !on && !self.args.is(2, "off") {
            self.reply.error(errors::SYNTAX);
            return None;
        }
        self.reply.ok();
        Some(on)
    }

    fn client_get_name(&mut self) {
        match self.session.name() {
            [] => self.reply.null(),
            name => self.reply.bulk(name),
        }
    }

    fn client_set_name(&mut self) {
        let name = self.args.get(2);
        if !is_label(name) {
            return self.reply.error(errors::CLIENT_NAME);
        }
        if !name.is_empty() || !self.session.name().is_empty() {
            self.session.labels_mut().name = name.to_vec();
        }
        self.reply.ok();
    }

    fn client_set_info(&mut self) {
        let (option, value) = (self.args.get(2), self.args.get(3));
        let is_name = self.args.is(2, "lib-name");
        if !is_name && !self.args.is(2, "lib-ver") {
            return self.error_quoting("ERR Unrecognized option '", option, "'");
        }
        if !is_label(value) {
            return self.error_quoting("ERR ", option, " cannot contain spaces, newlines or special characters.");
        }
        let labels = self.session.labels_mut();
        let label = if is_name { &mut labels.library_name } else { &mut labels.library_version };
        *label = value.to_vec();
        self.reply.ok();
    }

    fn client_info(&mut self) {
        let mut line = self.session.view(self.around.seat, self.around.now).line;
        line.push('\n');
        self.reply.verbatim("txt", line.as_bytes());
    }

    /// All connections; this one as it is now.
    fn clients(&self) -> Vec<ClientView> {
        let mut clients = self.around.holder.clients();
        let own = self.session.view(self.around.seat, self.around.now);
        match clients.iter_mut().find(|client| client.id == own.id) {
            Some(client) => *client = own,
            None => clients.push(own),
        }
        clients.sort_unstable_by_key(|client| client.id);
        clients
    }

    fn client_list(&mut self) {
        let chosen = match ClientFilter::of_list(self.args) {
            Ok(filter) => filter,
            Err(error) => return self.reply.raw(&error),
        };
        let own = self.session.id();
        let clients = self.clients();
        let lines = clients.iter().filter(|client| chosen.matches(client, own)).map(|client| &client.line);
        let text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
        self.reply.verbatim("txt", text.as_bytes());
    }

    fn client_kill(&mut self) -> Effect {
        let filter = match ClientFilter::of_kill(self.args) {
            Ok(filter) => filter,
            Err(error) => {
                self.reply.raw(&error);
                return Effect::None;
            }
        };
        let own = self.session.id();
        let ids: Vec<u64> =
            self.clients().iter().filter(|client| filter.matches(client, own)).map(|client| client.id).collect();
        match (self.args.len(), ids.is_empty()) {
            (3, true) => self.reply.error(errors::NO_SUCH_CLIENT),
            (3, false) => self.reply.ok(),
            _ => self.reply.integer(ids.len() as i64),
        }
        if ids.is_empty() { Effect::None } else { Effect::Kill(ids) }
    }

    fn client_pause(&mut self) -> Effect {
        if self.args.len() > 4 {
            self.subcommand_syntax();
            return Effect::None;
        }
        let writes_only = self.args.is(3, "write");
        if self.args.len() == 4 && !writes_only && !self.args.is(3, "all") {
            self.reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
            return Effect::None;
        }
        let Some(timeout_ms) = self.timeout_ms(2) else { return Effect::None };
        self.reply.ok();
        Effect::Pause { until: self.around.now + Duration::from_millis(timeout_ms), writes_only }
    }

    fn client_unblock(&mut self) -> Effect {
        let how = match self.args.len() {
            3 => CancelHow::Timeout,
            4 if self.args.is(3, "timeout") => CancelHow::Timeout,
            4 if self.args.is(3, "error") => CancelHow::Unblocked,
            4 => {
                self.reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
                return Effect::None;
            }
            _ => {
                self.subcommand_syntax();
                return Effect::None;
            }
        };
        let Some(id) = self.integer(2, errors::NOT_AN_INTEGER) else { return Effect::None };
        let found = self.around.holder.clients().iter().any(|c| u64::try_from(id) == Ok(c.id) && c.is_blocked);
        self.reply.integer(i64::from(found));
        if found { Effect::Unblock { id: id.unsigned_abs(), how } } else { Effect::None }
    }

    fn client_reads(&mut self) {
        match self.args.len() {
            2 => self.reply.bulk(self.session.reads().name().as_bytes()),
            3 => match ReadLevel::from_name(self.args.get(2)) {
                Some(reads) => {
                    self.session.set_reads(reads);
                    self.reply.ok();
                }
                None => self.reply.error(errors::READ_LEVEL),
            },
            _ => self.subcommand_syntax(),
        }
    }

    /// Only `ON` is answered, and that always.
    fn client_reply(&mut self) {
        if self.args.is(2, "on") {
            self.session.set_replies(Replies::On);
            self.reply.ok();
        } else if self.args.is(2, "off") {
            self.session.set_replies(Replies::Off);
        } else if self.args.is(2, "skip") {
            self.session.set_replies(Replies::SkipNext);
        } else {
            self.reply.error(errors::SYNTAX);
        }
    }

    fn client_tracking(&mut self) {
        if self.args.is(2, "off") {
            self.reply.ok();
        } else if self.args.is(2, "on") {
            self.reply.error("ERR CLIENT TRACKING is not supported: no invalidations are sent");
        } else {
            self.reply.error(errors::SYNTAX);
        }
    }

    fn client_tracking_info(&mut self) {
        self.reply.map(3);
        self.reply.bulk(b"flags");
        self.reply.set(1);
        self.reply.bulk(b"off");
        self.reply.bulk(b"redirect");
        self.reply.integer(-1);
        self.reply.bulk(b"prefixes");
        self.reply.array(0);
    }
}
