//! `fulcrum history`.

use crate::args::{Global, History, HistoryCommand, Prune};
use crate::command::history_files::{show_diff, write_files};
use crate::command::read_history::{no_runs, read_history};
use crate::env::require_root;
use crate::exit::{Exit, Failure};
use crate::journal::{find_run, open_journal, read_before_writing, read_journal};
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Reader, RunHeader};
use fulcrum_steps::run_info::{LockPurpose, RunInfo};

/// The word for the last run.
const LAST: &str = "last";

pub(crate) async fn history(global: &Global, args: &History, shell: &Shell) -> Result<Exit, Failure> {
    if !global.state_dir.exists() {
        shell.talk(format_args!(
            "no journal in {}: fulcrum has done nothing here",
            global.state_dir.display()
        ));
        if shell.json() {
            shell.print(&no_runs(shell));
        }
        return Ok(Exit::Done);
    }
    if let Some(HistoryCommand::Prune(prune_args)) = &args.command {
        return prune(global, prune_args, shell).await;
    }
    let journal = read_journal(&global.state_dir, LockPurpose::History)?;
    let mut headers = journal.runs()?;
    if let Some(said) = &args.run {
        let run = find_run(&journal, Some(said.as_str()).filter(|said| *said != LAST))?;
        headers.retain(|header| Some(header.run) == run);
    }
    match args {
        History { verify: true, .. } => verify(&journal, &headers, shell),
        History { diff: true, .. } => show_diff(&journal, &headers, &global.state_dir, shell),
        _ if args.html.is_some() || args.trace.is_some() => {
            write_files(&journal, &headers, args, &global.state_dir, shell)
        }
        _ => read_history(&journal, &headers, args, shell),
    }
}

fn verify(journal: &Reader, headers: &[RunHeader], shell: &Shell) -> Result<Exit, Failure> {
    let mut damaged = None;
    for header in headers {
        match journal.verify(header.run) {
            Ok(head) if shell.json() => {
                shell.data_json(&serde_json::json!({ "run": header.run, "entries": head.seq, "head": head.hash, "intact": true }));
            }
            Ok(head) => shell
                .data(format_args!("run {}: {} entries, intact, head {}", header.run, head.seq, head.hash)),
            Err(error) => {
                if shell.json() {
                    shell.data_json(&serde_json::json!({ "run": header.run, "intact": false, "error": error.to_string() }));
                }
                shell.talk(format_args!("run {}: {error}", header.run));
                damaged.get_or_insert(header.run);
            }
        }
    }
    match damaged {
        None => Ok(Exit::Done),
        Some(run) => Err(Failure::new(
            Exit::Damaged,
            anyhow::anyhow!(
                "the journal of run {run} is not intact; `fulcrum history` shows what can still be read"
            ),
        )),
    }
}

/// Whether no later run depends on this one: it is rolled back, or it was the guard's and is over, as is its
/// pivot.
fn is_history(journal: &Reader, header: &RunHeader) -> Result<bool, Failure> {
    let state = load(journal, header.run)?;
    let of_pivot = RunInfo::of(state.plan()).ok().and_then(|info| info.settings.of_pivot);
    let Some(pivot) = of_pivot else { return Ok(state.is_rolled_back()) };
    let pivot = journal.header(pivot)?.map(|header| load(journal, header.run)).transpose()?;
    Ok(state.is_over() && pivot.is_none_or(|pivot| pivot.is_rolled_back()))
}

/// Removes the runs that can be removed: those that are rolled back, except the newest `keep` runs.
async fn prune(global: &Global, args: &Prune, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let read = read_before_writing(&global.state_dir, LockPurpose::Prune)?;
    let mut old = Vec::new();
    for header in read.runs()?.iter().rev().skip(args.keep) {
        if is_history(&read, header)? {
            old.push(header.run);
        }
    }
    if old.is_empty() {
        shell.talk("nothing to prune");
    } else if !args.consent.yes {
        shell.confirm(&format!("Remove {} runs that are rolled back, for good?", old.len()))?;
    }
    // What is rolled back stays so, whatever has been begun meanwhile.
    let journal = open_journal(&global.state_dir, LockPurpose::Prune)?;
    // The archived manifests go first. The run that names them then still exists, and the removal can be
    // repeated.
    for (run, kept) in old.iter().flat_map(|run| ["archive", "standby"].map(|kept| (run, kept))) {
        match std::fs::remove_dir_all(global.state_dir.join(kept).join(run.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let pruned = journal.prune(old.clone(), "history prune").await;
    pruned.map_err(|error| Failure::new(Exit::Other, error))?;
    match shell.json() {
        true => shell.data_json(&serde_json::json!({ "pruned": old })),
        false => old.iter().for_each(|run| shell.data(format_args!("run {run} is removed"))),
    }
    Ok(Exit::Done)
}
