//! Shows every control-plane node: a table that fits 80 columns, and below it what a person should know.

use crate::shell::Shell;
use fulcrum_steps::cluster::RunPhase;
use fulcrum_steps::overview::{Age, GuardSeen, Is, NodeRow, Overview};
use serde::Serialize;
use std::fmt::Write;

/// The version of what `status --cluster -o json` prints. A new field leaves the version as it is.
const FORMAT_VERSION: u32 = 1;

/// The columns of a terminal.
const WIDTH: usize = 80;
/// The least that is shown of a node's name, where it must be cut.
const NAME_MIN: usize = 12;

const HEAD: [&str; 6] = ["NODE", "IS", "READY", "GUARD", "STANDBY", "LAST RUN"];

#[derive(Serialize)]
struct View<'a> {
    format_version: u32,
    #[serde(flatten)]
    overview: &'a Overview,
}

/// The overview, as the shell's output wants it, with a line feed at its end.
pub(crate) fn overview(seen: &Overview, shell: &Shell) -> Result<String, serde_json::Error> {
    match shell.json() {
        true => Ok(serde_json::to_string(&View { format_version: FORMAT_VERSION, overview: seen })? + "\n"),
        false => Ok(text(seen)),
    }
}

fn text(seen: &Overview) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(seen.nodes.iter().map(cells));
    let mut widths = [0, 1, 2, 3, 4, 5]
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    // The name gives way first, then what is last in the row.
    let gaps = 2 * (HEAD.len() - 1);
    let over = |widths: &[usize; 6]| (widths.iter().sum::<usize>() + gaps).saturating_sub(WIDTH);
    widths[0] -= over(&widths).min(widths[0].saturating_sub(NAME_MIN));
    widths[5] -= over(&widths).min(widths[5]);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:width$}", cut(cell, width)));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    if let Some(lock) = &seen.lock {
        let held = lock.held_seconds.map(|held| format!(" for {}", Age(held))).unwrap_or_default();
        let _ = writeln!(text, "\nlock: held by {}{held}", lock.holder);
    }
    let told = seen.nodes.iter().flat_map(|row| row.attention.iter().map(move |what| (&row.node, what)));
    for (at, (node, what)) in told.enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}{node}: {what}");
    }
    for what in &seen.unseen {
        let _ = writeln!(text, "not seen: {what}");
    }
    text
}

fn cells(row: &NodeRow) -> [String; 6] {
    let is = match row.is {
        Is::Static => "static",
        Is::SelfHosted => "self-hosted",
        Is::Mixed => "mixed",
        Is::Unknown => "unknown",
    };
    let ready = match row.node_ready {
        true => format!("{}/3", row.components_ready.len()),
        false => "no node".to_owned(),
    };
    let standby = row.standby.as_ref().map_or("-".to_owned(), |standby| {
        let age = standby.unchanged_seconds.map_or("?".to_owned(), |age| Age(age).to_string());
        if standby.behind { format!("behind, {age}") } else { age }
    });
    let run = row.run.as_ref().map_or("-".to_owned(), |run| {
        let phase = match (run.phase, run.said_seconds_ago) {
            (phase, Some(since)) if phase.in_flight() => format!("{} {}", phase.name(), Age(since)),
            (RunPhase::Unknown, _) => "unknown".to_owned(),
            (phase, _) => phase.name().to_owned(),
        };
        if run.kind.is_empty() { phase } else { format!("{} {phase}", run.kind) }
    });
    [row.node.clone(), is.to_owned(), ready, guard(row), standby, run]
}

fn guard(row: &NodeRow) -> String {
    let word = match row.guard.state {
        GuardSeen::None => "-",
        GuardSeen::Armed => "armed",
        GuardSeen::Watching => "watching",
        GuardSeen::StaysStatic => "stays static",
        GuardSeen::Silent => {
            return format!("silent {}", Age(row.guard.said_seconds_ago.unwrap_or_default()));
        }
        GuardSeen::Unknown => "unknown",
    };
    word.to_owned()
}

