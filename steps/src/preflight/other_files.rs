//! The files beside the manifests, as the kubelet reads them.

use super::check_result::CheckResult;
use super::host_facts::HostFacts;
use crate::check::Check;
use crate::cluster::NAMESPACE;
use crate::component::Component;
use crate::manifest::{Glance, StaticPod, glance};
use std::ffi::OsString;

/// A file that is no manifest by its name, and the pod that the kubelet runs from it.
pub(super) struct OtherFile {
    name: String,
    read: Result<Option<Glance>, CheckResult>,
}

/// The files beside the manifests.
pub(super) fn other_pods(facts: &HostFacts, names: &[OsString]) -> Vec<OtherFile> {
    let own = Component::ALL.map(|component| facts.manifests.file(component.manifest_file()));
    let others = names.iter().filter(|name| !own.contains(&facts.manifests.path().join(name)));
    let look = |name: &OsString| {
        let read = facts.manifests.read_as_the_kubelet(name);
        let read = read.map(|bytes| bytes.and_then(|bytes| glance(&bytes)));
        let read = read
            .map_err(|error| CheckResult::warn(Check::ForeignFile, error.to_string(), "move it elsewhere"));
        OtherFile { name: name.to_string_lossy().into_owned(), read }
    };
    others.map(look).collect()
}

/// What makes the kubelet run a component whose own manifest cannot be taken. Nobody may be told to move that
/// away: it is the control plane. `None` if no file does.
pub(super) fn instead(facts: &HostFacts, component: Component, others: &[OtherFile]) -> Option<CheckResult> {
    let path = |file: &OtherFile| facts.manifests.path().join(&file.name).display().to_string();
    let running: Vec<&OtherFile> = others.iter().filter(|file| file.is(component)).collect();
    let own = facts.path(component);
    if let [_, _, ..] = running.as_slice() {
        let all: Vec<String> = running.iter().map(|file| path(file)).collect();
        return Some(CheckResult::refuse(
            Check::Manifest,
            format!("each of {} makes the kubelet run {component}, and {own} does not", all.join(", ")),
            format!("keep the one that serves, as {own}, and move the others out of the directory"),
        ));
    }
    let file = running.first()?;
    let why = match facts.manifests.read(&file.name) {
        Err(error) => error.to_string(),
        Ok(image) => {
            let content = image.map(|image| image.content).unwrap_or_default();
            match StaticPod::parse(component, content.as_bytes()) {
                Err(error) => error.to_string(),
                Ok(pod) if pod.name() == component.name() => format!("{own} holds something else"),
                Ok(pod) => format!("the pod is called {}/{}", pod.namespace(), pod.name()),
            }
        }
    };
    Some(CheckResult::refuse(
        Check::Manifest,
        format!(
            "{} is what makes the kubelet run {component}, but it cannot be pivoted as it is: {why}",
            path(file)
        ),
        format!(
            "leave it where it is until a manifest with the pod {NAMESPACE}/{component} alone, in one document, can replace \
             it as {own}"
        ),
    ))
}

/// Checks the files beside the manifests.
pub(super) fn other_files(facts: &HostFacts, others: &[OtherFile]) -> Vec<CheckResult> {
    let mut results = Vec::new();
    let mut no_pods = Vec::new();
    for file in others {
        match &file.read {
            Ok(Some(found)) => results.extend(in_the_way(facts, &file.name, found)),
            Ok(None) => no_pods.push(file.name.as_str()),
            Err(warning) => results.push(warning.clone()),
        }
    }
    if !no_pods.is_empty() {
        let dir = facts.manifests.path().display();
        let seen = format!("{dir} has what is no pod: {}", no_pods.join(", "));
        let remedy = "the kubelet reads every file there that does not begin with a dot, and logs an error for each of \
                      these: move them elsewhere";
        results.push(CheckResult::warn(Check::ForeignFile, seen, remedy));
    }
    results
}

