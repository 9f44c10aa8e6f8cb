//! Shows broken runs: one row for each step, and every run that did not end as it must.

use crate::shell::Shell;
use fulcrum_engine::StepId;
use fulcrum_simulator::rehearsal::{Answers, Broken, Case, Fault, Verdict};
use fulcrum_steps::step_name::shown;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::time::{Duration, Instant};

/// The width of a step's name in the table, which fits 80 columns.
const NAME: usize = 27;

/// The cases that have been tried so far.
pub(crate) struct CrashTable<'a> {
    shell: &'a Shell,
    order: Vec<String>,
    tried: Vec<Broken>,
    faults: [Fault; 3],
    side_by_side: usize,
    reproduce: String,
    began: Instant,
    bar: ProgressBar,
}

impl<'a> CrashTable<'a> {
    /// A table for these cases on so many nodes. `reproduce` is the command up to the case.
    pub(crate) fn new(
        cases: &[Case],
        nodes: u8,
        side_by_side: usize,
        reproduce: String,
        shell: &'a Shell,
    ) -> Self {
        shell.talk(format_args!("breaking {} runs, {side_by_side} side by side", cases.len()));
        let bar = ProgressBar::new(cases.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("  {wide_bar} {pos} of {len}, {elapsed}") {
            bar.set_style(style);
        }
        let order = cases.iter().map(ToString::to_string).collect();
        let (tried, faults, began) = (Vec::new(), Fault::of(nodes), Instant::now());
        Self { shell, order, tried, faults, side_by_side, reproduce, began, bar }
    }

    /// Adds a case that has ended.
    pub(crate) fn add(&mut self, broken: Broken) {
        self.bar.inc(1);
        let name = broken.case.to_string();
        if self.shell.json() {
            let mut line = serde_json::to_value(&broken).unwrap_or_default();
            line["event"] = json!("case");
            line["case"] = json!(name);
            self.shell.data_json(&line);
        } else if self.shell.verbose > 0 {
            let word = word(&broken.verdict);
            let line = format!("  {word:11} {name} ({:.1} s)", broken.took.as_secs_f64());
            self.bar.suspend(|| self.shell.talk(line));
        }
        self.tried.push(broken);
    }

    /// Shows the table, as data. Returns whether all cases ended as they must.
    pub(crate) fn show(mut self) -> bool {
        self.bar.finish_and_clear();
        let place = |broken: &Broken| {
            let name = broken.case.to_string();
            self.order.iter().position(|case| *case == name)
        };
        self.tried.sort_by_key(place);
        let count = |is: fn(&Verdict) -> bool| self.tried.iter().filter(|broken| is(&broken.verdict)).count();
        let passed = count(Verdict::is_pass);
        let failed = self.order.len() - passed;
        let took = self.began.elapsed();
        if self.shell.json() {
            self.shell.data_json(&json!({
                "event": "summary", "passed": passed, "failed": failed,
                "side_by_side": self.side_by_side, "took_ms": took.as_millis() as u64,
                "requests": self.requests(),
            }));
        } else {
            self.rows();
            self.shell.data(format_args!(
                "\n{passed} passed, {failed} failed; {:.1} s, {} side by side",
                took.as_secs_f64(),
                self.side_by_side
            ));
            if let Some(asked) = self.requests() {
                self.shell.data(format_args!(
                    "requests: {} answered, {} failed; with the lost node {} under way and {} at its address",
                    asked.answered,
                    asked.failures(),
                    asked.in_flight,
                    asked.away
                ));
            }
        }
        self.failures();
        failed == 0
    }

    /// Those of all cases that passed. `None` where there were no clients.
    fn requests(&self) -> Option<Answers> {
        let mut asked = self.tried.iter().filter_map(|broken| broken.requests.as_ref()).peekable();
        asked.peek()?;
        Some(asked.fold(Answers::default(), |mut sum, one| {
            sum.add(one);
            sum
        }))
    }

    fn rows(&self) {
        let shell = self.shell;
        shell.data(format_args!("{:NAME$} {:^20}   {:^20}", "", "forward", "back"));
        let faults = self.faults.map(|fault| format!("{:>6}", short(fault))).join(" ");
        shell.data(format_args!("{:NAME$} {faults}   {faults} {:>8}", "step", "longest"));
        let mut steps: Vec<&StepId> = Vec::new();
        for broken in &self.tried {
            if steps.last() != Some(&&broken.case.point.step) {
                steps.push(&broken.case.point.step);
            }
        }
        for step in steps {
            let of_step = || self.tried.iter().filter(|broken| broken.case.point.step == *step);
            let cells = |undo: bool| {
                self.faults.map(|fault| {
                    let meant = |broken: &&Broken| {
                        broken.case.fault == fault && broken.case.point.when.is_undo() == undo
                    };
                    format!("{:>6}", cell(of_step().filter(meant)))
                })
            };
            let longest = of_step().map(|broken| broken.took).max().unwrap_or(Duration::ZERO);
            let (there, back) = (cells(false).join(" "), cells(true).join(" "));
            let mut name = shown(step);
            // The row of a long name is the next line.
            if name.len() > NAME {
                shell.data(std::mem::take(&mut name));
            }
            shell.data(format_args!("{name:NAME$} {there}   {back} {:>6.1} s", longest.as_secs_f64()));
        }
    }

    /// Shows each case that failed, with the command that reproduces it.
    fn failures(&self) {
        for broken in &self.tried {
            if let Verdict::Failed(why) = &broken.verdict {
                self.shell.talk(format_args!("failed: {}: {why}", broken.case));
                self.shell.talk(format_args!("  {} --crash '{}'", self.reproduce, broken.case));
            }
        }
    }
}

/// The fault, in at most six characters.
fn short(fault: Fault) -> String {
    match fault {
        Fault::Partition => "cut".to_owned(),
        other => other.to_string(),
    }
}

/// How many passed, of how many.
fn cell<'a>(broken: impl Iterator<Item = &'a Broken>) -> String {
    let (mut all, mut passed) = (0, 0);
    for broken in broken {
        all += 1;
        passed += usize::from(broken.verdict.is_pass());
    }
    if all == 0 { "-".to_owned() } else { format!("{passed}/{all}") }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Completed => "completed",
        Verdict::RolledBack => "rolled back",
        Verdict::Failed(_) => "FAILED",
    }
}