/// At most so many characters. What is cut off shows.
fn cut(cell: &str, width: usize) -> String {
    match cell.chars().count() <= width {
        true => cell.to_owned(),
        false => cell.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_steps::component::Component;
    use fulcrum_steps::overview::{GuardRow, LockRow, RunRow, StandbyRow};
    use serde_json::json;

    fn hosted(node: &str) -> NodeRow {
        NodeRow {
            node: node.to_owned(),
            is: Is::SelfHosted,
            node_ready: true,
            components_ready: Component::ALL.to_vec(),
            run: Some(RunRow {
                run: "0192".to_owned(),
                kind: "renew-standby".to_owned(),
                phase: RunPhase::Completed,
                reason: Some("every step is done".to_owned()),
                said_seconds_ago: Some(7300),
                program: "fulcrum 0.1.0".to_owned(),
            }),
            guard: GuardRow { state: GuardSeen::Watching, said_seconds_ago: Some(20), says: None },
            standby: Some(StandbyRow { unchanged_seconds: Some(200_000), behind: false }),
            attention: Vec::new(),
        }
    }

    fn mixed() -> Overview {
        let guard = GuardRow { state: GuardSeen::None, said_seconds_ago: None, says: None };
        let still = NodeRow { is: Is::Static, run: None, guard, standby: None, ..hosted("cp3") };
        let mut running = hosted("cp2");
        if let Some(run) = &mut running.run {
            (run.kind, run.phase, run.said_seconds_ago) = ("edit".to_owned(), RunPhase::Cutting, Some(30));
        }
        running.attention.push("look there".to_owned());
        let lock = Some(LockRow { holder: "cp2/0192".to_owned(), held_seconds: Some(31) });
        Overview { nodes: vec![hosted("cp1"), running, still], lock, unseen: vec!["the weather".to_owned()] }
    }

    #[test]
    fn the_table_is_read_at_a_glance() {
        let expected = "\
NODE  IS           READY  GUARD     STANDBY  LAST RUN
cp1   self-hosted  3/3    watching  2 d      renew-standby completed
cp2   self-hosted  3/3    watching  2 d      edit cutting 30 s
cp3   static       3/3    -         -        -

lock: held by cp2/0192 for 31 s

cp2: look there
not seen: the weather
";
        assert_eq!(text(&mixed()), expected);
    }

    #[test]
    fn a_long_name_is_cut_and_the_table_fits_a_terminal() {
        let mut seen = mixed();
        seen.nodes[0].node = "control-plane-with-a-name.that.goes.on.and.on.example.org".to_owned();
        seen.nodes[1].guard.state = GuardSeen::Silent;
        let text = text(&seen);
        assert!(text.contains("control-pl"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    /// A golden test: programs read this.
    #[test]
    fn what_programs_read_keeps_its_form() {
        let Overview { nodes, .. } = mixed();
        let seen = Overview { nodes: nodes[..1].to_vec(), lock: None, unseen: Vec::new() };
        let expected = json!({
            "format_version": 1,
            "nodes": [{
                "node": "cp1", "is": "self-hosted", "node_ready": true,
                "components_ready": ["kube-apiserver", "kube-controller-manager", "kube-scheduler"],
                "run": { "run": "0192", "kind": "renew-standby", "phase": "completed",
                         "reason": "every step is done", "said_seconds_ago": 7300, "program": "fulcrum 0.1.0" },
                "guard": { "state": "watching", "said_seconds_ago": 20, "says": null },
                "standby": { "unchanged_seconds": 200_000, "behind": false },
                "attention": [],
            }],
            "lock": null, "unseen": [],
        });
        let view = View { format_version: FORMAT_VERSION, overview: &seen };
        assert_eq!(serde_json::to_value(view).unwrap(), expected);
    }
}
