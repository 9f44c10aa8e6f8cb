//! `fulcrum guard`: the daemon, and its installation by hand. `fulcrum_steps::guard` decides and acts.

use super::carry_on::{conclude, engine, signals};
use crate::args::{Global, Guard, GuardCommand, GuardPace};
use crate::env::{PROGRAM, access, require_root, site};
use crate::exit::{Exit, Failure};
use crate::journal::{gone_on_meanwhile, open_journal, read_before_writing};
use crate::shell::Shell;
use async_trait::async_trait;
use fulcrum_engine::state::{Journal, Reader};
use fulcrum_engine::{Engine, PauseCause, Session};
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{Ended, Guard as Daemon, GuardEnv, GuardError, Intervals, JournalView};
use fulcrum_steps::handover::standby::Standby;
use fulcrum_steps::host::{Systemd, Units};
use fulcrum_steps::plan;
use fulcrum_steps::run_info::{LockPurpose, SessionRole};
use fulcrum_steps::sealer::Sealer;
use fulcrum_steps::settings::Settings;
use fulcrum_steps::site::Site;
use fulcrum_steps::step::library;
use fulcrum_steps::unit::{HOLD_OFF, Orders, PATIENCE, Told, UNIT, arm, disarm, installed};
use sd_notify::NotifyState;
use serde_json::json;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) async fn guard(global: &Global, args: &Guard, shell: &Shell) -> Result<Exit, Failure> {
    match &args.command {
        None => run(global, &args.pace).await,
        Some(GuardCommand::Install { pace, manifests_dir }) => {
            require_root()?;
            let units = Systemd::default();
            units.support().await.map_err(|error| Failure::new(Exit::Refused, error))?;
            let orders = orders(&units, global, pace, manifests_dir)?;
            arm(&units, &orders, &[]).await.map_err(|error| Failure::new(Exit::Other, error))?;
            shell.talk(format_args!("{UNIT} is installed, enabled and started"));
            Ok(Exit::Done)
        }
        Some(GuardCommand::Uninstall) => {
            require_root()?;
            disarm(&Systemd::default()).await.map_err(|error| Failure::new(Exit::Other, error))?;
            shell.talk(format_args!("{UNIT} is gone"));
            Ok(Exit::Done)
        }
        Some(GuardCommand::Status) => status(global, &args.pace, shell).await,
        Some(GuardCommand::HandOver { yes }) => hand_over(global, *yes, shell).await,
    }
}

/// The daemon.
async fn run(global: &Global, pace: &GuardPace) -> Result<Exit, Failure> {
    require_root()?;
    let stop = CancellationToken::new();
    let [mut interrupt, mut terminate, _] = signals()?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
    });
    let (patience, hold_off) = (pace.patience.unwrap_or(PATIENCE), pace.hold_off.unwrap_or(HOLD_OFF));
    let env = Machine { state_dir: global.state_dir.clone(), stop: stop.clone() };
    let roll_certificates = pace.roll_certificates.unwrap_or(false);
    let intervals = Intervals::new(patience, hold_off);
    let daemon = Daemon { env: &env, intervals, roll_certificates, stop };
    let ended = daemon.run(|| tell(&NotifyState::Ready));
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(show_life(within / 3));
    }
    Ok(match ended.await {
        Ended::NothingToGuard => Exit::Done,
        Ended::Stopped => Exit::Interrupted,
        Ended::RunIsOver => return Err(begin_anew()),
    })
}

/// Tells systemd, as long as the guard has a unit: its own rollback takes the unit away. Without systemd, no
/// service manager waits for the notice.
fn tell(state: &NotifyState<'_>) {
    if unit_is_gone(UNIT) {
        return;
    }
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, "the guard could not tell systemd its state");
    }
}

/// Shows systemd that the guard's only thread goes on, also while the guard waits for a run.
async fn show_life(every: Duration) {
    loop {
        tell(&NotifyState::Watchdog);
        tokio::time::sleep(every).await;
    }
}

fn unit_is_gone(unit: &str) -> bool {
    !Systemd::default().dir().join(unit).exists()
}

/// Replaces this process by a new one of the same program. The unit notices nothing. Returns only if that is
/// not possible, and then the unit starts the guard again.
fn begin_anew() -> Failure {
    // By its name, which lists of processes then show. A program whose file is gone has no name.
    let program = std::env::current_exe().ok().filter(|program| program.exists());
    let program = program.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    Failure::new(
        Exit::Other,
        anyhow::Error::new(error).context("the guard could not start itself again after a run"),
    )
}

async fn status(global: &Global, pace: &GuardPace, shell: &Shell) -> Result<Exit, Failure> {
    let units = Systemd::default();
    let usual = PathBuf::from("/etc/kubernetes/manifests");
    let seen = installed(&units, &orders(&units, global, pace, &usual)?).await;
    let seen = seen.map_err(|error| Failure::new(Exit::Other, error))?;
    if shell.json() {
        shell.data_json(&json!({
            "unit_file": seen.unit_file, "current": seen.current,
            "enabled": seen.state.enabled, "active": seen.state.active,
        }));
        return Ok(Exit::Done);
    }
    let Some(file) = seen.unit_file else {
        shell.data("not installed");
        return Ok(Exit::Done);
    };
    let word = |yes: bool, word: &str| if yes { word.to_owned() } else { format!("not {word}") };
    shell.data(format_args!(
        "{}: {}, {}",
        file.display(),
        word(seen.state.enabled, "enabled"),
        word(seen.state.active, "running")
    ));
    if !seen.current {
        shell.data("  it was installed by another version or with other options");
    }
    Ok(Exit::Done)
}

