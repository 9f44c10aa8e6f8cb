//! A plan in words: what each step does, how it is undone, what it costs, and how long all of it takes.

use super::plan::{expected, what_it_means};
use super::preflight::CheckView;
use crate::pace::Pace;
use fulcrum_engine::Plan;
use fulcrum_steps::check::Check;
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::Change;
use fulcrum_steps::plan::{StepStory, story};
use fulcrum_steps::preflight::{Level, Report};
use fulcrum_steps::settings::HandoverMode;
use fulcrum_steps::step_name::{StepName, shown};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The version of what `plan -o json` prints. A new field leaves the version as it is.
const FORMAT_VERSION: u32 = 1;

/// All that `plan` says, as data.
#[derive(Debug, Serialize)]
pub(crate) struct Outline<'a> {
    format_version: u32,
    /// Always true: a node without anything to do has no outline.
    changes: bool,
    node: &'a str,
    kubernetes_minor: u32,
    handover: HandoverMode,
    /// Why this hand-over, and why not one before it.
    handover_because: Vec<&'a str>,
    /// How long the pivot usually takes, if that has been measured.
    expected_seconds: Option<(u64, u64)>,
    /// How many finished pivots of this node say so. With 0 it was measured elsewhere.
    expected_from_runs: Option<usize>,
    #[serde(skip)]
    time: String,
    /// After this the pivot is undone.
    timeout_seconds: Option<u64>,
    undo: &'static str,
    steps: Vec<StepView>,
    checks: Vec<CheckView<'a>>,
    daemonsets: Vec<Value>,
    /// For each component, the static pod against the DaemonSet's.
    differences: BTreeMap<Component, Vec<Change>>,
}

#[derive(Debug, Serialize)]
struct StepView {
    step: String,
    after: Vec<String>,
    #[serde(flatten)]
    story: Option<StepStory>,
}

impl<'a> Outline<'a> {
    pub(crate) fn of(report: &'a Report, plan: &Plan, pace: Option<&Pace>) -> Self {
        let time = pace.map(|pace| expected(pace, plan));
        let settings = &report.settings;
        let target = settings.target(None);
        let because = report.results.iter().filter(|result| result.check == Check::Handover);
        Self {
            format_version: FORMAT_VERSION,
            changes: true,
            node: &settings.node,
            kubernetes_minor: settings.kubernetes_minor,
            handover: settings.handover,
            handover_because: because.map(|result| result.seen.as_str()).collect(),
            expected_seconds: time.as_ref().map(|(seconds, _)| *seconds),
            expected_from_runs: pace.map(Pace::runs),
            time: time.map_or_else(|| "time: not measured for this hand-over".to_owned(), |(_, words)| words),
            timeout_seconds: plan.deadline().map(|deadline| deadline.as_secs()),
            undo: where_undoing_ends(settings.handover),
            steps: plan.steps().iter().map(|step| view(step, settings.handover)).collect(),
            checks: report.results.iter().map(CheckView::from).collect(),
            daemonsets: report.static_pods.iter().map(|pod| pod.daemonset(&target)).collect(),
            differences: report
                .static_pods
                .iter()
                .map(|pod| (pod.component(), pod.changes(&target)))
                .collect(),
        }
    }

    /// The outline for a person, at 80 columns as far as the words allow.
    pub(crate) fn text(&self, report: &Report) -> String {
        let mut text = format!(
            "node {}, Kubernetes 1.{}: from static pods to DaemonSets\n\nhand-over: {}; {}\n",
            self.node,
            self.kubernetes_minor,
            self.handover,
            what_it_means(self.handover)
        );
        for reason in &self.handover_because {
            text += &format!("  because: {reason}\n");
        }
        text += &self.time;
        text += &match self.timeout_seconds {
            Some(limit) => format!("; after {limit} s what was done is undone\n"),
            None => "\n".to_owned(),
        };
        text += &format!("undo: {}\n", self.undo.replace("; ", ";\n      "));
        let of_others = |result: &&fulcrum_steps::preflight::CheckResult| {
            result.level == Level::Warn && result.check != Check::Handover
        };
        for warning in report.results.iter().filter(of_others) {
            text += &format!("warning: {warning}\n");
        }
        text.push('\n');
        for (name, amount, story) in self.kinds() {
            let each = if amount > 1 { format!(" (each of {amount})") } else { String::new() };
            text += &format!("{name}{each}\n    {}\n", story.does);
            for (word, what) in [("undo", story.undone), ("cost", story.costs)] {
                if what != "nothing" {
                    text += &format!("    {word}: {what}\n");
                }
            }
        }
        text
    }

