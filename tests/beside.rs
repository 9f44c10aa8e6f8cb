//! A person who thinks, and a reader who has stopped, hold up no process that works on the node.

use crate::cli::kubeconfig;
use crate::support::TestSite;
use fulcrum_engine::state::Journal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Both ends of a terminal.
pub(crate) fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (File::from(master), slave)
}

fn fulcrum(world: &TestSite, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.env_clear().arg("--state-dir").arg(world.state_dir()).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn pivoted() -> TestSite {
    let world = TestSite::boot().await;
    let _ = world.pivot(&world.journal()).await;
    std::fs::write(world.kubeconfig(), kubeconfig("http://127.0.0.1:9")).unwrap();
    world
}

fn read_until(terminal: &mut File, words: &str) {
    let mut seen = String::new();
    while !seen.contains(words) {
        let mut some = [0; 4096];
        let read = terminal.read(&mut some).unwrap();
        seen.push_str(&String::from_utf8_lossy(&some[..read]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_answers_leaves_the_journal_to_the_guard() {
    if !crate::cli::root() {
        return;
    }
    let world = pivoted().await;
    let (mut person, terminal) = terminal();
    let mut command = fulcrum(&world, &["rollback"]);
    let mut child = command.stdin(terminal.try_clone().unwrap()).stderr(terminal).spawn().unwrap();
    read_until(&mut person, "[y/N]");
    // The guard needs this while the person thinks.
    drop(Journal::open(world.state_dir(), "guard").unwrap());
    person.write_all(b"n\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

/// What the person has answered is no longer what was asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_what_has_gone_on_meanwhile_changes_nothing() {
    if !crate::cli::root() {
        return;
    }
    let world = pivoted().await;
    let run = world.journal().reader().runs().unwrap()[0].run;
    let (mut person, terminal) = terminal();
    let mut command = fulcrum(&world, &["rollback"]);
    let mut child = command.stdin(terminal.try_clone().unwrap()).stderr(terminal).spawn().unwrap();
    read_until(&mut person, "[y/N]");
    let _ = world.rollback(&world.journal(), run).await;
    person.write_all(b"y\n").unwrap();
    read_until(&mut person, "meanwhile");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    world.assert_static("after an answer that came too late").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_stopped_holds_nothing() {
    let world = pivoted().await;
    let (mut reader, printed) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&printed, 4096).unwrap();
    let mut child = fulcrum(&world, &["history", "-o", "json"]).stdout(printed).spawn().unwrap();
    // It has begun to print, and is stuck soon.
    reader.read_exact(&mut [0]).unwrap();
    let journal = Journal::open(world.state_dir(), "guard").unwrap();
    assert_eq!(child.try_wait().unwrap(), None, "the pipe has taken all of it");
    // Nor does a writer hold up readers.
    // This journal was never signed, which is no fault.
    for (args, code) in [(&["history"][..], 0), (&["history", "--verify"], 11)] {
        assert_eq!(fulcrum(&world, args).status().unwrap().code(), Some(code), "{args:?}");
    }
    drop(journal);
    drop(reader);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A user who may not read the journal is told to be root, and not to change its owner.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_told_to_be_root() {
    use std::os::unix::process::CommandExt;
    if !crate::cli::root() {
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    drop(Journal::open(dir.path().join("state"), "test").unwrap());
    let program = dir.path().join("fulcrum");
    std::fs::copy(env!("CARGO_BIN_EXE_fulcrum"), &program).unwrap();
    let another_user = |command: &str| {
        let mut program = Command::new(&program);
        program.uid(65534).gid(65534).arg("--state-dir").arg(dir.path().join("state")).arg(command);
        program.output().unwrap()
    };
    let output = another_user("history");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("run it as root") && !said.contains("chown"), "{said}");
    // Nobody is told that a process which cannot be seen is not there.
    let output = another_user("status");
    let (seen, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!seen.contains("no process listens") && seen.contains("not seen"), "{seen}");
    assert!(said.contains("not seen: who listens on the ports"), "{said}");
}
