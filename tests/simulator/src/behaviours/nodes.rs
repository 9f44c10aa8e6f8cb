//! Several control-plane nodes on one cluster, seen from one of them.

use super::failed::{Failed, expect};
use super::ground::{Ground, seen};
use super::make::{daemon_set, pod, pod_spec, runs, uid};
use super::names::{LABEL, SELECTOR};
use super::servers::{own_address, settled};
use super::watches::create;
use fulcrum_steps::cluster::{is_ready, pod_story};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NAME: &str = "behaves";
const SCHEDULER: &str = "kube-scheduler";

pub(super) async fn shared(ground: &Ground) -> Result<(), Failed> {
    create(ground, "1").await?;
    for other in &ground.others {
        let maps = Api::<ConfigMap>::namespaced(other.client.clone(), "kube-system");
        let data = maps.get("behaves").await?.data.unwrap_or_default();
        expect(data.get("value").is_some_and(|value| value == "1"), "it is read there", &data)?;
    }
    let server = |name: &String| format!("kube-apiserver-{name}");
    for name in ground.node_names().iter().map(server) {
        let pod = ground.api::<Pod>().get(&name).await?;
        expect(is_ready(&pod), "each node's API server has its mirror pod, and is Ready", pod_story(&pod))?;
    }
    Ok(())
}

/// Labels these nodes for the DaemonSet, or takes the label away.
async fn mark(ground: &Ground, nodes: &[String], labelled: bool) -> Result<(), Failed> {
    let api = Api::<Node>::all(ground.client.clone());
    let patch = json!({"metadata": {"labels": {LABEL: labelled.then_some("here")}}});
    for node in nodes {
        api.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

/// A DaemonSet on all control-plane nodes, which rolls with a new pod beside the old one.
async fn on_all(ground: &Ground) -> Result<BTreeMap<String, Pod>, Failed> {
    mark(ground, &ground.node_names(), true).await?;
    let set = serde_json::to_value(daemon_set(ground, NAME, (LABEL, "here"))?);
    let mut set: Value = set.map_err(|error| Failed::new("making a DaemonSet", error.to_string()))?;
    set["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let set: DaemonSet = super::make::typed(set)?;
    ground.api::<DaemonSet>().create(&PostParams::default(), &set).await?;
    let names = ground.node_names();
    each_ready(ground, &names, |_| true).await
}

/// The set's pods that were not told to end, by node, each once.
async fn pods(ground: &Ground) -> Result<BTreeMap<String, Vec<Pod>>, String> {
    let which = ListParams::default().labels(&format!("{SELECTOR},app={NAME}"));
    let mut by_node: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
    for pod in ground.api::<Pod>().list(&which).await.map_err(seen)?.items {
        if pod.metadata.deletion_timestamp.is_none() {
            by_node.entry(node_of(&pod)).or_default().push(pod);
        }
    }
    Ok(by_node)
}

fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()
}

/// The one pod of each of these nodes, and of no other, once all are Ready and `holds`.
async fn each_ready(
    ground: &Ground,
    nodes: &[String],
    holds: impl Fn(&Pod) -> bool,
) -> Result<BTreeMap<String, Pod>, Failed> {
    let mut expected = nodes.to_vec();
    expected.sort();
    let what = format!("the DaemonSet to have one pod on each of {}", expected.join(", "));
    ground
        .eventually(&what, async || {
            let by_node = pods(ground).await?;
            let story = by_node.values().flatten().map(pod_story).collect::<Vec<_>>().join("; ");
            let alone = by_node.values().all(|pods| pods.len() == 1);
            let fits = by_node.values().flatten().all(|pod| is_ready(pod) && holds(pod));
            let there = by_node.keys().eq(expected.iter());
            match there && alone && fits {
                true => {
                    Ok(by_node.into_iter().filter_map(|(node, mut pods)| Some((node, pods.pop()?))).collect())
                }
                false => Err(story),
            }
        })
        .await
}

pub(super) async fn one_on_each(ground: &Ground) -> Result<(), Failed> {
    on_all(ground).await?;
    let all = ground.node_names().len();
    ground
        .eventually("the DaemonSet's numbers to say so", async || {
            let set = ground.api::<DaemonSet>().get(NAME).await.map_err(seen)?;
            let status = set.status.unwrap_or_default();
            let numbers = [
                Some(status.desired_number_scheduled),
                Some(status.number_ready),
                status.updated_number_scheduled,
                status.number_available,
            ];
            let full = numbers.iter().all(|number| number.and_then(|n| usize::try_from(n).ok()) == Some(all));
            if full { Ok(()) } else { Err(format!("{numbers:?} of {all}")) }
        })
        .await
}

/// Looks all the while: never are two nodes at work, and no node is without a Ready pod.
pub(super) async fn node_by_node(ground: &Ground) -> Result<(), Failed> {
    let before = on_all(ground).await?;
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}});
    ground.api::<DaemonSet>().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let is_new = |pod: &Pod| before.values().all(|old| uid(old) != uid(pod));
    let mut wrong = None;
    ground
        .eventually("every node to have a new pod", async || {
            let by_node = pods(ground).await?;
            let works = |pods: &[Pod]| pods.len() > 1 && !pods.iter().all(is_ready);
            let at_work: Vec<&String> =
                by_node.iter().filter(|(_, pods)| works(pods)).map(|(node, _)| node).collect();
            // A pod that is not bound yet is at no node.
            let without =
                before.keys().find(|node| !by_node.get(*node).is_some_and(|p| p.iter().any(is_ready)));
            if at_work.len() > 1 || without.is_some() {
                wrong = Some(format!("at work on {at_work:?}, no Ready pod on {without:?}"));
                return Ok(());
            }
            let rolled = by_node.values().flatten().all(is_new);
            if rolled { Ok(()) } else { Err(format!("{} nodes at work", at_work.len())) }
        })
        .await?;
    expect(wrong.is_none(), "one node after the other, each with a Ready pod", wrong)
}

