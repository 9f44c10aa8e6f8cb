//! House rules that a compiler does not check: each is an invariant of ARCHITECTURE.md, or keeps the code
//! readable.

use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 420;
const FUNCTION_LINES_MAX: usize = 60;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of the workspace, with its text.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let mut dirs: Vec<PathBuf> =
        ["state", "engine", "steps", "cli", "tests"].map(|dir| root().join(dir)).into();
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 80, "the workspace has moved: {} files", files.len());
    files
}

#[test]
fn files_and_functions_fit_a_reader() {
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= FILE_LINES_MAX, "{} has {} lines", path.display(), lines.len());
        let mut open: Option<(usize, usize)> = None;
        for (number, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let starts =
                ["fn ", "pub fn ", "pub(crate) fn ", "async fn ", "pub async fn ", "pub(crate) async fn "];
            if open.is_none() && starts.iter().any(|start| line.trim_start().starts_with(start)) {
                open = Some((number, indent));
            }
            let Some((begin, depth)) = open else { continue };
            let closes = matches!(line.trim(), "}" | "};") || line.trim_end().ends_with(';');
            if indent == depth && closes {
                let length = number - begin + 1;
                let place = format!("{}:{}", path.display(), begin + 1);
                assert!(length <= FUNCTION_LINES_MAX, "{place}: a function of {length} lines");
                open = None;
            }
        }
    }
}

/// Invariant: imports go one way, `state <- engine <- steps <- simulator <- cli`.
#[test]
fn crates_import_down_the_stairs_only() {
    for (crate_, forbidden) in [
        ("state", &["fulcrum-engine", "fulcrum-steps", "kube", "k8s-openapi"][..]),
        ("state/evidence", &["fulcrum-engine", "fulcrum-steps", "kube", "k8s-openapi"]),
        ("engine", &["fulcrum-evidence", "fulcrum-steps", "kube", "k8s-openapi"]),
        ("steps", &["fulcrum-simulator", "clap", "indicatif"]),
        ("tests/simulator", &["clap", "indicatif"]),
    ] {
        let manifest = std::fs::read_to_string(root().join(crate_).join("Cargo.toml")).unwrap();
        for name in forbidden {
            let line = format!("\n{name}.workspace");
            assert!(!manifest.contains(&line), "{crate_} depends on {name}");
        }
    }
}

/// Invariant: the engine knows nothing of Kubernetes. Nor does the journal. Neither speaks of it or of the
/// command that is built on them: not in code, comments, errors, examples or pages.
#[test]
fn the_engine_knows_nothing_of_kubernetes() {
    let mut texts = Vec::new();
    for (path, text) in sources() {
        // Their events and records are those of kept journals.
        let golden = path.ends_with("engine/src/golden.rs") || path.ends_with("tests.rs");
        if !golden && ["state/src", "engine/src", "engine/examples"].iter().any(|dir| path.starts_with(dir)) {
            texts.push((path, text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()));
        }
    }
    let pages = ["state/README.md", "state/docs/format.md", "state/Cargo.toml", "engine/README.md"];
    let more = ["guarantees", "when-not", "comparison"].map(|page| format!("engine/docs/{page}.md"));
    for page in pages.iter().map(|page| (*page).to_owned()).chain(more) {
        texts.push((page.clone().into(), std::fs::read_to_string(root().join(page)).unwrap()));
    }
    let words = ["kube", "daemonset", "static pod", "apiserver", "api server", "control plane", "pivot"];
    let commands = ["resume", "rollback", "status", "history", "guard", "rehearse", "plan", "doctor"];
    let commands = commands.map(|command| format!("fulcrum {command}"));
    for (path, text) in texts {
        for line in text.lines() {
            let lower = line.to_lowercase();
            let word = words.iter().copied().chain(commands.iter().map(String::as_str));
            assert_eq!(
                word.into_iter().find(|word| lower.contains(word)),
                None,
                "{}: {line}",
                path.display()
            );
        }
    }
}

/// Invariant: steps reach the world through `Node` and `Cluster` only.
#[test]
fn steps_see_only_node_and_cluster() {
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("steps/src/step")) {
        for word in ["kube::Api", "kube::Client", "/proc", "std::process", "TcpStream"] {
            assert!(!text.contains(word), "{} mentions {word}", path.display());
        }
    }
}

/// Invariant: no file is written but through the one crash-safe helper.
#[test]
fn files_are_written_by_one_helper() {
    let may = ["state/src", "engine/examples", "engine/tests"];
    for (path, text) in sources() {
        if may.iter().any(|prefix| path.starts_with(prefix))
            || path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
        {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in ["fs::write(", "File::create", "fs::rename(", "fs::remove_file("] {
            assert!(!code.contains(word), "{} has {word}: use state::fsync", path.display());
        }
    }
}
