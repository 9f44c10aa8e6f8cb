//! What shows that the history is what was written: what was checked, and what was not.

use crate::render::time::for_people;
use crate::story::{Actor, Moment, Story};
use fulcrum_engine::Session;
use fulcrum_engine::state::Timestamp;
use maud::{Markup, html};

/// What the program that made the page has checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// What was looked at and is right.
    pub(crate) verified: Vec<String>,
    /// What was not looked at, and why.
    pub(crate) not_checked: Vec<String>,
    /// What was looked at and is wrong.
    pub(crate) wrong: Vec<String>,
}

pub(super) fn evidence(story: &Story, checks: &Checks) -> Markup {
    let header = &story.header;
    html! {
        (list("Wrong", "failed", &checks.wrong))
        (list("Verified when this page was made", "done", &checks.verified))
        (list("Not checked", "cut", &checks.not_checked))
        dl {
            dt { "Last entry" } dd { (header.head.seq) ", " code { (header.head.hash) } }
            @if let Some(after) = &header.after {
                dt { "Run before" }
                dd { code { (after.run) } ", at its entry " (after.head.seq) ", " code { (after.head.hash) } }
            }
        }
        @for (number, (time, session)) in (1..).zip(sessions(story)) {
            details {
                summary { "Process " (number) ": " (Actor::of(session)) ", pid " (session.pid) }
                div { (process(time, session)) }
            }
        }
    }
}

fn list(title: &str, class: &str, items: &[String]) -> Markup {
    html! {
        @if !items.is_empty() {
            p.(class) { b { (title) } }
            ul.checks { @for item in items { li { (item) } } }
        }
    }
}

fn sessions(story: &Story) -> impl Iterator<Item = (Timestamp, &Session)> {
    story.moments.iter().filter_map(|moment| match moment {
        Moment::Session { time, session, .. } => Some((*time, session)),
        _ => None,
    })
}

/// Who, with what, on which boot.
fn process(time: Timestamp, session: &Session) -> Markup {
    html! {
        dl {
            dt { "From" } dd { (for_people(time)) }
            dt { "Program" } dd { (session.program) }
            dt { "Boot id" } dd.mono { (session.boot_id) }
            @for (name, fact) in Actor::of(session).facts { dt { (name) } dd.mono { (fact) } }
        }
    }
}
