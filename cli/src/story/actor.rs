//! Who worked on a run.

use fulcrum_engine::Session;
use fulcrum_steps::run_info::SessionRole;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Who worked in a session, as far as the journal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Actor {
    /// A command, or the guard.
    pub(crate) role: ActorRole,
    /// What the session has recorded of its user, its machine and its program, by name. Empty in journals
    /// from before there was such a record.
    pub(crate) facts: BTreeMap<String, String>,
}

/// The kind of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ActorRole {
    /// A command that a person, or a script, has given.
    Command,
    /// The guard of this node.
    Guard,
}

/// The facts that name the user, best first: the one who became root, the one who logged in, the process's.
const USERS: [&str; 3] = ["sudo-user", "login-uid", "uid"];

impl Actor {
    /// Who worked in this session.
    pub(crate) fn of(session: &Session) -> Self {
        let role = match SessionRole::of(session) {
            SessionRole::Command => ActorRole::Command,
            SessionRole::Guard => ActorRole::Guard,
        };
        // As stored: a session without the record has no such field.
        let stored = serde_json::to_value(session).unwrap_or_default();
        let facts = serde_json::from_value(stored["actor"].clone()).unwrap_or_default();
        Self { role, facts }
    }

    /// Whether a person means this actor by `name`: `guard`, `command`, or a user's name or number.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        let role = match self.role {
            ActorRole::Command => "command",
            ActorRole::Guard => "guard",
        };
        name == role || USERS.iter().any(|fact| self.facts.get(*fact).is_some_and(|user| user == name))
    }

    fn user(&self) -> Option<String> {
        let user = USERS.iter().find_map(|fact| self.facts.get(*fact))?;
        Some(match user.parse::<u32>() {
            Ok(0) => "root".to_owned(),
            Ok(number) => format!("uid {number}"),
            Err(_) => user.clone(),
        })
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.role, self.user()) {
            (ActorRole::Guard, _) => f.write_str("the guard"),
            (ActorRole::Command, None) => f.write_str("a command"),
            (ActorRole::Command, Some(user)) => write!(f, "a command of {user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_engine::Role;
    use serde_json::json;

    #[test]
    fn an_actor_is_found_by_role_and_by_user() {
        let session = |role: Role| -> Session {
            let session = json!({ "boot_id": "b", "pid": 1, "program": "fulcrum 0.1.0", "role": role });
            serde_json::from_value(session).unwrap()
        };
        let command = Actor::of(&session(Role::default()));
        assert_eq!((command.role, command.to_string().as_str()), (ActorRole::Command, "a command"));
        assert!(command.is_called("command") && !command.is_called("guard") && !command.is_called(""));
        let guard = Actor::of(&session(SessionRole::Guard.role()));
        assert!(guard.is_called("guard") && guard.to_string() == "the guard");
        let facts = [("sudo-user", "alice"), ("uid", "0")].map(|(name, fact)| (name.into(), fact.into()));
        let alice = Actor { facts: facts.into(), ..command };
        assert!(alice.is_called("alice") && alice.is_called("0") && !alice.is_called("bob"));
        assert_eq!(alice.to_string(), "a command of alice");
        let root = Actor { facts: [("uid".to_owned(), "0".to_owned())].into(), ..alice };
        assert_eq!(root.to_string(), "a command of root");
    }
}
