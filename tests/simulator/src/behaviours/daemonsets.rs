//! What controllers and the scheduler do with objects.

use super::failed::{Failed, expect};
use super::ground::{Ground, seen};
use super::make::{daemon_set, pod, pod_spec, runs as runs_now, typed, uid};
use super::names::{LABEL, SELECTOR};
use fulcrum_steps::cluster::{is_ready, pod_story, unschedulable};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

const NAME: &str = "behaves";

/// A host port that other programs are unlikely to ask for.
const HOST_PORT: u16 = 39391;

async fn make(ground: &Ground) -> Result<DaemonSet, Failed> {
    let set = daemon_set(ground, NAME, ("kubernetes.io/hostname", &ground.hostname))?;
    Ok(ground.api::<DaemonSet>().create(&PostParams::default(), &set).await?)
}

async fn pods(ground: &Ground) -> Result<Vec<Pod>, String> {
    let which = ListParams::default().labels(&format!("{SELECTOR},app={NAME}"));
    Ok(ground.api::<Pod>().list(&which).await.map_err(seen)?.items)
}

/// The DaemonSet's one pod, once it is the only one and `holds`.
async fn only_pod(ground: &Ground, what: &str, holds: impl Fn(&Pod) -> bool) -> Result<Pod, Failed> {
    ground
        .eventually(&format!("the DaemonSet to have one pod, {what}"), async || {
            let mut pods = pods(ground).await?;
            let stories = pods.iter().map(pod_story).collect::<Vec<_>>().join("; ");
            match (pods.pop(), pods.is_empty()) {
                (Some(pod), true) if is_ready(&pod) && holds(&pod) => Ok(pod),
                _ => Err(stories),
            }
        })
        .await
}

async fn runs_one(ground: &Ground) -> Result<(DaemonSet, Pod), Failed> {
    let set = make(ground).await?;
    let pod = only_pod(ground, "Ready", |_| true).await?;
    Ok((set, pod))
}

pub(super) async fn runs(ground: &Ground) -> Result<(), Failed> {
    let (set, pod) = runs_one(ground).await?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    expect(node == Some(&ground.node), "the pod runs on this node", node)?;
    let owner = pod.metadata.owner_references.iter().flatten().next();
    let owner = owner.map(|owner| (owner.kind.as_str(), owner.controller, Some(&owner.uid)));
    let expected = Some(("DaemonSet", Some(true), set.metadata.uid.as_ref()));
    expect(owner == expected, "the DaemonSet is its controller", owner)?;
    let pids = ground.pids(uid(&pod)).await?;
    expect(!pids.is_empty(), "its processes run under its uid", pids)?;
    ground
        .eventually("the DaemonSet's numbers to say so", async || {
            let set = ground.api::<DaemonSet>().get(NAME).await.map_err(seen)?;
            let status = set.status.unwrap_or_default();
            let numbers = (
                status.desired_number_scheduled,
                status.current_number_scheduled,
                status.number_ready,
                status.updated_number_scheduled,
                status.number_available,
            );
            if numbers == (1, 1, 1, Some(1), Some(1)) { Ok(()) } else { Err(format!("{numbers:?}")) }
        })
        .await
}

pub(super) async fn replaced(ground: &Ground) -> Result<(), Failed> {
    let (_, pod) = runs_one(ground).await?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    ground.api::<Pod>().delete(&name, &DeleteParams::default()).await?;
    let new = only_pod(ground, "another one", |new| uid(new) != uid(&pod)).await?;
    expect(new.metadata.name != pod.metadata.name, "it has another name", &new.metadata.name)
}

pub(super) async fn rolls(ground: &Ground) -> Result<(), Failed> {
    let (_, pod) = runs_one(ground).await?;
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}});
    ground.api::<DaemonSet>().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let changed = |new: &Pod| {
        let annotations = new.metadata.annotations.as_ref();
        uid(new) != uid(&pod) && annotations.is_some_and(|a| a.contains_key("changed"))
    };
    only_pod(ground, "made from the new template", changed).await?;
    let set = ground.api::<DaemonSet>().get(NAME).await?;
    expect(set.metadata.generation == Some(2), "its generation is 2", set.metadata.generation)
}

