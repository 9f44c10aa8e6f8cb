//! Shows a run as it goes: lines of JSON on stdout, or words on stderr ([`Screen`]).
//!
//! A thread of its own writes all of it. A terminal that has stopped reading blocks its writer, and one that
//! has gone makes libraries panic. The run must notice neither.

use super::forecast::Forecast;
use super::screen::Screen;
use super::time::rfc3339;
use crate::api_watch::{self, Counts};
use crate::shell::Shell;
use fulcrum_engine::state::{RunId, Timestamp};
use fulcrum_engine::{Event, Observer, StepId};
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::step_name::{reworded, shown};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The most lines that may wait to be shown; the others are not shown. No person reads a terminal that stands
/// still that long.
const WAITING_MAX: usize = 4096;
/// How long the end of a run waits for the last lines to be shown.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// The sender to the thread that shows the run.
pub(crate) struct Progress {
    tell: Mutex<Option<SyncSender<News>>>,
    shown: Mutex<Receiver<()>>,
    api: Mutex<Option<Asking>>,
}

/// The task that asks the API, and what has come of it.
struct Asking {
    task: JoinHandle<()>,
    counts: Arc<Mutex<Counts>>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum News {
    Event(RunId, Timestamp, Box<Event>),
    Note(StepId, String),
    Api(Counts),
    /// A person is about to be asked. Answered once nothing is drawn any more.
    Question(SyncSender<()>),
    Answered,
}

/// As long as this lives, nothing is drawn over what a person is asked.
pub(crate) struct Question<'a>(&'a Progress);

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.0.tell(News::Answered);
    }
}

impl Progress {
    pub(crate) fn new(shell: &Shell, forecast: Option<Forecast>) -> Self {
        let (tell, news) = sync_channel(WAITING_MAX);
        let (all_shown, shown) = channel();
        let screen = Screen::new(shell, forecast);
        // Without a thread nothing is shown, and the run goes on: its journal has it all.
        let _ = std::thread::Builder::new().name("progress".into()).spawn(move || {
            show(screen, &news);
            drop(all_shown);
        });
        Self { tell: Mutex::new(Some(tell)), shown: Mutex::new(shown), api: Mutex::default() }
    }

    /// Asks this cluster's API from now on until the end of the run, and shows how it answers.
    pub(crate) fn watch_api(self: &Arc<Self>, cluster: &Cluster) {
        let (progress, cluster) = (Arc::downgrade(self), cluster.clone());
        let counts = Arc::new(Mutex::new(Counts::default()));
        let kept = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let ask = || async { cluster.readyz().await.is_ok() };
            let tell = |counts: &Counts| {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = counts.clone();
                if let Some(progress) = progress.upgrade() {
                    progress.tell(News::Api(counts.clone()));
                }
            };
            api_watch::watch(ask, tell).await;
        });
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = Some(Asking { task, counts });
    }

    /// Makes room for a question. A terminal that stands still is not waited for.
    pub(crate) fn question(&self) -> Question<'_> {
        let (tell, told) = sync_channel(1);
        self.tell(News::Question(tell));
        let _ = told.recv_timeout(LAST_LINES_WITHIN);
        Question(self)
    }

    /// How the API has answered while the run went on. `None` if it was not asked.
    pub(crate) fn api(&self) -> Option<Counts> {
        let api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = api.as_ref()?.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (counts.asked > 0).then_some(counts)
    }

    /// Waits, but not for long, until everything is shown.
    pub(crate) fn finish(&self) {
        if let Some(asking) = self.api.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            asking.task.abort();
        }
        self.tell.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = shown.recv_timeout(LAST_LINES_WITHIN);
    }

    fn tell(&self, news: News) {
        if let Some(tell) = self.tell.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let _ = tell.try_send(news);
        }
    }
}

impl Observer for Progress {
    fn event(&self, run: RunId, time: Timestamp, event: &Event) {
        self.tell(News::Event(run, time, Box::new(event.clone())));
    }

    fn note(&self, step: &StepId, text: &str) {
        self.tell(News::Note(step.clone(), text.to_owned()));
    }
}

fn show(mut screen: Screen, news: &Receiver<News>) {
    for news in news {
        match news {
            News::Event(run, time, event) if screen.shell.json() => {
                if let Some(line) = json_line(run, time, &event) {
                    screen.shell.data_json(&line);
                }
            }
            News::Event(_, time, event) => screen.words(time, &event),
            News::Note(step, text) => screen.note(&step, &text),
            News::Api(_) if screen.shell.json() => {}
            News::Api(counts) => screen.api(counts),
            News::Question(drawn) => {
                screen.hold();
                let _ = drawn.send(());
            }
            News::Answered => screen.go_on(),
        }
    }
    screen.end();
}

/// The line of JSON for this event. The last line, `finished`, is the command's.
fn json_line(run: RunId, time: Timestamp, event: &Event) -> Option<Value> {
    let line = |name: &str, step: &StepId, attempt: u32, error: Option<&str>| json!({ "event": name, "run": run, "step": shown(step), "attempt": attempt, "time": rfc3339(time), "error": error });
    Some(match event {
        Event::AttemptStarted { step, attempt, .. } => line("step-started", step, *attempt, None),
        Event::AttemptDone { step, attempt, .. } => line("step-done", step, *attempt, None),
        Event::AttemptFailed { step, attempt, failure, .. } => {
            line("step-failed", step, *attempt, Some(&failure.error))
        }
        Event::AttemptCut { step, attempt, .. } => line("step-stopped", step, *attempt, None),
        Event::UndoStarted { step, attempt } => line("undo-started", step, *attempt, None),
        Event::UndoDone { step, attempt, .. } => line("undo-done", step, *attempt, None),
        Event::UndoFailed { step, attempt, failure, .. } => {
            line("undo-failed", step, *attempt, Some(&failure.error))
        }
        Event::UndoCut { step, attempt, .. } => line("undo-stopped", step, *attempt, None),
        Event::Probed { step, result, .. } => {
            json!({ "event": "probed", "run": run, "step": shown(step), "finding": result, "time": rfc3339(time) })
        }
        Event::RollbackStarted { reason, .. } => {
            json!({ "event": "undoing", "run": run, "reason": reworded(reason), "time": rfc3339(time) })
        }
        Event::Begun { .. } => json!({ "event": "begun", "run": run, "time": rfc3339(time) }),
        Event::Resumed { .. } => json!({ "event": "resumed", "run": run, "time": rfc3339(time) }),
        _ => return None,
    })
}
