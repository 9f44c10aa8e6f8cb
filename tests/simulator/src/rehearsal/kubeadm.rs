//! kubeadm: the manifests that it wrote for each release, derived from those of 1.35, and its marks on the node.

use super::version::Version;
use crate::{SimulatorOptions, write_control_plane};
use async_trait::async_trait;
use fulcrum_steps::cluster::{ROLE_LABEL, ROLE_LABEL_BEFORE_1_24};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::{FileImage, ManifestsDir};
use fulcrum_steps::manifest::StaticPod;
use fulcrum_steps::upgrade::{KubeadmInput, RenderError, Renderer, Version as Release};
use std::collections::BTreeMap;
use std::io;

/// A kubeadm of this version. It renders for the version that it is asked for, and for the node that is simulated.
pub struct SimulatedKubeadm(pub Version);

#[async_trait]
impl Renderer for SimulatedKubeadm {
    async fn version(&self) -> Result<Release, RenderError> {
        Ok(Release { minor: self.0.minor.into(), patch: self.0.patch.into() })
    }

    async fn static_pods(
        &self,
        _input: &KubeadmInput,
        version: Release,
    ) -> Result<Vec<StaticPod>, RenderError> {
        let attempt = format!("render the manifests of {version}");
        let failed =
            |seen: String| RenderError { program: "kubeadm".to_owned(), attempt: attempt.clone(), seen };
        let number = |number: u32| u16::try_from(number).map_err(|error| failed(error.to_string()));
        let version = Version { minor: number(version.minor)?, patch: number(version.patch)? };
        let files = manifests(version).map_err(|error| failed(error.to_string()))?;
        let read = |component: Component| {
            let file = files.get(component.manifest_file()).map(|file| file.content.as_bytes());
            let file = file.ok_or_else(|| failed(format!("no {}", component.manifest_file())))?;
            StaticPod::parse(component, file).map_err(|error| failed(error.to_string()))
        };
        Component::ALL.into_iter().map(read).collect()
    }

    async fn etcd_image(
        &self,
        _input: &KubeadmInput,
        version: Release,
    ) -> Result<Option<String>, RenderError> {
        Ok(Some(format!("registry.k8s.io/etcd:{}", etcd_of(version.minor))))
    }
}

/// The tag of etcd's image of 1.`minor`, of the releases around the one whose manifests these are, and of one to come.
fn etcd_of(minor: u32) -> &'static str {
    match minor {
        ..=33 => "3.5.24-0",
        34 | 35 => "3.6.6-0",
        36 => "3.6.8-0",
        37 => "3.7.0-0",
        _ => "3.8.0-0",
    }
}

/// The manifests, by file name.
pub(super) fn manifests(version: Version) -> io::Result<BTreeMap<String, FileImage>> {
    let dir = tempfile::tempdir()?;
    let mut options = SimulatorOptions::new(dir.path());
    mark_node(&mut options, version);
    write_control_plane(&options)?;
    let manifests = ManifestsDir::new(dir.path());
    let mut files = BTreeMap::new();
    for name in manifests.names()? {
        let name = name.to_string_lossy().into_owned();
        if let Some(image) = manifests.read(&name)? {
            let content = as_of(version.minor, &name, &image.content);
            files.insert(name, image.with_content(content));
        }
    }
    Ok(files)
}

/// The version, role labels and taint of a control-plane node that kubeadm has made. It has both labels from
/// 1.20 to 1.23, and the taint by the old name until then.
pub(super) fn mark_node(options: &mut SimulatorOptions, version: Version) {
    options.kubernetes_version = (1, version.minor, version.patch);
    if version.minor < 24 {
        options.node_labels.insert(ROLE_LABEL_BEFORE_1_24.to_owned(), String::new());
        options.node_taints = vec![ROLE_LABEL_BEFORE_1_24.to_owned()];
    } else {
        options.node_labels.insert(ROLE_LABEL.to_owned(), String::new());
        options.node_taints = vec![ROLE_LABEL.to_owned()];
    }
}

