//! Gathers the facts: side by side, each within its time, and without a change.

use super::facts::{
    ApiFacts, ComponentFacts, DaemonsetFacts, Facts, Files, Ground, GuardFacts, JournalFacts, Leader,
    ListenerFacts, Origin, Serving,
};
use super::limit::{API_WITHIN, HOST_WITHIN, within};
use super::way_back::outrun;
use crate::certificates::{Inventory, Pace, inventory};
use crate::check::Ignored;
use crate::cluster::{Cluster, ClusterError, RUN_ANNOTATION};
use crate::component::Component;
use crate::guard::JournalView;
use crate::guard::decide::{Standing, Workflow};
use crate::handover::bridge::BRIDGE_FILE;
use crate::host::{ManifestsDir, Node, Process, Question};
use crate::look::once;
use crate::manifest::{StaticPod, read_as_the_kubelet};
use crate::run_info::RollbackMode;
use crate::settings::{HandoverMode, OnReboot, Settings};
use crate::site::{Site, describe, health_question, in_api_pod, in_static_pod};
use crate::timeouts::Timeouts;
use crate::unit::UNIT;
use fulcrum_engine::state::{Reader, RunId, lock_holder};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long all questions of one kind to this machine may take, one after the other.
const PART_WITHIN: Duration = Duration::from_millis(1800);
/// How long `certs check` may take, which has nothing else to do.
const CERTIFICATES_WITHIN: Duration = Duration::from_secs(10);
/// How long the journal may take to be read from end to end.
const JOURNAL_WITHIN: Duration = Duration::from_millis(1500);

/// What is to be examined.
#[derive(Debug, Clone)]
pub struct Patient {
    /// The machine. Its manifests directory is used where the journal names none.
    pub node: Node,
    /// The API.
    pub cluster: Cluster,
    /// Why there is no way to the API, if so. It is then not asked.
    pub no_way: Option<String>,
    /// The directory of the journal.
    pub state_dir: PathBuf,
    /// The kubeconfig that leads to the API.
    pub kubeconfig: PathBuf,
    /// Whether the journal is read from end to end.
    pub verify: bool,
}

/// Looks at everything, side by side. Takes less than 2 s on a machine whose API answers within that time, and less
/// than 5 s otherwise, whatever hangs: every part has its limit. Never fails: what cannot be seen is a fact, too.
pub async fn gather(patient: &Patient) -> Facts {
    let (told, unread) = match read_journal(&patient.state_dir) {
        Ok(told) => (told, None),
        Err(error) => (None, Some(error)),
    };
    let settings = told.as_ref().map(|told| told.settings.clone());
    let site = site(patient, settings);
    let ground = match (&told, &unread) {
        (_, Some(_)) => None,
        (told, None) => Some(ground(told.as_ref())),
    };
    let journal = verify(patient, unread);
    let api = api(patient);
    let cluster = patient.no_way.is_none().then_some(&patient.cluster);
    let outrun = Box::pin(outrun(&site, told.as_ref(), cluster));
    let (journal, components, prefers_one, shares_port, api, guard, etcd, redirect, certificates, outrun) = tokio::join!(
        Box::pin(journal),
        // On the heap: all of them at once are too much for a stack.
        Box::pin(components(&site, told.as_ref())),
        prefers_one(&site),
        shares_port(&site),
        Box::pin(api),
        guard(&site),
        Box::pin(etcd(&site)),
        within(HOST_WITHIN, "the redirect of connections", site.node.host.redirect_state()),
        Box::pin(certificates(&site, PART_WITHIN)),
        outrun,
    );
    Facts {
        now: Timestamp::now(),
        journal,
        writer: lock_holder(&patient.state_dir).ok().flatten().map(|holder| holder.to_string()),
        ground,
        unfinished: told.as_ref().map(unfinished).unwrap_or_default(),
        components,
        prefers_one,
        shares_port,
        api,
        guard,
        certificates,
        etcd,
        files: files(&site, told.as_ref()),
        outrun,
        redirect,
    }
}

