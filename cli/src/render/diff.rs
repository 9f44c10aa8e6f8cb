//! What a run has changed, as a person compares it: lines of YAML, before and after.

use super::terminal::paint;
use fulcrum_evidence::sha256_hex;
use fulcrum_steps::changes::{Change, Changed};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::FileImage;
use fulcrum_steps::manifest::{Words, read_as_the_kubelet};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// The lines around a difference that are shown with it.
const CONTEXT: usize = 3;

/// A line of a comparison, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiffLine {
    /// About what the next lines are.
    Title(String),
    /// What has happened to a file or an object.
    Fact(String),
    /// Where the following lines are.
    Place(String),
    Same(String),
    Removed(String),
    Added(String),
}

/// The comparison of all of it.
pub(crate) fn diff_lines(changes: &[Change]) -> Vec<DiffLine> {
    let mut lines = Vec::new();
    let mut component = None;
    for change in changes {
        if component.replace(change.component) != Some(change.component) {
            let title = change.component.map_or("others".to_owned(), |component| component.to_string());
            lines.push(DiffLine::Title(title));
        }
        match &change.what {
            Changed::File { path, before, after } => {
                let what = path.display().to_string();
                lines.push(DiffLine::Fact(format!("{what}: {}", fate(before, after, change.undone))));
                if let (Some(before), Some(after)) = (before, after) {
                    compare(&what, &manifest(before), &what, &manifest(after), &mut lines);
                }
            }
            Changed::CommandLine { namespace, name, before, after } => {
                let undone = if change.undone { ", and changed back" } else { "" };
                lines.push(DiffLine::Fact(format!(
                    "DaemonSet {namespace}/{name}: another command line{undone}"
                )));
                compare_words(name, before, after, &mut lines);
            }
            Changed::Recorded { name, before, after } => {
                let undone = if change.undone { "; undone since" } else { "" };
                lines.push(DiffLine::Fact(format!("{name}: {} -> {}{undone}", brief(before), brief(after))));
            }
            Changed::DaemonSet { namespace, name, pod, object } => {
                let undone = if change.undone { ", and deleted again" } else { "" };
                let what = format!("DaemonSet {namespace}/{name}");
                lines.push(DiffLine::Fact(format!("{what}: made from the manifest{undone}")));
                let (old, new) = (yaml(&pod["spec"]), yaml(&object["spec"]["template"]["spec"]));
                compare(
                    "spec of the static pod",
                    &old,
                    &format!("{what}, spec of its pods"),
                    &new,
                    &mut lines,
                );
            }
        }
    }
    lines
}

/// Two command lines, a word a line.
pub(crate) fn words_diff(component: Component, was: &Words, words: &Words, coloured: bool) -> String {
    let mut lines = Vec::new();
    compare_words(component.daemonset_name(), &was.all(), &words.all(), &mut lines);
    let text = |line: &DiffLine| if coloured { line.coloured() } else { line.text() };
    lines.iter().map(|line| text(line) + "\n").collect()
}

/// The difference between two pod templates of a component's DaemonSet.
pub(crate) fn template_diff(component: Component, was: &Value, now: &Value, coloured: bool) -> String {
    let mut lines = Vec::new();
    let name = format!("DaemonSet {}, pod template", component.daemonset_name());
    compare(&name, &yaml(was), &name, &yaml(now), &mut lines);
    let text = |line: &DiffLine| if coloured { line.coloured() } else { line.text() };
    lines.iter().map(|line| text(line) + "\n").collect()
}

fn compare_words(daemonset: &str, was: &[String], words: &[String], lines: &mut Vec<DiffLine>) {
    let text = |words: &[String]| words.iter().map(|word| format!("{word}\n")).collect::<String>();
    let name = format!("DaemonSet {daemonset}, command line");
    compare(&name, &text(was), &name, &text(words), lines);
}

/// A line as text, as `diff -u` writes it.
impl DiffLine {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Title(text) => text.clone(),
            Self::Fact(text) => format!("  {text}"),
            Self::Place(text) => text.clone(),
            Self::Same(text) => format!(" {text}"),
            Self::Removed(text) => format!("-{text}"),
            Self::Added(text) => format!("+{text}"),
        }
    }

    /// The text for a terminal with colours.
    pub(crate) fn coloured(&self) -> String {
        let code = match self {
            Self::Title(_) => "1",
            Self::Place(_) => "36",
            Self::Removed(_) => "31",
            Self::Added(_) => "32",
            Self::Fact(_) | Self::Same(_) => return self.text(),
        };
        paint(code, &self.text(), true)
    }
}

/// What became of a file.
fn fate(before: &Option<FileImage>, after: &Option<FileImage>, undone: bool) -> String {
    let image = |image: &FileImage| {
        let digest = sha256_hex(image.content.as_bytes());
        format!("{}, mode {:04o}, owner {}:{}", short(&digest), image.mode, image.uid, image.gid)
    };
    let text = match (before, after) {
        (Some(before), Some(after)) => format!("{} -> {}", image(before), image(after)),
        (Some(before), None) => format!("{} -> removed", image(before)),
        (None, Some(after)) => format!("absent -> {}", image(after)),
        (None, None) => "absent".to_owned(),
    };
    if undone { format!("{text}; undone since") } else { text }
}

/// The beginning of a SHA-256, which tells two contents of one run apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A recorded state on one line.
fn brief(state: &Value) -> String {
    let Some(digest) = state["sha256"].as_str() else {
        return if state.is_null() { "absent".to_owned() } else { state.to_string() };
    };
    let mut text = short(digest).to_owned();
    for (field, word) in [("mode", "mode"), ("resource_version", "version")] {
        if let Some(value) = state[field].as_str() {
            text.push_str(&format!(", {word} {value}"));
        }
    }
    text
}

/// A manifest as YAML with sorted keys: fulcrum writes JSON. What is no YAML stays as it is.
fn manifest(image: &FileImage) -> String {
    let read = read_as_the_kubelet(image.content.as_bytes()).filter(Value::is_object);
    read.map_or_else(|| image.content.clone(), |value| yaml(&value))
}

/// YAML with sorted keys, so that what is equal looks equal.
fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|_| format!("{value:#}"))
}

fn compare(old_name: &str, old: &str, new_name: &str, new: &str, lines: &mut Vec<DiffLine>) {
    let diff = TextDiff::from_lines(old, new);
    let mut groups = diff.grouped_ops(CONTEXT).into_iter().peekable();
    if groups.peek().is_some() {
        lines.push(DiffLine::Place(format!("--- {old_name}")));
        lines.push(DiffLine::Place(format!("+++ {new_name}")));
    }
    for group in groups {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old = (first.old_range().start, last.old_range().end);
        let new = (first.new_range().start, last.new_range().end);
        lines.push(DiffLine::Place(format!(
            "@@ -{},{} +{},{} @@",
            old.0 + 1,
            old.1 - old.0,
            new.0 + 1,
            new.1 - new.0
        )));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value().trim_end_matches('\n').to_owned();
            lines.push(match change.tag() {
                ChangeTag::Equal => DiffLine::Same(text),
                ChangeTag::Delete => DiffLine::Removed(text),
                ChangeTag::Insert => DiffLine::Added(text),
            });
        }
    }
}
