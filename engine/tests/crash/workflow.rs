//! What the child does: workflows whose effects are files, made and taken back in two moves each.

use async_trait::async_trait;
use fulcrum_engine::state::{Journal, Options, RunId, Timestamp, fault};
use fulcrum_engine::{
    Backoff, Context, Ending, Engine, EngineError, Event, Observer, Plan, Policy, ProbeResult, Session, Step,
    StepError, StepRegistry, StepSpec,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const WORKFLOWS: [&str; 5] = ["chain", "diamond", "wide", "failing", "saves"];

/// What is in a directory: the name of each file, and its content.
pub(crate) type Files = BTreeMap<String, String>;

pub(crate) fn plan(workflow: &str) -> Plan {
    let conf = |id, after: &[&str]| spec(id, after, json!({ "conf": true }));
    let steps = match workflow {
        "chain" => vec![file("a", &[]), file("b", &["a"]), file("c", &["b"])],
        "diamond" => vec![file("a", &[]), file("b", &["a"]), file("c", &["a"]), file("d", &["b", "c"])],
        "wide" => (0..7).map(|n| file(&format!("w{n}"), &[])).collect(),
        "failing" => vec![
            file("a", &[]),
            spec("b", &["a"], json!({ "fails": "once" })),
            file("c", &["a"]),
            spec("d", &["b", "c"], json!({ "fails": "for good" })),
            file("e", &["d"]),
        ],
        _ => vec![conf("a", &[]), conf("b", &["a"]), file("c", &["a"]), conf("d", &["b", "c"])],
    };
    Plan::new(workflow, steps).unwrap()
}

fn file(id: &str, after: &[&str]) -> StepSpec {
    spec(id, after, Value::Null)
}

fn spec(id: &str, after: &[&str], args: Value) -> StepSpec {
    let backoff = Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(1) };
    let policy = Policy::tries(2, Duration::from_secs(30)).with_backoff(backoff);
    StepSpec::new(id, args).after(after.iter().copied()).policy(policy.clone()).undo_policy(policy)
}

/// The files before the run, in `<dir>/fx`: each step that changes one finds it there.
pub(crate) fn before(plan: &Plan) -> Files {
    let confs = plan.steps().iter().filter(|spec| spec.args["conf"] == true);
    confs.map(|spec| (format!("{}.conf", spec.id), format!("as {} found it", spec.id))).collect()
}

/// The files after the run.
pub(crate) fn after(plan: &Plan) -> Files {
    let parts = |spec: &StepSpec| match spec.args["conf"] == true {
        true => vec![(format!("{}.conf", spec.id), CHANGED.to_owned())],
        false => [1, 2].map(|n| (format!("{}.{n}", spec.id), String::new())).to_vec(),
    };
    plan.steps().iter().flat_map(parts).collect()
}

/// The files that are there.
pub(crate) fn seen(dir: &Path) -> Files {
    let files = fs::read_dir(dir.join("fx")).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())
    });
    files.collect()
}

pub(crate) fn prepare(dir: &Path, plan: &Plan) {
    fs::create_dir_all(dir.join("fx")).unwrap();
    for (name, text) in before(plan) {
        fs::write(dir.join("fx").join(name), text).unwrap();
    }
}

pub(crate) fn open(dir: &Path) -> Journal {
    // Small segments: a child lives for a hundredth of a second.
    let options = Options { segment_bytes: 256 * 1024, ..Options::default() };
    Journal::open_with(dir.join("journal"), "crash test", options).unwrap()
}

/// What to do with the run in `<dir>/journal`, or with a new one if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Forward to its end, and if it completed, all the way back.
    ThereAndBack,
    /// On with it, if it has not ended.
    Resume,
    /// Back; if there is no run there is nothing to take back.
    RollBack,
}

impl Verb {
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::ThereAndBack, Self::Resume, Self::RollBack]
            .into_iter()
            .find(|verb| format!("{verb:?}") == name)
    }
}

/// Does it. `None` if there was nothing to do.
pub(crate) async fn carry_out(
    journal: &Journal,
    dir: &Path,
    workflow: &str,
    verb: Verb,
    observer: Arc<dyn Observer>,
) -> Option<Ending> {
    let session = Session::current("crash test").unwrap();
    let engine = Engine::new(journal.clone(), registry(dir.join("fx")), session).parallelism(3);
    let engine = engine.observer(observer);
    let run = journal.reader().runs().unwrap().last().map(|header| header.run);
    let ending = match (run, verb) {
        (None, Verb::RollBack) => return None,
        (None, _) => engine.start(plan(workflow)).await,
        (Some(run), Verb::RollBack) => engine.roll_back(run, "asked to").await,
        (Some(run), _) => engine.resume(run).await,
    };
    let ending = match ending {
        Err(EngineError::Over { .. }) => return None,
        ending => ending.unwrap(),
    };
    if verb == Verb::ThereAndBack && workflow != "failing" {
        return Some(engine.roll_back(ending.run, "and back").await.unwrap());
    }
    Some(ending)
}

/// Says on standard output what is durable.
pub(crate) struct Acknowledge;

impl Observer for Acknowledge {
    fn event(&self, _run: RunId, _time: Timestamp, event: &Event) {
        let mut out = std::io::stdout();
        writeln!(out, "\nacknowledged {}", serde_json::to_string(event).unwrap()).unwrap();
        out.flush().unwrap();
    }
}

fn registry(dir: PathBuf) -> impl StepRegistry + 'static {
    move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        let path = |end: &str| dir.join(format!("{}.{end}", spec.id));
        Ok(match spec.args["conf"] == true {
            true => Arc::new(Conf { path: path("conf") }),
            false => {
                let fails = spec.args["fails"].as_str().unwrap_or_default().to_owned();
                Arc::new(Pair { first: path("1"), second: path("2"), fails })
            }
        })
    }
}

/// Two files.
struct Pair {
    first: PathBuf,
    second: PathBuf,
    fails: String,
}

#[async_trait]
impl Step for Pair {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(match (self.first.exists(), self.second.exists()) {
            (true, true) => ProbeResult::Done,
            (false, false) => ProbeResult::Absent,
            _ => ProbeResult::Partial("one of two files".into()),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        fs::write(&self.first, "")?;
        fault::point("effect/half-made");
        match self.fails.as_str() {
            "once" if cx.attempt() == 1 => return Err(StepError::retry("once")),
            "for good" => return Err(StepError::fatal("for good")),
            _ => {}
        }
        fs::write(&self.second, "")?;
        Ok(Value::Null)
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        remove(&self.second)?;
        fault::point("effect/half-gone");
        remove(&self.first)
    }
}

fn remove(path: &Path) -> Result<(), StepError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

const CHANGED: &str = "as it should be";

/// A file that is there and is changed, not atomically: only what was saved can bring it back.
struct Conf {
    path: PathBuf,
}

#[async_trait]
impl Step for Conf {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let text = fs::read_to_string(&self.path)?;
        Ok(if text == CHANGED { ProbeResult::Done } else { ProbeResult::Partial(text) })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        assert!(cx.pre_image().is_some(), "what was saved is durable before the first effect");
        fs::write(&self.path, "half of it")?;
        fault::point("effect/half-changed");
        fs::write(&self.path, CHANGED)?;
        Ok(Value::Null)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        if let Some(saved) = cx.pre_image() {
            fs::write(&self.path, "")?;
            fault::point("effect/half-restored");
            fs::write(&self.path, saved)?;
        }
        Ok(())
    }

    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(fs::read(&self.path)?)
    }
}
