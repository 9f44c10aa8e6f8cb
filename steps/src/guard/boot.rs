//! The guard's start: what is put back before the kubelet starts, and the run that follows.

use super::GuardError;
use super::decide::{BootFacts, Decision, ManifestCopy, Next, RunFacts, Workflow, at_boot};
use super::env::GuardEnv;
use super::intervals::Intervals;
use super::journal_view::JournalView;
use crate::certificates::finish_mirror;
use crate::component::Component;
use crate::handover::line::Line;
use crate::host::ManifestsDir;
use crate::manifest::{StaticPod, as_created, same_spec, standby_of};
use crate::plan;
use crate::run_info::{LockPurpose, RollbackMode};
use crate::settings::Settings;
use crate::site::Site;
use crate::upgrade::sweep_kubeadm;
use fulcrum_engine::Ending;
use fulcrum_engine::state::{Journal, OpenError};
use fulcrum_evidence::actor::REASON;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The outcome of the guard's start.
#[derive(Debug)]
pub struct Start {
    /// What was done, and what follows.
    pub decision: Decision,
    /// The journal's view, on which the decision rests. `None` if no pivot was ever begun.
    pub told: Option<JournalView>,
}

/// Decides from the journal and the disk alone, and restores the manifests that must be there before the
/// kubelet starts. Returns what follows when the API answers. The journal is closed again.
///
/// # Errors
/// When the journal cannot be read, or a manifest cannot be restored. The other manifests are restored.
pub async fn boot(env: &dyn GuardEnv, hold_off: Duration) -> Result<Start, GuardError> {
    let boot_id = env.boot_id().await?;
    let journal = open_to_read(env)?;
    let told = match &journal {
        Some((journal, _damaged)) => JournalView::read(journal)?,
        None => None,
    };
    let Some(known) = &told else {
        return Ok(Start { decision: at_boot(&BootFacts { boot_id, ..BootFacts::default() }), told });
    };
    let manifests = known.settings.manifests();
    let mut decision = at_boot(&known.at_boot(&manifests, boot_id, hold_off));
    if journal.as_ref().is_some_and(|(_, damaged)| *damaged) {
        // A run that is damaged cannot be carried on later.
        decision.put_back.append(&mut decision.put_back_later);
    }
    put_back(env, known, &manifests, &decision.put_back)?;
    // The process that ended an upgrade may have been killed right after.
    let swept = journal.as_ref().map(|(journal, _)| sweep_kubeadm(&journal.reader(), &env.state_dir()));
    if let Some(Err(left)) = swept {
        tracing::warn!("{left}");
    }
    Ok(Start { decision, told })
}

/// The outcome of what was to follow.
#[derive(Debug)]
pub enum Carried {
    /// The run ended like this.
    Ended(Ending),
    /// Nothing was to be done, or nothing is left to do: a person may have gone on meanwhile.
    Nothing,
    /// The static pods stay. The text says why.
    StaysStatic(String),
    /// The API has given no answer in time. When it answers, the guard decides again.
    Silent,
}

