//! What `fulcrum history` shows of the runs in the journal.

use crate::args::{History, Output};
use crate::exit::{Exit, Failure};
use crate::render::{FORMAT_VERSION, paragraph, run_json, steps};
use crate::shell::Shell;
use crate::story::{Filter, Story};
use fulcrum_engine::state::{Reader, RunHeader};
use serde_json::json;

/// Shows everything that can be read, even if the journal is damaged further on. Prints a run as soon as it
/// is read.
pub(super) fn read_history(
    journal: &Reader,
    headers: &[RunHeader],
    args: &History,
    shell: &Shell,
) -> Result<Exit, Failure> {
    let filter = filter(args);
    let mut damage = None;
    let mut printed = 0;
    for header in headers {
        let (story, failure) = read(journal, header);
        // A run that cannot be read may be any: no filter hides it.
        if failure.is_none() && !filter.takes(&story) {
            continue;
        }
        if let Some(failure) = failure {
            damage.get_or_insert(failure);
        }
        let text = match shell.output {
            Output::Text | Output::Yaml => in_words(&story, args, printed > 0),
            Output::Json if printed == 0 => format!("{}{}", json_begins(), run_json(&story)),
            Output::Json => format!(",{}", run_json(&story)),
            Output::Jsonl => json_line(&story),
        };
        printed += 1;
        if !shell.print(&text) {
            return damage.map_or(Ok(Exit::Done), Err);
        }
    }
    match shell.output {
        Output::Json if printed > 0 => drop(shell.print("]}\n")),
        _ if printed == 0 => drop(shell.print(&no_runs(shell))),
        _ => {}
    }
    damage.map_or(Ok(Exit::Done), Err)
}

/// The runs that were asked for.
pub(super) fn filter(args: &History) -> Filter {
    Filter { since: args.since, actor: args.actor.clone(), failed: args.failed }
}

/// What a program reads where there is no run.
pub(super) fn no_runs(shell: &Shell) -> String {
    match shell.output {
        Output::Json => format!("{}]}}\n", json_begins()),
        Output::Text | Output::Yaml | Output::Jsonl => String::new(),
    }
}

/// The run, as far as it can be read, and what keeps it from being read further.
pub(super) fn read(journal: &Reader, header: &RunHeader) -> (Story, Option<Failure>) {
    let mut story = Story::new(header);
    for entry in journal.entries(header.run) {
        let pushed = match entry {
            Ok(entry) => story.push(&entry, |digest| journal.blob(digest)).map_err(Failure::from),
            Err(error) => Err(error.into()),
        };
        if let Err(failure) = pushed {
            return (story, Some(failure));
        }
    }
    (story, None)
}

fn in_words(story: &Story, args: &History, after_another: bool) -> String {
    let mut lines = paragraph(story);
    if args.run.is_some() {
        lines.push(String::new());
        lines.extend(steps(story, args.long));
    }
    let before = if after_another { "\n" } else { "" };
    format!("{before}{}\n", lines.join("\n"))
}

fn json_begins() -> String {
    format!("{{\"format_version\":{FORMAT_VERSION},\"runs\":[")
}

fn json_line(story: &Story) -> String {
    let mut line = json!({ "format_version": FORMAT_VERSION });
    if let (Some(line), serde_json::Value::Object(run)) = (line.as_object_mut(), run_json(story)) {
        line.extend(run);
    }
    format!("{line}\n")
}
