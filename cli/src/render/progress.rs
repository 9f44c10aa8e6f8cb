//! A run as it goes: lines of JSON on stdout, or words on stderr with a spinner for each step in flight.

use super::time::rfc3339;
use crate::shell::Shell;
use fulcrum_engine::state::{RunId, Timestamp};
use fulcrum_engine::{Event, Observer, StepId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) struct Progress {
    shell: Shell,
    bars: MultiProgress,
    in_flight: Mutex<BTreeMap<StepId, (Timestamp, ProgressBar)>>,
}

impl Progress {
    pub(crate) fn new(shell: &Shell) -> Self {
        let shell = Shell { output: shell.output, verbose: shell.verbose };
        Self { shell, bars: MultiProgress::new(), in_flight: Mutex::default() }
    }

    fn started(&self, step: &StepId, time: Timestamp, undo: bool) {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{}{step}", if undo { "undo " } else { "" }));
        bar.enable_steady_tick(Duration::from_millis(200));
        self.in_flight().insert(step.clone(), (time, bar));
    }

    /// Takes the step's spinner away; how long it span.
    fn ended(&self, step: &StepId, time: Timestamp) -> Duration {
        let Some((started, bar)) = self.in_flight().remove(step) else { return Duration::ZERO };
        bar.finish_and_clear();
        time.since(started)
    }

    fn in_flight(&self) -> MutexGuard<'_, BTreeMap<StepId, (Timestamp, ProgressBar)>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, mark: &str, text: &str) {
        self.bars.suspend(|| self.shell.talk(format_args!("  {mark} {text}")));
    }

    fn words(&self, time: Timestamp, event: &Event) {
        match event {
            Event::AttemptStarted { step, .. } => self.started(step, time, false),
            Event::UndoStarted { step, .. } => self.started(step, time, true),
            Event::AttemptDone { step, .. } => {
                let took = self.ended(step, time);
                self.line("done   ", &format!("{step} ({:.1} s)", took.as_secs_f64()));
            }
            Event::UndoDone { step, .. } => {
                let took = self.ended(step, time);
                self.line("undone ", &format!("{step} ({:.1} s)", took.as_secs_f64()));
            }
            Event::AttemptFailed { step, failure, .. } | Event::UndoFailed { step, failure, .. } => {
                self.ended(step, time);
                self.line("failed ", &format!("{step}: {}", failure.error));
            }
            Event::AttemptCut { step, .. } | Event::UndoCut { step, .. } => {
                self.ended(step, time);
                self.line("stopped", step.as_str());
            }
            Event::Probed { step, finding } => self.line("found  ", &format!("{step}: {finding:?}")),
            Event::UnwindStarted { reason } => self.line("undoing", reason),
            Event::Begun { .. } | Event::Resumed { .. } | Event::Paused { .. } | Event::Ended { .. } => {}
        }
    }
}

impl Observer for Progress {
    fn event(&self, run: RunId, time: Timestamp, event: &Event) {
        if self.shell.json() {
            if let Some(line) = json_line(run, time, event) {
                self.shell.data_json(&line);
            }
        } else {
            self.words(time, event);
        }
    }

    fn note(&self, step: &StepId, text: &str) {
        if let Some((_, bar)) = self.in_flight().get(step) {
            bar.set_message(text.to_owned());
        }
        if self.shell.verbose > 0 {
            self.line("       ", &format!("{step}: {text}"));
        }
    }
}

/// One object a line; the last one, `finished`, is the command's.
fn json_line(run: RunId, time: Timestamp, event: &Event) -> Option<Value> {
    let line = |name: &str, step: &StepId, attempt: u32, error: Option<&str>| json!({ "event": name, "run": run, "step": step, "attempt": attempt, "time": rfc3339(time), "error": error });
    Some(match event {
        Event::AttemptStarted { step, attempt, .. } => line("step-started", step, *attempt, None),
        Event::AttemptDone { step, attempt, .. } => line("step-done", step, *attempt, None),
        Event::AttemptFailed { step, attempt, failure } => {
            line("step-failed", step, *attempt, Some(&failure.error))
        }
        Event::AttemptCut { step, attempt } => line("step-stopped", step, *attempt, None),
        Event::UndoStarted { step, attempt } => line("undo-started", step, *attempt, None),
        Event::UndoDone { step, attempt } => line("undo-done", step, *attempt, None),
        Event::UndoFailed { step, attempt, failure } => {
            line("undo-failed", step, *attempt, Some(&failure.error))
        }
        Event::UndoCut { step, attempt } => line("undo-stopped", step, *attempt, None),
        Event::Probed { step, finding } => {
            json!({ "event": "probed", "run": run, "step": step, "finding": finding, "time": rfc3339(time) })
        }
        Event::UnwindStarted { reason } => {
            json!({ "event": "undoing", "run": run, "reason": reason, "time": rfc3339(time) })
        }
        Event::Begun { .. } => json!({ "event": "begun", "run": run, "time": rfc3339(time) }),
        Event::Resumed { .. } => json!({ "event": "resumed", "run": run, "time": rfc3339(time) }),
        Event::Paused { .. } | Event::Ended { .. } => return None,
    })
}
