//! Whether the certificates can be in Secrets, where a person wants that.

use super::check_result::CheckResult;
use super::host_facts::HostFacts;
use super::input::PreflightInput;
use crate::certificates::Contents;
use crate::check::Check;
use crate::cluster::NAMESPACE;
use crate::component::Component;
use crate::manifest::{InSecrets, StaticPod};
use crate::site::Site;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::absolute;

/// The name of the mirror's directory, beside the journal.
const MIRROR: &str = "certificates";
const WITHOUT: &str = "pivot without --store-certs-in-secrets";

/// Which certificates are to be in Secrets, and where their mirror is.
pub(super) fn in_secrets(input: &PreflightInput, facts: &HostFacts) -> InSecrets {
    let manifests = input.node.manifests.path();
    let root = manifests.parent().unwrap_or(manifests).to_owned();
    let files = facts.static_pods.values().filter_map(|pod| pod.secret_files(&root).ok()).flatten();
    let state_dir = absolute(&input.state_dir).unwrap_or_else(|_| input.state_dir.clone());
    InSecrets {
        files: files.map(|file| file.path.to_owned()).collect(),
        mirror: state_dir.join(MIRROR),
        root,
    }
}

/// Checks what the Secrets would be made of, and that nothing of that name is there. Nothing to check where they
/// are not wanted.
pub(super) async fn certificate_checks(
    site: &Site,
    pods: &BTreeMap<Component, StaticPod>,
    peers: &[String],
) -> Vec<CheckResult> {
    let Some(of) = &site.settings.in_secrets else { return Vec::new() };
    let mut results = several_nodes(site, peers);
    for (component, pod) in pods {
        if let Err(why) = pod.secret_files(&of.root) {
            let seen = format!("{}: {why}", site.node.manifests.file(component.manifest_file()).display());
            results.push(CheckResult::refuse(
                Check::Certificates,
                seen,
                format!("mend the manifest, or {WITHOUT}"),
            ));
        }
    }
    results.extend(contents(of));
    results.extend(found(site, of).await);
    results.extend(at_rest(pods));
    if results.is_empty() {
        let server = pods.get(&Component::ApiServer);
        let kept = server.map(|pod| pod.other_host_paths(&of.root)).unwrap_or_default();
        let seen = format!(
            "{} files go into Secrets; the API server still mounts {} of the host",
            of.files.len(),
            if kept.is_empty() { "nothing".to_owned() } else { kept.join(", ") }
        );
        results.push(CheckResult::pass(Check::Certificates, seen));
    }
    results
}

/// An API server's certificate is for its own node.
fn several_nodes(site: &Site, peers: &[String]) -> Vec<CheckResult> {
    let others: Vec<&str> =
        peers.iter().filter(|node| **node != site.settings.node).map(String::as_str).collect();
    if others.is_empty() {
        return Vec::new();
    }
    let seen = format!(
        "--store-certs-in-secrets is for one control-plane node, and there are others: {}. Each node has certificates of \
         its own, and the pods of a DaemonSet have one Secret",
        others.join(", ")
    );
    vec![CheckResult::refuse(Check::Certificates, seen, WITHOUT)]
}

/// Whether the files can be read, are short enough, and are whole.
fn contents(of: &InSecrets) -> Vec<CheckResult> {
    let refuse =
        |seen: String| CheckResult::refuse(Check::Certificates, seen, "put the right file there first");
    let contents = match Contents::of_files(of, &of.root) {
        Ok(contents) => contents,
        Err(error) => return vec![refuse(error.to_string())],
    };
    let now = Timestamp::now();
    let broken = contents.iter().filter_map(|one| {
        let why = one.is_whole(one, now).err()?;
        Some(refuse(format!("the files for Secret {}, below {}: {why}", one.secret, of.root.display())))
    });
    broken.collect()
}

/// The Secrets that are there already.
async fn found(site: &Site, of: &InSecrets) -> Vec<CheckResult> {
    let mut names: Vec<&str> = of.files().map(|file| file.secret).collect();
    names.dedup();
    let mut there = Vec::new();
    for name in names {
        match site.cluster.secret(name).await {
            Ok(None) => {}
            Ok(Some(_)) => there.push(format!("{NAMESPACE}/{name}")),
            Err(error) => {
                let remedy = "the API must answer before a pivot begins: try again";
                return vec![CheckResult::refuse(Check::Certificates, error.to_string(), remedy)];
            }
        }
    }
    if there.is_empty() {
        return Vec::new();
    }
    let seen = format!("Secret {} is there: it is not this run's to replace", there.join(", "));
    let remedy = format!("delete what nothing uses, or {WITHOUT}");
    vec![CheckResult::refuse(Check::Certificates, seen, remedy)]
}

/// Whether etcd has Secrets in plain text.
fn at_rest(pods: &BTreeMap<Component, StaticPod>) -> Option<CheckResult> {
    let server = pods.get(&Component::ApiServer)?;
    if server.flag("encryption-provider-config").is_some() {
        return None;
    }
    Some(CheckResult::warn(
        Check::Certificates,
        "the API server has no --encryption-provider-config: the keys would be in etcd, and in each copy of it, in plain \
         text; with the CA's key in it, a copy of etcd is the cluster",
        "encrypt Secrets at rest first, and protect etcd's backups as the keys themselves",
    ))
}
