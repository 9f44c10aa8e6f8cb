//! The checks of `adopt`: a control plane that was self-hosted without this journal, and the static manifests that its
//! DaemonSets give.

use super::check_result::{CheckResult, Refused, gate, overrule};
use super::cluster::{lock_check_of, role_label, version_checks_of};
use super::host::state_checks;
use super::host_facts::HostFacts;
use super::input::PreflightInput;
use crate::check::Check;
use crate::cluster::{ClusterError, OPT_IN_LABEL, ROLE_LABEL, addresses};
use crate::component::Component;
use crate::handover::elsewhere::elsewhere;
use crate::handover::removal::made_by;
use crate::host::Listener;
use crate::look::once;
use crate::manifest::{Started, StaticPod, Words, static_of};
use crate::settings::{HandoverMode, Settings};
use crate::site::{Site, describe, health_question, in_api_pod, shares_its_port};
use crate::unit::UNIT;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A self-hosted control plane that can be taken over.
#[derive(Debug, Clone)]
pub struct SelfHosted {
    /// The settings for the plan.
    pub settings: Settings,
    /// What was found.
    pub found: Found,
    /// Every check.
    pub results: Vec<CheckResult>,
}

/// What was found of each component, and whether this node was opted in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The DaemonSets.
    pub daemonsets: BTreeMap<Component, FoundDaemonset>,
    /// Whether the node bears fulcrum's label.
    pub labelled: bool,
}

/// A DaemonSet that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundDaemonset {
    /// Its uid.
    pub uid: String,
    /// The static manifest that runs what it runs.
    pub manifest: String,
    /// Whether its process shares its port by itself.
    pub shares: bool,
    /// The run of fulcrum that made it, if one did.
    pub made_by: Option<String>,
}

/// What the API says of this node.
struct Here {
    pods: Vec<Pod>,
    node: ApiNode,
    name: String,
    role: Option<&'static str>,
    peers: Vec<String>,
    users: Vec<String>,
    daemonsets: BTreeMap<Component, Value>,
}

/// Checks whether this node's control plane runs from DaemonSets that can be taken over. Changes nothing.
///
/// # Errors
/// When a check refuses. The error has all results.
pub async fn self_hosted(input: &PreflightInput) -> Result<SelfHosted, Refused> {
    let mut results: Vec<CheckResult> = state_checks(&input.state_dir).into_iter().collect();
    results.extend(no_manifest_is_there(input));
    results.extend(no_guard_is_there(input).await);
    let found = match look(input, &mut results).await {
        Ok(found) => found,
        Err(refusal) => {
            results.push(*refusal);
            None
        }
    };
    overrule(&mut results, &input.ignored);
    gate(&results)?;
    match found {
        Some((settings, found)) => Ok(SelfHosted { settings, found, results }),
        // Not so: what was not found is refused above.
        None => Err(Refused { results }),
    }
}

/// Looks at the API and at the machine. What is in the way goes into `results`.
async fn look(
    input: &PreflightInput,
    results: &mut Vec<CheckResult>,
) -> Result<Option<(Settings, Found)>, Box<CheckResult>> {
    let version = input.cluster.version().await.map_err(unreachable)?;
    let here = here(input).await?;
    let lock = input.cluster.lock_holder().await.map_err(unreachable)?;
    let (release, minor) = version_checks_of(&version, &here.node);
    results.push(CheckResult::pass(Check::Node, format!("this host is node {}", here.name)));
    results.extend(release);
    results.extend(lock_check_of(input.take_lock, lock.as_deref(), &here.name, &here.peers));
    let mut settings = settings(input, &here, minor.unwrap_or_default());
    settings.cluster_uid = input.cluster.uid().await.map_err(unreachable)?;
    if here.role.is_none() {
        let remedy = format!("kubectl label --overwrite node {} {ROLE_LABEL}=", here.name);
        results.push(CheckResult::refuse(Check::Role, "the node bears no label of its role", remedy));
        return Ok(None);
    }
    let mut found = Found { daemonsets: BTreeMap::new(), labelled: here.users.contains(&here.name) };
    for component in Component::ALL {
        match component_of(input, &mut settings, &here, component).await {
            Ok(one) => {
                results.push(CheckResult::pass(Check::Daemonset, story(component, &one)));
                found.daemonsets.insert(component, one);
            }
            Err(refusal) => results.push(refusal),
        }
    }
    let site = input.site(settings);
    if found.daemonsets.len() == Component::ALL.len() {
        results.extend(nobody_else_is_hit(&here, &found));
        results.extend(spared(&site, &found).await?);
    }
    Ok(Some((site.settings, found)))
}

