//! `fulcrum upgrade`: another release of Kubernetes for a control plane that runs from its DaemonSets.

use super::carry_on::{conclude, engine, nothing_to_do};
use super::rollback::rollback;
use super::self_hosted::SelfHosted;
use super::upgrade_etcd::upgrade_etcd;
use crate::args::{AllNodes, Consent, Global, LockArg, Pace, Release, Rollback, Upgrade, UpgradeCommand};
use crate::env::require_root;
use crate::exit::{Exit, Failure};
use crate::journal::read_journal;
use crate::kubeadm::{Kubeadm, copy_program};
use crate::render::template_diff;
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Reader, RunId};
use fulcrum_engine::{Plan, PlanError};
use fulcrum_steps::manifest::{TemplateChange, can_roll_out};
use fulcrum_steps::plan::{self, FINALIZE, UPGRADE};
use fulcrum_steps::run_info::LockPurpose;
use fulcrum_steps::settings::Settings;
use fulcrum_steps::upgrade::{
    Found, Merged, Renderer, Wish, end_of_emulation, kubeadm_copy, others_follow, target,
    would_start_finalized,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) async fn upgrade(global: &Global, args: &Upgrade, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    match &args.command {
        UpgradeCommand::Plan { release, kubeconfig } => {
            let node = SelfHosted::find(global, kubeconfig.as_ref()).await?;
            let found = node.target(release, shell).await?;
            Ok(if node.show(&found.merged, shell).await? { Exit::Changes } else { Exit::Done })
        }
        UpgradeCommand::Apply { release, pace } => apply(global, release, pace, shell).await,
        UpgradeCommand::Finalize { pace } => finalize(global, pace, shell).await,
        UpgradeCommand::Etcd { release, pace } => upgrade_etcd(global, release, pace, shell).await,
        UpgradeCommand::Rollback { kubeconfig, allow_downgrade, consent } => {
            let run = last_to_take_back(global)?;
            let args = Rollback {
                run: Some(run.to_string()),
                kubeconfig: kubeconfig.clone(),
                keep_port_sharing: false,
                allow_downgrade: *allow_downgrade,
                all: AllNodes::none(),
                timeout: None,
                lock: LockArg { take_lock: false },
                consent: Consent { yes: consent.yes },
            };
            rollback(global, &args, shell).await
        }
    }
}

async fn apply(global: &Global, release: &Release, pace: &Pace, shell: &Shell) -> Result<Exit, Failure> {
    let node = SelfHosted::find(global, pace.kubeconfig.as_ref()).await?;
    let found = node.target(release, shell).await?;
    if !node.show(&found.merged, shell).await? {
        return Ok(nothing_to_do(None, &format!("the control plane is {} as it runs", found.to), shell));
    }
    let Found { from, to, merged, noted, phases, config, warnings: _ } = found;
    let why = format!("{from} to {to}");
    let question = format!("Upgrade the control plane from {from} to {to}?");
    let kubeadm = kubeadm_copy(&global.state_dir);
    let rest = (!phases.is_empty()).then_some(plan::Rest { kubeadm, config, phases });
    let upgrade = plan::Upgrade { merged, noted, rest, within: pace.timeout, why };
    let program = Some(release.kubeadm.as_path());
    node.carry_out(global, upgrade, plan::upgrade, (pace, &question, program), shell).await
}

async fn finalize(global: &Global, pace: &Pace, shell: &Shell) -> Result<Exit, Failure> {
    let node = SelfHosted::find(global, pace.kubeconfig.as_ref()).await?;
    others_follow(node.cluster(), &node.settings, &node.live).await.map_err(Failure::refused)?;
    would_start_finalized(&node.live).map_err(Failure::refused)?;
    let merged = end_of_emulation(&node.live).map_err(Failure::refused)?;
    if !node.show(&merged, shell).await? {
        return Ok(nothing_to_do(None, "no component emulates another release", shell));
    }
    let why = "the emulation of the release before ends".to_owned();
    let question = "Finalize the upgrade? It cannot be taken back then.";
    let upgrade = plan::Upgrade { merged, noted: None, rest: None, within: pace.timeout, why };
    node.carry_out(global, upgrade, plan::finalize, (pace, question, None), shell).await
}

/// The last upgrade, which can be taken back.
fn last_to_take_back(global: &Global) -> Result<RunId, Failure> {
    let journal = read_journal(&global.state_dir, LockPurpose::Upgrade)?;
    last_upgrade(&journal)?.ok_or_else(|| {
        Failure::refused(
            "there is no upgrade to take back here: none was begun on this node, or the last one is finalized or taken back; \
             the node whose `upgrade apply` it was can take it back",
        )
    })
}

