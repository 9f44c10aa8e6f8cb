//! The kubelet's treatment of files.

use super::failed::{Failed, expect};
use super::ground::{Ground, NAMESPACE, seen};
use super::make::{NO_IMAGE, container, last_exit, pod_spec, restarts, runs, uid, waits_for};
use super::names::{HIDDEN, LABEL, OTHER, POD, THIRD};
use fulcrum_steps::cluster::{config_hash, is_ready};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

const NAME: &str = "behaves-pod";

/// A port of the host on which no process listens, and that other programs are unlikely to ask for.
const HOST_PORT: u16 = 39392;

/// A sleeping static pod, running, with its hash.
async fn sleeper(ground: &Ground) -> Result<(Pod, String), Failed> {
    let mirror = ground.put_static(POD, NAME, &pod_spec(&ground.pause, &[]))?;
    let pod = ground.mirror(&mirror, "run", runs).await?;
    let hash = config_hash(&pod).unwrap_or_default().to_owned();
    Ok((pod, hash))
}

pub(super) async fn mirror(ground: &Ground) -> Result<(), Failed> {
    let (pod, hash) = sleeper(ground).await?;
    let hex = hash.len() == 32 && hash.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase());
    expect(hex, "the hash is 32 hexadecimal digits", &hash)?;
    let annotation = |name: &str| {
        let annotations = pod.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(&format!("kubernetes.io/config.{name}"))).map(String::as_str)
    };
    let seen = (annotation("mirror"), annotation("source"));
    expect(seen == (Some(&hash), Some("file")), "its annotations say mirror of that, from a file", seen)?;
    let owner = pod.metadata.owner_references.iter().flatten().next();
    let owner = owner.map(|owner| (owner.kind.as_str(), owner.name.as_str()));
    expect(owner == Some(("Node", ground.node.as_str())), "it belongs to the node", owner)?;
    expect(uid(&pod) != hash, "the mirror pod has a uid of its own", uid(&pod))?;
    let pids = ground.pids(&hash).await?;
    expect(!pids.is_empty(), "its processes run under the hash as the pod's uid", pids)
}

pub(super) async fn goes_and_comes(ground: &Ground) -> Result<(), Failed> {
    let (pod, hash) = sleeper(ground).await?;
    let name = pod.metadata.name.unwrap_or_default();
    ground.manifests.remove(POD)?;
    ground.gone::<Pod>(&name).await?;
    ground.no_process(&hash).await?;
    let (_, again) = sleeper(ground).await?;
    expect(again == hash, "the same bytes under the same name are the same pod", (again, &hash))
}

/// Once a file that came later is a pod, the kubelet has read the directory.
pub(super) async fn dot_file(ground: &Ground) -> Result<(), Failed> {
    let spec = pod_spec(&ground.pause, &[]);
    let hidden = ground.put_static(HIDDEN, "behaves-hidden", &spec)?;
    let visible = ground.put_static(OTHER, "behaves-other", &spec)?;
    ground.mirror(&visible, "run", runs).await?;
    let found = ground.api::<Pod>().get_opt(&hidden).await?.map(|pod| pod.metadata.name);
    expect(found.is_none(), "the hidden file is no pod", found)
}

pub(super) async fn not_a_pod(ground: &Ground) -> Result<(), Failed> {
    let broken = ground.manifest("kube-scheduler")?.with_content("kind: Pod\nmetadata: [\n".into());
    ground.manifests.write("behaves-broken.yaml", &broken)?;
    sleeper(ground).await.map(drop)
}