fn story(component: Component, one: &FoundDaemonset) -> String {
    let whose = match &one.made_by {
        Some(run) => format!("made by run {run} of fulcrum"),
        None => "not made by fulcrum".to_owned(),
    };
    format!("{component} runs from DaemonSet {}, {whose}", component.daemonset_name())
}

fn unreachable(error: ClusterError) -> Box<CheckResult> {
    let remedy = "the API must answer before anything is taken over: the kubelet's log says more";
    Box::new(CheckResult::refuse(Check::Api, error.to_string(), remedy))
}

async fn here(input: &PreflightInput) -> Result<Here, Box<CheckResult>> {
    let pods = input.cluster.pods_labelled("").await.map_err(unreachable)?;
    let mut daemonsets = BTreeMap::new();
    for component in Component::ALL {
        let found = input.cluster.daemonset(component.daemonset_name()).await.map_err(unreachable)?;
        daemonsets.extend(found.map(|one| (component, one)));
    }
    let port = port_of(&daemonsets);
    let listeners = listeners(input, port).await.map_err(Box::new)?;
    let name = node_of_listener(&pods, &listeners, port).map_err(Box::new)?;
    if let Some(said) = input.node_name.as_ref().filter(|said| **said != name) {
        let seen = format!("the cluster knows this host as node {name}, not {said}");
        return Err(Box::new(CheckResult::refuse(Check::Node, seen, "leave --node-name out")));
    }
    let node = input.cluster.node(&name).await.map_err(unreachable)?.ok_or_else(|| {
        Box::new(CheckResult::refuse(Check::Node, format!("the cluster has no node {name}"), ""))
    })?;
    let role = role_label(&node);
    let label = role.unwrap_or(ROLE_LABEL);
    let peers = input.cluster.nodes_labelled(label).await.map_err(unreachable)?;
    let both = format!("{OPT_IN_LABEL},{label}");
    let users = input.cluster.nodes_labelled(&both).await.map_err(unreachable)?;
    Ok(Here { pods, node, name, role, peers, users, daemonsets })
}

/// The API server's port, by the words of its DaemonSet.
fn port_of(daemonsets: &BTreeMap<Component, Value>) -> u16 {
    let server = daemonsets.get(&Component::ApiServer);
    let words = server.and_then(|one| Words::of(Component::ApiServer, &one["spec"]["template"]).ok());
    let port = words.and_then(|words| Started::of(&words.all())?.flag("secure-port")?.parse().ok());
    port.unwrap_or(Component::ApiServer.default_port())
}

async fn listeners(input: &PreflightInput, port: u16) -> Result<Vec<Listener>, CheckResult> {
    input
        .node
        .host
        .listeners(port)
        .await
        .map_err(|error| CheckResult::refuse(Check::Host, error.to_string(), "fulcrum reads /proc as root"))
}

/// The node of the pod whose process listens here: that is this one.
fn node_of_listener(pods: &[Pod], listeners: &[Listener], port: u16) -> Result<String, CheckResult> {
    let of_pod = |pod: &Pod| {
        let is_it = |one: &Listener| one.process.pod_uid.is_some() && one.process.pod_uid == pod.metadata.uid;
        listeners.iter().any(is_it).then(|| pod.spec.as_ref()?.node_name.clone()).flatten()
    };
    pods.iter().find_map(of_pod).ok_or_else(|| {
        let who: Vec<String> = listeners.iter().map(|one| describe(&one.process)).collect();
        let who = if who.is_empty() { "no process listens".to_owned() } else { who.join(" and ") };
        CheckResult::refuse(
            Check::Node,
            format!("no pod of the cluster's DaemonSets serves the API on port {port} of this host: {who}"),
            "`fulcrum adopt` takes a self-hosted control plane over; static pods are moved by `fulcrum pivot`",
        )
    })
}

