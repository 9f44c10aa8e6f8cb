//! A whole program on the engine: put a new release of a directory live, and be able to take it back.
//!
//! ```text
//! cargo run -p fulcrum-engine --example deploy -- /tmp/site          # put the next release live
//! kill -9 it halfway, and run the same line again: it goes on where it was
//! cargo run -p fulcrum-engine --example deploy -- /tmp/site undo     # take the last one back
//! ```
//!
//! Three steps: `copy` the files of the release, `check` that they are all there, `switch` the link `current`
//! over to them. The link is saved before it is changed. So undo knows where it led.

#![expect(clippy::print_stdout, reason = "it is a program that talks to a person")]

use async_trait::async_trait;
use fulcrum_engine::history::History;
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId, Timestamp, fsync};
use fulcrum_engine::{
    Context, Engine, Event, Observer, Plan, ProbeResult, Session, Step, StepError, StepId, StepSpec,
};
use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const FILES: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(root), command) = (args.next(), args.next()) else {
        return Err("usage: deploy DIRECTORY [undo]".into());
    };
    let root = PathBuf::from(root);
    fs::create_dir_all(&root)?;
    let journal = Journal::open(root.join("journal"), "deploy")?;
    let engine =
        Engine::new(journal.clone(), registry, Session::current("deploy 1")?).observer(Arc::new(Printer));
    let last = journal.reader().runs()?.last().map(|header| header.run);
    let unfinished = match last {
        Some(run) if !load(&journal.reader(), run)?.is_over() => Some(run),
        _ => None,
    };
    let ending = match (command.as_deref(), last, unfinished) {
        (Some("undo"), Some(run), _) => engine.roll_back(run, "undo was asked for").await?,
        (Some(other), ..) => return Err(format!("{other}: nothing to do").into()),
        (None, _, Some(run)) => {
            println!("taking up run {run}");
            engine.resume(run).await?
        }
        (None, ..) => engine.start(plan(&root)?).await?,
    };
    println!("{}", ending.phase);
    print_history(&journal, ending.run)
}

fn plan(root: &Path) -> Result<Plan, Box<dyn Error>> {
    let releases = fs::read_dir(root)?.flatten().filter(|e| e.file_name().to_string_lossy().starts_with('v'));
    let args = json!({ "root": root, "release": format!("v{}", releases.count() + 1) });
    let step = |name: &str| StepSpec::new(name, args.clone());
    Ok(Plan::new(
        "deploy",
        vec![step("copy"), step("check").after(["copy"]), step("switch").after(["check"])],
    )?)
}

fn registry(spec: &StepSpec) -> Result<Arc<dyn Step>, String> {
    let text = |name: &str| spec.args[name].as_str().map(PathBuf::from).ok_or(format!("no {name}"));
    let (root, release) = (text("root")?, text("release")?);
    match spec.id.as_str() {
        "copy" => Ok(Arc::new(Copy { to: root.join(release) })),
        "check" => Ok(Arc::new(Check { release: root.join(release) })),
        "switch" => Ok(Arc::new(Switch { link: root.join("current"), release })),
        other => Err(format!("this program has no step {other}")),
    }
}

struct Copy {
    to: PathBuf,
}

#[async_trait]
impl Step for Copy {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        match fs::read_dir(&self.to).map(Iterator::count) {
            Ok(FILES) => Ok(ProbeResult::Done),
            Ok(count) => Ok(ProbeResult::Partial(format!("{count} of {FILES} files"))),
            Err(_) => Ok(ProbeResult::Absent),
        }
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        fs::create_dir_all(&self.to)?;
        for n in 0..FILES {
            cx.note(format!("file {n} of {FILES}"));
            fsync::write_atomic(&self.to.join(format!("{n}.html")), b"<h1>new</h1>", None, None)?;
            tokio::time::sleep(Duration::from_millis(150)).await; // Time to kill it.
        }
        Ok(Value::Null)
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        match fs::remove_dir_all(&self.to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

struct Check {
    release: PathBuf,
}

#[async_trait]
impl Step for Check {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent) // It changes nothing: checking again is as good.
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        let files = fs::read_dir(&self.release)?.count();
        if files == FILES { Ok(json!(files)) } else { Err(StepError::fatal(format!("{files} files"))) }
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

struct Switch {
    link: PathBuf,
    release: PathBuf,
}

impl Switch {
    fn lead_to(&self, target: &Path) -> Result<(), StepError> {
        let next = self.link.with_extension("next");
        let _ = fs::remove_file(&next);
        std::os::unix::fs::symlink(target, &next)?;
        fs::rename(&next, &self.link)?;
        Ok(fsync::sync_dir(self.link.parent().unwrap_or(Path::new(".")))?)
    }
}

#[async_trait]
impl Step for Switch {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        let before = fs::read_link(&self.link).unwrap_or_default();
        Ok(before.into_os_string().into_encoded_bytes())
    }

    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let there = fs::read_link(&self.link).is_ok_and(|target| target == self.release);
        Ok(if there { ProbeResult::Done } else { ProbeResult::Absent })
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        self.lead_to(&self.release)?;
        Ok(Value::Null)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match cx.pre_image() {
            None => Ok(()), // It never began.
            Some([]) => Ok(fsync::remove_durable(&self.link)?),
            Some(before) => self.lead_to(Path::new(std::str::from_utf8(before).map_err(StepError::fatal)?)),
        }
    }
}

struct Printer;

impl Observer for Printer {
    fn event(&self, _run: RunId, _time: Timestamp, event: &Event) {
        println!("  {}", serde_json::to_string(event).unwrap_or_default());
    }

    fn note(&self, step: &StepId, text: &str) {
        println!("    {step}: {text}");
    }
}

fn print_history(journal: &Journal, run: RunId) -> Result<(), Box<dyn Error>> {
    for attempt in History::read(&journal.reader(), run)?.attempts {
        println!("{:8} {:?} {} {:?}", attempt.step, attempt.direction, attempt.attempt, attempt.result);
    }
    Ok(())
}
