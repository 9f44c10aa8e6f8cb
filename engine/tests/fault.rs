//! Fault points are in the builds of tests, and in no other.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::process::Command;

/// What cargo would build `package` with: a line for each crate and each of its features.
fn features(package: &str, edges: &str) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tree = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--prefix", "none", "-p", package, "-e", edges])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap()
}

/// That a build without the feature has nothing of it is held by the compiler (`state/src/fault.rs`).
#[test]
fn the_command_is_built_without_fault_points() {
    const FEATURE: &str = "fulcrum-state feature \"fault-points\"";
    let command = features("fulcrum", "normal,build,features");
    assert!(command.contains("fulcrum-state v"), "it is built with the journal: {command}");
    assert!(!command.contains("fault-points"), "{command}");
    assert!(!command.contains("feature \"testing\""), "{command}");
    let tests = features("fulcrum-engine", "normal,build,dev,features");
    assert!(tests.contains(FEATURE), "these tests have it, or the line above proves nothing: {tests}");
}
