//! `fulcrum plan`: what a pivot would do to this node, in words or as data. Changes nothing.

use super::pivot::already;
use super::preflight::check;
use crate::args::{Global, Output, Plan};
use crate::env::{access, require_root};
use crate::exit::{Exit, Failure};
use crate::journal::{pace, read_journal};
use crate::plan_file::PlanFile;
use crate::render::{Outline, daemonsets_yaml, diff, graph};
use crate::shell::Shell;
use fulcrum_steps::plan;
use fulcrum_steps::run_info::LockPurpose;

pub(crate) async fn plan(global: &Global, args: &Plan, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let is_there = global.state_dir.exists();
    let journal = is_there.then(|| read_journal(&global.state_dir, LockPurpose::Status)).transpose()?;
    if let Some(journal) = &journal
        && let Some(exit) = already(journal, &args.wishes.place, shell).await?
    {
        return Ok(exit);
    }
    let (access, host) = access(&args.wishes.place.kubeconfig).await?;
    let report = check(global, &args.wishes, access.cluster, host, shell).await?;
    let plan =
        plan::pivot(&report.settings, args.timeout).map_err(|error| Failure::new(Exit::Other, error))?;
    let outline = Outline::of(&report, &plan, pace(journal.as_ref(), &report.settings).as_ref());
    match (global.output, args.graph) {
        (_, Some(kind)) => shell.data(graph(&plan, kind).trim_end()),
        (Output::Json | Output::Jsonl, None) => shell.data_json(&outline),
        (Output::Yaml, None) => shell.data(daemonsets_yaml(&report)?.trim_end()),
        (Output::Text, None) if args.diff => {
            shell.data(diff(&report.static_pods, &report.settings.target(None), shell.colours()).trim_end());
        }
        (Output::Text, None) => shell.data(outline.text(&report).trim_end()),
    }
    if let Some(path) = &args.out {
        PlanFile::of(&report, &plan)?.write(path)?;
        shell.talk(format_args!("carry it out with `fulcrum pivot --plan {}`", path.display()));
    }
    Ok(Exit::Changes)
}
