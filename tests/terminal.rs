//! The reader of the command's output may go away at any time. That ends no run.

use crate::beside::terminal;
use std::io::Read;
use std::process::{Command, Stdio};

/// The rehearsal, in a private directory; what it wrote to stdout is kept.
fn rehearse(dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.env_clear().env("TMPDIR", dir.path()).env("TERM", "xterm-256color");
    command.args(["rehearse", "--kubernetes", "1.35"]).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// A terminal that is closed in the middle of a run. It is the controlling terminal of no process: no signal
/// comes, and only writes tell that it has gone.
#[test]
fn a_terminal_that_closes_ends_no_run() {
    for verbosity in [&[][..], &["-vv"]] {
        let dir = tempfile::tempdir().unwrap();
        let (mut terminal, slave) = terminal();
        let child = rehearse(&dir, verbosity).stderr(slave).spawn().unwrap();
        let mut seen = String::new();
        // A spinner has been drawn and a step is done: it is in the middle.
        while !(seen.contains("done") && seen.contains('\u{1b}')) {
            let mut some = [0; 4096];
            let read = terminal.read(&mut some).unwrap();
            seen.push_str(&String::from_utf8_lossy(&some[..read]));
        }
        drop(terminal);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{verbosity:?}: {:?}", output.status);
    }
}

#[test]
fn a_pipe_that_closes_ends_no_run() {
    for args in [&["-vv"][..], &["-vv", "-o", "json"]] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = rehearse(&dir, args).stderr(Stdio::piped()).spawn().unwrap();
        // Both readers are gone before anything is written.
        drop(child.stderr.take());
        drop(child.stdout.take());
        let status = child.wait().unwrap();
        assert!(status.success(), "{args:?}: {status:?}");
    }
}
