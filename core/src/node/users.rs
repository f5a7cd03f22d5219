//! The users of the process: ACL SETUSER, DELUSER, LOAD and SAVE change them, every shard is told.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use bytes::Bytes;

use super::Node;
use super::asked::write;
use crate::acl::{Invalid, Users};
use crate::action::{Action, Actions, File};
use crate::ids::Ticket;
use crate::mail::Asked;

const NO_FILE: &str = "ERR This instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a configuration file set) in order to store users in the configuration.";

const NOT_SAVED: &str =
    "There was an error trying to save the ACLs. Please check the server logs for more information";

impl Node {
    /// Carries out a subcommand of ACL that changes users; the reply, unless it comes later.
    pub(super) fn change_users(
        &mut self,
        asked: &Asked,
        words: &[&[u8]],
        out: &mut Actions,
    ) -> Option<Bytes> {
        let is = |word: &str| words[0].eq_ignore_ascii_case(word.as_bytes());
        let refused = |error: &str| Some(write(asked.proto, |reply| reply.error(error)));
        if is("setuser") || is("deluser") {
            let mut users = Users::clone(&self.config.users);
            let result = if is("setuser") {
                users.set(words[1], &words[2..]).map(|()| None)
            } else {
                users.remove(&words[1..]).map(Some)
            };
            return match result {
                Ok(removed) => {
                    self.replace_users(users, out);
                    Some(write(asked.proto, |reply| match removed {
                        Some(removed) => reply.int(removed as i64),
                        None => reply.ok(),
                    }))
                }
                Err(invalid) => refused(&format!("ERR {invalid}")),
            };
        }
        if self.config.aclfile.is_empty() {
            return refused(NO_FILE);
        }
        let file = File::Users;
        let ticket = self.ticket_for(file, asked.link, asked.proto);
        out.push(if is("save") {
            let bytes = self.config.users.lines().map(|line| line + "\n").collect::<String>().into();
            Action::Persist { ticket, file, bytes, fsync: true }
        } else {
            Action::Read { ticket, file }
        });
        None
    }

    /// The ACL file was replaced for ACL SAVE, or was not.
    pub(super) fn users_written(&mut self, ticket: Ticket, result: Result<(), &str>, out: &mut Actions) {
        let result = result.map_err(|why| {
            tracing::warn!("Writing the ACL file: {why}");
            NOT_SAVED
        });
        self.answer_ticket(ticket, result, out);
    }

    /// The ACL file was read for ACL LOAD.
    pub(super) fn users_read(&mut self, ticket: Ticket, result: Result<&str, &str>, out: &mut Actions) {
        let path = self.config.aclfile.clone();
        let loaded = match result {
            Ok(text) => self.config.users.load(&path, text).map_err(|invalid: Invalid| invalid.to_string()),
            Err(why) => Err(format!("Error loading ACLs, opening file '{path}': {why}")),
        };
        let outcome = loaded.map(|users| self.replace_users(users, out));
        self.answer_ticket(ticket, outcome.as_ref().copied().map_err(String::as_str), out);
    }

    fn replace_users(&mut self, users: Users, out: &mut Actions) {
        Arc::make_mut(&mut self.config).users = Arc::new(users);
        self.configure_shards(out);
    }
}
