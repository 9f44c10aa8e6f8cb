//! Pages against the command line: every command that a page shows is one.

use super::Args;
use clap::Parser;
use clap::error::ErrorKind;
use std::path::{Path, PathBuf};

/// The README, and every page of the book but the decisions, which stay as they were made.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut dirs = vec![root.join("docs")];
    let mut files = vec![root.join("README.md")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("decisions") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The lines of code of a page, and the rest of it.
fn parts(page: &str) -> (Vec<&str>, String) {
    let (mut code, mut rest, mut is_fenced) = (Vec::new(), String::new(), false);
    for line in page.lines() {
        match line.trim_start().starts_with("```") {
            true => is_fenced = !is_fenced,
            false if is_fenced || line.starts_with("    ") => code.push(line.trim()),
            false => rest += &format!("{line}\n"),
        }
    }
    (code, rest)
}

/// The words of a command, without a prompt and a comment.
fn words(line: &str) -> Option<Vec<&str>> {
    let line = line.split_once("# ").filter(|(prompt, _)| prompt.len() <= 3).map_or(line, |(_, rest)| rest);
    let command = line.split(" #").next().unwrap_or_default();
    command.starts_with("fulcrum ").then(|| command.split_whitespace().collect())
}

#[test]
fn every_command_on_a_page_is_understood() {
    let mut seen = 0;
    for (path, page) in pages() {
        let (code, rest) = parts(&page);
        for words in code.into_iter().filter_map(words) {
            seen += 1;
            let parsed = Args::try_parse_from(&words);
            assert!(parsed.is_ok(), "{}: {words:?}: {}", path.display(), parsed.unwrap_err());
        }
        // In a sentence a command may be without its arguments, or stand with a placeholder.
        for span in
            rest.split('`').skip(1).step_by(2).filter(|span| !span.contains(" v1:") && !span.contains(" v2:"))
        {
            let Some(words) = words(span) else { continue };
            seen += 1;
            if let Err(error) = Args::try_parse_from(&words) {
                let unknown =
                    matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
                assert!(!unknown, "{}: {words:?}: {error}", path.display());
            }
        }
    }
    assert!(seen > 100, "pages show only {seen} commands: has their form changed?");
}

/// The sections of the page are the codes of the help.
#[test]
fn every_exit_code_has_a_section() {
    let page = include_str!("../../../docs/exit-codes.md");
    let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let listed = crate::exit::EXIT_CODES.lines().filter_map(|line| {
        let code = line.strip_prefix("  ")?.split("  ").next()?;
        code.bytes().all(|byte| byte.is_ascii_digit()).then_some(code)
    });
    assert_eq!(sections, listed.filter(|code| !code.is_empty()).collect::<Vec<_>>());
}