/// A static manifest beside the DaemonSets: half of a pivot, which no adoption can be sure of.
fn no_manifest_is_there(input: &PreflightInput) -> Vec<CheckResult> {
    let facts = HostFacts::new(&input.node.manifests);
    if !facts.manifests.path().is_dir() {
        let seen = format!("there is no directory {}", facts.manifests.path().display());
        let remedy = "name the kubelet's staticPodPath with --manifests-dir";
        return vec![CheckResult::refuse(Check::ManifestsDir, seen, remedy)];
    }
    let there = |component: &Component| facts.manifests.file(component.manifest_file()).exists();
    let refuse = |component: Component| {
        let (path, name) = (facts.path(component), component.daemonset_name());
        CheckResult::refuse(
            Check::Manifest,
            format!("{path} is there: {component} has a static pod"),
            format!(
                "if the static pod serves: kubectl -n kube-system delete daemonset {name}, then `fulcrum pivot`; if the \
                 DaemonSet's does: move the file to another directory"
            ),
        )
    };
    Component::ALL.into_iter().filter(there).map(refuse).collect()
}

/// A guard of a journal that was lost would take the adoption for a failure.
async fn no_guard_is_there(input: &PreflightInput) -> Option<CheckResult> {
    let active = input.node.units.state(UNIT).await.is_ok_and(|state| state.active);
    (active || input.node.units.dir().join(UNIT).exists()).then(|| {
        let seen = format!("{UNIT} is installed, and what it guards is not in this journal");
        CheckResult::refuse(Check::Guard, seen, "fulcrum guard uninstall; the pivot installs it anew")
    })
}

fn settings(input: &PreflightInput, here: &Here, minor: u32) -> Settings {
    Settings {
        cluster_uid: String::new(),
        node: here.name.clone(),
        node_addresses: addresses(&here.node),
        manifests_dir: input.node.manifests.path().to_owned(),
        manifest_names: BTreeMap::new(),
        publishes_itself: true,
        kubeconfig: input.kubeconfig.clone(),
        role_label: here.role.unwrap_or_default().to_owned(),
        kubernetes_minor: minor,
        handover: HandoverMode::Steer,
        soak: input.soak,
        max_latency: None,
        health: BTreeMap::new(),
        guard: false,
        on_reboot: input.on_reboot,
        of_pivot: None,
        ignored: input.ignored.clone(),
        in_secrets: None,
    }
}

