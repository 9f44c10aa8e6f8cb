//! All output goes through here: data to stdout, talk to stderr. A terminal that has gone away is no reason
//! to stop. The run goes on, and its journal says what happened.

use crate::args::{Global, LogFormat, Output};
use crate::exit::Failure;
use crate::render::{columns_of, on_lines};
use serde::Serialize;
use std::io::{BufRead, IsTerminal, Write};
use tracing_subscriber::EnvFilter;

pub(crate) struct Shell {
    pub(crate) output: Output,
    pub(crate) verbose: u8,
}

impl Shell {
    pub(crate) fn new(global: &Global) -> Self {
        Self { output: global.output, verbose: global.verbose }
    }

    pub(crate) fn json(&self) -> bool {
        matches!(self.output, Output::Json | Output::Jsonl)
    }

    /// Whether stdout is a terminal for a person who has not declined colours (no-color.org).
    pub(crate) fn colours(&self) -> bool {
        !self.json() && !colours_declined() && std::io::stdout().is_terminal()
    }

    /// Data, as text.
    pub(crate) fn data(&self, line: impl std::fmt::Display) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// Data for a person: on a terminal no word goes over its edge.
    pub(crate) fn words(&self, text: impl std::fmt::Display) {
        self.data(on_lines(&text.to_string(), columns_of(std::io::stdout())));
    }

    /// Data, as one line of JSON.
    pub(crate) fn data_json(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(line) => self.data(line),
            Err(error) => self.talk(format_args!("could not be written as JSON: {error}")),
        }
    }

    /// Data, as it is. False if no reader is left.
    pub(crate) fn print(&self, text: &str) -> bool {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    }

    /// Talk. On a terminal no word goes over its edge.
    pub(crate) fn talk(&self, line: impl std::fmt::Display) {
        let lines = on_lines(&line.to_string(), columns_of(std::io::stderr()));
        let _ = writeln!(std::io::stderr().lock(), "{lines}");
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        for line in format!("{:#}", failure.error).lines() {
            self.talk(format_args!("fulcrum: {line}"));
        }
        if self.json() {
            let exit = failure.exit as u8;
            self.data_json(&serde_json::json!({ "event": "error", "exit": exit, "error": format!("{:#}", failure.error) }));
        }
    }

    /// A question. The answer is read elsewhere.
    pub(crate) fn ask(&self, question: &str) {
        let _ = write!(std::io::stderr().lock(), "{question}");
    }

    /// Asks for a yes. Refuses without a terminal.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), Failure> {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::refused(format!("{question} There is no terminal to ask on; pass --yes")));
        }
        self.ask(&format!("{question} [y/N] "));
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::refused("not confirmed; nothing was changed")),
        }
    }
}

/// Starts the log on stderr. It is silent by default: the command itself reports errors, once. A daemon
/// reports its actions there.
pub(crate) fn start_log(global: &Global, daemon: bool) {
    let filter = match global.verbose {
        0 if daemon => "error,fulcrum=info,fulcrum_steps=info,kube_client=off",
        // kube logs what its caller is told anyway.
        0 | 1 => "error,kube_client=off",
        2 => "fulcrum=debug,fulcrum_engine=debug,fulcrum_steps=debug,fulcrum_state=debug,warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Deaf(std::io::stderr()))
        .log_internal_errors(false);
    let log = log.with_ansi(std::io::stderr().is_terminal() && !colours_declined());
    match global.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Whether a person has declined colours (no-color.org).
fn colours_declined() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Takes all that it is given, whether or not anything reads it. Otherwise the log would complain, on that
/// closed stderr, and end the program.
struct Deaf(std::io::Stderr);

impl Write for Deaf {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}
