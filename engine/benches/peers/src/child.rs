//! Every measurement is a process of its own: this program again, with a task.

use crate::body::{self, Mode};
use crate::store::{Failed, Store, Subject};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Begins a line with a number for the parent. Engines may print lines of their own.
pub(crate) const REPORT: &str = "measured ";

/// How many workflows are at work at once, where many are.
pub(crate) const AT_ONCE: usize = 64;
/// Steps of each of them.
pub(crate) const WIDE: u64 = 8;
/// Steps of a run that is only there.
const SHORT: u64 = 2;
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
const CALLS: [&str; 3] = ["fsync", "fdatasync", "sync_file_range"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// One workflow of so many steps. Reports the nanoseconds from each step to the next.
    Chain,
    /// So many workflows at once. Reports the nanoseconds until the last step of all began, and the steps.
    Wide,
    /// So many workflows to their end, and one more that is cut in its second step.
    Fill,
    /// Goes on with the one that was cut. Reports the KiB that this took at most.
    GoOn,
}

impl Task {
    const ALL: [Task; 4] = [Task::Chain, Task::Wide, Task::Fill, Task::GoOn];
}

/// What a child reported.
pub(crate) struct Report {
    /// From the start of the process to its first number.
    pub(crate) first: Duration,
    pub(crate) numbers: Vec<u64>,
}

/// The parent's side: has a child do `task`, and waits for its end.
pub(crate) fn measure(task: Task, subject: Subject, dir: &Path, count: u64) -> Result<Report, Failed> {
    let begun = Instant::now();
    let mut child = command(task, subject, dir, count)?.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("a child without an output")?).lines();
    let (mut first, mut numbers) = (None, Vec::new());
    for line in lines {
        if let Some(number) = line?.strip_prefix(REPORT) {
            first.get_or_insert_with(|| begun.elapsed());
            numbers.push(number.parse()?);
        }
    }
    succeeded(task, subject, child.wait()?)?;
    Ok(Report { first: first.unwrap_or_default(), numbers })
}

/// Fills a store. The caller waits for the child.
pub(crate) fn fill(subject: Subject, dir: &Path, runs: u64) -> Result<Child, Failed> {
    Ok(command(Task::Fill, subject, dir, runs)?.stdout(Stdio::null()).spawn()?)
}

/// How often a process that carries out a chain of `steps` syncs; `None` without strace.
pub(crate) fn syncs(subject: Subject, dir: &Path, steps: u64) -> Result<Option<u64>, Failed> {
    let counted = dir.join("syncs");
    let chain = command(Task::Chain, subject, dir, steps)?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-e"]).arg(format!("trace={}", CALLS.join(","))).arg("-o");
    strace.arg(&counted).arg(chain.get_program()).args(chain.get_args()).stdout(Stdio::null());
    match strace.status() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        status => succeeded(Task::Chain, subject, status?)?,
    }
    let table = fs::read_to_string(counted)?;
    let calls = table.lines().filter_map(|line| {
        let (calls, name) = line.trim().split_once(char::is_whitespace)?;
        CALLS.contains(&name.trim()).then(|| calls.parse::<u64>())
    });
    Ok(Some(calls.sum::<Result<u64, _>>()?))
}

pub(crate) fn succeeded(task: Task, subject: Subject, status: ExitStatus) -> Result<(), Failed> {
    if status.success() { Ok(()) } else { Err(format!("{task:?}, {}: {status}", subject.name()).into()) }
}

fn command(task: Task, subject: Subject, dir: &Path, count: u64) -> Result<Command, Failed> {
    fs::create_dir_all(dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg((task as usize).to_string()).arg((subject as usize).to_string()).arg(dir);
    command.arg(count.to_string());
    Ok(command)
}

/// The child's side: `args` is what [`command`] gives.
pub(crate) fn work(args: &[String]) -> Result<(), Failed> {
    let [task, subject, dir, count] = args else {
        return Err("this program takes no arguments; those of its children are its own".into());
    };
    let task = Task::ALL.get(task.parse::<usize>()?).ok_or("an unknown task")?;
    let subject = Subject::ALL.get(subject.parse::<usize>()?).ok_or("an unknown subject")?;
    let (dir, count) = (Path::new(dir), count.parse()?);
    // One workflow has use for one thread. A runtime of several wakes an idle one for every step.
    let runtime = match task {
        Task::Chain => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
    };
    runtime.block_on(async {
        match task {
            Task::Chain => chain(subject.open(dir, true).await?, count).await,
            Task::Wide => wide(subject.open(dir, false).await?, count).await,
            Task::Fill => fill_up(subject.open(dir, false).await?, count).await,
            Task::GoOn => go_on(*subject, dir).await,
        }
    })
}

async fn chain(store: Arc<dyn Store>, steps: u64) -> Result<(), Failed> {
    store.run(steps).await?;
    let marks = body::marks();
    if marks.len() as u64 != steps {
        return Err(format!("{steps} steps began {} times", marks.len()).into());
    }
    for pair in marks.windows(2) {
        report((pair[1] - pair[0]).as_nanos());
    }
    Ok(())
}

async fn wide(store: Arc<dyn Store>, workflows: u64) -> Result<(), Failed> {
    let begun = Instant::now();
    many(store, workflows, WIDE).await?;
    let marks = body::marks();
    let last = marks.last().ok_or("no step began")?;
    report((*last - begun).as_nanos());
    report(marks.len() as u128);
    Ok(())
}

async fn fill_up(store: Arc<dyn Store>, runs: u64) -> Result<(), Failed> {
    store.run(SHORT).await?;
    if !store.multiply(runs - 1).await? {
        many(store.clone(), runs - 1, SHORT).await?;
    }
    body::set(Mode::Dies);
    store.run(SHORT).await?;
    Err("the last run should have ended this process".into())
}

/// The body that is reached ends the process.
async fn go_on(subject: Subject, dir: &Path) -> Result<(), Failed> {
    body::set(Mode::Arrives);
    let store = subject.open(dir, false).await?;
    store.go_on().await?;
    tokio::time::sleep(ARRIVES_WITHIN).await;
    Err(format!("the open run was not gone on with in {ARRIVES_WITHIN:?}").into())
}

async fn many(store: Arc<dyn Store>, runs: u64, steps: u64) -> Result<(), Failed> {
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE as u64 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in (first..runs).step_by(AT_ONCE) {
                store.run(steps).await?;
            }
            Ok::<(), Failed>(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}

fn report(number: u128) {
    println!("{REPORT}{number}");
}
