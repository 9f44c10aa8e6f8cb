//! What the steps have recorded of a run's changes, put together: for each thing what it was at first, what the run
//! made of it, and whether it is again what it was.

use crate::host::FileImage;
use fulcrum_evidence::sha256_hex;
use serde_json::Value;
use std::collections::HashMap;

/// All changes of one thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Course {
    pub(super) name: String,
    pub(super) before: Value,
    /// What the run has made of it, also where that has been undone.
    pub(super) after: Value,
    pub(super) undone: bool,
}

/// The courses of all things, in the order of their first changes. A thing that a step has found as it would have
/// made it has no change of its own.
pub(super) fn courses(facts: &[Value]) -> Vec<Course> {
    let mut courses: Vec<Course> = Vec::new();
    for fact in facts {
        let (Some(name), Some(before), Some(after)) =
            (fact["name"].as_str(), fact.get("before"), fact.get("after"))
        else {
            continue;
        };
        let known = courses.iter().position(|course| course.name == name);
        if known.is_none() && is_same(before, after) {
            continue; // A call that was made again has found it as it should be.
        }
        let at = known.unwrap_or_else(|| {
            let (name, before) = (name.to_owned(), before.clone());
            courses.push(Course { name, before, after: Value::Null, undone: false });
            courses.len() - 1
        });
        let course = &mut courses[at];
        course.undone = is_same(&course.before, after);
        if !course.undone || known.is_none() {
            course.after = after.clone();
        } else if !is_same(&course.before, before) {
            course.after = before.clone();
        }
    }
    courses.retain(|course| course.undone || !is_same(&course.before, &course.after));
    courses
}

/// Whether this is the same state. An object's version goes on when its content comes back.
fn is_same(one: &Value, other: &Value) -> bool {
    match (&one["sha256"], &other["sha256"]) {
        (Value::Null, Value::Null) => one == other,
        (one_digest, other_digest) => one_digest == other_digest && one["mode"] == other["mode"],
    }
}

/// The files whose content is known, by what a change says of their state.
#[derive(Debug, Default)]
pub(super) struct Contents {
    known: HashMap<String, FileImage>,
}

impl Contents {
    pub(super) fn add(&mut self, image: FileImage) {
        self.known.insert(sha256_hex(image.content.as_bytes()), image);
    }

    /// The file in this state; of a file that was not there, `None`. An error if its content is not known.
    pub(super) fn image(&self, state: &Value) -> Result<Option<FileImage>, ()> {
        if state.is_null() {
            return Ok(None);
        }
        let known = state["sha256"].as_str().and_then(|digest| self.known.get(digest)).ok_or(())?;
        let number = |field: &str| state[field].as_u64().and_then(|id| u32::try_from(id).ok()).ok_or(());
        let mode = state["mode"].as_str().and_then(|mode| u32::from_str_radix(mode, 8).ok()).ok_or(())?;
        let (uid, gid) = (number("uid")?, number("gid")?);
        Ok(Some(FileImage { content: known.content.clone(), mode, uid, gid }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_course_is_from_the_first_state_to_the_furthest() {
        let file = |content: &str| json!({ "sha256": content, "mode": "0600", "uid": 0, "gid": 0 });
        let change = |name: &str, before: &Value, after: &Value| json!({ "name": name, "before": before, "after": after });
        let (a, b, none) = (file("a"), file("b"), Value::Null);
        let there = vec![
            change("m", &a, &b),
            change("lease", &none, &json!({ "sha256": "1", "resource_version": "5" })),
            change("m", &b, &none),
            json!({ "name": "m", "after": a }),
        ];
        let of = |facts: &[Value]| -> Vec<(String, Value, Value, bool)> {
            courses(facts).into_iter().map(|c| (c.name, c.before, c.after, c.undone)).collect()
        };
        let lease = json!({ "sha256": "1", "resource_version": "5" });
        assert_eq!(
            of(&there),
            [("m".into(), a.clone(), none.clone(), false), ("lease".into(), none.clone(), lease, false)]
        );
        let gone = change("lease", &json!({ "sha256": "1", "resource_version": "9" }), &none);
        let back = [there, vec![change("m", &none, &a), gone.clone()]].concat();
        assert_eq!(
            of(&back),
            [("m".into(), a, none.clone(), true), ("lease".into(), none, gone["before"].clone(), true)]
        );
    }

    #[test]
    fn a_file_is_known_by_its_content_and_has_the_mode_of_the_change() {
        let image = FileImage { content: "a: b\n".into(), mode: 0o644, uid: 0, gid: 0 };
        let mut contents = Contents::default();
        contents.add(image.clone());
        let state = |content: &str| json!({ "sha256": sha256_hex(content.as_bytes()), "mode": "0600", "uid": 1, "gid": 2 });
        let expected = FileImage { mode: 0o600, uid: 1, gid: 2, ..image };
        assert_eq!(contents.image(&state("a: b\n")), Ok(Some(expected)));
        assert_eq!(contents.image(&state("c: d\n")), Err(()));
        assert_eq!(contents.image(&Value::Null), Ok(None));
    }
}
