//! `fulcrum history --diff`, `--html` and `--trace`: what needs more of the disk than the entries.

use crate::args::History;
use crate::command::read_history::{filter, read};
use crate::exit::{Exit, Failure};
use crate::render::{Checks, FORMAT_VERSION, PageRun, diff_lines, page, trace};
use crate::shell::Shell;
use crate::story::Story;
use anyhow::Context as _;
use fulcrum_engine::load::decode;
use fulcrum_engine::state::{Digest, Reader, RunHeader, RunId, fsync};
use fulcrum_steps::changes::{Change, Kept, changes};
use fulcrum_steps::component::Component;
use fulcrum_steps::handover::standby::Standby;
use fulcrum_steps::host::FileImage;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Shows what each of the runs has changed.
pub(super) fn show_diff(
    journal: &Reader,
    headers: &[RunHeader],
    state_dir: &Path,
    shell: &Shell,
) -> Result<Exit, Failure> {
    for header in headers {
        let (story, failure) = read(journal, header);
        let changes = changes_of(journal, &story, state_dir);
        if shell.json() {
            shell.data_json(
                &json!({ "format_version": FORMAT_VERSION, "run": header.run, "changes": changes }),
            );
        } else if changes.is_empty() {
            shell.talk("nothing was changed");
        }
        let colours = shell.colours();
        for line in diff_lines(&changes).iter().filter(|_| !shell.json()) {
            shell.data(if colours { line.coloured() } else { line.text() });
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    Ok(Exit::Done)
}

/// Writes the page, the trace, or both, of the runs that were asked for. What is damaged is in them as far as
/// it can be read.
pub(super) fn write_files(
    journal: &Reader,
    headers: &[RunHeader],
    args: &History,
    state_dir: &Path,
    shell: &Shell,
) -> Result<Exit, Failure> {
    let filter = filter(args);
    let (mut runs, mut damage) = (Vec::new(), None);
    for header in headers {
        let (story, failure) = read(journal, header);
        if failure.is_none() && !filter.takes(&story) {
            continue;
        }
        let changes = changes_of(journal, &story, state_dir);
        let checks = checks(journal, header);
        runs.push(PageRun { story, changes, checks });
        if let Some(failure) = failure {
            damage.get_or_insert(failure);
        }
    }
    if let Some(file) = &args.html {
        write(file, &page(&runs), shell)?;
    }
    if let Some(file) = &args.trace {
        let stories: Vec<Story> = runs.into_iter().map(|run| run.story).collect();
        write(file, &trace(&stories).to_string(), shell)?;
    }
    damage.map_or(Ok(Exit::Done), Err)
}

fn write(file: &Path, text: &str, shell: &Shell) -> Result<(), Failure> {
    let file = std::path::absolute(file)?;
    fsync::write_atomic(&file, text.as_bytes(), None, None)
        .with_context(|| format!("write {}; name a file in a directory that is there", file.display()))
        .map_err(|error| Failure::new(Exit::Other, error))?;
    shell.talk(format_args!("written: {} ({} kB)", file.display(), text.len().div_ceil(1000)));
    Ok(())
}

/// Checks what can be checked without anything from elsewhere.
fn checks(journal: &Reader, header: &RunHeader) -> Checks {
    let mut checks = Checks::default();
    match journal.verify(header.run) {
        Ok(head) => {
            let text = format!("the hash chain of all {} entries, and every blob that they name", head.seq);
            checks.verified.push(text);
        }
        Err(error) => checks.wrong.push(error.to_string()),
    }
    checks.not_checked.push(
        "whether root has written the journal anew: this page was made without a head from elsewhere; \
         `fulcrum history --verify` says more"
            .to_owned(),
    );
    checks
}

fn changes_of(journal: &Reader, story: &Story, state_dir: &Path) -> Vec<Change> {
    let run = story.header.run;
    let kept = OnDisk { journal, state_dir, run };
    story.run.as_ref().map(|state| changes(run, state, &kept)).unwrap_or_default()
}

/// The state directory. What cannot be read there is not shown: the journal's own damage is reported where
/// the run is read.
struct OnDisk<'a> {
    journal: &'a Reader,
    state_dir: &'a Path,
    run: RunId,
}

impl Kept for OnDisk<'_> {
    fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.journal.blob(digest).ok()
    }

    fn archived(&self, component: Component) -> Option<Vec<u8>> {
        let dir = self.state_dir.join("archive").join(self.run.to_string());
        std::fs::read(dir.join(component.manifest_file())).ok()
    }

    fn recorded(&self) -> Vec<Value> {
        let entries = self.journal.entries(self.run).map_while(Result::ok);
        entries.filter_map(|entry| decode(&entry).ok()).flat_map(|event| event.facts().to_vec()).collect()
    }

    fn standby(&self, pivot: RunId, component: Component) -> Option<(PathBuf, FileImage)> {
        let image = Standby::of(self.state_dir, pivot).get(component).ok()??;
        let dir = self.state_dir.join("standby").join(pivot.to_string());
        Some((dir.join(component.manifest_file()), image))
    }
}
