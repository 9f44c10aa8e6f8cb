//! Checks of the disk and of the running processes.

use super::check_result::CheckResult;
use super::host_facts::HostFacts;
use super::load::load_checks;
use super::manifest::manifest_checks;
use super::other_files::{instead, other_files, other_pods};
use crate::check::Check;
use crate::component::Component;
use crate::look::once;
use crate::manifest::StaticPod;
use crate::site::{Site, in_static_pod};
use std::path::Path;

/// A generous allowance for the disk space of a manifest.
const DISK_BYTES_MIN: u64 = 1 << 20;
/// Memory beyond what the second set of components takes. It keeps the node from swapping or killing.
const MEMORY_BYTES_SPARE: u64 = 100 << 20;

/// Checks that the manifests exist, can be read, are as expected, and belong to no other program. Fills in
/// the static pods.
pub(super) fn disk_checks(facts: &mut HostFacts) -> Vec<CheckResult> {
    let dir = facts.manifests.path().display().to_string();
    let names = match facts.manifests.names() {
        Ok(names) => names,
        Err(error) => {
            let remedy = "run this on a control-plane node whose control plane runs from static pods, or name \
                          the kubelet's staticPodPath with --manifests-dir";
            return vec![CheckResult::refuse(Check::ManifestsDir, error.to_string(), remedy)];
        }
    };
    let mut results =
        vec![CheckResult::pass(Check::ManifestsDir, format!("{dir} has {} files", names.len()))];
    let mut unread = Vec::new();
    for component in Component::ALL {
        match read(facts, component) {
            Ok(pod) => {
                results.extend(manifest_checks(&facts.path(component), &pod));
                facts.static_pods.insert(component, pod);
            }
            Err(verdict) => unread.push((component, verdict)),
        }
    }
    let others = other_pods(facts, &names);
    for (component, verdict) in unread {
        results.push(instead(facts, component, &others).unwrap_or(verdict));
    }
    results.extend(other_files(facts, &others));
    results.extend(room(facts.manifests.path(), "a rollback must be able to write there"));
    results
}

/// Checks that there is room for the journal, whose directory need not exist yet.
pub(super) fn state_checks(state_dir: &Path) -> Option<CheckResult> {
    let there = state_dir.ancestors().find(|dir| dir.is_dir())?;
    room(there, "the journal, the archived manifests and the standby are kept there")
}

fn read(facts: &HostFacts, component: Component) -> Result<StaticPod, CheckResult> {
    let path = facts.path(component);
    let image = facts.manifests.read(component.manifest_file()).map_err(|error| {
        CheckResult::refuse(Check::Manifest, error.to_string(), "fulcrum must be able to read and replace it")
    })?;
    let image = image.ok_or_else(|| {
        let remedy = "a pivot starts from three static pods, each in a file of its own; if this control plane is already \
                      self-hosted, `fulcrum adopt` takes it over";
        CheckResult::refuse(Check::Manifest, format!("there is no {path}"), remedy)
    })?;
    StaticPod::parse(component, image.content.as_bytes())
        .map_err(|error| CheckResult::refuse(Check::Manifest, format!("{path}: {error}"), ""))
}

fn room(path: &Path, why: &str) -> Option<CheckResult> {
    let dir = path.display();
    match rustix::fs::statvfs(path) {
        Ok(fs) if fs.f_bavail.saturating_mul(fs.f_frsize) < DISK_BYTES_MIN => Some(CheckResult::refuse(
            Check::Disk,
            format!("{dir} has {} bytes free", fs.f_bavail.saturating_mul(fs.f_frsize)),
            format!("{why}: free at least {DISK_BYTES_MIN} bytes"),
        )),
        Ok(_) => None,
        Err(error) => Some(CheckResult::warn(Check::Disk, format!("{dir}: free space unknown: {error}"), "")),
    }
}

/// Checks that the static pods serve, and that there is memory for a second set.
pub(super) async fn host_checks(site: &Site, facts: &HostFacts) -> Vec<CheckResult> {
    let mut results = Vec::new();
    let mut memory = MEMORY_BYTES_SPARE;
    for component in facts.static_pods.keys() {
        match once(site.serves(*component, None, in_static_pod).await) {
            Ok(Ok(process)) => {
                memory = memory.saturating_add(process.memory);
                results.push(CheckResult::pass(
                    Check::StaticPod,
                    format!("{component} serves, pid {}", process.pid),
                ));
            }
            Ok(Err(seen)) => results.push(CheckResult::refuse(
                Check::StaticPod,
                format!("the static {component} does not serve: {seen}"),
                format!(
                    "a pivot starts from a healthy control plane: mend {} or what it needs first",
                    facts.path(*component)
                ),
            )),
            Err(error) => {
                results.push(CheckResult::refuse(
                    Check::StaticPod,
                    error.to_string(),
                    "fulcrum reads /proc as root",
                ));
            }
        }
    }
    results.push(guard_check(site).await);
    results.push(match site.node.host.memory_available().await {
        Ok(available) if available < memory => CheckResult::refuse(
            Check::Memory,
            format!("{} MiB available, {} MiB needed", available >> 20, memory >> 20),
            "for some seconds every component runs twice: make room",
        ),
        Ok(available) => CheckResult::pass(Check::Memory, format!("{} MiB available", available >> 20)),
        Err(error) => CheckResult::warn(Check::Memory, error.to_string(), ""),
    });
    results.extend(load_checks(site, facts.static_pods.contains_key(&Component::ApiServer)).await);
    results
}

/// Checks that the machine can start the guard at boot.
async fn guard_check(site: &Site) -> CheckResult {
    if !site.settings.guard {
        return CheckResult::warn(
            Check::Guard,
            "--no-guard: after a reboot of this node nothing brings its control plane back",
            "roll back before each reboot, or pivot without --no-guard",
        );
    }
    let settings = &site.settings;
    let needs = [&site.state_dir, &settings.manifests_dir, &settings.kubeconfig];
    if let Some(hidden) = needs.into_iter().find(|path| site.node.units.hides(path)) {
        return CheckResult::refuse(
            Check::Guard,
            format!("{} is where the guard, in its sandbox, would not find it", hidden.display()),
            "keep the journal (--state-dir), the manifests and the kubeconfig (--kubeconfig) out of /tmp, /var/tmp, /dev and \
             /proc",
        );
    }
    match site.node.units.support().await {
        Ok(()) => CheckResult::pass(Check::Guard, "systemd starts the guard before the kubelet"),
        Err(error) => CheckResult::refuse(
            Check::Guard,
            error.to_string(),
            "without systemd nothing starts the guard, and a reboot would lose the control plane for good: start \
             `fulcrum guard` before the kubelet by other means, and pivot with --no-guard",
        ),
    }
}
