//! The summary of a rehearsal, there and back.

use crate::shell::Shell;
use fulcrum_engine::Outcome;
use fulcrum_simulator::rehearsal::{Asked, ComponentSeen, Story, Summary};
use fulcrum_steps::component::Component;
use fulcrum_steps::step_name::shown;
use std::time::Duration;

/// The phases for which the control plane is shown.
const SHOWN: [&str; 3] = ["before", "between", "after"];
/// The width of what is said of a process, beside the phase, within 80 columns.
const LINE: usize = 80 - 13;

/// The summary, as data.
pub(crate) fn show_tour(summary: &Summary, shell: &Shell) {
    if shell.json() {
        let ending = serde_json::json!({ "event": "summary", "as_before": summary.is_exact() });
        let mut line = serde_json::to_value(summary).unwrap_or_default();
        if let (Some(line), Some(ending)) = (line.as_object_mut(), ending.as_object()) {
            line.extend(ending.clone());
        }
        shell.data_json(&line);
        return;
    }
    steps(summary, shell);
    requests(&summary.requests, shell);
    control_plane(summary, shell);
    ending(summary, shell);
}

fn steps(summary: &Summary, shell: &Shell) {
    shell.data(format_args!("{:56} {:>8} {:>8}", "step", "forward", "back"));
    for time in &summary.steps {
        shell.data(format_args!("{:56} {:>8} {:>8}", shown(&time.step), ms(time.run), ms(time.undo)));
    }
}

fn requests(asked: &[Asked], shell: &Shell) {
    shell.data(format_args!(
        "\n{:24} {:>10} {:>8} {:>8} {:>8}",
        "requests to the API", "time", "sent", "failed", "gap"
    ));
    for phase in asked {
        let mut kinds: Vec<String> =
            phase.failed.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        if phase.away > 0 {
            kinds.push(format!("no power: {}", phase.away));
        }
        let line = format!(
            "{:24} {:>10} {:>8} {:>8} {:>8}  {}",
            phase.phase,
            ms(phase.took),
            phase.requests,
            phase.failures(),
            ms(phase.longest_gap),
            kinds.join(", ")
        );
        shell.data(line.trim_end());
    }
}

fn control_plane(summary: &Summary, shell: &Shell) {
    shell.data("\ncontrol plane");
    for component in Component::ALL {
        shell.data(format_args!("  {component}"));
        for phase in SHOWN {
            let seen = summary.control_plane.get(phase).into_iter().flatten();
            let words: Vec<String> =
                seen.filter(|seen| seen.component == component).flat_map(serving).collect();
            let (one, rest) = words.split_first().map_or(("no process", &[][..]), |(one, rest)| (one, rest));
            shell.data(format_args!("    {phase:8} {one}"));
            for more in rest {
                shell.data(format_args!("             {more}"));
            }
        }
    }
}

/// A process a line, or two where one is longer than [`LINE`].
fn serving(seen: &ComponentSeen) -> Vec<String> {
    let process = |one: &fulcrum_simulator::rehearsal::Seen| {
        let kind = if one.is_static { "static pod" } else { "DaemonSet's pod" };
        let port = if one.shares_port { ", shares its port" } else { "" };
        let leads = if one.leads == Some(true) { ", leads" } else { "" };
        let (pod, process) = (format!("{kind} {}", one.pod), format!("(pid {}){port}{leads}", one.pid));
        match pod.len() + process.len() < LINE {
            true => vec![format!("{pod} {process}")],
            false => vec![pod, process],
        }
    };
    seen.serving.iter().flat_map(process).collect()
}

fn ending(summary: &Summary, shell: &Shell) {
    let said = |(outcome, reason): &(Option<Outcome>, String)| match outcome {
        Some(outcome) => format!("{outcome}: {reason}"),
        None => format!("unfinished: {reason}"),
    };
    shell.data(format_args!("\n{:9} {}", summary.story.name(), said(&summary.pivot)));
    if let Some(rollback) = &summary.rollback {
        shell.data(format_args!("rollback  {}", said(rollback)));
    }
    match &summary.difference {
        None => shell.data("everything is as it was before: files byte for byte, objects, processes"),
        Some(difference) => shell.data(format_args!("not as it must be: {difference}")),
    }
    if summary.story == Story::Secrets && summary.difference.is_none() {
        shell.data("no Secret is left, and no key but in kubeadm's own files, mode 0600");
    }
    shell.data(format_args!(
        "{:.2} s for {} and the way back\na real cluster takes some hundred times as long",
        summary.took.as_secs_f64(),
        summary.story.noun()
    ));
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
