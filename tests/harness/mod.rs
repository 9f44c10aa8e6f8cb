//! What tests of several crates share: a child process that is the test's own program, and how a test says
//! that it cannot run here. Included by path: `#[path = "../../tests/harness/mod.rs"] mod harness;`.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// This program, told to run only the test `name`. That test is `#[ignore]`d: alone it does nothing.
pub(crate) fn test_as_child(name: &str) -> Command {
    let mut command = this_program();
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

/// This program.
pub(crate) fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("a program knows its own file"))
}

/// A child whose lines are read. It is killed when it is dropped: none outlives its test.
pub(crate) struct Talker {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Talker {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Talker {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("a test starts its own program");
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Talker { child, lines }
    }

    /// Its lines, once. They go on to the last after a kill: what is in the pipe was said before.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = String> + Send + use<> {
        self.lines.take().into_iter().flatten().map_while(Result::ok)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that a test cannot run here and why. Where every test must run, as in CI, this is a failure.
#[allow(clippy::print_stdout, reason = "a test that is skipped says so where its runner shows it")]
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
    assert!(std::env::var_os("FULCRUM_TESTS_SKIP_NONE").is_none(), "a test was skipped: {why}");
}

/// Copies a directory with everything in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a test makes its own directory");
    for entry in std::fs::read_dir(from).expect("what a test copies is there") {
        let entry = entry.expect("what a test copies can be listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a test copies a file");
        }
    }
}