/// Carries out what follows, once the API answers. Until then the journal is closed. `stop` ends that wait; a
/// run is stopped by its engine. The later manifests are restored within [`Intervals::patience`], whether the
/// API answers or not.
///
/// # Errors
/// When the journal cannot be opened or written, or the cluster cannot be reached.
pub async fn carry_on(
    env: &dyn GuardEnv,
    start: &Start,
    intervals: &Intervals,
    stop: &CancellationToken,
) -> Result<Carried, GuardError> {
    let (next, Some(told)) = (start.decision.next, &start.told) else { return Ok(Carried::Nothing) };
    if matches!(next, Next::Rest | Next::Watch) {
        return Ok(Carried::Nothing);
    }
    let (site, silent) = match reach(env, start, told, intervals, stop).await? {
        Reached::Site(site) => (site, false),
        Reached::Stopped => return Ok(Carried::Nothing),
        // An edit can do nothing without the API, and the fallback that may bring it back must not wait. A renewal
        // of certificates is rolled back: half-written files may be why the API is silent.
        Reached::Silent if next == Next::HandOverIfProven || is_edit(told, next) => {
            return Ok(Carried::Silent);
        }
        Reached::Silent => (site_of(env, told, next).await?, true),
    };
    let manifests = &site.node.manifests;
    if next == Next::HandOverIfProven
        && let Err(why) = proven(env, told, &site, &static_ones(manifests)).await?
    {
        return Ok(Carried::StaysStatic(why));
    }
    let Some(journal) = open_when_free(env, intervals.tick, stop).await? else { return Ok(Carried::Nothing) };
    let Some(told) = JournalView::read(&journal)? else { return Ok(Carried::Nothing) };
    let decision = at_boot(&told.at_boot(manifests, env.boot_id().await?, intervals.hold_off));
    if decision.next != next {
        return Ok(Carried::Nothing);
    }
    // The journal is open here. So no rollback, which restores other manifests, can be under way.
    put_back(env, &told, manifests, &decision.put_back_later)?;
    let engine = env.engine(journal, &site).await?.actor(REASON, &decision.why);
    let ending = match next {
        Next::Resume(run) if silent => {
            let why = format!("the API gave no answer for {:?}", intervals.patience);
            engine.roll_back(run, why.as_str()).await?
        }
        Next::Resume(run) => engine.resume(run).await?,
        Next::RollBack(run) => engine.roll_back(run, "a reboot has cut it in half").await?,
        _ => {
            let plan = plan::hand_over(&told.settings, told.pivot, &static_ones(manifests), &decision.why)?;
            engine.start(plan).await?
        }
    };
    Ok(Carried::Ended(ending))
}

/// The outcome of the wait for the API.
enum Reached {
    Site(Arc<Site>),
    /// The guard is told to end.
    Stopped,
    /// The API gave no answer in time, and a longer wait may be in vain. The pods that serve may have gone
    /// since. For a hand-over that has not begun, the watch falls back then. A run that has begun is rolled
    /// back: that needs no API until the files are back, and brings the API back.
    Silent,
}

/// Calls [`reached`], and restores the later manifests if that fails or takes too long.
async fn reach(
    env: &dyn GuardEnv,
    start: &Start,
    told: &JournalView,
    intervals: &Intervals,
    stop: &CancellationToken,
) -> Result<Reached, GuardError> {
    let mut reached = std::pin::pin!(reached(env, told, start.decision.next));
    let in_time = tokio::select! {
        in_time = tokio::time::timeout(intervals.patience, &mut reached) => in_time,
        () = stop.cancelled() => return Ok(Reached::Stopped),
    };
    if !matches!(in_time, Ok(Ok(_))) {
        put_back_the_rest(env, start, intervals, stop).await?;
    }
    let brought_back = match start.decision.next {
        // Static pods serve already, and the API server may go during this wait.
        Next::HandOverIfProven => false,
        // On the boot on which the run was at work, no manifest is restored for it.
        Next::Resume(run) | Next::RollBack(run) => {
            let boot_id = env.boot_id().await?;
            told.run(run).is_none_or(|run| run.boot_id != boot_id)
        }
        Next::Rest | Next::Watch | Next::HandOver => true,
    };
    match in_time {
        Ok(site) => site.map(Reached::Site),
        Err(_elapsed) if !brought_back => Ok(Reached::Silent),
        Err(_elapsed) => tokio::select! {
            site = reached => site.map(Reached::Site),
            () = stop.cancelled() => Ok(Reached::Stopped),
        },
    }
}

/// The site of what follows. Waits for the API if the run needs it.
async fn reached(env: &dyn GuardEnv, told: &JournalView, next: Next) -> Result<Arc<Site>, GuardError> {
    let site = site_of(env, told, next).await?;
    if needs_the_api(told, next) {
        let lined_up = nobody_steers(told, next, &env.boot_id().await?);
        api_answers(&site, lined_up).await;
    }
    Ok(site)
}

/// Whether two things hold: no run on this boot has decided yet which server gets new connections, and the
/// restored manifest shares its port.
fn nobody_steers(told: &JournalView, next: Next, boot_id: &str) -> bool {
    match next {
        Next::HandOver | Next::HandOverIfProven => true,
        Next::Resume(run) => {
            let beside_static = |kind: Workflow| kind == Workflow::HandOver || kind.is_a_change();
            told.run(run).is_some_and(|run| beside_static(run.workflow) && run.boot_id != boot_id)
        }
        Next::Rest | Next::Watch | Next::RollBack(_) => false,
    }
}

