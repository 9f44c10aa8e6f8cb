//! `fulcrum history`.

use super::evidence::{checkpoint, export_runs, import_check, rotate_key, verify_journal};
use crate::args::{Global, History, HistoryCommand, Prune};
use crate::command::history_files::{show_diff, write_files};
use crate::command::read_history::{no_runs, read_history};
use crate::env::require_root;
use crate::exit::{Exit, Failure};
use crate::journal::{find_run, open_journal, read_before_writing, read_journal};
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Reader, RunHeader};
use fulcrum_evidence::leaves::keep_leaves;
use fulcrum_evidence::seal::seal;
use fulcrum_steps::run_info::{LockPurpose, RunInfo};

/// The word for the last run.
const LAST: &str = "last";

pub(crate) async fn history(global: &Global, args: &History, shell: &Shell) -> Result<Exit, Failure> {
    if let Some(HistoryCommand::ImportCheck(args)) = &args.command {
        return import_check(args, shell);
    }
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
    match &args.command {
        Some(HistoryCommand::Prune(args)) => return prune(global, args, shell).await,
        Some(HistoryCommand::Checkpoint) => return checkpoint(global, shell),
        Some(HistoryCommand::Export(args)) => return export_runs(global, args, shell),
        Some(HistoryCommand::RotateKey) => return rotate_key(global, shell),
        Some(HistoryCommand::ImportCheck(_)) | None => {}
    }
    let journal = read_journal(&global.state_dir, LockPurpose::History)?;
    let mut headers = journal.runs()?;
    if let Some(said) = &args.run {
        let run = find_run(&journal, Some(said.as_str()).filter(|said| *said != LAST))?;
        headers.retain(|header| Some(header.run) == run);
    }
    match args {
        History { verify: true, .. } => {
            let run = args.run.as_ref().and_then(|_| headers.first()).map(|header| header.run);
            verify_journal(global, &journal, run, &args.checkpoint, shell).await
        }
        History { diff: true, .. } => show_diff(&journal, &headers, &global.state_dir, shell),
        _ if args.html.is_some() || args.trace.is_some() => {
            write_files(&journal, &headers, args, &global.state_dir, shell)
        }
        _ => read_history(&journal, &headers, args, shell),
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
    // What was signed stays comparable: the leaves of what goes are kept, and the prune itself is signed.
    let reader = journal.reader();
    seal_or_say(&reader, global, shell);
    keep_leaves(&reader, &global.state_dir, &old)?;
    let reason = format!("history prune --keep {}, by uid {}", args.keep, rustix::process::getuid().as_raw());
    let pruned = journal.prune(old.clone(), &reason).await;
    pruned.map_err(|error| Failure::new(Exit::Other, error))?;
    seal_or_say(&reader, global, shell);
    match shell.json() {
        true => shell.data_json(&serde_json::json!({ "pruned": old })),
        false => old.iter().for_each(|run| shell.data(format_args!("run {run} is removed"))),
    }
    Ok(Exit::Done)
}

/// Signs the journal as it is. A prune may make room on a full disk, and does not wait for a signature.
fn seal_or_say(journal: &Reader, global: &Global, shell: &Shell) {
    if let Err(error) = seal(journal, &global.state_dir) {
        shell.talk(format_args!("UNSIGNED: {error}"));
    }
}
