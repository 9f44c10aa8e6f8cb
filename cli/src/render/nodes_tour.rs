//! The summary of a rehearsal of several nodes.

use super::overview::overview;
use crate::shell::Shell;
use fulcrum_simulator::rehearsal::{Answers, NodesSummary, PhaseLoad};
use std::time::Duration;

/// The summary, as data.
pub(crate) fn show_nodes_tour(summary: &NodesSummary, shell: &Shell) -> Result<(), serde_json::Error> {
    if shell.json() {
        let mut line = serde_json::to_value(summary)?;
        line["event"] = "summary".into();
        line["as_before"] = summary.is_exact().into();
        shell.data_json(&line);
        return Ok(());
    }
    shell.data(format_args!("{:24} {:>9} {:>9}", "node", "pivot", "back"));
    for time in &summary.nodes {
        shell.data(format_args!("{:24} {:>9} {:>9}", time.node, ms(time.pivot), ms(time.rollback)));
    }
    requests(&summary.requests, shell);
    shell.data("\nwhen all were pivoted, `fulcrum status --cluster` told:");
    shell.print(&overview(&summary.between, shell)?);
    shell.data("");
    match &summary.difference {
        None => shell.data(
            "everything is as it was before, on each node: files byte for byte, objects,\n\
             processes, and every journal verified",
        ),
        Some(difference) => shell.data(format_args!("not as it must be: {difference}")),
    }
    shell.data(format_args!(
        "{:.2} s for the pivots and the ways back\na real cluster takes some hundred times as long",
        summary.took.as_secs_f64()
    ));
    Ok(())
}

/// A row for each phase: through the balancer, and at the nodes' own addresses.
fn requests(phases: &[PhaseLoad], shell: &Shell) {
    shell.data(format_args!(
        "\n{:22} {:>9}   {:^21}   {:^21}",
        "requests to the API", "", "through the balancer", "at each node"
    ));
    let head = format!("{:>6} {:>6} {:>7}", "sent", "failed", "gap");
    shell.data(format_args!("{:22} {:>9}   {head}   {head}", "", "time"));
    for phase in phases {
        let (balanced, direct) = (cells(&phase.balanced), cells(&phase.direct));
        shell.data(format_args!("{:22} {:>9}   {balanced}   {direct}", phase.phase, ms(phase.took)));
    }
    let mut all = Answers::default();
    phases.iter().for_each(|phase| all.add(&phase.all()));
    for (kind, count) in &all.failed {
        shell.data(format_args!("failed: {kind}: {count}"));
    }
}

fn cells(answers: &Answers) -> String {
    let sent = answers.answered + answers.failures() + answers.in_flight + answers.away;
    format!("{sent:>6} {:>6} {:>7}", answers.failures(), ms(answers.longest_gap))
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