/// Waits until the API is ready. The kubelet starts the DaemonSets' pods as soon as it gets any answer, a
/// second before that. Their API server shares the port and would get half of the connections, ready or not.
/// So the servers are `lined_up`.
async fn api_answers(site: &Site, lined_up: bool) {
    let (poll, ready) = (site.timeouts.poll, CancellationToken::new());
    let answers = async {
        while !site.is_ready_here().await {
            tokio::time::sleep(poll).await;
        }
        ready.cancel();
    };
    let lines_up = async {
        let mut line = Line::default();
        while lined_up && !ready.is_cancelled() {
            if let Err(error) = line.look(site).await {
                tracing::debug!(%error, "who listens cannot be told");
            }
            let _ = tokio::time::timeout(poll, ready.cancelled()).await;
        }
    };
    tokio::join!(answers, lines_up);
}

/// Restores the manifests that were left for later. The journal is open meanwhile. So no rollback, which
/// restores other manifests, can be under way.
async fn put_back_the_rest(
    env: &dyn GuardEnv,
    start: &Start,
    intervals: &Intervals,
    stop: &CancellationToken,
) -> Result<(), GuardError> {
    if start.decision.put_back_later.is_empty() {
        return Ok(());
    }
    let Some(journal) = open_when_free(env, intervals.tick, stop).await? else { return Ok(()) };
    let Some(told) = JournalView::read(&journal)? else { return Ok(()) };
    let manifests = told.settings.manifests();
    let decision = at_boot(&told.at_boot(&manifests, env.boot_id().await?, intervals.hold_off));
    put_back(env, &told, &manifests, &decision.put_back_later)
}

