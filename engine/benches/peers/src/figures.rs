//! What was measured, as a table, and against its limits.

use crate::child::AT_ONCE;
use crate::store::Subject;
use crate::{CHAIN, ROUNDS, RUNS};
use std::time::Duration;

/// Of a write and an `fdatasync` into blocks that were written before.
const STEP_MAX: f64 = 1.3;
/// Of a step of the fastest power-safe peer.
const PEER_MAX: f64 = 0.5;
const START_MAX: Duration = Duration::from_millis(30);
const PEAK_MAX_KIB: u64 = 12 * 1024;
/// A step whose sync is sometimes shared is as safe. What syncs at checkpoints only is far below.
const SAFE_MIN: f64 = 0.95;

/// All figures of one subject.
pub(crate) struct Figures {
    pub(crate) subject: Subject,
    /// From each step of a chain to the next.
    pub(crate) steps: Vec<Duration>,
    /// Steps a second, in each round.
    pub(crate) rates: Vec<f64>,
    /// Cold starts.
    pub(crate) starts: Vec<Duration>,
    /// The most memory of each cold start.
    pub(crate) peaks_kib: Vec<u64>,
    /// Syncs a step; `None` without strace.
    pub(crate) syncs: Option<f64>,
}

impl Figures {
    pub(crate) fn new(subject: Subject) -> Self {
        let (steps, rates, starts, peaks_kib) = (vec![], vec![], vec![], vec![]);
        Self { subject, steps, rates, starts, peaks_kib, syncs: None }
    }

    pub(crate) fn p50(&self) -> Duration {
        share(&self.steps, 50)
    }

    fn rate(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }

    fn start(&self) -> Duration {
        share(&self.starts, 50)
    }

    fn peak_kib(&self) -> u64 {
        self.peaks_kib.iter().max().copied().unwrap_or_default()
    }

    fn is_safe(&self) -> Option<bool> {
        self.syncs.map(|syncs| syncs >= SAFE_MIN)
    }
}

fn share(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}

pub(crate) fn table(all: &[Figures]) {
    println!(
        "{CHAIN} steps in a chain; {AT_ONCE} workflows; a cold start with {RUNS} finished runs; {ROUNDS} rounds\n"
    );
    println!(
        "| {:32} | {:>10} | {:>10} | {:>12} | {:>10} | {:>7} | {:>12} | power-safe |",
        "", "step, p50", "step, p99", "steps/s, 64", "cold start", "peak", "syncs a step"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for figures in all {
        let shown = |is: bool, text: String| if is { text } else { String::new() };
        println!(
            "| {:32} | {:>10} | {:>10} | {:>12} | {:>10} | {:>7} | {:>12} | {:10} |",
            figures.subject.name(),
            micros(figures.p50()),
            micros(share(&figures.steps, 99)),
            shown(figures.subject.is_shared(), format!("{:.0}", figures.rate())),
            shown(figures.subject.starts_cold(), millis(figures.start())),
            shown(figures.subject.starts_cold(), megabytes(figures.peak_kib())),
            figures.syncs.map_or("no strace".into(), |syncs| format!("{syncs:.2}")),
            figures.is_safe().map_or("unknown", |safe| if safe { "yes" } else { "no" }),
        );
    }
    println!();
}

/// Judges our figures; whether all limits are held.
pub(crate) fn limits(all: &[Figures]) -> bool {
    let of = |subject: Subject| all.iter().find(|figures| figures.subject == subject);
    let step = |subject: Subject| of(subject).map(Figures::p50).unwrap_or_default();
    let Some(ours) = of(Subject::Ours) else { return false };
    let p50 = ours.p50();
    let mut rows = vec![
        below("step, p50: write + fdatasync x 1.3", p50, step(Subject::Written).mul_f64(STEP_MAX)),
        below("step, p50: SQLite, WAL, FULL", p50, step(Subject::SqliteWal)),
        below("step, p50: SQLite, rollback journal, FULL", p50, step(Subject::SqliteRollback)),
        below("step, p50: memable", p50, step(Subject::Memable)),
    ];
    let safe = all.iter().filter(|figures| figures.subject.is_peer() && figures.is_safe() == Some(true));
    match safe.min_by_key(|figures| figures.p50()) {
        Some(best) => {
            let what = format!("step, p50: half of {}", best.subject.name());
            rows.push(below(&what, p50, best.p50().mul_f64(PEER_MAX)));
        }
        None => println!("step, p50: half of the best power-safe peer: not judged, strace found none"),
    }
    let others = all.iter().filter(|figures| figures.subject != Subject::Ours);
    if let Some(best) = others.max_by(|a, b| a.rate().total_cmp(&b.rate())) {
        let what = format!("steps/s, {AT_ONCE} workflows: {}", best.subject.name());
        let (figure, limit) = (format!("{:.0}", ours.rate()), format!("> {:.0}", best.rate()));
        rows.push(row(&what, &figure, &limit, ours.rate() > best.rate()));
    }
    rows.push(row("cold start", &millis(ours.start()), &format!("<= {}", millis(START_MAX)), {
        ours.start() <= START_MAX
    }));
    let limit = format!("<= {}", megabytes(PEAK_MAX_KIB));
    rows.push(row("cold start: peak", &megabytes(ours.peak_kib()), &limit, ours.peak_kib() <= PEAK_MAX_KIB));
    rows.into_iter().all(|held| held)
}

fn below(what: &str, figure: Duration, limit: Duration) -> bool {
    row(what, &micros(figure), &format!("<= {}", micros(limit)), figure <= limit)
}

fn row(what: &str, figure: &str, limit: &str, held: bool) -> bool {
    println!("{what:58} {figure:>10}   {limit:12} {}", if held { "" } else { "MISSED" });
    held
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn megabytes(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 / 1024.0)
}
