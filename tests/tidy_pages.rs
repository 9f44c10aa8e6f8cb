//! Pages against code: what they name is there.

use super::tidy::{root, sources};
use std::path::PathBuf;

/// Every Markdown file that people read: at the root, of the two libraries, and below `docs/`.
fn pages() -> Vec<(PathBuf, String)> {
    let mut dirs = ["docs", "engine/docs", "state/docs"].map(|dir| root().join(dir)).to_vec();
    let mut files: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .into_iter()
        .chain(["engine/README.md", "state/README.md"])
        .map(|name| root().join(name))
        .collect();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// What stands between backquotes, outside of blocks of code.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    let lines = page.lines().filter(|line| !line.starts_with("    "));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The words between backquotes that are names of tests: four words or more. One is a field of the kernel's.
fn tests_named(page: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.matches('_').count() >= 3
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    quoted(page).filter(is_name).filter(|word| *word != "tcpi_last_data_sent")
}

/// Every test that a page names as what holds something is there.
#[test]
fn tests_that_pages_name_are_there() {
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    let mut named = 0;
    for (path, page) in pages() {
        for name in tests_named(&page) {
            named += 1;
            assert!(code.contains(&format!("fn {name}(")), "{} names the test {name}", path.display());
        }
    }
    assert!(named > 60, "pages name only {named} tests: has their form changed?");
}

/// Every file of the workspace that a page names is there, and so is every page that a link leads to. A source
/// file that is named without its folder is somewhere.
#[test]
fn files_that_pages_name_are_there() {
    let rooms = ["state/", "engine/", "steps/", "cli/", "tests/", "docs/"];
    let sources = sources();
    for (path, page) in pages() {
        let files = quoted(&page).filter(|word| {
            rooms.iter().any(|room| word.starts_with(room)) && !word.contains([' ', '*', '<'])
        });
        for file in files {
            assert!(root().join(file).exists(), "{} names {file}", path.display());
        }
        for file in quoted(&page).filter(|word| word.ends_with(".rs") && !word.contains(['/', ' ', '*'])) {
            let is_there = sources.iter().any(|(source, _)| source.ends_with(file));
            assert!(is_there, "{} names {file}", path.display());
        }
        let links = ["](", "]: "].into_iter().flat_map(|mark| page.split(mark).skip(1));
        let links = links.filter_map(|rest| rest.split([')', '#', '\n']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(path.parent().unwrap().join(link).exists(), "{} links to {link}", path.display());
        }
    }
}

/// Every page of `docs/` is in the book.
#[test]
fn every_page_is_in_the_book() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    for (path, _) in pages().into_iter().filter(|(path, _)| path.starts_with(root().join("docs"))) {
        let name = path.strip_prefix(root().join("docs")).unwrap().display().to_string();
        let is_listed = name == "SUMMARY.md" || summary.contains(&format!("]({name})"));
        assert!(is_listed, "docs/SUMMARY.md lacks {name}");
    }
}

/// Markdown fits 100 columns, apart from tables and links.
#[test]
fn pages_fit_a_hundred_columns() {
    for (path, page) in pages() {
        for (number, line) in page.lines().enumerate() {
            let long = line.chars().count() > 100 && !line.starts_with('|') && !line.contains("](");
            assert!(!long, "{}:{}: more than 100 columns", path.display(), number + 1);
        }
    }
}

/// What a library's page calls a quick start fits one screen. The compiler runs it as a test of its crate.
#[test]
fn quick_starts_are_short() {
    for page in ["engine/README.md", "state/README.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let start = text.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
        assert!(start.lines().count() <= 40, "{page}: {} lines", start.lines().count());
        assert!(start.contains("fn main"), "{page}: a whole program");
    }
}

/// The engine's quick start is an example, word for word, which `.ci/run` runs twice and takes back.
#[test]
fn the_engines_quick_start_is_an_example() {
    let text = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (page, example) = (text("engine/README.md"), text("engine/examples/quick_start.rs"));
    let start = page.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(example.ends_with(start), "engine/README.md differs from engine/examples/quick_start.rs");
}

/// The figures in the engine's comparison are those that were measured last.
#[test]
fn figures_beside_other_engines_are_those_that_were_measured() {
    let measured = std::fs::read_to_string(root().join("docs/figures.md")).unwrap();
    let page = std::fs::read_to_string(root().join("engine/docs/comparison.md")).unwrap();
    let figures = page.split("## Figures").nth(1).unwrap();
    let rows: Vec<&str> = figures.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows.len() > 6, "the table has moved");
    for row in rows {
        assert!(measured.lines().any(|line| line == row), "not in docs/figures.md: {row}");
    }
}
