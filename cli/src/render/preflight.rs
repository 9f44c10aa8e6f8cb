//! Shows what the checks have found.

use crate::shell::Shell;
use fulcrum_steps::check::Check;
use fulcrum_steps::preflight::{CheckResult, Level};
use serde::Serialize;

/// The version of what `preflight -o json` prints. A new field leaves the version as it is.
const FORMAT_VERSION: u32 = 1;

/// A result, as data.
#[derive(Debug, Serialize)]
pub(crate) struct CheckView<'a> {
    check: Check,
    level: Level,
    seen: &'a str,
    why: &'static str,
    remedy: &'a str,
    ignorable: bool,
    ignored: bool,
    page: String,
}

#[derive(Debug, Serialize)]
struct PreflightView<'a> {
    format_version: u32,
    node: Option<&'a str>,
    passed: bool,
    checks: Vec<CheckView<'a>>,
}

impl<'a> From<&'a CheckResult> for CheckView<'a> {
    fn from(result: &'a CheckResult) -> Self {
        let CheckResult { check, level, seen, remedy, ignored } = result;
        Self {
            check: *check,
            level: *level,
            seen,
            why: check.why(),
            remedy,
            ignorable: check.is_ignorable(),
            ignored: *ignored,
            page: check.page(),
        }
    }
}

/// Every result: refusals first, then warnings, then what could not be checked, then what passed.
pub(crate) fn show_preflight(node: Option<&str>, results: &[CheckResult], shell: &Shell) {
    let of = |level: Level| results.iter().filter(move |result| result.level == level);
    let passed = of(Level::Refuse).next().is_none();
    if shell.json() {
        let checks = results.iter().map(CheckView::from).collect();
        shell.data_json(&PreflightView { format_version: FORMAT_VERSION, node, passed, checks });
        return;
    }
    let text = text(node, results, shell.verbose > 0);
    shell.data(text.trim_end());
}

fn text(node: Option<&str>, results: &[CheckResult], verbose: bool) -> String {
    let of = |level: Level| results.iter().filter(move |result| result.level == level);
    let mut text = String::new();
    for (level, mark) in [(Level::Refuse, "ERROR"), (Level::Warn, "WARNING")] {
        for result in of(level) {
            text += &format!("[{mark} {}]: {}\n", result.check, result.seen);
            text += &format!("    why:   {}\n", result.check.why());
            if !result.remedy.is_empty() {
                text += &format!("    do:    {}\n", result.remedy);
            }
            text += &format!("    page:  {}\n", result.check.page());
            text += match (level, result.check.is_ignorable(), result.ignored) {
                (Level::Refuse, true, _) => "    can be ignored with --ignore-preflight-errors\n",
                (Level::Refuse, false, _) => "    cannot be ignored\n",
                (_, _, true) => "    would refuse, and is ignored, as --ignore-preflight-errors says\n",
                (_, _, false) => "",
            };
            text.push('\n');
        }
    }
    let unknown: Vec<&str> = of(Level::NotChecked).map(|result| result.check.name()).collect();
    if !unknown.is_empty() {
        text += &format!("not checked, since the errors above come first: {}\n\n", unknown.join(", "));
    }
    if verbose {
        for result in of(Level::Pass) {
            text += &format!("[passed {}]: {}\n", result.check, result.seen);
        }
        text.push('\n');
    }
    let amount = |level: Level, one: &str, many: &str| match of(level).count() {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    let verdict = match (of(Level::Refuse).count(), node) {
        (0, Some(node)) => format!("node {node} can be pivoted"),
        (0, None) => "the node can be pivoted".to_owned(),
        _ => "a pivot would be refused".to_owned(),
    };
    let (errors, warnings) =
        (amount(Level::Refuse, "error", "errors"), amount(Level::Warn, "warning", "warnings"));
    text + &format!("{verdict}: {errors}, {warnings}, {} passed\n", of(Level::Pass).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Vec<CheckResult> {
        let ignored = CheckResult { ignored: true, ..CheckResult::warn(Check::Fit, "no room", "make room") };
        let refused = CheckResult::refuse(Check::Lock, "run 1 holds the lock", "finish it");
        let unknown = CheckResult { level: Level::NotChecked, ..CheckResult::pass(Check::Role, "no API") };
        let taint = CheckResult::refuse(Check::Taint, "a taint", "take it away");
        vec![CheckResult::pass(Check::Root, "this is root"), unknown, taint, ignored, refused]
    }

    /// What a script reads never changes, but for new fields.
    #[test]
    fn the_json_of_the_checks_is_golden() {
        let results = results();
        let checks = results.iter().map(CheckView::from).collect();
        let view = PreflightView { format_version: FORMAT_VERSION, node: None, passed: false, checks };
        let written = serde_json::to_string_pretty(&view).unwrap();
        assert_eq!(written.trim(), include_str!("../../tests/golden/preflight.json").trim(), "{written}");
    }

    #[test]
    fn the_screen_of_the_checks_is_golden() {
        let shown = text(None, &results(), true);
        assert_eq!(shown.trim(), include_str!("../../tests/golden/preflight.txt").trim(), "{shown}");
        let good = text(Some("cp1"), &[CheckResult::pass(Check::Root, "this is root")], false);
        assert_eq!(good, "node cp1 can be pivoted: 0 errors, 0 warnings, 1 passed\n");
    }
}