fn read_journal(state_dir: &Path) -> Result<Option<JournalView>, String> {
    if !state_dir.exists() {
        return Ok(None);
    }
    let journal = Reader::open(state_dir).map_err(|error| error.to_string())?;
    JournalView::of(&journal).map_err(|error| error.to_string())
}

/// Reads every run from end to end, with its blobs, in a thread of its own: a long journal must not hold up the rest.
async fn verify(patient: &Patient, unread: Option<String>) -> JournalFacts {
    if let Some(error) = unread {
        return JournalFacts::Broken(error);
    }
    if !patient.state_dir.exists() {
        return JournalFacts::Absent;
    }
    if !patient.verify {
        return JournalFacts::NotAllRead;
    }
    let dir = patient.state_dir.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let journal = Reader::open(&dir).map_err(|error| error.to_string())?;
        let runs = journal.runs().map_err(|error| error.to_string())?;
        for header in &runs {
            for entry in journal.entries(header.run) {
                let blobs = entry.map_err(|error| error.to_string())?.blobs;
                blobs
                    .iter()
                    .try_for_each(|blob| journal.blob(blob).map(drop))
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok::<usize, String>(runs.len())
    });
    match timeout(JOURNAL_WITHIN, reading).await {
        Err(_) => JournalFacts::NotAllRead,
        Ok(Ok(Ok(runs))) => JournalFacts::Whole { runs },
        Ok(Ok(Err(error))) => JournalFacts::Broken(error),
        Ok(Err(panicked)) => JournalFacts::Broken(panicked.to_string()),
    }
}

fn ground(told: Option<&JournalView>) -> Ground {
    let Some(told) = told else { return Ground::Static };
    match told.pivot_facts().standing {
        Standing::RolledBack => Ground::Static,
        _ if told.is_at_rest() => Ground::SelfHosted(told.pivot),
        _ => Ground::Between(told.pivot),
    }
}

fn unfinished(told: &JournalView) -> Vec<(RunId, Workflow, Standing)> {
    let open =
        told.runs.iter().filter(|run| !matches!(run.standing, Standing::Completed | Standing::RolledBack));
    open.map(|run| (run.run, run.workflow, run.standing)).collect()
}

/// The site that the last pivot was planned for, or else what the manifests say.
fn site(patient: &Patient, settings: Option<Settings>) -> Site {
    let settings = settings.unwrap_or_else(|| of_manifests(&patient.node.manifests, &patient.kubeconfig));
    Site {
        node: Node { manifests: settings.manifests(), ..patient.node.clone() },
        cluster: patient.cluster.clone(),
        settings,
        state_dir: patient.state_dir.clone(),
        timeouts: Timeouts::default(),
        rollback_mode: RollbackMode::default(),
        take_lock: false,
    }
}

/// Settings that are good for looking at this machine, and for nothing else.
fn of_manifests(manifests: &ManifestsDir, kubeconfig: &Path) -> Settings {
    let read = |component: Component| {
        let image = manifests.read(component.manifest_file()).ok()??;
        StaticPod::parse(component, image.content.as_bytes()).ok()
    };
    let pods = Component::ALL.into_iter().filter_map(|component| Some((component, read(component)?)));
    Settings {
        cluster_uid: String::new(),
        node: String::new(),
        node_addresses: Vec::new(),
        manifests_dir: manifests.path().to_owned(),
        manifest_names: BTreeMap::new(),
        publishes_itself: true,
        kubeconfig: kubeconfig.to_owned(),
        role_label: String::new(),
        kubernetes_minor: 0,
        handover: HandoverMode::Restart,
        soak: Duration::ZERO,
        max_latency: None,
        health: pods.map(|(component, pod)| (component, health_question(&pod, &[]))).collect(),
        guard: false,
        on_reboot: OnReboot::default(),
        of_pivot: None,
        in_secrets: None,
        ignored: Ignored::default(),
    }
}

async fn components(site: &Site, told: Option<&JournalView>) -> BTreeMap<Component, ComponentFacts> {
    let [api, manager, scheduler] =
        Component::ALL.map(|component| Box::pin(component_facts(site, told, component)));
    let (api, manager, scheduler) = tokio::join!(api, manager, scheduler);
    Component::ALL.into_iter().zip([api, manager, scheduler]).collect()
}

