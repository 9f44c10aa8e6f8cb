//! Manifests as they are found on real nodes, a directory a kind: what a DaemonSet made of each has that the static pod has
//! not, field by field, and what the checks of the disk say.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use fulcrum_steps::component::Component;
use fulcrum_steps::host::ManifestsDir;
use fulcrum_steps::manifest::{StaticPod, Target};
use fulcrum_steps::preflight::{Level, find_manifests, preflight_disk};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const EXPECTED: &str = include_str!("fixtures/wild.txt");

/// The whole record, as text: whatever changes in what is made of these shows there.
#[test]
fn every_field_of_every_daemonset_is_as_it_is_written_down() {
    let mut found = String::new();
    let mut usual = BTreeMap::new();
    for dir in cases() {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        writeln!(found, "# {name}").unwrap();
        let manifests = find_manifests(ManifestsDir::new(&dir));
        for component in Component::ALL {
            let Ok(pod) = read(&manifests, component) else { continue };
            let differences = differences(&manifests, component, &pod);
            // Most are as kubeadm writes them: said once.
            let first = usual.entry((component, differences.clone())).or_insert_with(|| name.clone());
            if *first != name {
                writeln!(found, "{component}: as in {first}").unwrap();
                continue;
            }
            writeln!(found, "{component}:").unwrap();
            differences.iter().for_each(|line| writeln!(found, "  {line}").unwrap());
        }
        for line in said(&manifests) {
            writeln!(
                found,
                "! {}",
                line.replace(&format!("{}/", dir.display()), "").replace(&dir.display().to_string(), "DIR")
            )
            .unwrap();
        }
    }
    for (line, (found, expected)) in found.lines().zip(EXPECTED.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of wild.txt", line + 1);
    }
    assert_eq!(found.lines().count(), EXPECTED.lines().count());
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wild");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn read(manifests: &ManifestsDir, component: Component) -> Result<StaticPod, String> {
    let image = manifests.read(component.manifest_file()).unwrap().ok_or("absent")?;
    StaticPod::parse(component, image.content.as_bytes()).map_err(|error| error.to_string())
}

/// What the checks warn of or refuse.
fn said(manifests: &ManifestsDir) -> Vec<String> {
    let results = preflight_disk(manifests).unwrap_or_else(|refused| refused.results);
    let worth = results.iter().filter(|verdict| verdict.level > Level::Pass);
    worth.map(|verdict| format!("{:?}: {verdict}", verdict.level)).collect()
}

fn differences(manifests: &ManifestsDir, component: Component, pod: &StaticPod) -> Vec<String> {
    let target = Target {
        role_label: "node-role.kubernetes.io/control-plane".to_owned(),
        opt_in_label: "fulcrum.dev/self-hosted".to_owned(),
        kubernetes_minor: 35,
        node_addresses: vec!["192.0.2.10".parse().unwrap()],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        in_secrets: None,
    };
    let text = manifests.read(component.manifest_file()).unwrap().unwrap().content;
    // One document of YAML or JSON; the parser under test is not what it is compared with.
    let text = text.trim_end().trim_end_matches("---").to_owned();
    let before: Value = serde_saphyr::from_str(&text).unwrap();
    let after = &pod.daemonset(&target)["spec"]["template"];
    let mut lines = Vec::new();
    for part in ["metadata", "spec"] {
        compare(part, before.get(part), after.get(part), &mut lines);
    }
    lines
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            keys.iter()
                .for_each(|key| compare(&format!("{path}.{key}"), before.get(*key), after.get(*key), lines));
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for at in 0..before.len().max(after.len()) {
                compare(&format!("{path}[{at}]"), before.get(at), after.get(at), lines);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            let show = |value: Option<&Value>| value.map_or("absent".to_owned(), Value::to_string);
            lines.push(format!("{path}: {} -> {}", show(before), show(after)));
        }
    }
}
