//! `fulcrum completions` and `fulcrum man-pages`: what a package installs beside the program, made from the
//! definition of the command line.

use crate::args::{Args, visible};
use crate::exit::{Exit, Failure};
use crate::shell::Shell;
use clap::CommandFactory;
use fulcrum_engine::state::fsync::write_atomic;
use std::path::Path;

/// Writes the completions for a shell to stdout.
pub(crate) fn completions(for_shell: clap_complete::Shell, shell: &Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(for_shell, &mut Args::command(), "fulcrum", &mut script);
    shell.print(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}

/// Writes one page for the program and one for each command into `dir`, which must be there.
pub(crate) fn man_pages(dir: &Path, shell: &Shell) -> Result<Exit, Failure> {
    let mut program = Args::command();
    program.build();
    for command in visible(&program) {
        // A page of its own is called `fulcrum-pivot(1)`.
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let mut page = Vec::new();
        clap_mangen::Man::new(command).title(&name).render(&mut page)?;
        let path = dir.join(format!("{name}.1"));
        write_atomic(&path, &page, Some(0o644), None)?;
        shell.talk(format_args!("{} is written", path.display()));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_people_see_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let shell = Shell { output: crate::args::Output::Text, verbose: 0 };
        assert_eq!(man_pages(dir.path(), &shell).unwrap(), Exit::Done);
        let program = Args::command();
        assert!(dir.path().join("fulcrum-upgrade-apply.1").exists());
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = dir.path().join(format!("fulcrum-{}.1", command.get_name()));
            let text =
                std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(text.contains("fulcrum\\-") && text.contains(".SH SYNOPSIS"), "{text}");
        }
        assert!(!dir.path().join("fulcrum-rehearsal-child.1").exists());
    }

    #[test]
    fn completions_know_every_command() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "fulcrum", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["preflight", "--ignore-preflight-errors", "hand-over"] {
                assert!(script.contains(word.trim_start_matches("--")), "{shell}: {word}");
            }
        }
    }
}