/// sigs.k8s.io/yaml ignores everything after the first document.
pub(super) async fn leniently(ground: &Ground) -> Result<(), Failed> {
    let text = format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: wrong, name: {NAME}, namespace: {NAMESPACE}, labels: {{{LABEL}: \"yes\"}}}}\n\
         spec:\n  hostNetwork: true\n  containers: [{{name: c, image: {}, imagePullPolicy: IfNotPresent}}]\n---\nkind: [\n",
        ground.pause
    );
    ground.manifests.write(POD, &ground.manifest("kube-scheduler")?.with_content(text))?;
    ground.mirror(&format!("{NAME}-{}", ground.node), "run", runs).await.map(drop)
}

pub(super) async fn link(ground: &Ground) -> Result<(), Failed> {
    // A file that begins with a dot is no manifest by itself.
    let name = ground.put_static(HIDDEN, NAME, &pod_spec(&ground.pause, &[]))?;
    std::os::unix::fs::symlink(HIDDEN, ground.manifests.file(POD))?;
    ground.mirror(&name, "run", runs).await.map(drop)
}

pub(super) async fn two_words(ground: &Ground) -> Result<(), Failed> {
    let mut spec = ground.twin_spec("kube-scheduler")?;
    if let Some(words) = spec["containers"][0]["command"].as_array_mut() {
        words.extend([json!("--secure-port"), json!(HOST_PORT.to_string())]);
        // It must leave no Lease of its own.
        words.retain(|word| !word.as_str().is_some_and(|word| word.starts_with("--leader-elect=")));
        words.push(json!("--leader-elect=false"));
    }
    ground.put_static(POD, NAME, &spec)?;
    ground
        .eventually("the second scheduler to listen", async || {
            match listening(ground, HOST_PORT).await.map_err(seen)?.is_empty() {
                true => Err("nobody listens".to_owned()),
                false => Ok(()),
            }
        })
        .await
}

/// The scheduler listens on loopback only.
pub(super) async fn localhost(ground: &Ground) -> Result<(), Failed> {
    let port: u16 =
        ground.flag("kube-scheduler", "secure-port")?.and_then(|p| p.parse().ok()).unwrap_or(10259);
    let mut spec = pod_spec(&ground.pause, &[]);
    let get = json!({"host": "localhost", "port": port, "path": "/healthz", "scheme": "HTTPS"});
    spec["containers"][0]["readinessProbe"] = json!({"httpGet": get, "periodSeconds": 1});
    let name = ground.put_static(POD, NAME, &spec)?;
    ground.mirror(&name, "be Ready", is_ready).await.map(drop)
}

pub(super) async fn changed(ground: &Ground) -> Result<(), Failed> {
    let (pod, hash) = sleeper(ground).await?;
    let before = ground.pids(&hash).await?;
    let mut spec = pod_spec(&ground.pause, &[]);
    spec["containers"][0]["env"] = json!([{"name": "CHANGED", "value": "yes"}]);
    let name = ground.put_static(POD, NAME, &spec)?;
    let is_other = |pod: &Pod| config_hash(pod) != Some(&hash) && runs(pod);
    let other = ground.mirror(&name, "be another one", is_other).await?;
    expect(uid(&other) != uid(&pod), "the mirror pod is another object", uid(&other))?;
    ground.no_process(&hash).await?;
    let after = ground.pids(config_hash(&other).unwrap_or_default()).await?;
    let new = !after.is_empty() && after.iter().all(|pid| !before.contains(pid));
    expect(new, "its processes are other ones", (before, after))
}

pub(super) async fn mirror_deleted(ground: &Ground) -> Result<(), Failed> {
    let (pod, hash) = sleeper(ground).await?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let before = ground.pids(&hash).await?;
    ground.api::<Pod>().delete(&name, &DeleteParams::default()).await?;
    let is_new = |new: &Pod| uid(new) != uid(&pod) && runs(new);
    let new = ground.mirror(&name, "be made anew", is_new).await?;
    expect(config_hash(&new) == Some(&hash), "it is the mirror of the same pod", config_hash(&new))?;
    let after = ground.pids(&hash).await?;
    expect(before == after, "the processes are the same", (before, after))
}

/// A static pod is always restarted, after any exit code. The first time at once, then after a pause.
pub(super) async fn crash_loop(ground: &Ground) -> Result<(), Failed> {
    let mut spec = ground.twin_spec("kube-scheduler")?;
    spec["containers"][0]["command"] = json!(["kube-scheduler", "--version"]);
    let name = ground.put_static(POD, NAME, &spec)?;
    let looping = |pod: &Pod| restarts(pod) >= 2 && waits_for(pod) == "CrashLoopBackOff";
    let pod = ground.mirror(&name, "be held back after its second restart", looping).await?;
    expect(last_exit(&pod) == Some(0), "what its last process ended with is told", last_exit(&pod))
}

/// The pod's process does not end by itself: the kubelet ends it.
pub(super) async fn liveness(ground: &Ground) -> Result<(), Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    let nobody = json!({"host": "127.0.0.1", "port": HOST_PORT, "path": "/"});
    spec["containers"][0]["livenessProbe"] =
        json!({"httpGet": nobody, "periodSeconds": 1, "failureThreshold": 2});
    let name = ground.put_static(POD, NAME, &spec)?;
    ground.mirror(&name, "be restarted", |pod| restarts(pod) >= 1).await.map(drop)
}

