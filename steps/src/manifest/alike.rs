//! Whether two DaemonSets, both as an API server has completed them, run the same, and where they differ. Pure.

use super::compare::{Difference, same_spec};
use super::standby::RESTARTS;
use serde_json::Value;

/// Whether the DaemonSets `ours` and `live` have one spec. Each may have nothing that the other has not, apart from when
/// the pods were last restarted.
///
/// # Errors
/// Every difference. Words of a command line are compared as a set, and a flag by its name: one word more would make
/// all that follow differ.
pub fn alike(ours: &Value, live: &Value) -> Result<(), Vec<Difference>> {
    let mut differences = same_spec(ours, live).err().unwrap_or_default();
    for reverse in same_spec(live, ours).err().unwrap_or_default() {
        if !differences.iter().any(|known| known.path == reverse.path) {
            differences.push(Difference { path: reverse.path, ours: reverse.live, live: reverse.ours });
        }
    }
    differences.retain(|one| !RESTARTS.iter().any(|restart| one.path.contains(restart)));
    for list in ["initContainers", "containers"] {
        let containers =
            |of: &Value| of["spec"]["template"]["spec"][list].as_array().cloned().unwrap_or_default();
        for (at, (own, other)) in containers(ours).iter().zip(&containers(live)).enumerate() {
            for key in ["command", "args"] {
                let path = format!("spec.template.spec.{list}[{at}].{key}");
                let of_words =
                    |one: &Difference| one.path == path || one.path.starts_with(&format!("{path}["));
                if differences.iter().any(of_words) {
                    differences.retain(|one| !of_words(one));
                    differences.extend(words(&path, &own[key], &other[key]));
                }
            }
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// The words that only one of two command lines has, each flag beside the other's value.
fn words(path: &str, ours: &Value, live: &Value) -> Vec<Difference> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (own, other) = (list(ours), list(live));
    let only = |these: &[Value], those: &[Value]| -> Vec<Value> {
        these.iter().filter(|word| !those.contains(word)).cloned().collect()
    };
    let (here, mut there) = (only(&own, &other), only(&other, &own));
    let mut differences = Vec::new();
    for word in here {
        let same =
            there.iter().position(|candidate| flag(candidate).is_some_and(|name| flag(&word) == Some(name)));
        let live = same.map(|at| there.remove(at));
        differences.push(Difference { path: path.to_owned(), ours: Some(word), live });
    }
    differences.extend(there.into_iter().map(|word| Difference {
        path: path.to_owned(),
        ours: None,
        live: Some(word),
    }));
    if differences.is_empty() {
        let (ours, live) = (Some(ours.clone()), Some(live.clone()));
        differences.push(Difference { path: path.to_owned(), ours, live });
    }
    differences
}

/// The name of a flag in a word `--name=value`.
fn flag(word: &Value) -> Option<&str> {
    word.as_str()?.strip_prefix("--")?.split('=').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(command: &[&str]) -> Value {
        json!({ "spec": { "minReadySeconds": 20, "template": { "metadata": { "annotations": {} }, "spec": {
            "hostNetwork": true, "containers": [{ "name": "c", "image": "i:1", "command": command }]
        } } } })
    }

    fn told(ours: &Value, live: &Value) -> Vec<String> {
        let show = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        let differences = alike(ours, live).err().unwrap_or_default();
        let line = |one: &Difference| format!("{} {} {}", one.path, show(&one.ours), show(&one.live));
        differences.iter().map(line).collect()
    }

    #[test]
    fn what_only_one_of_them_has_is_a_difference() {
        let ours = set(&["p", "--a=1"]);
        assert_eq!(alike(&ours, &ours), Ok(()));
        let mut live = ours.clone();
        live["spec"]["template"]["spec"]["hostAliases"] = json!([{ "ip": "10.0.0.9" }]);
        live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("i:2");
        let path = "spec.template.spec";
        assert_eq!(
            told(&ours, &live),
            [
                format!("{path}.containers[0].image \"i:1\" \"i:2\""),
                format!("{path}.hostAliases - [{{\"ip\":\"10.0.0.9\"}}]"),
            ]
        );
        assert_eq!(told(&live, &ours).len(), 2);
    }

    #[test]
    fn flags_are_compared_by_name() {
        let path = "spec.template.spec.containers[0].command";
        let ours = set(&["p", "--a=1", "--b=1", "--d=4"]);
        let live = set(&["p", "--b=2", "--c", "--d=4"]);
        assert_eq!(
            told(&ours, &live),
            [
                format!("{path} \"--a=1\" -"),
                format!("{path} \"--b=1\" \"--b=2\""),
                format!("{path} - \"--c\""),
            ]
        );
        assert_eq!(
            told(&set(&["p", "--a", "--b"]), &set(&["p", "--b", "--a"])),
            [format!("{path} [\"p\",\"--a\",\"--b\"] [\"p\",\"--b\",\"--a\"]")]
        );
    }

    #[test]
    fn a_restart_is_no_difference() {
        let ours = set(&["p"]);
        let mut live = ours.clone();
        for restart in RESTARTS {
            live["spec"]["template"]["metadata"]["annotations"] = json!({ restart: "now" });
            assert_eq!(alike(&ours, &live), Ok(()));
            assert_eq!(alike(&live, &ours), Ok(()));
        }
    }
}
