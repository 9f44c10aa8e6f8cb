//! The three-way merge of a pod template: what the release changes, onto what runs. Pure.

use crate::component::Component;
use crate::manifest::{FieldChange, FlagChange, Words, WordsError, container_of, entry_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// What an upgrade makes of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// The component.
    pub component: Component,
    /// The fields of its pod template that change.
    pub changes: Vec<FieldChange>,
}

/// A field that the release changes and that a person has changed otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Conflict {
    /// The component.
    pub component: Component,
    /// The field, or the flag.
    pub place: String,
    /// What the old release's kubeadm writes.
    pub base: Option<Value>,
    /// What the new release's kubeadm writes.
    pub target: Option<Value>,
    /// What runs.
    pub live: Option<Value>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
        write!(
            f,
            "{}: {} was {} and becomes {} with the release, but here it is {}: make it either of the two with `fulcrum edit {}`, \
             or with kubectl",
            self.component,
            self.place,
            show(&self.base),
            show(&self.target),
            show(&self.live),
            self.component
        )
    }
}

/// Why there is no merge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The command line cannot be read, or a flag must not change.
    #[error("{0}: {1}")]
    Words(Component, WordsError),
    /// A person has changed what the release changes.
    #[error("{}", list(.0))]
    Conflicts(Vec<Conflict>),
}

fn list(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What `target` changes against `base`, onto `live`: three pod templates with the API server's defaults in them.
/// `more` are changes of flags that the upgrade itself makes, such as `--emulated-version`.
///
/// A field is taken from the target if what runs has the base's value. A field in which base and target agree
/// stays as it runs. Flags are merged one by one.
///
/// # Errors
/// When a person has changed what the release changes, or a flag that a pivot rests on would change.
pub fn merge(
    component: Component,
    [base, target, live]: [&Value; 3],
    more: &[FlagChange],
) -> Result<Merged, MergeError> {
    let mut merge = Merge { component, changes: Vec::new(), conflicts: Vec::new() };
    merge.words([base, target, live], more).map_err(|error| MergeError::Words(component, error))?;
    merge.fields(&mut Vec::new(), [base, target, live].map(Some));
    if merge.conflicts.is_empty() {
        Ok(Merged { component, changes: merge.changes })
    } else {
        Err(MergeError::Conflicts(merge.conflicts))
    }
}

struct Merge {
    component: Component,
    changes: Vec<FieldChange>,
    conflicts: Vec<Conflict>,
}

impl Merge {
    fn words(&mut self, templates: [&Value; 3], more: &[FlagChange]) -> Result<(), WordsError> {
        let component = self.component;
        let [base, target, live] = templates.map(|template| Words::of(component, template));
        let [base, target, live] = [base?, target?, live?];
        let flags = |words: &Words| words.flags(component);
        let (old, new, here) = (flags(&base)?, flags(&target)?, flags(&live)?);
        let mut changes = Vec::new();
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let values = [&old, &new, &here].map(|flags| flags.get(name).cloned());
            let [base, target, live] = &values;
            if base == target || live == target {
                continue;
            }
            if live != base {
                let [base, target, live] = values.map(|value| value.map(Value::from));
                let place = format!("--{name}");
                self.conflicts.push(Conflict { component, place, base, target, live });
                continue;
            }
            changes.push(match target {
                Some(value) => FlagChange::Set(name.clone(), value.clone()),
                None => FlagChange::Unset(name.clone()),
            });
        }
        changes.extend(
            more.iter()
                .filter(|change| match change {
                    FlagChange::Set(..) => true,
                    FlagChange::Unset(name) => here.contains_key(name),
                })
                .cloned(),
        );
        let merged = live.changed(component, &changes)?;
        let container = container_of(component, templates[2]).and_then(|one| one.get("name")?.as_str());
        let container = container.ok_or(WordsError::NoContainer(component))?;
        for (key, was, now) in [("command", live.command, merged.command), ("args", live.args, merged.args)] {
            if was != now {
                let path = ["spec", "containers", container, key].map(str::to_owned).to_vec();
                let value = |words: Vec<String>| (!words.is_empty()).then(|| Value::from(words));
                self.changes.push(FieldChange { path, was: value(was), now: value(now) });
            }
        }
        Ok(())
    }

    fn fields(&mut self, path: &mut Vec<String>, [base, target, live]: [Option<&Value>; 3]) {
        if base == target || live == target || self.is_words(path) {
            return;
        }
        match (base, target, live) {
            (Some(Value::Object(old)), Some(Value::Object(new)), Some(Value::Object(here))) => {
                for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                    path.push(key.clone());
                    self.fields(path, [old.get(key), new.get(key), here.get(key)]);
                    path.pop();
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new)), Some(Value::Array(here)))
                if [old, new, here].iter().all(|list| is_named(list)) =>
            {
                let entry = |list: &[Value], name: &str| -> Option<usize> {
                    list.iter().position(|entry| entry_name(entry) == Some(name))
                };
                for name in old.iter().chain(new).filter_map(entry_name).collect::<BTreeSet<_>>() {
                    path.push(name.to_owned());
                    let values = [old, new, here].map(|list| entry(list, name).map(|at| &list[at]));
                    self.fields(path, values);
                    path.pop();
                }
            }
            (base, target, live) if base == live => {
                let (was, now) = (live.cloned(), target.cloned());
                self.changes.push(FieldChange { path: path.clone(), was, now });
            }
            (base, target, live) => self.conflicts.push(Conflict {
                component: self.component,
                place: path.join("."),
                base: base.cloned(),
                target: target.cloned(),
                live: live.cloned(),
            }),
        }
    }

    /// Whether the path is that of a container's words. The component's are merged flag by flag, and kubeadm writes no
    /// other container.
    fn is_words(&self, path: &[String]) -> bool {
        matches!(path, [spec, containers, _, words]
            if spec == "spec" && containers == "containers" && (words == "command" || words == "args"))
    }
}