pub(super) async fn startup(ground: &Ground) -> Result<(), Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    let nobody = json!({"host": "127.0.0.1", "port": HOST_PORT, "path": "/"});
    spec["containers"][0]["startupProbe"] =
        json!({"httpGet": nobody, "periodSeconds": 1, "failureThreshold": 3});
    let name = ground.put_static(POD, NAME, &spec)?;
    let pod = ground.mirror(&name, "run", runs).await?;
    let started = container(&pod).and_then(|status| status.started);
    expect(started == Some(false), "it has not started, and is not ready", started)?;
    ground.mirror(&name, "be restarted", |pod| restarts(pod) >= 1).await.map(drop)
}

pub(super) async fn readiness(ground: &Ground) -> Result<(), Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    let nobody = json!({"host": "127.0.0.1", "port": HOST_PORT, "path": "/"});
    spec["containers"][0]["readinessProbe"] =
        json!({"httpGet": nobody, "periodSeconds": 1, "failureThreshold": 1});
    let name = ground.put_static(POD, NAME, &spec)?;
    let pod = ground.mirror(&name, "run", runs).await?;
    tokio::time::sleep(ground.tempo.quiet).await;
    let later = ground.api::<Pod>().get(&pod.metadata.name.unwrap_or_default()).await?;
    let seen = (is_ready(&later), restarts(&later));
    expect(seen == (false, 0), "it runs, is never Ready, and is left alone", seen)
}

pub(super) async fn no_image(ground: &Ground) -> Result<(), Failed> {
    let name = ground.put_static(POD, NAME, &pod_spec(NO_IMAGE, &[]))?;
    let pausing = |pod: &Pod| waits_for(pod) == "ImagePullBackOff";
    let pod = ground.mirror(&name, "wait for its image", pausing).await?;
    expect(restarts(&pod) == 0, "it has not run", restarts(&pod))
}

/// The kubelet checks host ports itself, and makes no mirror pod of a pod that it rejects.
pub(super) async fn taken_host_port(ground: &Ground) -> Result<(), Failed> {
    let mut spec = pod_spec(&ground.pause, &[]);
    spec["containers"][0]["ports"] = json!([{"containerPort": HOST_PORT}]);
    let first = ground.put_static(POD, NAME, &spec)?;
    ground.mirror(&first, "run", runs).await?;
    let second = ground.put_static(OTHER, "behaves-other", &spec)?;
    let third = ground.put_static(THIRD, "behaves-third", &pod_spec(&ground.pause, &[]))?;
    ground.mirror(&third, "run", runs).await?;
    let second = ground.api::<Pod>().get_opt(&second).await?;
    expect(!second.as_ref().is_some_and(runs), "the second pod does not run", second.map(|pod| pod.status))
}

/// A second scheduler with the first one's flags: its `listen` fails, and it ends.
pub(super) async fn taken_port(ground: &Ground) -> Result<(), Failed> {
    let port = ground.flag("kube-scheduler", "secure-port")?.and_then(|p| p.parse().ok()).unwrap_or(10259);
    let before = listening(ground, port).await?;
    expect(before.len() == 1, "one scheduler listens", &before)?;
    let name = ground.put_static(POD, NAME, &ground.twin_spec("kube-scheduler")?)?;
    let ended = |pod: &Pod| restarts(pod) >= 1 && last_exit(pod).is_some_and(|code| code != 0);
    ground.mirror(&name, "end, and be started again", ended).await?;
    let after = listening(ground, port).await?;
    expect(before == after, "the first one listens as before", (before, after))
}

async fn listening(ground: &Ground, port: u16) -> Result<Vec<u32>, Failed> {
    Ok(ground.host.listeners(port).await?.iter().map(|listener| listener.process.pid).collect())
}
