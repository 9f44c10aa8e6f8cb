//! Checks of the disk and of what runs.

use super::check_result::CheckResult;
use super::manifest::{manifest_checks, other_files};
use crate::component::Component;
use crate::host::ManifestsDir;
use crate::look::once;
use crate::manifest::StaticPod;
use crate::site::{Site, in_static_pod};
use std::collections::BTreeMap;

/// Room that writing a manifest needs, generously.
const DISK_BYTES_MIN: u64 = 1 << 20;
/// Memory beyond what the second set of components takes, so that the node does not swap or kill.
const MEMORY_BYTES_SPARE: u64 = 100 << 20;

pub(super) struct HostFacts {
    /// With the names that the manifests have.
    pub(super) manifests: ManifestsDir,
    pub(super) names: BTreeMap<Component, String>,
    pub(super) static_pods: BTreeMap<Component, StaticPod>,
}

impl HostFacts {
    pub(super) fn new(manifests: &ManifestsDir) -> Self {
        let names = own_names(manifests);
        let manifests = manifests.clone().naming(&names);
        Self { manifests, names, static_pods: BTreeMap::new() }
    }

    /// Where the component's manifest is, for a message.
    pub(super) fn path(&self, component: Component) -> String {
        self.manifests.file(component.manifest_file()).display().to_string()
    }
}

/// The same directory, with the names that the manifests have in it if those are not kubeadm's.
pub fn find_manifests(manifests: ManifestsDir) -> ManifestsDir {
    let names = own_names(&manifests);
    manifests.naming(&names)
}

/// What a component's manifest is called if not as kubeadm calls it: the only file that is one. Of several it cannot be told
/// which is meant.
fn own_names(manifests: &ManifestsDir) -> BTreeMap<Component, String> {
    let there: Vec<String> = manifests
        .names()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect();
    let is_one = |component: Component, name: &str| {
        let image = manifests.read(name).ok().flatten();
        image.is_some_and(|image| {
            StaticPod::parse(component, image.content.as_bytes())
                .is_ok_and(|pod| pod.name() == component.name())
        })
    };
    let absent = Component::ALL
        .into_iter()
        .filter(|component| !there.iter().any(|name| name == component.manifest_file()));
    let found = absent.filter_map(|component| {
        let mut others = there.iter().filter(|name| is_one(component, name));
        let only = others.next()?;
        others.next().is_none().then(|| (component, only.clone()))
    });
    found.collect()
}

/// The manifests: there, readable, what they should be, and nobody else's. Fills in the static pods.
pub(super) fn disk_checks(facts: &mut HostFacts) -> Vec<CheckResult> {
    let dir = facts.manifests.path().display().to_string();
    let names = match facts.manifests.names() {
        Ok(names) => names,
        Err(error) => {
            let remedy = "run this on a control-plane node whose control plane runs from static pods, or name \
                          the kubelet's staticPodPath with --manifests-dir";
            return vec![CheckResult::refuse("manifests-dir", error.to_string(), remedy)];
        }
    };
    let mut results = vec![CheckResult::pass("manifests-dir", format!("{dir} has {} files", names.len()))];
    for component in Component::ALL {
        match read(facts, component) {
            Ok(pod) => {
                results.extend(manifest_checks(&facts.path(component), &pod));
                facts.static_pods.insert(component, pod);
            }
            Err(verdict) => results.push(verdict),
        }
    }
    results.extend(other_files(facts, &names));
    results.extend(room(&facts.manifests));
    results
}

fn read(facts: &HostFacts, component: Component) -> Result<StaticPod, CheckResult> {
    let path = facts.path(component);
    let image = facts.manifests.read(component.manifest_file()).map_err(|error| {
        CheckResult::refuse("manifest", error.to_string(), "fulcrum must be able to read and replace it")
    })?;
    let image = image.ok_or_else(|| {
        let remedy = "a pivot starts from three static pods, each in a file of its own; if this control plane is already \
                      self-hosted, see `fulcrum status`";
        CheckResult::refuse("manifest", format!("there is no {path}"), remedy)
    })?;
    StaticPod::parse(component, image.content.as_bytes())
        .map_err(|error| CheckResult::refuse("manifest", format!("{path}: {error}"), ""))
}

fn room(manifests: &ManifestsDir) -> Option<CheckResult> {
    let dir = manifests.path().display();
    match rustix::fs::statvfs(manifests.path()) {
        Ok(fs) if fs.f_bavail.saturating_mul(fs.f_frsize) < DISK_BYTES_MIN => Some(CheckResult::refuse(
            "disk",
            format!("{dir} has {} bytes free", fs.f_bavail.saturating_mul(fs.f_frsize)),
            format!("a rollback must be able to write there: free at least {DISK_BYTES_MIN} bytes"),
        )),
        Ok(_) => None,
        Err(error) => Some(CheckResult::warn("disk", format!("{dir}: free space unknown: {error}"), "")),
    }
}

/// The static pods serve, and there is memory for a second set.
pub(super) async fn host_checks(site: &Site, facts: &HostFacts) -> Vec<CheckResult> {
    let mut results = Vec::new();
    let mut memory = MEMORY_BYTES_SPARE;
    for component in facts.static_pods.keys() {
        match once(site.serves(*component, None, in_static_pod).await) {
            Ok(Ok(process)) => {
                memory = memory.saturating_add(process.memory);
                results.push(CheckResult::pass(
                    "static-pod",
                    format!("{component} serves, pid {}", process.pid),
                ));
            }
            Ok(Err(seen)) => results.push(CheckResult::refuse(
                "static-pod",
                format!("the static {component} does not serve: {seen}"),
                "a pivot starts from a healthy control plane: mend it first",
            )),
            Err(error) => {
                results.push(CheckResult::refuse(
                    "static-pod",
                    error.to_string(),
                    "fulcrum reads /proc as root",
                ));
            }
        }
    }
    results.push(guard_check(site).await);
    results.push(match site.node.host.memory_available().await {
        Ok(available) if available < memory => CheckResult::refuse(
            "memory",
            format!("{} MiB available, {} MiB needed", available >> 20, memory >> 20),
            "for some seconds every component runs twice: make room",
        ),
        Ok(available) => CheckResult::pass("memory", format!("{} MiB available", available >> 20)),
        Err(error) => CheckResult::warn("memory", error.to_string(), ""),
    });
    results
}

/// Whether there is something that can start the guard at boot.
async fn guard_check(site: &Site) -> CheckResult {
    if !site.settings.guard {
        return CheckResult::warn(
            "guard",
            "--no-guard: after a reboot of this node nothing brings its control plane back",
            "roll back before each reboot, or pivot without --no-guard",
        );
    }
    match site.node.units.support().await {
        Ok(()) => CheckResult::pass("guard", "systemd starts the guard before the kubelet"),
        Err(error) => CheckResult::refuse(
            "guard",
            error.to_string(),
            "without systemd nothing starts the guard, and a reboot would lose the control plane for good: start \
             `fulcrum guard` before the kubelet by other means, and pivot with --no-guard",
        ),
    }
}
