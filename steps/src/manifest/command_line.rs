//! The words that start a container, and the flags among them.
//!
//! The rules are those of pflag, with which the Kubernetes components read their flags, as far as they apply
//! without knowing each flag's type.

use std::ops::Range;

use serde_json::{Map, Value};

use super::error::ManifestError;
use super::kind::kind_of;
use super::program;
use super::variables::Variables;
use crate::component::Component;

/// A container's `command` followed by its `args`, and the place where the component's own flags begin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CommandLine {
    words: Vec<String>,
    /// How many of the words are in `command`. The others are in `args`.
    in_command: usize,
    /// The first word after the program's name.
    flags_from: usize,
    /// The values of `$(NAME)` in the words.
    variables: Variables,
}

/// One flag as it stands in the list of words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flag {
    /// Without the dashes. `_` is read as `-`, as the components do.
    pub(super) name: String,
    /// `true` for a flag without a value.
    pub(super) value: String,
    /// One word (`--name=value`, `--name`) or two (`--name value`).
    words: Range<usize>,
}

impl CommandLine {
    /// Reads the words of the container at `path`. `None` if it does not run the component.
    ///
    /// A container that has the component's name and only gives flags to its image's entrypoint counts as
    /// well.
    pub(super) fn read(
        container: &Map<String, Value>,
        path: &str,
        component: Component,
    ) -> Result<Option<CommandLine>, ManifestError> {
        let command = words(container, path, "command")?;
        let args = words(container, path, "args")?;
        let in_command = command.len();
        let words = [command, args].concat();
        let variables = Variables::of(container);
        let program = program::flags_from(&words, component);
        let entrypoint = in_command == 0
            && container.get("name").and_then(Value::as_str) == Some(component.name())
            && words.first().is_none_or(|word| word.starts_with('-'));
        Ok(match program {
            Some(flags_from) => {
                let flags_from = flags_from.min(words.len());
                Some(CommandLine { words, in_command, flags_from, variables })
            }
            None if entrypoint => Some(CommandLine { words, in_command, flags_from: 0, variables }),
            None => None,
        })
    }

    /// A component takes no words behind a `--`. If there are some, another program decides what they are (`dlv
    /// exec kube-apiserver -- --secure-port=6443`). `path` is that of the container.
    pub(super) fn without_a_tail(self, path: &str) -> Result<CommandLine, ManifestError> {
        let end = self.words[self.flags_from..].iter().position(|word| word == "--");
        match end.map(|end| &self.words[self.flags_from + end + 1..]) {
            Some([first, ..]) => {
                Err(ManifestError::WordsBehindTheEnd { at: path.to_owned(), first: first.clone() })
            }
            _ => Ok(self),
        }
    }

    /// Reads the words of a process. `None` if it does not run the component.
    pub(super) fn started(words: Vec<String>, component: Component) -> Option<CommandLine> {
        let flags_from = program::flags_from(&words, component)?.min(words.len());
        let in_command = words.len();
        Some(CommandLine { words, in_command, flags_from, variables: Variables::default() })
    }

    /// Whether the program is the first word.
    pub(super) fn starts_with_program(&self) -> bool {
        self.flags_from <= 1
    }

