//! The graph and the time of a run in one picture: a row for each step, its attempts side by side on the axis
//! of time, the lines of the graph before the names.

use super::axis::Axis;
use super::graph::{LANES, edges, lane};
use crate::render::history::word;
use crate::render::time::took;
use crate::story::Story;
use fulcrum_engine::history::{Attempt, AttemptResult, Direction};
use fulcrum_engine::{Plan, StepSpec};
use fulcrum_steps::step_name::shown;
use maud::{Markup, html};

/// The colours of the lanes.
const LANE_COLOURS: [&str; LANES] = ["muted", "lane1", "lane2", "lane3"];
/// How far apart the middles of two words on the axis must be, in percent.
const APART: f64 = 22.0;

/// What bars mean: the class of the style sheet, and the words.
const LEGEND: [(&str, &str); 5] = [
    ("done", "done"),
    ("undone", "undone"),
    ("failed", "failed"),
    ("cut", "stopped, or cut short with its process"),
    ("open", "no result yet"),
];

pub(super) fn chart(story: &Story, id: &str) -> Markup {
    let Some(plan) = story.plan() else {
        return html! { p { "The plan of this run cannot be read." } };
    };
    let axis = Axis::new(story.attempts().iter().map(|attempt| (attempt.started, story.end(attempt))));
    html! {
        ul.legend aria-label="What bars mean" {
            @for (class, text) in legend(story) { li.(class) { i.(class) {} span.muted { (text) } } }
        }
        div.chart style=(format!("--lanes:{LANES}")) {
            (edges(plan))
            (scale(story, &axis))
            ol aria-label="Steps of the plan, in order" {
                @for (number, step) in (1..).zip(plan.steps()) {
                    (row(story, plan, step, &format!("{id}-s{number}"), &axis))
                }
            }
        }
    }
}

/// What there is in this run.
fn legend(story: &Story) -> Vec<(&'static str, &'static str)> {
    let used = |class: &str| story.attempts().iter().any(|attempt| self::class(attempt) == class);
    LEGEND.into_iter().filter(|(class, _)| used(class)).collect()
}

/// The axis: its beginning, its end, and the idle times that are drawn shorter.
fn scale(story: &Story, axis: &Axis) -> Markup {
    let mut last = 0.0;
    let mut words = Vec::new();
    for gap in axis.gaps() {
        if gap.at - last >= APART && gap.at <= 100.0 - APART {
            words.push((gap.at, format!("{} idle", took(gap.idle))));
            last = gap.at;
        }
    }
    let whole = took(story.last.since(story.header.created));
    html! {
        div.axis aria-hidden="true" {
            div {
                span style="left:0" { "0" }
                @for (at, text) in &words { span style=(format!("left:{at:.2}%")) { (text) } }
                span.end style="left:100%" { (whole) }
            }
        }
    }
}

fn row(story: &Story, plan: &Plan, step: &StepSpec, target: &str, axis: &Axis) -> Markup {
    let attempts: Vec<&Attempt> = story.attempts().iter().filter(|attempt| attempt.step == step.id).collect();
    let lane = lane(step);
    let place = format!("--left:{lane};--colour:var(--{})", LANE_COLOURS[lane]);
    let name = shown(&step.id);
    let (kind, component) = match lane {
        0 => (name.as_str(), None),
        _ => name.rsplit_once('/').map_or((name.as_str(), None), |(kind, of)| (kind, Some(of))),
    };
    let after: Vec<String> =
        plan.step(&step.id).map(|step| step.after.iter().map(shown).collect()).unwrap_or_default();
    let title = if after.is_empty() { name.clone() } else { format!("{name}, after {}", after.join(", ")) };
    html! {
        li {
            span.dot.idle[attempts.is_empty()] style=(place) {}
            a.name href=(format!("#{target}")) title=(title) {
                (kind) @if let Some(component) = component { small { (component) } }
            }
            (bars(story, &attempts, axis))
        }
    }
}

fn bars(story: &Story, attempts: &[&Attempt], axis: &Axis) -> Markup {
    let label: Vec<String> = attempts.iter().map(|attempt| told(attempt)).collect();
    let label = if label.is_empty() { "not begun".to_owned() } else { label.join("; ") };
    html! {
        div.bars role="img" aria-label=(label) {
            @for gap in axis.gaps() { b style=(format!("left:{:.2}%", gap.at)) {} }
            @for attempt in attempts {
                @let (from, to) = (axis.at(attempt.started), axis.at(story.end(attempt)));
                // A short bar at the right edge stays within the row.
                @let place = format!("left:min({from:.2}%,100% - 3px);width:{:.2}%", to - from);
                i.(class(attempt)) style=(place) title=(told(attempt)) {}
            }
        }
    }
}

/// An attempt in words, e.g. `undo: done after 1.2 s`.
fn told(attempt: &Attempt) -> String {
    let direction = if attempt.direction == Direction::Undo { "undo: " } else { "" };
    let number = if attempt.attempt > 1 { format!("attempt {}: ", attempt.attempt) } else { String::new() };
    let after = attempt.ended.map(|ended| format!(" after {}", took(ended.since(attempt.started))));
    format!("{direction}{number}{}{}", word(attempt.result).to_lowercase(), after.unwrap_or_default())
}

/// The class of the style sheet.
pub(super) fn class(attempt: &Attempt) -> &'static str {
    match (attempt.result, attempt.direction) {
        (AttemptResult::Done, Direction::Run) => "done",
        (AttemptResult::Done, Direction::Undo) => "undone",
        (AttemptResult::Failed, _) => "failed",
        (AttemptResult::Stopped | AttemptResult::Interrupted, _) => "cut",
        (AttemptResult::Open, _) => "open",
        // A later engine's.
        _ => "cut",
    }
}
