//! Shows a run as it goes: lines of JSON on stdout, or words on stderr with a spinner for each step in
//! flight.
//!
//! A thread of its own writes all of it. A terminal that has stopped reading blocks its writer, and one that
//! has gone makes libraries panic. The run must notice neither.

use super::terminal;
use super::time::rfc3339;
use crate::shell::Shell;
use fulcrum_engine::state::{RunId, Timestamp};
use fulcrum_engine::{Event, Observer, StepId};
use fulcrum_steps::step_name::shown;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The most lines that may wait to be shown; the others are not shown. No person reads a terminal that stands
/// still that long.
const WAITING_MAX: usize = 4096;
/// How long the end of a run waits for the last lines to be shown.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// The sender to the thread that shows the run.
pub(crate) struct Progress {
    tell: Mutex<Option<SyncSender<News>>>,
    shown: Mutex<Receiver<()>>,
}

enum News {
    Event(RunId, Timestamp, Box<Event>),
    Note(StepId, String),
}

impl Progress {
    pub(crate) fn new(shell: &Shell) -> Self {
        let (tell, news) = sync_channel(WAITING_MAX);
        let (all_shown, shown) = channel();
        let screen = Screen::new(shell);
        // Without a thread nothing is shown, and the run goes on: its journal has it all.
        let _ = std::thread::Builder::new().name("progress".into()).spawn(move || {
            screen.show(&news);
            drop(all_shown);
        });
        Self { tell: Mutex::new(Some(tell)), shown: Mutex::new(shown) }
    }

    /// Waits, but not for long, until everything is shown.
    pub(crate) fn finish(&self) {
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

/// The state of the display. Only the one thread that shows it has it.
struct Screen {
    shell: Shell,
    bars: MultiProgress,
    in_flight: BTreeMap<StepId, (Timestamp, ProgressBar)>,
}

impl Screen {
    fn new(shell: &Shell) -> Self {
        let shell = Shell { output: shell.output, verbose: shell.verbose };
        Self { shell, bars: MultiProgress::with_draw_target(terminal::target()), in_flight: BTreeMap::new() }
    }

    fn show(mut self, news: &Receiver<News>) {
        for news in news {
            match news {
                News::Event(run, time, event) if self.shell.json() => {
                    if let Some(line) = json_line(run, time, &event) {
                        self.shell.data_json(&line);
                    }
                }
                News::Event(_, time, event) => self.words(time, &event),
                News::Note(step, text) => self.note(&step, &text),
            }
        }
    }

    fn note(&self, step: &StepId, text: &str) {
        if let Some((_, bar)) = self.in_flight.get(step) {
            bar.set_message(text.to_owned());
        }
        if self.shell.verbose > 0 {
            self.line("       ", &format!("{}: {text}", shown(step)));
        }
    }

    fn started(&mut self, step: &StepId, time: Timestamp, undo: bool) {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{}{}", if undo { "undo " } else { "" }, shown(step)));
        bar.enable_steady_tick(Duration::from_millis(200));
        self.in_flight.insert(step.clone(), (time, bar));
    }

    /// Removes the step's spinner. Returns how long it span.
    fn ended(&mut self, step: &StepId, time: Timestamp) -> Duration {
        let Some((started, bar)) = self.in_flight.remove(step) else { return Duration::ZERO };
        bar.finish_and_clear();
        time.since(started)
    }

    fn line(&self, mark: &str, text: &str) {
        self.bars.suspend(|| self.shell.talk(format_args!("  {mark} {text}")));
    }

    fn words(&mut self, time: Timestamp, event: &Event) {
        match event {
            Event::AttemptStarted { step, .. } => self.started(step, time, false),
            Event::UndoStarted { step, .. } => self.started(step, time, true),
            Event::AttemptDone { step, .. } => {
                let took = self.ended(step, time);
                self.line("done   ", &format!("{} ({:.1} s)", shown(step), took.as_secs_f64()));
            }
            Event::UndoDone { step, .. } => {
                let took = self.ended(step, time);
                self.line("undone ", &format!("{} ({:.1} s)", shown(step), took.as_secs_f64()));
            }
            Event::AttemptFailed { step, failure, .. } | Event::UndoFailed { step, failure, .. } => {
                self.ended(step, time);
                self.line("failed ", &format!("{}: {}", shown(step), failure.error));
            }
            Event::AttemptCut { step, .. } | Event::UndoCut { step, .. } => {
                self.ended(step, time);
                self.line("stopped", &shown(step));
            }
            Event::Probed { step, result, .. } => {
                self.line("found  ", &format!("{}: {result:?}", shown(step)));
            }
            Event::RollbackStarted { reason, .. } => self.line("undoing", reason),
            _ => {}
        }
    }
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
            json!({ "event": "undoing", "run": run, "reason": reason, "time": rfc3339(time) })
        }
        Event::Begun { .. } => json!({ "event": "begun", "run": run, "time": rfc3339(time) }),
        Event::Resumed { .. } => json!({ "event": "resumed", "run": run, "time": rfc3339(time) }),
        _ => return None,
    })
}