async fn component_facts(site: &Site, told: Option<&JournalView>, component: Component) -> ComponentFacts {
    let manifests = &site.node.manifests;
    let name = component.manifest_file();
    let image = manifests.read(name).ok().flatten();
    let standby = told.map(|told| told.standby(&site.state_dir));
    let is_standby = match (&standby, &image) {
        (Some(standby), Some(image)) => standby.is(component, image).unwrap_or_default(),
        _ => false,
    };
    let standby_since = standby.as_ref().and_then(|standby| standby.kept_at(component).ok()?);
    let standby_since = standby_since.and_then(|time| Timestamp::try_from(time).ok());
    let unusable = standby.and_then(|standby| match standby.get(component) {
        Ok(None) => Some("it is not there".to_owned()),
        Ok(Some(image)) => {
            StaticPod::parse(component, image.content.as_bytes()).err().map(|error| error.to_string())
        }
        Err(error) => Some(error.to_string()),
    });
    let (port, end) = (site.port(component), Instant::now() + PART_WITHIN);
    let listeners = within(HOST_WITHIN, "who listens", site.node.host.listeners(port)).await;
    let listeners = listeners.map(|found| {
        found
            .iter()
            .map(|one| ListenerFacts { origin: origin(&one.process), who: describe(&one.process) })
            .collect()
    });
    ComponentFacts {
        path: manifests.file(name),
        manifest: manifests.file(name).exists(),
        is_standby,
        standby: unusable,
        standby_since,
        port,
        listeners,
        serving: serving(site, component, end).await,
    }
}

fn origin(process: &Process) -> Origin {
    match (in_static_pod(process), in_api_pod(process)) {
        (true, _) => Origin::Static,
        (_, true) => Origin::Api,
        _ => Origin::Other,
    }
}

/// Which process answers: the DaemonSet's, else the static pod's, else any. Beside another one that listens, a
/// process may get no connection at all.
async fn serving(site: &Site, component: Component, end: Instant) -> Serving {
    let mut seen = String::new();
    let asked: [fn(&Process) -> bool; 3] = [in_api_pod, in_static_pod, |_| true];
    for which in asked {
        match timeout_at(end.min(Instant::now() + HOST_WITHIN), site.serves(component, None, which)).await {
            Ok(look) => match once(look) {
                Ok(Ok(process)) => return Serving::By(origin(&process)),
                Ok(Err(instead)) => seen = instead,
                Err(error) => seen = error.to_string(),
            },
            Err(_) => seen = format!("no answer within {HOST_WITHIN:?}"),
        }
    }
    Serving::Not(seen)
}

/// Whether the kernel steers new connections. `None` if fewer than two API servers listen.
async fn prefers_one(site: &Site) -> Option<bool> {
    let host = &site.node.host;
    let all = timeout(HOST_WITHIN, host.listeners(site.port(Component::ApiServer))).await.ok()?.ok()?;
    let group = all.first()?.group_of(&all);
    if group.len() < 2 {
        return None;
    }
    Some(timeout(HOST_WITHIN, host.steering(&group)).await.ok()?.ok()?.is_some())
}

async fn shares_port(site: &Site) -> Option<bool> {
    let host = &site.node.host;
    let all = timeout(HOST_WITHIN, host.listeners(site.port(Component::ApiServer))).await.ok()?.ok()?;
    timeout(HOST_WITHIN, host.is_shared(all.first()?)).await.ok()?.ok()
}

async fn api(patient: &Patient) -> Result<ApiFacts, String> {
    match &patient.no_way {
        Some(why) => Err(why.clone()),
        None => within(API_WITHIN, "the API", ask_api(&patient.cluster)).await,
    }
}

