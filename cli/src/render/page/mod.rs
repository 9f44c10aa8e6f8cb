//! Runs as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere. Pure: the
//! caller reads, and writes the file.
//!
//! Every text goes through `maud`, which escapes it.

mod axis;
mod chart;
mod details;
mod evidence;
mod graph;
mod palette;

#[cfg(test)]
mod tests;

use super::history::{end, what, when, who};
use crate::story::{Standing, Story};
use fulcrum_steps::changes::Change;
use fulcrum_steps::plan;
pub(super) use graph::{LANES, lane, lines};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) use evidence::Checks;

/// A run, with all that the page says of it.
pub(crate) struct PageRun {
    pub(crate) story: Story,
    pub(crate) changes: Vec<Change>,
    pub(crate) checks: Checks,
}

/// Nothing may be fetched, by anything that is in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page.
pub(crate) fn page(runs: &[PageRun]) -> String {
    let node = runs.iter().rev().find_map(|run| run.story.info()).map(|info| info.settings.node);
    let title = match &node {
        Some(node) => format!("fulcrum: history of node {node}"),
        None => "fulcrum: history".to_owned(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(palette::style())) }
            }
            body {
                header { h1 { (title) } (contents(runs)) }
                main { @for (number, run) in (1..).zip(runs) { (section(number, run)) } }
            }
        }
    };
    page.into_string()
}

/// A line for each run.
fn contents(runs: &[PageRun]) -> Markup {
    html! {
        @if runs.is_empty() { p { "No runs." } }
        @if runs.len() > 1 {
            nav aria-label="Runs" {
                ol.runs {
                    @for (number, run) in (1..).zip(runs) {
                        li {
                            a href=(format!("#r{number}")) {
                                (plan::shown(&run.story.header.kind)) " of " (when_begun(&run.story))
                            }
                            " " (badge(run.story.standing()))
                        }
                    }
                }
            }
        }
    }
}

fn section(number: usize, run: &PageRun) -> Markup {
    let story = &run.story;
    let id = format!("r{number}");
    html! {
        section id=(id) aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) {
                (plan::shown(&story.header.kind)) " " (badge(story.standing())) " "
                span.id { code { (story.header.run) } }
            }
            (facts(story))
            h3 { "Steps and time" }
            (chart::chart(story, &id))
            h3 { "What happened" }
            (details::events(story))
            h3 { "What each step did and saw" }
            (details::steps(story, &id))
            @if !run.changes.is_empty() {
                h3 { "What was changed" }
                (details::changes(&run.changes))
            }
            h3 { "Evidence" }
            (evidence::evidence(story, &run.checks))
        }
    }
}

/// How the run stands. The word says it, not the colour alone.
fn badge(standing: Standing) -> Markup {
    let word = standing.to_string();
    html! { span.badge.(word) { (word.replace('-', " ")) } }
}

fn when_begun(story: &Story) -> String {
    super::time::for_people(story.header.created)
}

fn facts(story: &Story) -> Markup {
    let why = story.info().and_then(|info| info.why).unwrap_or_default();
    let facts = [
        ("When", when(story)),
        ("Who", who(story)),
        ("What", what(story)),
        ("Why", why),
        ("End", end(story)),
    ];
    html! {
        dl {
            @for (name, text) in facts.iter().filter(|(_, text)| !text.is_empty()) {
                dt { (name) } dd { (text) }
            }
        }
    }
}
