//! A plan in a file: `fulcrum plan --out` writes it, `fulcrum pivot --plan` carries out nothing else.

use crate::args::{LockArg, Place, Wishes};
use crate::exit::{Exit, Failure};
use fulcrum_engine::Plan;
use fulcrum_engine::state::fsync::write_atomic;
use fulcrum_steps::check::Check;
use fulcrum_steps::manifest::changes;
use fulcrum_steps::preflight::{Level, Report};
use fulcrum_steps::run_info::RunInfo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// The version of the file. A file of another version is refused, not guessed at.
const FORMAT_VERSION: u32 = 1;
/// How many changes a refusal lists.
const LISTED_MAX: usize = 10;

/// What was planned, and what it was planned for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    format_version: u32,
    /// The program that planned. Another version may plan otherwise, which the comparison shows.
    program: String,
    plan: Plan,
    daemonsets: Vec<Value>,
    /// The manifests, byte for byte, by their paths.
    manifests: BTreeMap<String, String>,
    /// The checks that warned.
    warnings: BTreeSet<Check>,
}

impl PlanFile {
    /// The file for a plan that was just made.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub(crate) fn of(report: &Report, plan: &Plan) -> Result<Self, Failure> {
        let target = report.settings.target(None);
        let manifests = report.settings.manifests();
        let mut texts = BTreeMap::new();
        for pod in &report.static_pods {
            let name = pod.component().manifest_file();
            let image = manifests.read(name)?;
            let text = image.map(|image| image.content).unwrap_or_default();
            texts.insert(manifests.file(name).display().to_string(), text);
        }
        // How busy the node is just now is no part of what was planned.
        let warned =
            report.results.iter().filter(|result| result.level == Level::Warn && result.check != Check::Load);
        Ok(Self {
            format_version: FORMAT_VERSION,
            program: crate::env::PROGRAM.to_owned(),
            plan: plan.clone(),
            daemonsets: report.static_pods.iter().map(|pod| pod.daemonset(&target)).collect(),
            manifests: texts,
            warnings: warned.map(|result| result.check).collect(),
        })
    }

    /// Writes the file, readable for its owner only. After a crash the old file is there, or the new one.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_atomic(path, text.as_bytes(), Some(0o600), None).map_err(|error| {
            let text = format!("the plan could not be written to {}: {error}", path.display());
            Failure::new(Exit::Other, anyhow::anyhow!(text))
        })
    }

    /// Reads a file that [`Self::write`] has written.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let refuse = |what: String| {
            let shown = path.display();
            Failure::refused(format!(
                "the plan in {shown} {what}: make one with `fulcrum plan --out {shown}`"
            ))
        };
        let text = std::fs::read(path).map_err(|error| refuse(format!("could not be read: {error}")))?;
        let value: Value =
            serde_json::from_slice(&text).map_err(|error| refuse(format!("is no JSON: {error}")))?;
        if value["format_version"] != FORMAT_VERSION {
            return Err(refuse(format!(
                "has format_version {}, not {FORMAT_VERSION}",
                value["format_version"]
            )));
        }
        serde_json::from_value(value).map_err(|error| refuse(format!("is not understood: {error}")))
    }

    /// The options that lead to this plan again, and its time limit.
    pub(crate) fn wishes(&self) -> Result<(Wishes, Duration), Failure> {
        let settings = RunInfo::of(&self.plan)?.settings;
        let place = Place { kubeconfig: settings.kubeconfig, manifests_dir: settings.manifests_dir };
        let wishes = Wishes {
            place,
            node_name: Some(settings.node),
            handover: settings.handover.into(),
            soak: settings.soak,
            max_latency: settings.max_latency,
            no_guard: !settings.guard,
            on_reboot: settings.on_reboot.into(),
            ignore_preflight_errors: settings.ignored.names().map(str::to_owned).collect(),
            store_certs_in_secrets: settings.in_secrets.is_some(),
            // Not planned: whether another run is at work is seen when this one begins.
            lock: LockArg { take_lock: false },
        };
        Ok((wishes, self.plan.deadline().unwrap_or(Duration::MAX)))
    }

    /// Refuses a plan whose ground has changed: its manifests, its settings, its steps, its DaemonSets, or a
    /// check that did not warn before.
    pub(crate) fn refuse_changes(&self, now: &Self, path: &Path) -> Result<(), Failure> {
        let compared = |file: &Self| json!({ "manifests": file.manifests, "daemonsets": file.daemonsets, "plan": file.plan });
        let mut changed: Vec<String> = changes(&compared(self), &compared(now))
            .into_iter()
            .map(|change| match change.path.strip_prefix("manifests") {
                Some(manifest) => format!("{} has changed", manifest.trim_matches(['[', ']', '.'])),
                None => {
                    let show = |value: &Option<Value>| value.as_ref().map_or("absent".to_owned(), short);
                    format!("{}: was {}, is {}", change.path, show(&change.before), show(&change.after))
                }
            })
            .collect();
        changed.extend(
            now.warnings.difference(&self.warnings).map(|check| format!("the check {check} warns now")),
        );
        if changed.is_empty() {
            return Ok(());
        }
        let more = changed.len().saturating_sub(LISTED_MAX);
        changed.truncate(LISTED_MAX);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        Err(Failure::refused(format!(
            "the plan in {} no longer fits this node; nothing was changed. Look at it again with `fulcrum plan`. \
             Since then:\n  {}{more}",
            path.display(),
            changed.join("\n  ")
        )))
    }
}

fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, Version};
    use fulcrum_steps::plan;
    use fulcrum_steps::settings::{HandoverMode, OnReboot, Wanted};

    async fn planned(world: &SimulatedSite, limit: Duration) -> PlanFile {
        let report = world.preflight().await.unwrap();
        PlanFile::of(&report, &plan::pivot(&report.settings, limit).unwrap()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_plan_is_carried_out_only_while_its_ground_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let world =
            SimulatedSite::boot(&Setup::built_in(Version::DEFAULT).unwrap(), dir.path()).await.unwrap();
        world.settle().await.unwrap();
        let limit = Duration::from_secs(90);
        let path = dir.path().join("plan.json");
        planned(&world, limit).await.write(&path).unwrap();
        let saved = PlanFile::read(&path).unwrap();
        let (wishes, timeout) = saved.wishes().unwrap();
        assert_eq!((timeout, Wanted::from(wishes.handover)), (limit, Wanted::Way(HandoverMode::Steer)));
        assert_eq!((wishes.no_guard, OnReboot::from(wishes.on_reboot)), (false, OnReboot::Resume));
        assert!(saved.refuse_changes(&planned(&world, limit).await, &path).is_ok());

        let said = saved.refuse_changes(&planned(&world, limit * 2).await, &path).unwrap_err();
        assert!(said.error.to_string().contains("plan.deadline"), "{:?}", said.error);
        // Even a comment: what a rollback restores would not be what the person has seen.
        let manifest = world.manifests().file("kube-scheduler.yaml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let mut now = planned(&world, limit).await;
        now.manifests.insert(manifest.display().to_string(), format!("{text}# changed\n"));
        now.warnings.insert(Check::Fit);
        let said = saved.refuse_changes(&now, &path).unwrap_err();
        assert_eq!(said.exit, Exit::Refused);
        let said = said.error.to_string();
        assert!(said.contains("kube-scheduler.yaml has changed\n  the check fit warns now"), "{said}");
    }

    #[test]
    fn a_file_that_is_no_plan_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        for (text, words) in [
            (None, "could not be read"),
            (Some("no"), "is no JSON"),
            (Some("{}"), "has format_version null, not 1"),
            (Some(r#"{"format_version":2}"#), "has format_version 2, not 1"),
            (Some(r#"{"format_version":1}"#), "is not understood"),
        ] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let said = PlanFile::read(&path).unwrap_err();
            assert!(said.error.to_string().contains(words), "{:?}", said.error);
        }
    }
}
