//! Shows a plan: what will be done, and to what.

use super::preflight::CheckView;
use crate::exit::{Exit, Failure};
use crate::pace::Pace;
use crate::shell::Shell;
use fulcrum_engine::Plan;
use fulcrum_steps::preflight::{Level, Report};
use fulcrum_steps::settings::HandoverMode;
use fulcrum_steps::step_name::shown;
use serde_json::{Value, json};

/// The checks' warnings and the steps, in words.
pub(crate) fn plan_talk(report: &Report, plan: &Plan, pace: Option<&Pace>, shell: &Shell) {
    let settings = &report.settings;
    shell.talk(format_args!(
        "node {}, Kubernetes 1.{}, {} checks passed",
        settings.node,
        settings.kubernetes_minor,
        report.results.iter().filter(|verdict| verdict.level == Level::Pass).count()
    ));
    for verdict in report.results.iter().filter(|verdict| verdict.level > Level::Pass || shell.verbose > 0) {
        let mark = if verdict.level == Level::Pass { "passed " } else { "warning" };
        shell.talk(format_args!("  {mark} {verdict}"));
    }
    shell.talk(format_args!("hand-over: {}; {}", settings.handover, what_it_means(settings.handover)));
    if let Some(pace) = pace {
        shell.talk(expected(pace, plan).1);
    }
    if shell.verbose > 0 {
        for step in plan.steps() {
            let after: Vec<String> = step.after.iter().map(shown).collect();
            shell.talk(format_args!("  {:48} after {}", shown(&step.id), after.join(", ")));
        }
    }
}

/// How long the pivot usually takes, from and to, in seconds; and the same in words.
pub(super) fn expected(pace: &Pace, plan: &Plan) -> ((u64, u64), String) {
    let (from, to) = pace.whole(plan);
    match pace.runs() {
        // What was measured was measured on one machine, and others are slower.
        0 => {
            let quick = from * 4 / 5;
            let seconds = (quick - quick % 5, to + 5 - to % 5);
            (seconds, format!("time: usually {} to {} s (measured: docs/figures.md)", seconds.0, seconds.1))
        }
        1 => ((from, to), format!("time: usually {to} s (as the last pivot of this node)")),
        runs => ((from, to), format!("time: usually {from} to {to} s (the last {runs} pivots of this node)")),
    }
}

pub(super) fn what_it_means(handover: HandoverMode) -> &'static str {
    match handover {
        HandoverMode::Steer => "no restart of the static pods, and no request lost",
        HandoverMode::Bridge => {
            "each static pod is restarted once, while a third API server takes new connections: no request lost"
        }
        HandoverMode::Restart => {
            "each static pod is restarted once, and the API is away for some seconds then"
        }
    }
}

/// The plan and the DaemonSets, as data: YAML that `kubectl diff -f -` reads, or JSON with the plan.
pub(crate) fn plan_data(report: &Report, plan: &Plan, shell: &Shell) -> Result<(), Failure> {
    if shell.json() {
        let target = report.settings.target(None);
        let daemonsets: Vec<Value> = report.static_pods.iter().map(|pod| pod.daemonset(&target)).collect();
        shell.data_json(&json!({ "plan": with_shown_names(plan), "checks": report.results.iter().map(CheckView::from).collect::<Vec<_>>(), "daemonsets": daemonsets }));
        return Ok(());
    }
    shell.data(format_args!("# the steps, each after those that it depends on"));
    for step in plan.steps() {
        shell.data(format_args!("#   {}", shown(&step.id)));
    }
    shell.data(daemonsets_yaml(report)?.trim_end());
    Ok(())
}

/// The plan as the journal has it, but with the names that people read.
fn with_shown_names(plan: &Plan) -> Value {
    let mut told = json!(plan);
    for (told, step) in told["steps"].as_array_mut().into_iter().flatten().zip(plan.steps()) {
        told["id"] = shown(&step.id).into();
        told["after"] = step.after.iter().map(shown).collect();
    }
    told
}

/// The DaemonSets, as YAML that `kubectl diff -f -` reads.
pub(crate) fn daemonsets_yaml(report: &Report) -> Result<String, Failure> {
    let target = report.settings.target(None);
    let mut text = String::new();
    for pod in &report.static_pods {
        let yaml = serde_saphyr::to_string(&pod.daemonset(&target));
        let yaml = yaml.map_err(|error| Failure::new(Exit::Other, error))?;
        text += &format!("---\n{}\n", yaml.trim_end());
    }
    Ok(text)
}