pub(super) async fn label(ground: &Ground) -> Result<(), Failed> {
    let before = on_all(ground).await?;
    mark(ground, std::slice::from_ref(&ground.node), false).await?;
    let others: Vec<String> = ground.others.iter().map(|other| other.node.clone()).collect();
    let after = each_ready(ground, &others, |_| true).await?;
    let same = after.iter().all(|(node, pod)| before.get(node).is_some_and(|old| uid(old) == uid(pod)));
    expect(same, "the other nodes' pods are those of before", after.keys())?;
    let own = before.get(&ground.node).map(uid).unwrap_or_default();
    ground.no_process(own).await
}

pub(super) async fn named(ground: &Ground) -> Result<(), Failed> {
    let mut pinned = serde_json::to_value(pod(ground, NAME, pod_spec(&ground.pause, &[]))?)
        .map_err(|error| Failed::new("making a pod", error.to_string()))?;
    let node = ground.others.first().map_or(&ground.node, |other| &other.node);
    pinned["spec"]["nodeName"] = json!(node);
    pinned["spec"].as_object_mut().map(|spec| spec.remove("nodeSelector"));
    let pods = ground.api::<Pod>();
    pods.create(&PostParams::default(), &super::make::typed(pinned)?).await?;
    let what = format!("the pod to run on {node}, which it names");
    ground
        .eventually(&what, async || {
            let pod = pods.get(NAME).await.map_err(seen)?;
            if runs(&pod) && node_of(&pod) == *node { Ok(()) } else { Err(pod_story(&pod)) }
        })
        .await
}

/// Who holds the scheduler's lease: the name of a node, and a word of the process's own.
async fn holder(ground: &Ground) -> Result<Lease, String> {
    ground.api::<Lease>().get(SCHEDULER).await.map_err(seen)
}

fn holds(lease: &Lease, node: &str) -> bool {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    holder.is_some_and(|holder| holder.starts_with(&format!("{node}_")))
}

/// First makes this node's scheduler the leader: gives the lease back until that one takes it.
pub(super) async fn leader_moves(ground: &Ground) -> Result<(), Failed> {
    let free = json!({"spec": {"holderIdentity": ""}});
    let here = async || {
        let lease = holder(ground).await?;
        if holds(&lease, &ground.node) {
            return Ok(());
        }
        let seen_as = format!("{:?}", lease.spec.and_then(|spec| spec.holder_identity));
        let leases = ground.api::<Lease>();
        leases.patch(SCHEDULER, &PatchParams::default(), &Patch::Merge(&free)).await.map_err(seen)?;
        Err(seen_as)
    };
    ground.eventually("this node's scheduler to take the lease", here).await?;
    ground.stash(SCHEDULER)?;
    let moved = async || {
        let lease = holder(ground).await?;
        let other = ground.others.iter().any(|other| holds(&lease, &other.node));
        if other { Ok(()) } else { Err(format!("{:?}", lease.spec.and_then(|spec| spec.holder_identity))) }
    };
    let moved = ground.eventually("another node's scheduler to take the lease", moved).await;
    ground.restore_stash()?;
    moved?;
    settled(ground).await
}

/// Looks through another node's server, at every change.
pub(super) async fn killed(ground: &Ground) -> Result<(), Failed> {
    let own = own_address(ground).await?;
    let Some(other) = ground.others.first() else {
        return Err(Failed::new("a cluster of several nodes", "it has one node"));
    };
    let endpoints = Api::<Endpoints>::namespaced(other.client.clone(), "default");
    let which = "metadata.name=kubernetes";
    let listed = endpoints.list(&ListParams::default().fields(which)).await?;
    let has_own = |endpoints: &Endpoints| {
        let subsets = endpoints.subsets.iter().flatten();
        subsets.flat_map(|subset| subset.addresses.iter().flatten()).any(|address| address.ip == own)
    };
    expect(listed.items.iter().any(has_own), "its address is published", &listed.items)?;
    let version = listed.metadata.resource_version.unwrap_or_default();
    let mut changes = endpoints.watch(&WatchParams::default().fields(which), &version).await?.boxed_local();
    for listener in ground.host.listeners(ground.api_port()?).await? {
        ground.host.end(&listener.process).await?;
    }
    for (what, wanted) in [("its address to be taken out", false), ("its address to be put back", true)] {
        let change = async {
            loop {
                match changes.next().await {
                    Some(Ok(WatchEvent::Modified(now))) if has_own(&now) == wanted => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(Failed::from(error)),
                    None => return Err(Failed::new(what, "the watch ended before")),
                }
            }
        };
        let soon = ground.tempo.soon;
        let late = |_| Failed::new(what, format!("not within {soon:?}"));
        tokio::time::timeout(soon, change).await.map_err(late)??;
    }
    settled(ground).await
}