/// Whether every entry of a list has a name of its own.
fn is_named(list: &[Value]) -> bool {
    let names: BTreeSet<_> = list.iter().filter_map(entry_name).collect();
    names.len() == list.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SERVER: Component = Component::ApiServer;

    fn template(image: &str, words: &str) -> Value {
        let words: Vec<&str> = words.split(' ').collect();
        json!({ "spec": {
            "containers": [{
                "name": "kube-apiserver", "image": image, "command": words,
                "livenessProbe": { "httpGet": { "path": "/livez" }, "failureThreshold": 8 },
                "volumeMounts": [{ "mountPath": "/etc/pki", "name": "pki" }],
            }],
            "volumes": [{ "name": "pki", "hostPath": { "path": "/etc/pki" } }],
        } })
    }

    fn places(merged: &Merged) -> Vec<String> {
        merged.changes.iter().map(FieldChange::place).collect()
    }

    #[test]
    fn what_the_release_changes_is_taken_and_what_people_changed_stays() {
        let base = template("k8s/api:v1.35.3", "kube-apiserver --a=1 --gone=1 --v=2");
        let mut target = template("k8s/api:v1.36.0", "kube-apiserver --a=2 --new=1 --v=2");
        target["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "more" }));
        target["spec"]["containers"][0]["livenessProbe"]["httpGet"]["path"] = json!("/healthz");
        let mut live = template("k8s/api:v1.35.3", "kube-apiserver --a=1 --gone=1 --v=4 --mine=1");
        live["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "mine" }));
        live["spec"]["containers"][0]["livenessProbe"]["failureThreshold"] = json!(3);
        let emulated = FlagChange::Set("emulated-version".to_owned(), "1.35".to_owned());
        let merged = merge(SERVER, [&base, &target, &live], &[emulated]).unwrap();
        assert_eq!(
            places(&merged),
            [
                "spec.containers.kube-apiserver.command",
                "spec.containers.kube-apiserver.image",
                "spec.containers.kube-apiserver.livenessProbe.httpGet.path",
                "spec.volumes.more",
            ]
        );
        let words = "kube-apiserver --a=2 --v=4 --mine=1 --new=1 --emulated-version=1.35";
        assert_eq!(merged.changes[0].now, Some(words.split(' ').collect()));
    }

    #[test]
    fn what_both_changed_is_a_conflict_with_all_three_values() {
        let base = template("k8s/api:v1.35.3", "kube-apiserver --a=1");
        let target = template("k8s/api:v1.36.0", "kube-apiserver --a=2");
        let live = template("mirror/api:v1.35.3", "kube-apiserver --a=3");
        let Err(MergeError::Conflicts(found)) = merge(SERVER, [&base, &target, &live], &[]) else { panic!() };
        let places: Vec<&str> = found.iter().map(|conflict| conflict.place.as_str()).collect();
        assert_eq!(places, ["--a", "spec.containers.kube-apiserver.image"]);
        let text = found[0].to_string();
        assert!(text.contains("was \"1\" and becomes \"2\"") && text.contains("here it is \"3\""), "{text}");
    }

    /// The way back and a second call: nothing is left to change.
    #[test]
    fn what_runs_already_is_no_change() {
        let base = template("k8s/api:v1.35.3", "kube-apiserver --a=1");
        let target = template("k8s/api:v1.36.0", "kube-apiserver --a=2");
        assert_eq!(merge(SERVER, [&base, &target, &target], &[]).unwrap().changes, []);
        assert_eq!(merge(SERVER, [&base, &base, &target], &[]).unwrap().changes, []);
    }

    #[test]
    fn a_flag_that_the_pivot_rests_on_is_refused() {
        let base = template("i", "kube-apiserver --secure-port=6443");
        let target = template("i", "kube-apiserver --secure-port=7443");
        let refused = merge(SERVER, [&base, &target, &base], &[]).unwrap_err();
        assert!(refused.to_string().contains("--secure-port cannot be changed"), "{refused}");
    }
}
