//! The screen while a run goes on: for each step in flight a line, and below it what the step waits for and
//! last saw; at the foot what comes next, and how the API answers. Off a terminal, plain lines.

use super::forecast::Forecast;
use super::terminal;
use crate::api_watch::Counts;
use crate::shell::Shell;
use fulcrum_engine::state::Timestamp;
use fulcrum_engine::{Event, StepId};
use fulcrum_steps::step_name::{reworded, shown};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many lines what a step saw may have below its own line. `-v` shows all of it.
const LINES_MAX: usize = 6;
/// The end of what is longer than that.
const MORE: &str = " ... (-v: all)";
const INDENT: &str = "          ";
/// Off a terminal, a step that waits says so this often.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// The state of the display. Only the one thread that shows it has it.
pub(super) struct Screen {
    pub(super) shell: Shell,
    bars: MultiProgress,
    in_flight: BTreeMap<StepId, InFlight>,
    forecast: Option<Forecast>,
    api: Option<Counts>,
    foot: Option<ProgressBar>,
    /// Whether a person is asked something below.
    is_held: bool,
}

struct InFlight {
    since: Timestamp,
    bar: ProgressBar,
    /// When its last plain line was written.
    said: Instant,
}

impl Screen {
    pub(super) fn new(shell: &Shell, forecast: Option<Forecast>) -> Self {
        Self::on(terminal::target(), shell, forecast)
    }

    fn on(target: ProgressDrawTarget, shell: &Shell, forecast: Option<Forecast>) -> Self {
        let shell = Shell { output: shell.output, verbose: shell.verbose };
        let bars = MultiProgress::with_draw_target(target);
        Self { shell, bars, in_flight: BTreeMap::new(), forecast, api: None, foot: None, is_held: false }
    }

    /// Takes the last lines away until [`Screen::go_on`]: they would be drawn over a question.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
        if let Some(foot) = self.foot.take() {
            foot.finish_and_clear();
            self.bars.remove(&foot);
        }
    }

    /// The question is answered.
    pub(super) fn go_on(&mut self) {
        self.is_held = false;
        self.draw_foot();
    }

    /// Shows how the API has answered so far.
    pub(super) fn api(&mut self, counts: Counts) {
        self.api = Some(counts);
        self.draw_foot();
    }

    pub(super) fn note(&mut self, step: &StepId, text: &str) {
        let plain = self.bars.is_hidden();
        let mut say = self.shell.verbose > 0;
        if let Some(step) = self.in_flight.get_mut(step) {
            step.bar.set_message(below(text, terminal::columns().into()));
            if plain && !say && step.said.elapsed() >= PLAIN_EVERY {
                step.said = Instant::now();
                say = true;
            }
        }
        if say {
            self.line("       ", &format!("{}: {text}", shown(step)));
        }
    }

    fn started(&mut self, step: &StepId, time: Timestamp, undo: bool) {
        let bar = ProgressBar::new_spinner();
        let bar = match &self.foot {
            Some(foot) => self.bars.insert_before(foot, bar),
            None => self.bars.add(bar),
        };
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix} ({elapsed}){msg}") {
            bar.set_style(style);
        }
        let usual = self.forecast.as_ref().map(|forecast| forecast.usual(step)).unwrap_or_default();
        bar.set_prefix(format!("{}{}{usual}", if undo { "undo " } else { "" }, shown(step)));
        bar.enable_steady_tick(Duration::from_millis(200));
        self.in_flight.insert(step.clone(), InFlight { since: time, bar, said: Instant::now() });
        self.draw_foot();
    }

    /// Removes the step's spinner. Returns how long it span.
    fn ended(&mut self, step: &StepId, time: Timestamp) -> Duration {
        let Some(step) = self.in_flight.remove(step) else { return Duration::ZERO };
        step.bar.finish_and_clear();
        self.draw_foot();
        time.since(step.since)
    }

    fn line(&self, mark: &str, text: &str) {
        self.bars.suspend(|| self.shell.talk(format_args!("  {mark} {text}")));
    }

    /// The last lines of the screen.
    fn draw_foot(&mut self) {
        let next = self.forecast.as_ref().and_then(|forecast| forecast.line(Timestamp::now()));
        let lines: Vec<String> = next.into_iter().chain(self.api.as_ref().map(Counts::words)).collect();
        if lines.is_empty() || self.is_held {
            return;
        }
        let bars = &self.bars;
        let foot = self.foot.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        let cut =
            |line: &String| line.chars().take(usize::from(terminal::columns()).saturating_sub(3)).collect();
        let lines: Vec<String> = lines.iter().map(cut).collect();
        foot.set_message(lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"));
    }

    /// Takes the foot away. Nothing is shown after that.
    pub(super) fn end(self) {
        if let Some(foot) = self.foot {
            foot.finish_and_clear();
        }
    }

    pub(super) fn words(&mut self, time: Timestamp, event: &Event) {
        if let Some(forecast) = &mut self.forecast {
            forecast.heed(time, event);
        }
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
            Event::RollbackStarted { reason, .. } => self.line("undoing", &reworded(reason)),
            _ => {}
        }
    }
}