/// The last upgrade in the journal that can be taken back.
fn last_upgrade(journal: &Reader) -> Result<Option<RunId>, Failure> {
    for header in journal.runs()?.into_iter().rev() {
        let run = load(journal, header.run)?;
        match header.kind.as_str() {
            FINALIZE if !run.is_rolled_back() => return Ok(None),
            UPGRADE if !run.is_rolled_back() => return Ok(Some(header.run)),
            _ => {}
        }
    }
    Ok(None)
}

impl SelfHosted {
    /// Such a node, whose DaemonSets can be rolled out.
    async fn find(global: &Global, kubeconfig: Option<&PathBuf>) -> Result<Self, Failure> {
        let found = Self::find_any(global, kubeconfig).await?;
        for (component, live) in &found.live {
            can_roll_out(live).map_err(|why| {
                Failure::refused(format!(
                    "DaemonSet {} cannot be upgraded: {why}",
                    component.daemonset_name()
                ))
            })?;
        }
        Ok(found)
    }

    async fn target(&self, release: &Release, shell: &Shell) -> Result<Found, Failure> {
        let kubeadm = Kubeadm::new(&release.kubeadm);
        let base = release.base_kubeadm.as_deref().map(Kubeadm::new);
        let wish = Wish {
            cluster: self.cluster(),
            host: self.host(),
            settings: &self.settings,
            live: &self.live,
            kubeadm: &kubeadm,
            base: base.as_ref().map(|base| base as &dyn Renderer),
            to: release.to,
            allow_removed_apis: release.allow_removed_apis,
            skip: &release.skip_phases,
        };
        let found = target(&wish).await.map_err(|error| Failure::new(Exit::Refused, error))?;
        for warning in &found.warnings {
            shell.talk(format_args!("warning: {warning}"));
        }
        if !found.phases.is_empty() && !found.merged.is_empty() {
            let phases: Vec<String> = found.phases.iter().map(ToString::to_string).collect();
            let phases = phases.join(", ");
            shell.talk(format_args!("once it runs, {} goes through {phases}", release.kubeadm.display()));
        }
        Ok(found)
    }

    /// Shows what changes, and has the API server check it. Returns whether anything does.
    async fn show(&self, merged: &[Merged], shell: &Shell) -> Result<bool, Failure> {
        for Merged { component, changes } in merged {
            let Some((_, live)) = self.live.iter().find(|(other, _)| other == component) else { continue };
            let mut after = live.clone();
            let change = TemplateChange::Fields(changes.clone());
            if !change.make(*component, &mut after["spec"]["template"]) {
                return Err(Failure::refused(format!(
                    "DaemonSet {} has no place for what the release changes; nothing was changed: report this",
                    component.daemonset_name()
                )));
            }
            let [before, now] = [live, &after].map(|one| &one["spec"]["template"]);
            shell.talk(template_diff(*component, before, now, shell.colours()).trim_end());
            if let Err(error) = self.cluster().replace_daemonset(&after, true).await {
                let text = format!("the API server would not take it; nothing was changed: {error}");
                return Err(Failure::refused(text));
            }
        }
        Ok(!merged.is_empty())
    }

    async fn carry_out(
        self,
        global: &Global,
        upgrade: plan::Upgrade,
        make: fn(&Settings, RunId, plan::Upgrade) -> Result<Plan, PlanError>,
        (pace, question, program): (&Pace, &str, Option<&Path>),
        shell: &Shell,
    ) -> Result<Exit, Failure> {
        if pace.dry_run {
            shell.talk("dry run: the API server would take it; nothing was changed");
            return Ok(Exit::Done);
        }
        if !pace.consent.yes {
            shell.confirm(question)?;
        }
        let journal = self.open(global)?;
        let pivot = self.told.pivot;
        if self.settings.guard {
            // A guard does this when it starts, and that may not have been since the pivot.
            self.told.standby(&global.state_dir).begin(&self.told.retired)?;
        }
        let copy = program.zip(upgrade.rest.as_ref().map(|rest| rest.kubeadm.clone()));
        let plan = make(&self.settings, pivot, upgrade).map_err(|error| Failure::new(Exit::Other, error))?;
        let site = Arc::new(self.site(global));
        let (engine, progress) = engine(journal, &site, &[], None, shell).await?;
        if let Some((program, copy)) = copy {
            copy_program(program, &copy)?;
        }
        conclude(engine.start(plan).await, &progress, shell)
    }
}
