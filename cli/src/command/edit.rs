//! `fulcrum edit`: another command line for a component that runs from its DaemonSet.

use super::carry_on::{conclude, engine, nothing_to_do};
use crate::args::{Edit, Global};
use crate::editor::{self, Written};
use crate::env::{access, refuse_another_cluster, require_root, site};
use crate::exit::{Exit, Failure};
use crate::journal::{gone_on_meanwhile, open_journal, read_before_writing, refuse_unfinished};
use crate::render::words_diff;
use crate::shell::Shell;
use fulcrum_engine::state::Reader;
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::component::Component;
use fulcrum_steps::guard::{GuardError, HOW_TO_GO_ON, JournalView};
use fulcrum_steps::manifest::{Words, WordsError, can_roll_out};
use fulcrum_steps::plan;
use fulcrum_steps::run_info::LockPurpose;
use fulcrum_steps::settings::Settings;
use serde_json::Value;
use std::sync::Arc;

pub(crate) async fn edit(global: &Global, args: &Edit, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let component = args.component;
    let told =
        self_hosted(&read_before_writing(&global.state_dir, LockPurpose::Edit)?, &[component], STATIC)?;
    let settings = Settings { of_pivot: Some(told.pivot), ..told.settings.clone() };
    let (access, host) = access(args.pace.kubeconfig.as_ref().unwrap_or(&settings.kubeconfig)).await?;
    refuse_another_cluster(&access.cluster, &settings).await?;
    let mut live = daemonset(&access.cluster, component).await?;
    can_roll_out(&live).map_err(|why| {
        Failure::refused(format!("DaemonSet {} cannot be edited here: {why}", component.daemonset_name()))
    })?;
    let was = Words::of(component, &live["spec"]["template"]).map_err(Failure::refused)?;
    let Some(words) = wanted(args, &was, shell)? else {
        return Ok(nothing_to_do(None, "the command line stays as it is", shell));
    };
    shell.talk(words_diff(component, &was, &words, shell.colours()).trim_end());
    words.put(component, &mut live["spec"]["template"]);
    if let Err(error) = access.cluster.replace_daemonset(&live, true).await {
        return Err(Failure::refused(format!(
            "the API server would not take it; nothing was changed: {error}"
        )));
    }
    if args.pace.dry_run {
        shell.talk("dry run: the API server would take it; nothing was changed");
        return Ok(Exit::Done);
    }
    if !args.pace.consent.yes {
        shell.confirm(&format!("Roll this out as {component} of node {}?", settings.node))?;
    }
    let journal = open_journal(&global.state_dir, LockPurpose::Edit)?;
    // The guard, or another command, may have begun a run while a person was asked.
    if self_hosted(&journal.reader(), &[component], STATIC)?.runs != told.runs {
        return Err(gone_on_meanwhile(told.pivot));
    }
    let why = summary(component, &was, &words);
    let edit = plan::Edit { component, was, words, within: args.pace.timeout, why };
    let plan = plan::edit(&settings, told.pivot, edit).map_err(|error| Failure::new(Exit::Other, error))?;
    let site = Arc::new(site(settings, &access, host, &global.state_dir));
    let (engine, progress) = engine(journal, &site, &[], None, shell).await?;
    conclude(engine.start(plan).await, &progress, shell)
}

/// What a person does where no DaemonSet runs.
const STATIC: &str =
    "this node's control plane is not self-hosted: edit the static manifest, or pivot with `fulcrum pivot`";