/// Checks a pod that the kubelet takes for one of the three, or that listens on the port of one.
fn in_the_way(facts: &HostFacts, file: &str, found: &Glance) -> Option<CheckResult> {
    let path = facts.manifests.path().join(file).display().to_string();
    let why = facts.static_pods.iter().find_map(|(component, pod)| {
        let (namespace, name, port) = (pod.namespace(), pod.name(), pod.port());
        if (found.namespace.as_str(), found.name.as_str()) == (namespace, name) {
            return Some(format!("{path} also makes the kubelet run the pod {namespace}/{name}"));
        }
        found.ports.contains(&port).then(|| {
            let what =
                if found.runs.contains(component) { format!(", a {component}") } else { String::new() };
            format!("{path} makes the kubelet run pod {}{what} on port {port} of {component}", found.name)
        })
    })?;
    let remedy = "the kubelet reads every file there, whatever its name ends with, and of several documents the first: move \
                  copies out of this directory";
    Some(CheckResult::refuse(Check::ForeignFile, why, remedy))
}

impl OtherFile {
    /// Whether the kubelet runs the component from this file.
    fn is(&self, component: Component) -> bool {
        matches!(&self.read, Ok(Some(found)) if found.stands_for(component))
    }
}

#[cfg(test)]
mod tests {
    use crate::host::ManifestsDir;
    use crate::preflight::check_result::Level;
    use crate::preflight::host::disk_checks;
    use crate::preflight::host_facts::HostFacts;
    use std::fs;

    const SCHEDULER: &str = include_str!("../manifest/fixtures/v1.20/kube-scheduler.yaml");

    /// What is refused of these files.
    fn refused(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut facts = HostFacts::new(&ManifestsDir::new(dir.path()));
        let results = disk_checks(&mut facts);
        let about = |text: &String| text.contains("scheduler") && !text.contains("kube-apiserver.yaml");
        let refusals = results.iter().filter(|result| result.level == Level::Refuse).map(ToString::to_string);
        refusals.filter(about).filter(|text| !text.contains("kube-controller-manager.yaml")).collect()
    }

    /// A person who follows a remedy must never take the only control plane away.
    #[test]
    fn nobody_is_told_to_move_the_only_manifest_away() {
        let two = format!("{SCHEDULER}---\nkind: ConfigMap\n");
        let twice =
            SCHEDULER.replace("  namespace: kube-system", "  namespace: other\n  namespace: kube-system");
        let renamed = SCHEDULER.replace("  name: kube-scheduler", "  name: my-scheduler");
        let config = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        for (what, files) in [
            ("a second document", vec![("sched.manifest", two.as_str())]),
            ("a key twice", vec![("sched.yaml", twice.as_str())]),
            ("another pod name", vec![("sched.yaml", renamed.as_str())]),
            ("its name has another content", vec![("kube-scheduler.yaml", config), ("pod.yaml", SCHEDULER)]),
            ("its name is empty", vec![("kube-scheduler.yaml", ""), ("pod.yaml", SCHEDULER)]),
        ] {
            let said = refused(&files);
            assert_eq!(said.len(), 1, "{what}: {said:?}");
            assert!(said[0].contains("is what makes the kubelet run kube-scheduler"), "{what}: {said:?}");
            assert!(!said[0].contains("move"), "{what}: {said:?}");
        }
    }

    #[test]
    fn of_several_that_run_the_component_only_one_may_stay() {
        let two = format!("{SCHEDULER}---\nkind: ConfigMap\n");
        for other in [SCHEDULER, &two] {
            let said = refused(&[("a.yaml", SCHEDULER), ("b.yaml", other)]);
            assert_eq!(said.len(), 1, "{said:?}");
            for word in ["a.yaml", "b.yaml", "keep the one that serves"] {
                assert!(said[0].contains(word), "{said:?}");
            }
        }
    }
}
