//! A program that systemd runs once, as a unit of its own: it lives on when the process that started it is killed.

use super::edge::{Hindrance, HostError};
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;

/// systemd answers at once, or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How much of what the program has said is of interest.
const LINES: &str = "60";

/// A unit that is run once.
#[derive(Debug, Clone, Copy)]
pub struct OneOff {
    /// Its name.
    pub unit: &'static str,
}

/// What systemd says of the unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOffSeen {
    /// What it is for.
    pub description: String,
    /// The id of this one run of it.
    pub invocation: String,
    /// How it stands.
    pub state: OneOffState,
}

/// How such a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OneOffState {
    /// There is none.
    #[default]
    Absent,
    /// Its program runs.
    Running,
    /// Its program has ended with this code.
    Exited(i32),
    /// A signal has ended its program.
    Killed(i32),
}

impl OneOff {
    /// Starts the program. systemd keeps the unit after the program's end, with the exit code, until [`Self::clear`].
    ///
    /// # Errors
    /// When systemd refuses, or the unit is there already.
    pub async fn start(
        &self,
        description: &str,
        program: &Path,
        arguments: &[String],
    ) -> Result<(), HostError> {
        let mut words = vec![
            "--quiet".to_owned(),
            format!("--unit={}", self.unit),
            format!("--description={description}"),
            "--remain-after-exit".to_owned(),
            "--".to_owned(),
            program.display().to_string(),
        ];
        // systemd replaces what follows a dollar.
        words.extend(arguments.iter().map(|argument| argument.replace('$', "$$")));
        told("systemd-run", &words).await.map(|_| ())
    }

    /// Looks at the unit.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn look(&self) -> Result<OneOffSeen, HostError> {
        let properties =
            "LoadState,Description,InvocationID,ActiveState,SubState,ExecMainCode,ExecMainStatus";
        let words = ["show", "--property", properties, self.unit].map(str::to_owned);
        let output = told("systemctl", &words).await?;
        Ok(OneOffSeen::of(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Makes systemd forget the unit. Call this when its program has ended: it would end the program.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub async fn clear(&self) -> Result<(), HostError> {
        // Each of the two is an error where there is nothing for it to do.
        for verb in ["stop", "reset-failed"] {
            output("systemctl", &[verb.to_owned(), self.unit.to_owned()]).await?;
        }
        Ok(())
    }

    /// What the program has said last, as systemd's journal has it. Empty if there is no such journal.
    pub async fn said(&self, seen: &OneOffSeen) -> String {
        let invocation = format!("_SYSTEMD_INVOCATION_ID={}", seen.invocation);
        let words =
            ["--quiet", "--no-pager", "--output=cat", "--lines", LINES, &invocation].map(str::to_owned);
        let output = output("journalctl", &words).await;
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }
}

impl OneOffSeen {
    /// Reads what `systemctl show` has printed.
    fn of(text: &str) -> Self {
        let property = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            lines.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back().unwrap_or_default()
        };
        let state = match (property("LoadState"), property("ActiveState"), property("SubState")) {
            ("not-found", ..) | ("loaded", "inactive", _) => OneOffState::Absent,
            (_, "failed", _) | (_, "active", "exited") => {
                let status = property("ExecMainStatus").parse().unwrap_or(-1);
                // CLD_EXITED of waitid(2).
                if property("ExecMainCode") == "1" {
                    OneOffState::Exited(status)
                } else {
                    OneOffState::Killed(status)
                }
            }
            _ => OneOffState::Running,
        };
        Self {
            description: property("Description").to_owned(),
            invocation: property("InvocationID").to_owned(),
            state,
        }
    }
}

async fn told(program: &str, words: &[String]) -> Result<Output, HostError> {
    let output = output(program, words).await?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(HostError::new(
        format!("{program} {}", words.join(" ")),
        format!("{}: {}", output.status, said.trim()),
    ))
}

async fn output(program: &str, words: &[String]) -> Result<Output, HostError> {
    let attempt = || format!("{program} {}", words.join(" "));
    let run = Command::new(program).args(words).kill_on_drop(true).output();
    match tokio::time::timeout(ANSWER_WITHIN, run).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(HostError::hindered(Hindrance::Unsupported, attempt(), error)),
        Err(_) => Err(HostError::new(attempt(), format!("no end within {ANSWER_WITHIN:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_shows_is_read() {
        let shown = |load: &str, active: &str, sub: &str, code: &str, status: &str| {
            let text = format!(
                "ExecMainCode={code}\nExecMainStatus={status}\nDescription=a = b\nLoadState={load}\nActiveState={active}\n\
                 SubState={sub}\nInvocationID=0a1b\n"
            );
            OneOffSeen::of(&text)
        };
        for (load, active, sub, code, status, expected) in [
            ("not-found", "inactive", "dead", "0", "0", OneOffState::Absent),
            ("loaded", "inactive", "dead", "0", "0", OneOffState::Absent),
            ("loaded", "activating", "start", "0", "0", OneOffState::Running),
            ("loaded", "active", "running", "0", "0", OneOffState::Running),
            ("loaded", "active", "exited", "1", "0", OneOffState::Exited(0)),
            ("loaded", "failed", "failed", "1", "4", OneOffState::Exited(4)),
            ("loaded", "failed", "failed", "2", "9", OneOffState::Killed(9)),
            ("loaded", "deactivating", "stop-sigterm", "0", "0", OneOffState::Running),
        ] {
            let seen = shown(load, active, sub, code, status);
            assert_eq!(seen.state, expected, "{active} {sub}");
            assert_eq!((seen.description.as_str(), seen.invocation.as_str()), ("a = b", "0a1b"));
        }
        assert_eq!(OneOffSeen::of("").state, OneOffState::Running, "what is not understood is not over");
    }
}
