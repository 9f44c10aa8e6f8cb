//! `fulcrum history`.

use crate::args::{Global, History};
use crate::exit::{Exit, Failure};
use crate::render::{RunHistory, show_histories};
use crate::shell::Shell;
use crate::world::{find_run, open_journal_to_read};
use fulcrum_engine::state::{Journal, RunHeader};

pub(crate) fn history(global: &Global, args: &History, shell: &Shell) -> Result<Exit, Failure> {
    if !global.state_dir.exists() {
        shell.talk(format_args!(
            "no journal in {}: fulcrum has done nothing here",
            global.state_dir.display()
        ));
        show_histories(&[], shell);
        return Ok(Exit::Done);
    }
    let journal = open_journal_to_read(&global.state_dir, "history")?;
    let mut headers = journal.runs()?;
    if let Some(said) = &args.run {
        let run = find_run(&journal, Some(said))?;
        headers.retain(|header| Some(header.run) == run);
    }
    if args.verify { verify(&journal, &headers, shell) } else { show(journal, &headers, shell) }
}

fn verify(journal: &Journal, headers: &[RunHeader], shell: &Shell) -> Result<Exit, Failure> {
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

/// What can be read is shown, even if the journal is damaged further on.
fn show(journal: Journal, headers: &[RunHeader], shell: &Shell) -> Result<Exit, Failure> {
    let mut damage = None;
    let mut histories = Vec::new();
    for header in headers {
        let mut history = RunHistory::new(header);
        for entry in journal.entries(header.run) {
            let pushed = match entry {
                Ok(entry) => history.push(&entry).map_err(Failure::from),
                Err(error) => Err(error.into()),
            };
            if let Err(failure) = pushed {
                damage.get_or_insert(failure);
                break;
            }
        }
        histories.push(history);
    }
    // Closed before anything is printed: a pager may hold this for long, and must not hold up a rollback.
    drop(journal);
    show_histories(&histories, shell);
    damage.map_or(Ok(Exit::Done), Err)
}
