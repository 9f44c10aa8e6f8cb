//! A run as a paragraph: who, when, how long, from what to what, how it ended.

use super::wrapped;
use crate::render::time::{for_people, took};
use crate::story::{Actor, Counts, Standing, Story};
use fulcrum_steps::plan;

/// The paragraph, as lines of at most 80 columns; only a word that is longer is not cut.
pub(crate) fn paragraph(story: &Story) -> Vec<String> {
    let kind = plan::shown(&story.header.kind);
    let mut lines = vec![format!("{kind} {}  {}", story.header.run, story.standing())];
    let mut field = |name: &str, text: &str| {
        if !text.is_empty() {
            lines.extend(wrapped(&format!("  {name:6} "), text));
        }
    };
    field("when", &when(story));
    field("who", &who(story));
    field("what", &what(story));
    field("why", &story.info().and_then(|info| info.why).unwrap_or_default());
    field("steps", &steps(story.counts()));
    field("end", &end(story));
    lines
}

/// When it began, how long it took, and the way back.
pub(in crate::render) fn when(story: &Story) -> String {
    let mut text = format!("{}, took {}", for_people(story.header.created), took(story.forward()));
    if let (Some(began), Some(back)) = (story.rollback, story.back()) {
        text += &format!("; back {}, took {}", for_people(began), took(back));
    }
    text
}

/// Who worked on it, in order, each with the program.
pub(in crate::render) fn who(story: &Story) -> String {
    let mut names: Vec<String> = story
        .sessions()
        .map(|session| format!("{} ({}, pid {})", Actor::of(session), session.program, session.pid))
        .collect();
    names.dedup();
    names.join(", then ")
}

/// From what to what, where, and how.
pub(in crate::render) fn what(story: &Story) -> String {
    let path: Vec<String> = story.path().iter().map(ToString::to_string).collect();
    let mut parts = vec![match (path.len(), story.is_between()) {
        (0, _) => story.purpose().to_owned(),
        (1, true) => format!("{}, not completed", story.purpose()),
        (1, false) => path[0].clone(),
        _ => path.join(" -> "),
    }];
    if story.completed.is_some() && story.rollback.is_some() && story.is_between() {
        parts.push("on the way back".to_owned());
    }
    if let Some(info) = story.info() {
        parts.push(format!("node {}", info.settings.node));
        parts.push(format!("Kubernetes 1.{}", info.settings.kubernetes_minor));
        parts.push(format!("hand-over {}", info.settings.handover));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn steps(counts: Counts) -> String {
    let Counts { done, undone, failed, cut } = counts;
    let parts = [(done, "done"), (undone, "undone"), (failed, "failed"), (cut, "cut short")];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// How it ended, or where it stands, in the journal's words.
pub(in crate::render) fn end(story: &Story) -> String {
    match (story.standing(), story.reason()) {
        (Standing::Unfinished, _) => "none yet: a process is at work on it, or has died".to_owned(),
        (Standing::Unreadable, _) => "unknown: the journal is damaged".to_owned(),
        (_, reason) => reason.unwrap_or_default().to_owned(),
    }
}