async fn ask_api(cluster: &Cluster) -> Result<ApiFacts, ClusterError> {
    let daemonset = async |component: Component| {
        let found = cluster.daemonset(component.daemonset_name()).await?;
        Ok::<_, ClusterError>(found.map(|object| {
            let number = |field: &str| object["status"][field].as_u64().unwrap_or_default();
            let made_by = object["metadata"]["annotations"][RUN_ANNOTATION].as_str().map(str::to_owned);
            let (desired, ready) = (number("desiredNumberScheduled"), number("numberReady"));
            (component, DaemonsetFacts { made_by, desired, ready })
        }))
    };
    let leader = async |component: Component| {
        let Some(name) = component.lease_name() else { return Ok(None) };
        let lease = cluster.lease(name).await?;
        Ok::<_, ClusterError>(Some((
            component,
            lease.map_or(Leader { holder: String::new(), age: None }, of_lease),
        )))
    };
    let [api, manager, scheduler] = Component::ALL;
    let (ready, a, b, c, first, second, lock) = tokio::join!(
        cluster.readyz(),
        daemonset(api),
        daemonset(manager),
        daemonset(scheduler),
        leader(manager),
        leader(scheduler),
        cluster.lock_holder(),
    );
    ready?;
    Ok(ApiFacts {
        daemonsets: [a?, b?, c?].into_iter().flatten().collect(),
        lock: lock?,
        leaders: [first?, second?].into_iter().flatten().collect(),
    })
}

fn of_lease(lease: Lease) -> Leader {
    let spec = lease.spec.unwrap_or_default();
    let age = spec.renew_time.map(|time| Timestamp::now().duration_since(time.0));
    Leader {
        holder: spec.holder_identity.unwrap_or_default(),
        age: age.map(|age| Duration::try_from(age).unwrap_or_default()),
    }
}

async fn guard(site: &Site) -> Result<GuardFacts, String> {
    let units = &site.node.units;
    let state = within(HOST_WITHIN, "systemd", units.state(UNIT)).await?;
    Ok(GuardFacts {
        installed: units.dir().join(UNIT).exists(),
        enabled: state.enabled,
        active: state.active,
        says: within(HOST_WITHIN, "systemd", units.words(UNIT)).await.unwrap_or_default(),
    })
}

/// Every certificate that the control plane of this machine uses. The journal is not needed, nor the API.
pub async fn look_at_certificates(patient: &Patient) -> Inventory {
    let settings = read_journal(&patient.state_dir).ok().flatten().map(|told| told.settings);
    certificates(&site(patient, settings), CERTIFICATES_WITHIN).await
}

async fn certificates(site: &Site, limit: Duration) -> Inventory {
    let pace = Pace { minute: site.timeouts.minute, within: limit };
    inventory(&*site.node.host, &site.ports(), &site.kubernetes_dir(), pace).await
}

/// etcd's answer on the port that kubeadm opens for its probes: HTTP, and no secret is needed.
async fn etcd(site: &Site) -> Option<Result<u16, String>> {
    let bytes = site.node.manifests.read_as_the_kubelet("etcd.yaml".as_ref()).ok()??;
    let pod = read_as_the_kubelet(&bytes)?;
    let words = pod["spec"]["containers"].as_array()?.iter().flat_map(|one| {
        let list = |key: &str| one[key].as_array().cloned().unwrap_or_default();
        [list("command"), list("args")].concat()
    });
    let mut urls =
        words.filter_map(|word| Some(word.as_str()?.strip_prefix("--listen-metrics-urls=")?.to_owned()));
    let url: http::Uri = urls.next_back()?.split(',').next()?.parse().ok()?;
    let host = url.host()?.trim_matches(['[', ']']).parse().ok()?;
    let address = std::net::SocketAddr::new(host, url.port_u16()?);
    let tls = url.scheme_str() == Some("https");
    let question = Question { address, path: "/health".to_owned(), tls, mark: None };
    let answer = within(HOST_WITHIN, "etcd's health", site.node.host.ask(&question)).await;
    Some(answer.map(|answer| answer.status))
}

fn files(site: &Site, told: Option<&JournalView>) -> Files {
    let manifests = &site.node.manifests;
    let bridge = manifests.file(BRIDGE_FILE);
    let entries = std::fs::read_dir(manifests.path()).into_iter().flatten().flatten();
    let half_written = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(".fulcrum-") && !name.starts_with(".fulcrum-spare-")
    });
    Files {
        bridge: bridge.exists().then_some(bridge),
        half_written: half_written.collect(),
        spares: told.and_then(|told| told.standby(&site.state_dir).is_laid_by(manifests).ok()),
    }
}