/// The controller notes when it will look again: once the pod that has just become Ready is available. It keeps that time
/// when a younger pod becomes Ready before.
pub(super) async fn stands_still(ground: &Ground) -> Result<(), Failed> {
    let set = serde_json::to_value(daemon_set(ground, NAME, ("kubernetes.io/hostname", &ground.hostname))?);
    let mut set = set.map_err(|error| Failed::new("making a DaemonSet", error.to_string()))?;
    set["spec"]["minReadySeconds"] = json!(ground.tempo.min_ready_seconds);
    set["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    ground.api::<DaemonSet>().create(&PostParams::default(), &typed(set)?).await?;
    let first = only_pod(ground, "Ready", |_| true).await?;
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}});
    ground.api::<DaemonSet>().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let both = async || {
        let pods = pods(ground).await?;
        let ready =
            pods.iter().filter(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none()).count();
        if ready == 2 { Ok(()) } else { Err(pods.iter().map(pod_story).collect::<Vec<_>>().join("; ")) }
    };
    ground.eventually("the old pod and the new one to be Ready", both).await?;
    tokio::time::sleep(ground.tempo.twice_ready).await;
    let after = both().await;
    expect(after.is_ok(), "both pods stay, though the new one is available", after)?;
    let write = json!({"metadata": {"annotations": {"written": "to"}}});
    ground.api::<DaemonSet>().patch(NAME, &PatchParams::default(), &Patch::Merge(write)).await?;
    only_pod(ground, "the new one", |pod| uid(pod) != uid(&first)).await.map(drop)
}

const HASH: &str = "controller-revision-hash";

/// Number and hash of the DaemonSet's newest revision.
async fn newest_revision(ground: &Ground, set: &DaemonSet) -> Result<(i64, Option<String>), Failed> {
    let which = ListParams::default().labels(&format!("{SELECTOR},app={NAME}"));
    let mut revisions = ground.api::<ControllerRevision>().list(&which).await?.items;
    revisions.retain(|revision| {
        let mut owners = revision.metadata.owner_references.iter().flatten();
        owners.any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
    });
    let newest = revisions.into_iter().max_by_key(|revision| revision.revision);
    let newest =
        newest.ok_or_else(|| Failed::new("looking for the DaemonSet's revision", "none".to_owned()))?;
    let labels = newest.metadata.labels.unwrap_or_default();
    Ok((newest.revision, labels.get(HASH).cloned()))
}

/// Also a template that was there before: its revision becomes the newest one again.
pub(super) async fn revisions(ground: &Ground) -> Result<(), Failed> {
    let (set, mut pod) = runs_one(ground).await?;
    let mut hashes = Vec::new();
    for (number, value) in [(1, None), (2, Some("yes")), (3, Some("no")), (4, Some("yes"))] {
        if value.is_some() {
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {"changed": value}}}}});
            ground.api::<DaemonSet>().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
            pod = only_pod(ground, "made from the changed template", |new| uid(new) != uid(&pod)).await?;
        }
        let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH).cloned());
        expect(hash.is_some(), "the pod bears a hash", &pod.metadata.labels)?;
        let newest = newest_revision(ground, &set).await?;
        expect(newest == (number, hash.clone()), "its hash is that of the newest revision", &newest)?;
        hashes.push(hash);
    }
    let as_templates = hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[3] == hashes[1];
    expect(as_templates, "the hash is the template's", hashes)
}

/// The controller says that it has seen the DaemonSet. It does not want the pods that it has not made by
/// then.
pub(super) async fn no_node(ground: &Ground) -> Result<(), Failed> {
    let set = daemon_set(ground, NAME, ("fulcrum-behaviour", "nowhere"))?;
    ground.api::<DaemonSet>().create(&PostParams::default(), &set).await?;
    let what = "the controller to have seen the DaemonSet";
    let desired = ground.eventually(what, async || {
        let set = ground.api::<DaemonSet>().get(NAME).await.map_err(seen)?;
        let status = set.status.unwrap_or_default();
        let generation = status.observed_generation;
        if generation == Some(1) {
            Ok(status.desired_number_scheduled)
        } else {
            Err(format!("{generation:?}"))
        }
    });
    expect(desired.await? == 0, "it wants no pod", "some")?;
    let pods = pods(ground).await.map_err(|seen| Failed::new("listing its pods", seen))?;
    expect(pods.is_empty(), "it has no pod", pods.len())
}

