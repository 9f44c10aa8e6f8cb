//! `fulcrum rehearse --crash`: runs broken at named points.

use super::rehearse_story::plan_of;
use crate::args::Rehearse;
use crate::exit::{Exit, Failure};
use crate::render::CrashTable;
use crate::shell::Shell;
use fulcrum_simulator::rehearsal::{FaultRehearsal, Setup, Story, cases};
use fulcrum_steps::settings::Wanted;
use futures::StreamExt;
use std::path::Path;

/// Cases side by side for each processor: most of a case is waiting.
const SIDE_BY_SIDE: usize = 6;
/// The same with several nodes: such a case computes for more of its time.
const SIDE_BY_SIDE_OF_SEVERAL: usize = 4;

pub(super) async fn crash(
    args: &Rehearse,
    what: &str,
    setup: Setup,
    root: &Path,
    shell: &Shell,
) -> Result<Exit, Failure> {
    if args.nodes == 2 {
        return Err(Failure::refused(anyhow::anyhow!(
            "of two members of etcd none can be lost while the other one serves: say `--nodes 3` with --crash"
        )));
    }
    let story = args.story();
    let plan = plan_of(story, &setup, root, shell).await?;
    let mut cases = cases(&plan, what, args.nodes).map_err(Failure::refused)?;
    if story != Story::Pivot {
        // The first run of a journal has made the key, and the story of the pivot breaks that.
        cases.retain(|case| !case.point.when.is_signing());
    }
    if cases.is_empty() {
        return Err(Failure::refused(anyhow::anyhow!(
            "the story `{story}` does not break the signing: leave --story out"
        )));
    }
    let rehearsal = FaultRehearsal {
        setup,
        story,
        program: std::env::current_exe()?,
        root: root.to_owned(),
        steps: None,
    };
    let side_by_side = args.side_by_side.unwrap_or_else(|| {
        let each = if args.nodes > 1 { SIDE_BY_SIDE_OF_SEVERAL } else { SIDE_BY_SIDE };
        each * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    });
    let mut table = CrashTable::new(&cases, args.nodes, side_by_side, reproduce(args), shell);
    let mut tried = std::pin::pin!(rehearsal.try_all(cases, side_by_side));
    while let Some(broken) = tried.next().await {
        table.add(broken);
    }
    Ok(if table.show() { Exit::Done } else { Exit::NeedsOperator })
}

/// The command, up to the case.
fn reproduce(args: &Rehearse) -> String {
    let mut command = "fulcrum rehearse".to_owned();
    if args.story() != Story::Pivot {
        command.push_str(&format!(" --story {}", args.story()));
    }
    if let Some(dir) = &args.manifests_dir {
        command.push_str(&format!(" --manifests-dir '{}'", dir.display()));
    }
    if let Some(version) = args.kubernetes {
        command.push_str(&format!(" --kubernetes {version}"));
    }
    if let Wanted::Way(way) = args.handover.into() {
        command.push_str(&format!(" --handover {way}"));
    }
    if args.nodes > 1 {
        command.push_str(&format!(" --nodes {}", args.nodes));
    }
    command
}