/// The manifest of 1.35 as kubeadm wrote it for 1.`minor`. The changes are those of kubernetes pull requests
/// 126945 (scheduler's probes), 124465 (etcd's), 105034 and 104157 (`--port`), 102121 (`--insecure-port`),
/// 100234 (seccomp).
fn as_of(minor: u16, name: &str, text: &str) -> String {
    let mut text = text.to_owned();
    if minor < 34 {
        text = with_numbered_probes(&text);
    }
    if minor < 32 && name == "kube-scheduler.yaml" {
        text = without(&text, "    readinessProbe:").replace("path: /livez", "path: /healthz");
    }
    if minor < 31 && name == "etcd.yaml" {
        text = without(&text, "    readinessProbe:").replace("path: /livez", "path: /health");
        text = text.replace("path: /readyz", "path: /health");
    }
    if minor < 25 {
        text = text.replace("registry.k8s.io/", "k8s.gcr.io/");
    }
    if minor < 23 && matches!(name, "kube-controller-manager.yaml" | "kube-scheduler.yaml") {
        text = text.replace("    - --leader-elect=true\n", "    - --leader-elect=true\n    - --port=0\n");
    }
    if minor < 22 {
        text = without(&text, "  securityContext:").replace("  priority: 2000001000\n", "");
        let servers = "    - --etcd-servers=https://127.0.0.1:2379\n";
        text = text.replace(servers, &format!("{servers}    - --insecure-port=0\n"));
    }
    text
}

/// Probe ports have names since 1.34.
fn with_numbered_probes(text: &str) -> String {
    let number = text.lines().find_map(|line| line.trim().strip_prefix("- containerPort: "));
    let Some(number) = number.map(|number| format!("port: {number}")) else { return text.to_owned() };
    without(text, "    ports:").replace("port: probe-port", &number)
}

/// The text without the block that this line opens. Deeper lines, and a list's items, go too.
fn without(text: &str, opening: &str) -> String {
    let depth = opening.len() - opening.trim_start().len();
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        inside = line == opening
            || inside && (indent > depth || line[indent..].starts_with("- ") && indent == depth);
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const FIXTURES: [(&str, &str); 3] = [
        (
            "kube-apiserver.yaml",
            include_str!("../../../../steps/src/manifest/fixtures/v1.20/kube-apiserver.yaml"),
        ),
        (
            "kube-controller-manager.yaml",
            include_str!("../../../../steps/src/manifest/fixtures/v1.20/kube-controller-manager.yaml"),
        ),
        (
            "kube-scheduler.yaml",
            include_str!("../../../../steps/src/manifest/fixtures/v1.20/kube-scheduler.yaml"),
        ),
    ];

    /// Down to the oldest release that is measured: everything but the certificates that are mounted.
    #[test]
    fn the_manifests_of_1_20_are_those_that_kubeadm_1_20_wrote() {
        let made = manifests(Version { minor: 20, patch: 2 }).unwrap();
        for (name, fixture) in FIXTURES {
            let read = |text: &str| {
                let mut pod: Value = serde_saphyr::from_str(text).unwrap();
                pod["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
                pod["spec"].as_object_mut().unwrap().remove("volumes");
                pod["spec"]["containers"][0].as_object_mut().unwrap().remove("volumeMounts");
                pod
            };
            assert_eq!(read(&made[name].content), read(fixture), "{name}");
        }
    }

    #[test]
    fn every_release_has_the_shape_of_its_time() {
        for minor in 20..=37 {
            let made = manifests(Version { minor, patch: 0 }).unwrap();
            assert_eq!(made.len(), 4);
            for component in Component::ALL {
                let text = &made[component.manifest_file()].content;
                assert!(text.contains(&format!("{component}:v1.{minor}.0")), "{text}");
                assert_eq!(text.contains("probe-port"), minor >= 34, "{minor}");
                assert_eq!(text.contains("registry.k8s.io"), minor >= 25, "{minor}");
                assert_eq!(text.contains("seccompProfile"), minor >= 22, "{minor}");
            }
            let scheduler = &made["kube-scheduler.yaml"].content;
            assert_eq!(scheduler.contains("--port=0"), minor < 23, "{minor}");
            assert_eq!(scheduler.contains("/livez"), minor >= 32, "{minor}");
            let mut options = SimulatorOptions::new("/none");
            mark_node(&mut options, Version { minor, patch: 0 });
            assert_eq!(options.node_taints[0].ends_with("/master"), minor < 24);
        }
    }
}
