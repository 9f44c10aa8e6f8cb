//! The command line of a component's process. The code that reads manifests also reads processes.

use super::command_line::CommandLine;
use crate::component::Component;

/// A command line that runs a component, by itself or through a program that passes its arguments on.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    component: Component,
    line: CommandLine,
}

impl Started {
    /// `None` if these words run none of the components.
    pub fn of(words: &[String]) -> Option<Self> {
        let read = |component| {
            let line = CommandLine::started(words.to_vec(), component)?;
            Some(Self { component, line })
        };
        Component::ALL.into_iter().find_map(read)
    }

    /// The component that runs.
    pub fn component(&self) -> Component {
        self.component
    }

    /// The value of a flag, named without dashes. See [`StaticPod::flag`](super::StaticPod::flag).
    pub fn flag(&self, name: &str) -> Option<String> {
        self.line.get(name)
    }

    /// Whether a boolean flag is on. `None` if it is absent, or no boolean.
    pub fn is_on(&self, name: &str) -> Option<bool> {
        self.line.get_bool(name)
    }
}
