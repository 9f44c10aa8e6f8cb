//! `fulcrum history --verify`, `checkpoint`, `export`, `import-check`, `rotate-key`.

use crate::args::{Export, Global, ImportCheck};
use crate::env::{access, require_root};
use crate::exit::{Exit, Failure};
use crate::journal::{find_run, open_journal, read_journal};
use crate::shell::Shell;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Reader, RunId};
use fulcrum_evidence::leaves::evidence_dir;
use fulcrum_evidence::note::Note;
use fulcrum_evidence::seal::{read_note, rotate, seal, sizes};
use fulcrum_evidence::verify::{Elsewhere, Report, Standing, verify};
use fulcrum_evidence::{EvidenceError, export, import};
use fulcrum_steps::run_info::{LockPurpose, RunInfo};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The form of what `--verify` and `import-check` print as JSON.
const FORMAT_VERSION: u32 = 1;
/// How long the cluster may take to say what it keeps.
const CLUSTER_WITHIN: Duration = Duration::from_secs(3);

/// `history --verify`: three lists, and an exit code by the worst.
pub(crate) async fn verify_journal(
    global: &Global,
    journal: &Reader,
    run: Option<RunId>,
    checkpoints: &[PathBuf],
    shell: &Shell,
) -> Result<Exit, Failure> {
    let mut elsewhere = given(checkpoints)?;
    elsewhere.extend(in_the_cluster(journal).await);
    let report = verify(journal, &global.state_dir, &elsewhere)?;
    show(run.map_or(report.clone(), |run| report.about(run)), shell)
}

/// `history import-check`.
pub(crate) fn import_check(args: &ImportCheck, shell: &Shell) -> Result<Exit, Failure> {
    show(import::check(&args.dir, &given(&args.checkpoint)?)?, shell)
}

/// `history checkpoint`: what was signed last, to be kept elsewhere.
pub(crate) fn checkpoint(global: &Global, shell: &Shell) -> Result<Exit, Failure> {
    match last_note(&global.state_dir)? {
        Some(note) => {
            shell.print(&note.to_string());
            Ok(Exit::Done)
        }
        None => Err(Failure::refused("this journal was never signed: the end of the next run does so")),
    }
}

/// `history export`. What the last checkpoint does not have is signed first, if no other process is at work.
pub(crate) fn export_runs(global: &Global, args: &Export, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let journal = read_journal(&global.state_dir, LockPurpose::History)?;
    let mut runs = Vec::new();
    for said in &args.runs {
        runs.extend(find_run(&journal, Some(said))?);
    }
    match open_journal(&global.state_dir, LockPurpose::History) {
        Ok(open) => _ = seal(&open.reader(), &global.state_dir)?,
        Err(failure) => shell.talk(format_args!("only what was signed is exported: {:#}", failure.error)),
    }
    let exported = export::export(&journal, &global.state_dir, &runs, &args.dir)?;
    if shell.json() {
        shell.data_json(&json!({
            "format_version": FORMAT_VERSION, "dir": args.dir, "runs": exported.runs,
            "records": exported.records, "key": exported.key.to_string(),
        }));
        return Ok(Exit::Done);
    }
    shell.words(format_args!(
        "{}: {} runs, {} records, signed with {}",
        args.dir.display(),
        exported.runs,
        exported.records,
        exported.key
    ));
    Ok(Exit::Done)
}

/// `history rotate-key`.
pub(crate) fn rotate_key(global: &Global, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    let journal = open_journal(&global.state_dir, LockPurpose::History)?;
    let (note, old) = rotate(&journal.reader(), &global.state_dir)?;
    match old {
        Some(old) => shell.talk(format_args!("signed with both keys; the earlier one was {old}")),
        None => shell.talk("there was no earlier key that could sign: only the new one vouches for itself"),
    }
    shell.print(&note.to_string());
    Ok(Exit::Done)
}

/// The checkpoint that was signed last.
fn last_note(state_dir: &Path) -> Result<Option<Note>, EvidenceError> {
    let dir = evidence_dir(state_dir);
    sizes(&dir)?.last().map_or(Ok(None), |size| read_note(&dir, *size))
}

/// The checkpoints that a person has kept.
fn given(paths: &[PathBuf]) -> Result<Vec<Elsewhere>, Failure> {
    let read = |path: &PathBuf| {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::refused(format!("--checkpoint {place}: {error}")))?;
        let note = Note::parse(&text).ok_or_else(|| {
            Failure::refused(format!("--checkpoint {place}: it is no checkpoint of a journal"))
        })?;
        Ok(Elsewhere { place, note: Ok(note) })
    };
    paths.iter().map(read).collect()
}

/// What the cluster keeps of this node's journal, by the settings of its last run.
async fn in_the_cluster(journal: &Reader) -> Option<Elsewhere> {
    let place = "ConfigMap kube-system/fulcrum".to_owned();
    let last = journal.runs().ok()?.last()?.run;
    let note = match load(journal, last).ok().and_then(|run| RunInfo::of(run.plan()).ok()) {
        None => Err("the last run does not say which cluster it was".to_owned()),
        Some(RunInfo { settings, .. }) => {
            let asked = async {
                let (access, _) = access(&settings.kubeconfig).await.map_err(|f| format!("{:#}", f.error))?;
                access.cluster.entry_of(&settings.node).await.map_err(|error| error.to_string())
            };
            let answer = tokio::time::timeout(CLUSTER_WITHIN, asked).await;
            match answer.unwrap_or_else(|_| Err(format!("no answer within {CLUSTER_WITHIN:?}"))) {
                Err(why) => Err(why),
                Ok(None) => Err("it keeps nothing of this node".to_owned()),
                Ok(Some(entry)) => match entry.checkpoint.map(|text| Note::parse(&text)) {
                    Some(Some(note)) => return Some(Elsewhere { place, note: Ok(note) }),
                    Some(None) => Err("what it keeps is no checkpoint".to_owned()),
                    None => Err("it keeps no checkpoint of this node".to_owned()),
                },
            }
        }
    };
    Some(Elsewhere { place, note })
}

/// Shows the three lists.
fn show(report: Report, shell: &Shell) -> Result<Exit, Failure> {
    let exit = match report.worst() {
        Standing::Verified => Exit::Done,
        Standing::NotChecked => Exit::NotChecked,
        Standing::Wrong => Exit::Damaged,
    };
    if shell.json() {
        shell.data_json(&json!({
            "format_version": FORMAT_VERSION, "worst": report.worst(), "findings": report.findings,
        }));
        return Ok(exit);
    }
    for (standing, title) in
        [(Standing::Wrong, "WRONG"), (Standing::NotChecked, "not checked"), (Standing::Verified, "verified")]
    {
        let mut findings = report.of(standing).peekable();
        if findings.peek().is_some() {
            shell.words(format_args!("{title}:"));
        }
        for finding in findings {
            let run = finding.run.map(|run| format!("run {run}: ")).unwrap_or_default();
            shell.words(format_args!("  {run}{}", finding.text));
        }
    }
    Ok(exit)
}