/// Opens the journal once no other process has it open. `None` if the guard is told to end first.
///
/// # Errors
/// When the journal cannot be opened for another reason.
pub(super) async fn open_when_free(
    env: &dyn GuardEnv,
    tick: Duration,
    stop: &CancellationToken,
) -> Result<Option<Journal>, GuardError> {
    loop {
        match Journal::open(env.state_dir(), LockPurpose::Guard.text()) {
            Err(OpenError::Locked { .. }) => {}
            opened => return Ok(Some(opened?)),
        }
        tokio::select! {
            () = tokio::time::sleep(tick) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

fn needs_the_api(told: &JournalView, next: Next) -> bool {
    let Next::Resume(run) = next else { return true };
    told.run(run).is_none_or(RunFacts::needs_the_api)
}

/// Whether what follows goes on with a run that works on the API alone.
fn is_edit(told: &JournalView, next: Next) -> bool {
    let Next::Resume(run) = next else { return false };
    told.run(run)
        .is_some_and(|run| matches!(run.workflow, Workflow::Edit | Workflow::Upgrade | Workflow::RollCerts))
}

/// The components that a static manifest starts.
pub(super) fn static_ones(manifests: &ManifestsDir) -> Vec<Component> {
    let there = |component: &Component| manifests.file(component.manifest_file()).exists();
    Component::ALL.into_iter().filter(there).collect()
}

/// Whether the DaemonSets of these components exist and are the proven ones. If not, the error says why.
async fn proven(
    env: &dyn GuardEnv,
    told: &JournalView,
    site: &Site,
    components: &[Component],
) -> Result<Result<(), String>, GuardError> {
    for component in components {
        let name = component.daemonset_name();
        let Some(live) = site.cluster.daemonset(name).await? else {
            return Ok(Err(format!("DaemonSet {name} is gone")));
        };
        if !is_proven(env, told, site, *component, &live)? {
            return Ok(Err(format!("DaemonSet {name} is not what has last been seen to serve")));
        }
    }
    Ok(Ok(()))
}

/// Whether the DaemonSet still says what the standby was made from.
pub(super) fn is_proven(
    env: &dyn GuardEnv,
    told: &JournalView,
    site: &Site,
    component: Component,
    live: &Value,
) -> Result<bool, GuardError> {
    let standby = told.standby(&env.state_dir()).get(component);
    let standby = standby.map_err(GuardError::disk("read the standby"))?;
    let made = standby_of(component, live, &site.settings.target(None)).ok();
    if made.is_some() && made == standby.map(|image| image.content) {
        return Ok(true);
    }
    if !as_created(live) {
        return Ok(false);
    }
    // An earlier version of this program made it otherwise. The object is that of the pivot all the same.
    if told.made.get(&component) == Some(&live["metadata"]["uid"]) {
        return Ok(true);
    }
    let archived = std::fs::read(site.archived(told.pivot, component));
    let archived = archived.map_err(GuardError::disk("read the archived manifest"))?;
    let pod = StaticPod::parse(component, &archived).ok();
    Ok(pod.is_some_and(|pod| same_spec(&pod.daemonset(&site.settings.target(None)), live).is_ok()))
}

/// The site of the run that follows. A run of the guard's own knows its pivot.
async fn site_of(env: &dyn GuardEnv, told: &JournalView, next: Next) -> Result<Arc<Site>, GuardError> {
    let own = match next {
        Next::Resume(run) | Next::RollBack(run) => run != told.pivot,
        _ => true,
    };
    let settings = Settings { of_pivot: own.then_some(told.pivot), ..told.settings.clone() };
    let site = env.site(settings).await?;
    // A bridge that was cut short may have left connections that go nowhere.
    if let Some(mended) = site.mend_redirect().await? {
        tracing::warn!("{mended}");
    }
    let rollback_mode = if own { RollbackMode::default() } else { told.rollback_mode };
    Ok(Arc::new(Site { rollback_mode, ..Site::clone(&site) }))
}

/// The journal, and whether a run in it is damaged. `None` if there is no journal.
fn open_to_read(env: &dyn GuardEnv) -> Result<Option<(Journal, bool)>, GuardError> {
    if !env.state_dir().join("format").exists() {
        return Ok(None);
    }
    let journal = Journal::open(env.state_dir(), LockPurpose::Guard.text())?;
    let damaged = journal.reader().runs()?.iter().any(|header| header.damage.is_some());
    Ok(Some((journal, damaged)))
}

/// Restores as many manifests as possible: a missing one must not keep the others away.
fn put_back(
    env: &dyn GuardEnv,
    told: &JournalView,
    manifests: &ManifestsDir,
    which: &[(Component, ManifestCopy)],
) -> Result<(), GuardError> {
    let mut failed = None;
    if let Some(of) = &told.settings.in_secrets
        && let Err(error) = finish_mirror(of)
    {
        tracing::error!(%error, "the files of the Secrets in {} may be of two times", of.mirror.display());
    }
    for (component, copy) in which {
        if let Err(error) = put_one_back(env, told, manifests, *component, *copy) {
            tracing::error!(%error, "{component} is not put back");
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn put_one_back(
    env: &dyn GuardEnv,
    told: &JournalView,
    manifests: &ManifestsDir,
    component: Component,
    copy: ManifestCopy,
) -> Result<(), GuardError> {
    let name = component.manifest_file();
    let retired = told.retired.get(&component);
    let image = match copy {
        ManifestCopy::Retired => retired.cloned(),
        ManifestCopy::Standby => {
            let standby = told.standby(&env.state_dir());
            let kept = standby.begin(retired.map(|image| (&component, image)));
            kept.map_err(GuardError::disk(format!("keep the standby {name}")))?;
            standby.get(component).map_err(GuardError::disk(format!("read the standby {name}")))?
        }
    };
    let image = image.ok_or(GuardError::NothingKept(component))?;
    let written = manifests.sweep(name).and_then(|()| manifests.write(name, &image));
    written.map_err(GuardError::disk(format!("put {name} back")))
}

impl JournalView {
    /// The facts for the decision at boot.
    pub(super) fn at_boot(&self, manifests: &ManifestsDir, boot_id: String, hold_off: Duration) -> BootFacts {
        BootFacts {
            runs: self.runs.clone(),
            on_reboot: self.settings.on_reboot,
            manifests: static_ones(manifests).into_iter().collect(),
            boot_id,
            hold_off,
        }
    }
}