/// The component's DaemonSet, its static manifest, and its process here. Notes in the settings how it is asked.
async fn component_of(
    input: &PreflightInput,
    settings: &mut Settings,
    here: &Here,
    component: Component,
) -> Result<FoundDaemonset, CheckResult> {
    let name = component.daemonset_name();
    let refuse = |seen: String, remedy: &str| CheckResult::refuse(Check::Daemonset, seen, remedy);
    let Some(live) = here.daemonsets.get(&component) else {
        return Err(refuse(
            format!("there is no DaemonSet {name}{}", instead(here, component)),
            "fulcrum takes over DaemonSets of these names in kube-system; anything else: write the static manifest, let it \
             take over, and `fulcrum pivot`",
        ));
    };
    let manifest = static_of(component, live, &settings.target(None)).map_err(|error| {
        refuse(format!("DaemonSet {name} cannot become a static pod: {error}"), "mend the DaemonSet first")
    })?;
    let pod = StaticPod::parse(component, manifest.as_bytes())
        .map_err(|error| refuse(format!("DaemonSet {name}: {error}"), ""))?;
    settings.health.insert(component, health_question(&pod, &settings.node_addresses));
    if component == Component::ApiServer {
        settings.publishes_itself = pod.publishes_itself();
    }
    let listener = the_listener(input, here, component, pod.port(), live).await?;
    can_steer(input, &pod, &listener).await?;
    Ok(FoundDaemonset {
        uid: live["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        manifest,
        shares: shares_its_port(&listener.process),
        made_by: made_by(live),
    })
}

/// Who else runs the component, for a person: bootkube used Deployments, and others other names.
fn instead(here: &Here, component: Component) -> String {
    let runs = |pod: &&Pod| {
        let spec = pod.spec.as_ref();
        let on_node = spec.is_some_and(|spec| spec.node_name.as_deref() == Some(here.name.as_str()));
        let containers = spec.into_iter().flat_map(|spec| &spec.containers);
        on_node && containers.into_iter().any(|one| one.name == component.name())
    };
    let Some(pod) = here.pods.iter().find(runs) else { return String::new() };
    let owner = pod.metadata.owner_references.iter().flatten().next();
    let owner = owner.map_or(String::new(), |owner| format!(" of {} {}", owner.kind, owner.name));
    format!(": {component} runs in pod {}{owner}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// The one socket that listens for the component, of a pod of this DaemonSet.
async fn the_listener(
    input: &PreflightInput,
    here: &Here,
    component: Component,
    port: u16,
    live: &Value,
) -> Result<Listener, CheckResult> {
    let all = listeners(input, port).await?;
    let refuse = |seen: String, remedy: &str| CheckResult::refuse(Check::Daemonset, seen, remedy);
    let [one] = all.as_slice() else {
        return Err(refuse(
            format!("{} sockets listen on port {port} of {component}, not one", all.len()),
            "let a roll-out come to its end, and a pod that does not start be mended",
        ));
    };
    let of_daemonset = |pod: &Pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        pod.metadata.uid == one.process.pod_uid
            && owners.into_iter().any(|owner| live["metadata"]["uid"] == owner.uid.as_str())
    };
    if in_api_pod(&one.process) && here.pods.iter().any(of_daemonset) {
        return Ok(one.clone());
    }
    let name = component.daemonset_name();
    Err(refuse(
        format!("{} listens on port {port}, which is of no pod of DaemonSet {name}", describe(&one.process)),
        "what serves must be the DaemonSet's: end that process, or leave the control plane as it is",
    ))
}

/// The static pod begins beside the DaemonSet's without a gap only if the kernel can be told who serves.
async fn can_steer(input: &PreflightInput, pod: &StaticPod, listener: &Listener) -> Result<(), CheckResult> {
    let component = pod.component();
    let refuse = |seen: String| {
        let seen = format!("{component} cannot change hands without a gap: {seen}");
        let remedy = "`fulcrum adopt` knows the hand-over steer only; put the static manifest of --dry-run in place by \
                      hand in a maintenance window, delete the DaemonSet, and `fulcrum pivot`";
        CheckResult::refuse(Check::Handover, seen, remedy)
    };
    let host = &input.node.host;
    host.steering_support(listener).await.map_err(|error| refuse(error.to_string()))?;
    if component != Component::ApiServer {
        return Ok(());
    }
    if !listener.address.ip().is_unspecified() {
        return Err(refuse(format!("it listens on {} only", listener.address)));
    }
    let clients = host.local_clients(pod.port()).await.map_err(|error| refuse(error.to_string()))?;
    match clients.first() {
        None => Ok(()),
        Some(one) => Err(refuse(format!("{} uses the API over loopback", describe(one)))),
    }
}

/// A DaemonSet of others runs on every node of the role. It would go from all of them.
fn nobody_else_is_hit(here: &Here, found: &Found) -> Option<CheckResult> {
    let others: Vec<&str> =
        here.peers.iter().filter(|node| **node != here.name).map(String::as_str).collect();
    let ours = found.labelled && found.daemonsets.values().all(|one| one.made_by.is_some());
    (!others.is_empty() && !ours).then(|| {
        CheckResult::refuse(
            Check::Daemonset,
            format!("DaemonSets that fulcrum has not made run on {}, too", others.join(", ")),
            "they are taken over on a cluster with one control-plane node only: they would go from all nodes at once",
        )
    })
}

/// Whether the cluster can spare this node's API server for a moment.
async fn spared(site: &Site, found: &Found) -> Result<Vec<CheckResult>, Box<CheckResult>> {
    let Some(one) = found.daemonsets.get(&Component::ApiServer) else { return Ok(Vec::new()) };
    let refuse = |seen: String| CheckResult::refuse(Check::ApiServers, seen, "try again");
    let server = StaticPod::parse(Component::ApiServer, one.manifest.as_bytes())
        .map_err(|error| Box::new(refuse(error.to_string())))?;
    let seen = match once(elsewhere(site, &server).await) {
        Ok(Ok(seen)) => seen,
        Ok(Err(seen)) => return Ok(vec![refuse(seen)]),
        Err(error) => return Ok(vec![refuse(error.to_string())]),
    };
    let result = |check: Check, seen: Result<String, String>| match seen {
        Ok(seen) => CheckResult::pass(check, seen),
        Err(seen) => CheckResult::refuse(check, seen, "mend the other nodes first: clients may need them"),
    };
    Ok(vec![result(Check::ApiServers, seen.servers_ready()), result(Check::Etcd, seen.quorum_kept())])
}