    /// The flags in order, up to a word `--`.
    ///
    /// A flag without `=` takes the next word as its value unless that word is a flag itself. pflag decides
    /// by the flag's type. But no component accepts a word that belongs to no flag. So the two agree on every
    /// command line that starts.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        let mut at = self.flags_from;
        while let Some(word) = self.words.get(at).filter(|word| *word != "--") {
            let start = at;
            at += 1;
            let Some(text) = word.strip_prefix("--") else { continue };
            let (name, value) = match (text.split_once('='), self.words.get(at)) {
                (Some((name, value)), _) => (name, value),
                (None, Some(next)) if !is_flag(next) => {
                    at += 1;
                    (text, next.as_str())
                }
                (None, _) => (text, "true"),
            };
            flags.push(Flag { name: name.replace('_', "-"), value: value.to_owned(), words: start..at });
        }
        flags
    }

    /// A word that belongs to no flag, if there is one. A component takes none.
    pub(super) fn stray(&self) -> Option<String> {
        let flags = self.flags();
        let of_a_flag = |at: usize| flags.iter().any(|flag| flag.words.contains(&at));
        (self.flags_from..self.words.len()).find(|at| !of_a_flag(*at)).map(|at| self.words[at].clone())
    }

    /// The value of a flag, with the manifest's values of the variables in it. The last occurrence wins.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.written(name).map(|value| self.variables.expand(&value))
    }

    /// The value of a flag as it is written.
    pub(super) fn written(&self, name: &str) -> Option<String> {
        self.flags().into_iter().rev().find(|flag| flag.name == name).map(|flag| flag.value)
    }

    /// The pod's field that is a flag's value, by way of a variable.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        self.variables.field(&self.written(name)?).map(str::to_owned)
    }

    /// A boolean flag as Go reads it. `None` if it is absent or no boolean.
    pub(super) fn get_bool(&self, name: &str) -> Option<bool> {
        match self.get(name)?.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        }
    }

    /// Sets a flag to this value as one word `--name=value`, at the place of its last occurrence (the others
    /// go), or after the last flag.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let word = format!("--{name}={value}");
        let mut found: Vec<_> = self.flags().into_iter().filter(|flag| flag.name == name).collect();
        let Some(last) = found.pop() else { return self.append(word) };
        self.words[last.words.start] = word;
        self.remove(last.words.start + 1..last.words.end);
        for earlier in found.into_iter().rev() {
            self.remove(earlier.words);
        }
    }

    /// Replaces the values of flags where they stand: `replace` gets a flag's name and its value as it is written. Returns
    /// whether one was replaced.
    pub(super) fn replace_values(&mut self, replace: impl Fn(&str, &str) -> Option<String>) -> bool {
        let mut replaced = false;
        for flag in self.flags() {
            let Some(value) = replace(&flag.name, &flag.value) else { continue };
            let word = &mut self.words[flag.words.end - 1];
            *word = match word.split_once('=') {
                Some((name, _)) if flag.words.len() == 1 => format!("{name}={value}"),
                _ if flag.words.len() == 1 => continue, // A bare flag, which has no value to replace.
                _ => value,
            };
            replaced = true;
        }
        replaced
    }

    /// Replaces words, flags or not.
    pub(super) fn replace_words(&mut self, replace: impl Fn(&str) -> String) {
        for word in &mut self.words {
            *word = replace(word);
        }
    }

    /// Takes a flag out, each occurrence of it. Returns whether there was one.
    pub(super) fn unset(&mut self, name: &str) -> bool {
        let found: Vec<_> = self.flags().into_iter().filter(|flag| flag.name == name).collect();
        let was_there = !found.is_empty();
        for flag in found.into_iter().rev() {
            self.remove(flag.words);
        }
        was_there
    }

    /// Writes the words back to where they came from.
    pub(super) fn write(&self, container: &mut Map<String, Value>) {
        let (command, args) = self.words.split_at(self.in_command);
        for (key, words) in [("command", command), ("args", args)] {
            if !words.is_empty() {
                container.insert(key.to_owned(), words.iter().map(String::as_str).collect());
            } else {
                container.remove(key);
            }
        }
    }

    fn append(&mut self, word: String) {
        let end = self.words[self.flags_from..].iter().position(|word| word == "--");
        let at = end.map_or(self.words.len(), |offset| self.flags_from + offset);
        // Without `args`, new words belong to `command`. With it, `command` ends where it did. A container
        // that has neither is started by its image's entrypoint, to which only `args` add.
        if at < self.in_command || (self.in_command > 0 && self.in_command == self.words.len()) {
            self.in_command += 1;
        }
        self.words.insert(at, word);
    }

    fn remove(&mut self, range: Range<usize>) {
        self.in_command -= range.clone().filter(|at| *at < self.in_command).count();
        self.words.drain(range);
    }
}

fn words(container: &Map<String, Value>, path: &str, key: &str) -> Result<Vec<String>, ManifestError> {
    let list = match container.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(ManifestError::WordsNotAList { at: format!("{path}.{key}"), seen: kind_of(other) });
        }
    };
    list.iter()
        .enumerate()
        .map(|(at, word)| match word {
            Value::String(word) => Ok(word.clone()),
            other => Err(ManifestError::WordNotAString {
                at: format!("{path}.{key}[{at}]"),
                seen: other.to_string(),
            }),
        })
        .collect()
}

/// Whether a word begins a flag. A negative number and a lone dash do not.
fn is_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && rest.parse::<f64>().is_err())
}