pub(super) async fn goes(ground: &Ground) -> Result<(), Failed> {
    let (_, pod) = runs_one(ground).await?;
    ground.api::<DaemonSet>().delete(NAME, &DeleteParams::background()).await?;
    ground.gone::<DaemonSet>(NAME).await?;
    ground.gone::<Pod>(pod.metadata.name.as_deref().unwrap_or_default()).await?;
    ground.no_process(uid(&pod)).await
}

pub(super) async fn grace(ground: &Ground) -> Result<(), Failed> {
    let pods = ground.api::<Pod>();
    let made = pod(ground, NAME, pod_spec(&ground.pause, &[]))?;
    let made = pods.create(&PostParams::default(), &made).await?;
    ground
        .eventually("the pod to run", async || {
            let pod = pods.get(NAME).await.map_err(seen)?;
            if runs_now(&pod) { Ok(()) } else { Err(pod_story(&pod)) }
        })
        .await?;
    let told = pods.delete(NAME, &DeleteParams::default()).await?.left();
    let meta = told
        .map(|pod| (pod.metadata.deletion_timestamp.is_some(), pod.metadata.deletion_grace_period_seconds));
    let what = "the deletion is answered with the pod, which has its grace of 1 s";
    expect(meta == Some((true, Some(1))), what, meta)?;
    ground.gone::<Pod>(NAME).await?;
    ground.no_process(uid(&made)).await
}

/// Waits until the scheduler's message on the pod begins with `words`.
async fn refused(ground: &Ground, name: &str, words: &str) -> Result<(), Failed> {
    ground
        .eventually(&format!("the scheduler to refuse pod {name}: {words}"), async || {
            let pod = ground.api::<Pod>().get(name).await.map_err(seen)?;
            match unschedulable(&pod) {
                Some(message) if message.contains(words) => Ok(()),
                _ => Err(pod_story(&pod)),
            }
        })
        .await
}

pub(super) async fn anti_affinity(ground: &Ground) -> Result<(), Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!([{
        "labelSelector": {"matchLabels": {LABEL: "yes"}}, "topologyKey": "kubernetes.io/hostname",
    }]);
    let pods = ground.api::<Pod>();
    pods.create(&PostParams::default(), &pod(ground, "behaves-first", spec.clone())?).await?;
    let bound = async || {
        let pod = pods.get("behaves-first").await.map_err(seen)?;
        if runs_now(&pod) { Ok(()) } else { Err(pod_story(&pod)) }
    };
    ground.eventually("the first pod to run", bound).await?;
    pods.create(&PostParams::default(), &pod(ground, "behaves-second", spec)?).await?;
    refused(ground, "behaves-second", "anti-affinity").await
}

pub(super) async fn no_room(ground: &Ground) -> Result<(), Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    spec["containers"][0]["resources"]["requests"] = json!({"cpu": "100000"});
    ground.api::<Pod>().create(&PostParams::default(), &pod(ground, "behaves-first", spec)?).await?;
    refused(ground, "behaves-first", "Insufficient cpu").await
}

pub(super) async fn host_port(ground: &Ground) -> Result<(), Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    spec["containers"][0]["ports"] = json!([{"containerPort": HOST_PORT}]);
    let pods = ground.api::<Pod>();
    let first = pods.create(&PostParams::default(), &pod(ground, "behaves-first", spec.clone())?).await?;
    let ports = first.spec.and_then(|spec| spec.containers.first().and_then(|c| c.ports.clone()));
    let host_port = ports.and_then(|ports| ports.first().and_then(|port| port.host_port));
    let what = "a port of a pod on the host's network is a port of the host";
    expect(host_port == Some(HOST_PORT.into()), what, host_port)?;
    let bound = async || {
        let pod = pods.get("behaves-first").await.map_err(seen)?;
        if runs_now(&pod) { Ok(()) } else { Err(pod_story(&pod)) }
    };
    ground.eventually("the first pod to run", bound).await?;
    pods.create(&PostParams::default(), &pod(ground, "behaves-second", spec)?).await?;
    ground
        .eventually("the scheduler to refuse the second pod", async || {
            let pod = pods.get("behaves-second").await.map_err(seen)?;
            let status = pod.status.clone().unwrap_or_default();
            let refused = status.conditions.iter().flatten().any(|condition| {
                condition.type_ == "PodScheduled"
                    && condition.reason.as_deref() == Some("Unschedulable")
                    && condition.message.as_deref().is_some_and(|message| message.contains("free ports"))
            });
            if refused { Ok(()) } else { Err(pod_story(&pod)) }
        })
        .await
}
