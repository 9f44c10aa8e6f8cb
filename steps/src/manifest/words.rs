//! The command line of a component in a pod template, to be read and changed. Pure.

use super::command_line::CommandLine;
use crate::component::Component;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The words that start a component's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The container's `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The container's `args`, which follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// One change of a flag. Names are without dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagChange {
    /// The flag gets this value.
    Set(String, String),
    /// The flag goes.
    Unset(String),
}

/// A command line cannot be changed like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// No container runs the component.
    #[error("no container of the pod runs {0}: its command line is not one that fulcrum reads")]
    NoContainer(Component),
    /// The pivot was planned with this flag.
    #[error(
        "--{0} cannot be changed here: the pivot was planned with it; roll back with `fulcrum rollback`, change \
         the static manifest, and pivot again"
    )]
    Fixed(&'static str),
    /// There is no such flag to take out.
    #[error("--{0} is not on the command line: there is nothing to take out")]
    NotThere(String),
    /// A word that belongs to no flag.
    #[error("`{0}` belongs to no flag: each line is one word, and a flag begins with --")]
    Stray(String),
}

/// The flags that the ports, the endpoints and the leases of the pivot rest on. A pivot is planned with them,
/// and two pods of one roll-out must agree on them.
const FIXED: [&str; 10] = [
    "secure-port",
    "bind-address",
    "permit-port-sharing",
    "permit-address-sharing",
    "advertise-address",
    "endpoint-reconciler-type",
    "leader-elect",
    "leader-elect-resource-lock",
    "leader-elect-resource-name",
    "leader-elect-resource-namespace",
];

impl Words {
    /// The words in the pod template of a DaemonSet (or in a pod).
    ///
    /// # Errors
    /// When no container runs the component.
    pub fn of(component: Component, template: &Value) -> Result<Self, WordsError> {
        let container = container_of(component, template).ok_or(WordsError::NoContainer(component))?;
        let list = |key: &str| {
            let words = container.get(key).and_then(Value::as_array).into_iter().flatten();
            words.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Self { command: list("command"), args: list("args") })
    }

    /// All of them, in their order.
    pub fn all(&self) -> Vec<String> {
        [self.command.clone(), self.args.clone()].concat()
    }

    /// The flags among the words, each with its last value as it is written. Names are without dashes.
    ///
    /// # Errors
    /// When the words do not run the component.
    pub fn flags(&self, component: Component) -> Result<BTreeMap<String, String>, WordsError> {
        let line = line(component, &self.container(component)).ok_or(WordsError::NoContainer(component))?;
        Ok(line.flags().into_iter().map(|flag| (flag.name, flag.value)).collect())
    }

    /// Every value of a flag that may be given several times, as they are written and in their order.
    ///
    /// # Errors
    /// When the words do not run the component.
    pub fn values(&self, component: Component, name: &str) -> Result<Vec<String>, WordsError> {
        let line = line(component, &self.container(component)).ok_or(WordsError::NoContainer(component))?;
        let flags = line.flags().into_iter().filter(|flag| flag.name == name);
        Ok(flags.map(|flag| flag.value).collect())
    }

    /// The words with these changes.
    ///
    /// # Errors
    /// When a flag must stay, or is not there to be taken out.
    pub fn changed(&self, component: Component, changes: &[FlagChange]) -> Result<Self, WordsError> {
        let mut container = self.container(component);
        let mut line = line(component, &container).ok_or(WordsError::NoContainer(component))?;
        for change in changes {
            match change {
                FlagChange::Set(name, value) => line.set(&plain(name), value),
                FlagChange::Unset(name) if line.unset(&plain(name)) => {}
                FlagChange::Unset(name) => return Err(WordsError::NotThere(plain(name))),
            }
        }
        line.write(&mut container);
        let changed = Self::of(component, &pod(container))?;
        self.refuse_fixed(component, &changed)?;
        Ok(changed)
    }

    /// These words in the place of the former ones, as a person has written them.
    ///
    /// # Errors
    /// When they do not run the component, a flag must stay, or a word belongs to no flag.
    pub fn written(&self, component: Component, words: Vec<String>) -> Result<Self, WordsError> {
        // A container that has only `args` is started by its image's entrypoint.
        let written = match (self.command.is_empty(), words.strip_prefix(self.command.as_slice())) {
            (false, None) => Self { command: words, args: Vec::new() },
            (_, Some(args)) if !self.args.is_empty() => {
                Self { command: self.command.clone(), args: args.to_vec() }
            }
            _ => Self { command: words, args: Vec::new() },
        };
        let container = written.container(component);
        let line = line(component, &container).ok_or(WordsError::NoContainer(component))?;
        if let Some(stray) = line.stray() {
            return Err(WordsError::Stray(stray));
        }
        self.refuse_fixed(component, &written)?;
        Ok(written)
    }

    /// Puts the words into a pod template. Returns `false` if no container runs the component.
    pub fn put(&self, component: Component, template: &mut Value) -> bool {
        let containers = template["spec"]["containers"].as_array_mut().into_iter().flatten();
        let mut found = containers.filter_map(Value::as_object_mut);
        let Some(container) = found.find(|one| line(component, one).is_some()) else { return false };
        for (key, words) in [("command", &self.command), ("args", &self.args)] {
            match words.is_empty() {
                true => container.remove(key),
                false => container.insert(key.to_owned(), words.iter().map(String::as_str).collect()),
            };
        }
        true
    }

    fn refuse_fixed(&self, component: Component, changed: &Self) -> Result<(), WordsError> {
        let value = |words: &Self, name: &str| line(component, &words.container(component))?.written(name);
        match FIXED.iter().find(|name| value(self, name) != value(changed, name)) {
            Some(name) => Err(WordsError::Fixed(name)),
            None => Ok(()),
        }
    }

    fn container(&self, component: Component) -> Map<String, Value> {
        let mut container = Map::new();
        container.insert("name".to_owned(), component.name().into());
        container.insert("command".to_owned(), self.command.iter().map(String::as_str).collect());
        container.insert("args".to_owned(), self.args.iter().map(String::as_str).collect());
        container
    }
}

/// The container of a pod template that runs the component.
pub(crate) fn container_of(component: Component, template: &Value) -> Option<&Map<String, Value>> {
    let containers = template["spec"]["containers"].as_array().into_iter().flatten();
    containers.filter_map(Value::as_object).find(|one| line(component, one).is_some())
}

fn line(component: Component, container: &Map<String, Value>) -> Option<CommandLine> {
    CommandLine::read(container, "", component).ok()?
}

fn pod(container: Map<String, Value>) -> Value {
    serde_json::json!({ "spec": { "containers": [container] } })
}

/// A flag's name as the components read it: without dashes before it, `_` as `-`.
fn plain(name: &str) -> String {
    name.trim_start_matches('-').replace('_', "-")
}

impl fmt::Display for FlagChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name, value) => write!(f, "--{}={value}", plain(name)),
            Self::Unset(name) => write!(f, "without --{}", plain(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SERVER: Component = Component::ApiServer;

    fn words(command: &str, args: &str) -> Words {
        let list = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Words { command: list(command), args: list(args) }
    }

    fn set(name: &str, value: &str) -> FlagChange {
        FlagChange::Set(name.to_owned(), value.to_owned())
    }

    #[test]
    fn flags_are_set_where_they_stand_and_taken_out_wholly() {
        let before = words("kube-apiserver --v=2 --a --profiling false --v=3", "");
        let changes = [set("--v", "4"), FlagChange::Unset("profiling".to_owned()), set("new_flag", "x=y")];
        let after = before.changed(SERVER, &changes).unwrap();
        assert_eq!(after, words("kube-apiserver --a --v=4 --new-flag=x=y", ""));
        let in_args = words("kube-apiserver", "--a=1").changed(SERVER, &[set("b", "2")]).unwrap();
        assert_eq!(in_args, words("kube-apiserver", "--a=1 --b=2"));
        let missing = before.changed(SERVER, &[FlagChange::Unset("none".to_owned())]);
        assert_eq!(missing, Err(WordsError::NotThere("none".to_owned())));
    }

    #[test]
    fn what_the_pivot_rests_on_stays() {
        let before = words("kube-apiserver --secure-port=6443 --permit-port-sharing=true", "");
        for (change, flag) in [
            (set("secure_port", "7443"), "secure-port"),
            (FlagChange::Unset("permit-port-sharing".to_owned()), "permit-port-sharing"),
            (set("bind-address", "127.0.0.1"), "bind-address"),
        ] {
            assert_eq!(before.changed(SERVER, &[change]), Err(WordsError::Fixed(flag)));
        }
        let moved = ["kube-apiserver", "--secure-port", "7443"].map(str::to_owned).to_vec();
        assert_eq!(before.written(SERVER, moved), Err(WordsError::Fixed("secure-port")));
    }

    #[test]
    fn what_a_person_writes_is_a_command_line_of_the_component() {
        let before = words("kube-apiserver", "--a=1");
        let list = |text: &str| words(text, "").command;
        let written = before.written(SERVER, list("kube-apiserver --a=2 --b 3")).unwrap();
        assert_eq!(written, words("kube-apiserver", "--a=2 --b 3"));
        assert_eq!(before.written(SERVER, list("sh --a=2")), Err(WordsError::NoContainer(SERVER)));
        let stray = before.written(SERVER, list("kube-apiserver --a=2 b"));
        assert_eq!(stray, Err(WordsError::Stray("b".to_owned())));
    }

    /// Sidecars, and every other field, stay.
    #[test]
    fn only_the_components_container_gets_the_words() {
        let mut template = json!({ "spec": { "containers": [
            { "name": "side", "command": ["sleep"] },
            { "name": "kube-apiserver", "image": "i", "command": ["kube-apiserver", "--a=1"] },
        ] } });
        let after = Words::of(SERVER, &template).unwrap().changed(SERVER, &[set("a", "2")]).unwrap();
        assert!(after.put(SERVER, &mut template));
        let containers = &template["spec"]["containers"];
        assert_eq!(containers[0], json!({ "name": "side", "command": ["sleep"] }));
        assert_eq!(
            containers[1],
            json!({ "name": "kube-apiserver", "image": "i", "command": ["kube-apiserver", "--a=2"] })
        );
        assert_eq!(
            Words::of(Component::Scheduler, &template),
            Err(WordsError::NoContainer(Component::Scheduler))
        );
    }
}
