//! Shows runs: a paragraph each, one run's steps, and all of it for programs.

mod json;
mod list;
mod steps;

pub(crate) use json::{FORMAT_VERSION, run_json};
pub(crate) use list::paragraph;
pub(crate) use steps::steps;

pub(super) use list::{end, what, when, who};
pub(super) use steps::{fields, name, turn_text, word};

use super::terminal::between_words;

/// The width of what is shown: a terminal has at least this.
const COLUMNS: usize = 80;

/// `text` in lines of [`COLUMNS`], the first after `first`, the others after as many spaces. Words are never
/// cut: a path or a digest that is longer than a line stays whole.
fn wrapped(first: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(first.chars().count());
    let options = between_words(COLUMNS).initial_indent(first).subsequent_indent(&indent);
    // A line feed in an error is no paragraph.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    textwrap::wrap(&text, options).into_iter().map(|line| line.trim_end().to_owned()).collect()
}