    /// The kinds of steps, in the order in which the first of each begins, and how many of each there are.
    fn kinds(&self) -> Vec<(&str, usize, StepStory)> {
        let mut kinds: Vec<(&str, usize, StepStory)> = Vec::new();
        for step in &self.steps {
            let Some(story) = step.story else { continue };
            let is_component = |last: &str| Component::ALL.iter().any(|component| component.name() == last);
            let name = match step.step.rsplit_once('/') {
                Some((kind, last)) if is_component(last) => kind,
                _ => step.step.as_str(),
            };
            match kinds.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, amount, _)) => *amount += 1,
                None => kinds.push((name, 1, story)),
            }
        }
        kinds
    }
}

fn view(step: &fulcrum_engine::StepSpec, handover: HandoverMode) -> StepView {
    let kind = StepName::parse(step.id.as_str()).map(StepName::kind);
    StepView {
        step: shown(&step.id),
        after: step.after.iter().map(shown).collect(),
        story: kind.and_then(|kind| story(kind, handover)),
    }
}

fn where_undoing_ends(handover: HandoverMode) -> &'static str {
    match handover {
        HandoverMode::Steer => {
            "`fulcrum rollback` takes all of it back at any time, also after the end; until retire-static \
             the static pods run untouched"
        }
        HandoverMode::Bridge | HandoverMode::Restart => {
            "`fulcrum rollback` takes all of it back at any time, also after the end; from share-port on, \
             that restarts the static pods"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_simulator::Ability;
    use fulcrum_simulator::rehearsal::{Setup, SimulatedSite, Version};
    use fulcrum_steps::plan;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(600);

    async fn boot(root: &std::path::Path) -> SimulatedSite {
        let world = SimulatedSite::boot(&Setup::built_in(Version::DEFAULT).unwrap(), root).await.unwrap();
        world.settle().await.unwrap();
        world
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_screen_of_a_plan_is_golden() {
        let dir = tempfile::tempdir().unwrap();
        let world = boot(dir.path()).await;
        let mut report = world.preflight().await.unwrap();
        report.settings.soak = Duration::from_secs(2);
        let plan = plan::pivot(&report.settings, LIMIT).unwrap();
        let pace = Pace::measured(report.settings.soak);
        let outline = Outline::of(&report, &plan, Some(&pace));
        let shown = outline.text(&report);
        assert_eq!(shown.trim(), include_str!("../../tests/golden/plan.txt").trim(), "{shown}");
        let data = serde_json::to_value(&outline).unwrap();
        assert_eq!(data["steps"].as_array().unwrap().len(), plan.steps().len());
        for field in ["format_version", "changes", "node", "kubernetes_minor", "handover", "handover_because"]
        {
            assert!(!data[field].is_null(), "{field}");
        }
        for field in ["expected_seconds", "timeout_seconds", "undo", "checks", "daemonsets", "differences"] {
            assert!(!data[field].is_null(), "{field}");
        }
    }

    /// The way that was not taken is named, with the reason.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_lesser_way_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let world = boot(dir.path()).await;
        world.simulator.lack(Ability::Steering);
        let report = world.preflight().await.unwrap();
        let plan = plan::pivot(&report.settings, LIMIT).unwrap();
        let text = Outline::of(&report, &plan, None).text(&report);
        assert!(text.contains("hand-over: bridge; "), "{text}");
        assert!(text.contains("because: bridge: since steer cannot work: "), "{text}");
        assert!(text.contains("time: not measured for this hand-over"), "{text}");
    }
}