/// The completed pivot, on a node whose components run from their DaemonSets and from nothing else. `otherwise` is
/// what is said where no pivot is completed.
pub(super) fn self_hosted(
    journal: &Reader,
    components: &[Component],
    otherwise: &str,
) -> Result<JournalView, Failure> {
    refuse_unfinished(journal)?;
    let broken = |error: GuardError| Failure::new(Exit::Damaged, error);
    let Some(told) = JournalView::of(journal).map_err(broken)?.filter(JournalView::is_at_rest) else {
        return Err(Failure::refused(otherwise));
    };
    let manifests = told.settings.manifests();
    if let Some(component) = components.iter().find(|one| manifests.file(one.manifest_file()).exists()) {
        return Err(Failure::refused(format!(
            "{component} has fallen back to its static pod ({} is there): {HOW_TO_GO_ON}",
            manifests.file(component.manifest_file()).display()
        )));
    }
    Ok(told)
}

pub(super) async fn daemonset(cluster: &Cluster, component: Component) -> Result<Value, Failure> {
    let name = component.daemonset_name();
    let found = cluster.daemonset(name).await.map_err(|error| Failure::new(Exit::Refused, error))?;
    found.ok_or_else(|| {
        Failure::refused(format!("DaemonSet {name} is gone; `fulcrum rollback` brings the static pods back"))
    })
}

/// The words that a person wants. `None` if they are those that are there.
fn wanted(args: &Edit, was: &Words, shell: &Shell) -> Result<Option<Words>, Failure> {
    let changes = args.changes();
    let words = match changes.is_empty() {
        false => Some(was.changed(args.component, &changes).map_err(Failure::refused)?),
        true => in_editor(args.component, was, shell)?,
    };
    Ok(words.filter(|words| words.all() != was.all()))
}

const HEADER: &str = "\
# Edit the command line below, one word a line. Lines beginning with '#' are ignored, and an empty file
# aborts the edit. If an error occurs, this file is reopened with it.
#
";

/// Opens the editor, again and again until the words can be used or a person gives up.
fn in_editor(component: Component, was: &Words, shell: &Shell) -> Result<Option<Words>, Failure> {
    let editor = editor::of_environment();
    let list = was.all();
    if list.iter().any(|word| word.contains('\n') || word.starts_with('#') || word.trim().is_empty()) {
        return Err(Failure::refused(
            "a word of the command line has several lines, is empty, or begins with #: use --set and --unset",
        ));
    }
    let mut text = format!("{HEADER}{}\n", list.join("\n"));
    loop {
        let Written::Text(written) = editor::edit(&editor, &text)? else {
            shell.talk("edit cancelled: no changes made");
            return Ok(None);
        };
        match read(component, was, &written) {
            Ok(words) => return Ok(Some(words)),
            Err(error) => {
                let body: Vec<&str> = written.lines().filter(|line| !line.starts_with('#')).collect();
                text = format!("{HEADER}# error: {error}\n#\n{}\n", body.join("\n"));
            }
        }
    }
}

fn read(component: Component, was: &Words, written: &str) -> Result<Words, WordsError> {
    let words = written.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    was.written(component, words.map(str::to_owned).collect())
}

/// The changes on one line, for the history.
fn summary(component: Component, was: &Words, words: &Words) -> String {
    let (before, after) = (was.all(), words.all());
    let gone = before.iter().filter(|word| !after.contains(word)).map(|word| format!("- {word}"));
    let come = after.iter().filter(|word| !before.contains(word)).map(|word| format!("+ {word}"));
    let changes: Vec<String> = gone.chain(come).collect();
    let changes =
        if changes.is_empty() { "the words in another order".to_owned() } else { changes.join(", ") };
    format!("{component}: {changes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_told_by_the_words_that_go_and_come() {
        let words =
            |text: &str| Words { command: text.split(' ').map(str::to_owned).collect(), args: Vec::new() };
        let (was, now) = (words("kube-scheduler --v=2 --a"), words("kube-scheduler --v=4 --a"));
        assert_eq!(summary(Component::Scheduler, &was, &now), "kube-scheduler: - --v=2, + --v=4");
        let read = read(Component::Scheduler, &was, "# a comment\nkube-scheduler\n\n  --v=4\n--a\n");
        assert_eq!(read, Ok(now));
    }
}