/// Does by hand what the guard does by itself after a boot.
async fn hand_over(global: &Global, yes: bool, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let read = read_before_writing(&global.state_dir, LockPurpose::HandOver)?;
    let (told, components) = fallback(global, &read)?;
    if components.is_empty() {
        return Ok(super::carry_on::nothing_to_do(None, "there is no fallback: no static pod serves", shell));
    }
    let settings = Settings { of_pivot: Some(told.pivot), ..told.settings.clone() };
    let (access, host) = access(&settings.kubeconfig).await?;
    crate::env::refuse_another_cluster(&access.cluster, &settings).await?;
    if !yes {
        shell
            .confirm(&format!("Hand the control plane of node {} over to its DaemonSets?", settings.node))?;
    }
    let journal = open_journal(&global.state_dir, LockPurpose::HandOver)?;
    let (now, still) = fallback(global, &journal.reader())?;
    if (now.pivot, still) != (told.pivot, components.clone()) {
        return Err(gone_on_meanwhile(now.pivot));
    }
    let plan = plan::hand_over(&settings, told.pivot, &components, "it was asked for");
    let plan = plan.map_err(|error| Failure::new(Exit::Other, error))?;
    let site = Arc::new(site(settings, &access, host, &global.state_dir));
    let (engine, progress) = engine(journal, &site, &[], None, shell).await?;
    conclude(engine.start(plan).await, &progress, shell)
}

/// The completed pivot, and the components that have fallen back since.
fn fallback(global: &Global, journal: &Reader) -> Result<(JournalView, Vec<Component>), Failure> {
    let broken = |error: GuardError| Failure::new(Exit::Damaged, error);
    let Some(told) = JournalView::of(journal).map_err(broken)?.filter(JournalView::is_at_rest) else {
        return Err(Failure::refused(
            "there is no completed pivot, or a run is unfinished: see `fulcrum status`",
        ));
    };
    let manifests = told.settings.manifests();
    let standby = Standby::of(&global.state_dir, told.pivot);
    let mut components = Vec::new();
    for component in Component::ALL {
        let Some(image) = manifests.read(component.manifest_file())? else { continue };
        if !standby.is(component, &image)? {
            return Err(Failure::refused(format!(
                "{} is not as the guard writes it: another program or a person has changed it; roll back with \
                 `fulcrum rollback`, and pivot again",
                manifests.file(component.manifest_file()).display()
            )));
        }
        components.push(component);
    }
    Ok((told, components))
}

fn orders(
    units: &dyn Units,
    global: &Global,
    pace: &GuardPace,
    manifests_dir: &Path,
) -> Result<Orders, Failure> {
    let manifests_dir = std::path::absolute(manifests_dir)?;
    let (patience, hold_off) = (pace.patience, pace.hold_off);
    let told = Told { patience, hold_off, roll_certificates: pace.roll_certificates };
    Orders::new(units, &global.state_dir, &manifests_dir, told)
        .map_err(|error| Failure::new(Exit::Other, error))
}

/// The daemon's environment.
struct Machine {
    state_dir: PathBuf,
    stop: CancellationToken,
}

#[async_trait]
impl GuardEnv for Machine {
    fn state_dir(&self) -> PathBuf {
        self.state_dir.clone()
    }

    fn unit_is_gone(&self, unit: &str) -> bool {
        unit_is_gone(unit)
    }

    fn say(&self, words: &str) {
        // One line: a notice has several.
        tell(&NotifyState::Status(&words.replace('\n', "; ")));
    }

    async fn boot_id(&self) -> Result<String, GuardError> {
        Session::current(PROGRAM)
            .map(|session| session.boot_id)
            .map_err(|source| GuardError::Disk { doing: "read the kernel's boot id".to_owned(), source })
    }

    async fn site(&self, settings: Settings) -> Result<Arc<Site>, GuardError> {
        let no_way = |failure: Failure| GuardError::NoWay(format!("{:#}", failure.error));
        let (access, host) = access(&settings.kubeconfig).await.map_err(no_way)?;
        Ok(Arc::new(site(settings, &access, host, &self.state_dir)))
    }

    async fn engine(&self, journal: Journal, site: &Arc<Site>) -> Result<Engine, GuardError> {
        let session = Session::new(self.boot_id().await?, std::process::id(), PROGRAM)
            .with_role(SessionRole::Guard.role())
            .with_actor(crate::env::actor());
        let sealer = Sealer::new(Arc::clone(site), PROGRAM, |line| tracing::warn!("{line}"));
        let engine = sealer.attached(Engine::new(journal, library(Arc::clone(site)), session));
        let (stop, control) = (self.stop.clone(), engine.control());
        // Ends with the guard. It reports what a shutdown reports: the next boot goes on.
        tokio::spawn(async move {
            stop.cancelled().await;
            control.pause("SIGTERM", PauseCause::Signal);
        });
        Ok(engine)
    }
}
