//! What happened to a run, what each of its steps did and saw, and what was changed.

use super::chart::class;
use crate::render::diff::{DiffLine, diff_lines};
use crate::render::history::{fields, turn_text, word};
use crate::render::time::{for_people, took};
use crate::story::{Actor, Story};
use fulcrum_engine::StepSpec;
use fulcrum_engine::history::{Attempt, AttemptResult, Direction};
use fulcrum_steps::changes::Change;
use fulcrum_steps::step_name::shown;
use maud::{Markup, html};

/// What happened to the run itself, in order.
pub(super) fn events(story: &Story) -> Markup {
    html! {
        ol.events {
            @for moment in &story.moments {
                @if let Some((time, text)) = turn_text(moment) {
                    li { span { (for_people(time)) } div { (text) } }
                }
            }
        }
    }
}

/// Every step of the plan, and every attempt at it.
pub(super) fn steps(story: &Story, id: &str) -> Markup {
    let steps = story.plan().map(|plan| plan.steps()).unwrap_or_default();
    html! {
        @for (number, step) in (1..).zip(steps) { (one(story, step, &format!("{id}-s{number}"))) }
    }
}

fn one(story: &Story, step: &StepSpec, target: &str) -> Markup {
    let attempts: Vec<&Attempt> = story.attempts().iter().filter(|attempt| attempt.step == step.id).collect();
    let after: Vec<String> = step.after.iter().map(shown).collect();
    html! {
        details {
            summary {
                (shown(&step.id))
                @for attempt in &attempts { span.(class(attempt)) { (result(attempt)) } }
                @if attempts.is_empty() { span.muted { "not begun" } }
            }
            div id=(target) {
                @if !after.is_empty() { p.muted { "After " (after.join(", ")) "." } }
                @for attempt in &attempts { (attempt_told(story, attempt)) }
            }
        }
    }
}

/// A word, for a summary.
fn result(attempt: &Attempt) -> String {
    match attempt.direction {
        Direction::Run => word(attempt.result).to_lowercase(),
        Direction::Undo if attempt.result == AttemptResult::Done => "undone".to_owned(),
        Direction::Undo => format!("undo {}", word(attempt.result).to_lowercase()),
    }
}

fn attempt_told(story: &Story, attempt: &Attempt) -> Markup {
    let direction = if attempt.direction == Direction::Undo { "Undo" } else { "Run" };
    let from = attempt.started.since(story.header.created);
    let took = attempt.ended.map(|ended| took(ended.since(attempt.started)));
    html! {
        h4 {
            (direction) ", attempt " (attempt.attempt) ": "
            span.(class(attempt)) { (word(attempt.result).to_lowercase()) }
        }
        p.muted {
            "At " (format!("{:.3}", from.as_secs_f64())) " s"
            @if let Some(took) = took { ", took " (took) }
            ", by " (Actor::of(&attempt.session)) ", pid " (attempt.session.pid) ", entry " (attempt.seq)
        }
        @if let Some(detail) = &attempt.detail { p { (detail) } }
        @if let Some(output) = &attempt.output {
            dl { @for (name, value) in fields(output) { dt { (name) } dd.mono { (value) } } }
        }
    }
}

/// The changes, a fold for each component.
pub(super) fn changes(changes: &[Change]) -> Markup {
    let lines = diff_lines(changes);
    html! {
        @for fold in lines.chunk_by(|_, next| !is_title(next)) {
            @let (title, rest) = fold.split_first().map_or((String::new(), fold), |(first, rest)| (first.text(), rest));
            details {
                summary { (title) }
                div {
                    @for line in rest { @if let DiffLine::Fact(text) = line { p { (text) } } }
                    pre tabindex="0" role="region" aria-label=(format!("Changes of {title}")) {
                        @for line in rest.iter().filter(|line| !matches!(line, DiffLine::Fact(_))) {
                            span.(line_class(line)) { (line.text()) }
                        }
                    }
                }
            }
        }
    }
}

fn is_title(line: &DiffLine) -> bool {
    matches!(line, DiffLine::Title(_))
}

fn line_class(line: &DiffLine) -> &'static str {
    match line {
        DiffLine::Added(_) => "added",
        DiffLine::Removed(_) => "removed",
        DiffLine::Place(_) => "place",
        DiffLine::Title(_) | DiffLine::Fact(_) | DiffLine::Same(_) => "same",
    }
}
