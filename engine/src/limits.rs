//! The sizes of values. They are checked where a value enters, before the first effect. An accepted value can
//! be journalled and read back.

use crate::clip::json_len;
use fulcrum_state::MAX_KIND_BYTES;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most bytes of a step's name, as JSON.
pub const NAME_BYTES_MAX: usize = 256;
/// The most bytes of a workflow's name: it is the kind of its runs in the journal.
pub const WORKFLOW_BYTES_MAX: usize = MAX_KIND_BYTES;
/// The most bytes of a word of the program's own: a role, the mode of a rollback, a boot id, a machine.
pub const WORD_BYTES_MAX: usize = 128;
/// The most bytes of a session's program.
pub const PROGRAM_BYTES_MAX: usize = 512;
/// The most bytes of a run's key, as JSON.
pub const KEY_BYTES_MAX: usize = 512;
/// The most bytes of the facts about who is at work ([`Actor`](crate::Actor)), as JSON.
pub const ACTOR_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of a step's output, as JSON.
pub const OUTPUT_BYTES_MAX: usize = 3000;
/// The most bytes of what a step records in one call, as JSON ([`Context::record`](crate::Context::record)).
pub const FACTS_BYTES_MAX: usize = 4000;
/// The most bytes of a step's report, as JSON ([`Context::report`](crate::Context::report)).
pub const REPORT_BYTES_MAX: usize = 256;
/// The most levels of arrays and objects in a value. The JSON reader goes to 128, and the engine adds levels
/// of its own.
pub const DEPTH_MAX: usize = 100;

/// A text that is too long, or a value that is nested too deep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found} {unit}; at most {max} can be kept")]
pub struct LimitError {
    what: String,
    unit: &'static str,
    found: usize,
    max: usize,
}

/// Checks the length of a text.
pub(crate) fn check_text(what: impl FnOnce() -> String, text: &str, max: usize) -> Result<(), LimitError> {
    match json_len(text) - 2 {
        found if found > max => Err(LimitError { what: what(), unit: "bytes as JSON", found, max }),
        _ => Ok(()),
    }
}

/// Checks the size of the facts about who is at work.
pub(crate) fn check_actor(actor: &BTreeMap<String, String>) -> Result<(), LimitError> {
    match actor.iter().map(|(name, fact)| json_len(name) + json_len(fact) + 2).sum() {
        found if found > ACTOR_BYTES_MAX => {
            let what = "who is at work, in a session".to_owned();
            Err(LimitError { what, unit: "bytes as JSON", found, max: ACTOR_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

/// Checks the size of a value that is kept in an entry.
pub(crate) fn check_output(value: &Value) -> Result<(), LimitError> {
    check_depth(|| "the step's output".to_owned(), value)?;
    match value.to_string().len() {
        found if found > OUTPUT_BYTES_MAX => {
            let what = "the step's output".to_owned();
            Err(LimitError { what, unit: "bytes as JSON", found, max: OUTPUT_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

/// Checks the size of what a step has recorded in one call.
pub(crate) fn check_facts(facts: &[Value]) -> Result<(), LimitError> {
    let what = || "what the step has recorded".to_owned();
    facts.iter().try_for_each(|fact| check_depth(what, fact))?;
    match facts.iter().map(|fact| fact.to_string().len() + 1).sum() {
        found if found > FACTS_BYTES_MAX => {
            Err(LimitError { what: what(), unit: "bytes as JSON", found, max: FACTS_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

/// Checks how deep a value is nested.
pub(crate) fn check_depth(what: impl FnOnce() -> String, value: &Value) -> Result<(), LimitError> {
    match depth(value) {
        found if found > DEPTH_MAX => {
            Err(LimitError { what: what(), unit: "levels of nesting", found, max: DEPTH_MAX })
        }
        _ => Ok(()),
    }
}

/// Without recursion: the value may be nested as deep as memory allows.
fn depth(value: &Value) -> usize {
    let (mut deepest, mut open) = (0, vec![(value, 0)]);
    while let Some((value, above)) = open.pop() {
        let level = match value {
            Value::Array(values) => {
                open.extend(values.iter().map(|value| (value, above + 1)));
                above + 1
            }
            Value::Object(values) => {
                open.extend(values.values().map(|value| (value, above + 1)));
                above + 1
            }
            _ => above,
        };
        deepest = deepest.max(level);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_depth_of_a_value_is_that_of_its_deepest_part() {
        for (value, expected) in
            [(json!(7), 0), (json!([]), 1), (json!({ "a": [1], "b": { "c": [[2]] } }), 4)]
        {
            assert_eq!(depth(&value), expected, "{value}");
        }
    }
}