/// What a step says, on lines of their own below the step's, broken between words at this width: what it waits
/// for, and from the next line on what it saw last.
pub(super) fn below(text: &str, columns: usize) -> String {
    let width = columns.saturating_sub(INDENT.len() + 1).max(20);
    let parts = text.split_once("; last seen: ");
    let parts =
        parts.map_or(vec![text.to_owned()], |(what, seen)| vec![what.to_owned(), format!("saw {seen}")]);
    let mut lines: Vec<String> = Vec::new();
    for part in &parts {
        lines.extend(textwrap::wrap(part, width).into_iter().map(std::borrow::Cow::into_owned));
    }
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        if let Some(last) = lines.last_mut() {
            let kept: String = last.chars().take(width.saturating_sub(MORE.len())).collect();
            *last = format!("{}{MORE}", kept.trim_end());
        }
    }
    lines.into_iter().map(|line| format!("\n{INDENT}{line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Output;
    use crate::render::terminal::{Sink, Terminal};
    use std::num::NonZeroU16;
    use std::sync::{Arc, Mutex};

    /// A terminal that can be looked at.
    #[derive(Clone)]
    struct Seen(Arc<Mutex<vt100::Parser>>);

    impl std::fmt::Debug for Seen {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a terminal")
        }
    }

    impl Seen {
        fn new() -> Self {
            let (rows, columns) = (NonZeroU16::new(24).unwrap(), NonZeroU16::new(80).unwrap());
            Self(Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0))))
        }

        fn text(&self) -> String {
            self.0.lock().unwrap().screen().contents()
        }
    }

    impl Sink for Seen {
        fn put(&self, text: std::fmt::Arguments<'_>) {
            let text = text.to_string().replace('\n', "\r\n");
            self.0.lock().unwrap().process(text.as_bytes());
        }

        fn size(&self) -> (u16, u16) {
            (80, 24)
        }
    }

    /// How the API answers is told all the while, but not over a question.
    #[test]
    fn nothing_is_drawn_over_a_question() {
        let seen = Seen::new();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Terminal(seen.clone())), 255);
        let shell = Shell { output: Output::Text, verbose: 0 };
        let mut screen = Screen::on(target, &shell, None);
        let counts = Counts { asked: 7, answered: 7, ..Counts::default() };
        screen.api(counts.clone());
        assert!(seen.text().contains("answered 7 of 7"), "{}", seen.text());
        screen.hold();
        assert!(!seen.text().contains("answered"), "{}", seen.text());
        seen.put(format_args!("Go on? [y/N] "));
        screen.api(counts);
        assert_eq!(seen.text().trim(), "Go on? [y/N]");
        seen.put(format_args!("y\n"));
        screen.go_on();
        assert!(seen.text().contains("Go on? [y/N] y") && seen.text().contains("7 of 7"), "{}", seen.text());
    }

    const WAIT: &str = "waiting for the pod of DaemonSet self-hosted-kube-apiserver to serve; last seen: pod \
        self-hosted-kube-apiserver-x7k2p is Pending; not Ready: containers with unready status: [kube-apiserver]; \
        container kube-apiserver waits: CrashLoopBackOff back-off 40s restarting failed container, 3 restarts, \
        last exit code 1; no process listens on port 6443";

    /// At 80 columns everything of a long wait is read, and at any width no line is longer than the screen.
    #[test]
    fn what_a_step_waits_for_and_saw_is_read_at_80_columns() {
        let shown = below(WAIT, 80);
        let lines: Vec<&str> = shown.trim_start_matches('\n').lines().collect();
        assert_eq!(lines[0].trim(), "waiting for the pod of DaemonSet self-hosted-kube-apiserver to serve");
        assert!(
            lines.iter().any(|line| line.trim().starts_with("saw pod self-hosted-kube-apiserver-x7k2p")),
            "{shown}"
        );
        for columns in [20, 40, 80, 120, 300] {
            let shown = below(WAIT, columns);
            let lines: Vec<&str> = shown.trim_start_matches('\n').lines().collect();
            assert!(lines.len() <= LINES_MAX, "{columns}: {shown}");
            let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
            assert!(widest < columns.max(32), "{columns}: {widest}: {shown}");
        }
        let wide = below(WAIT, 300);
        assert!(wide.ends_with("no process listens on port 6443"), "{wide}");
        assert!(!wide.contains("-v"), "{wide}");
        assert!(below(WAIT, 80).ends_with("... (-v: all)") || below(WAIT, 80).ends_with("6443"));
    }
}
