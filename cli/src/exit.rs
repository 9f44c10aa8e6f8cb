//! Exit codes: part of the command's contract, listed in `--help` and in docs/commands.md.

use fulcrum_engine::state::{OpenError, ReadError};
use fulcrum_engine::{EngineError, LoadError};
use fulcrum_evidence::EvidenceError;
use std::process::ExitCode;

/// The text for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do
  1  something else went wrong
  2  the command line was not understood
  3  refused by a check; nothing was changed
  4  the run failed, and everything that it had done was undone
  5  the run needs a person: the message says for what; or a rehearsal did not
     end as it must
  6  the run is paused: `fulcrum resume` goes on, `fulcrum rollback` undoes it
  7  another run is unfinished, or in progress
  8  the journal is damaged, or its run was started by another version
  9  `plan`: a pivot would change this node
  10  `doctor`: something is broken, and the command that mends it is named
  11  nothing is wrong, but something could not be verified: the list says
      what, and why
  12  `certs check`: a certificate ends within 30 days, or a process uses an
      older one than its file has
  130  left at once, on a second signal: the run is unfinished; or a rehearsal
       was interrupted";

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Other = 1,
    Refused = 3,
    Undone = 4,
    NeedsOperator = 5,
    Paused = 6,
    Unfinished = 7,
    Damaged = 8,
    Changes = 9,
    Ill = 10,
    NotChecked = 11,
    Certificates = 12,
    Interrupted = 130,
}

impl Exit {
    /// The exit code of this number, if there is one.
    pub(crate) fn of(code: i32) -> Option<Self> {
        const ALL: [Exit; 13] = [
            Exit::Done,
            Exit::Other,
            Exit::Refused,
            Exit::Undone,
            Exit::NeedsOperator,
            Exit::Paused,
            Exit::Unfinished,
            Exit::Damaged,
            Exit::Changes,
            Exit::Ill,
            Exit::NotChecked,
            Exit::Certificates,
            Exit::Interrupted,
        ];
        ALL.into_iter().find(|exit| *exit as i32 == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error and the exit code that it means.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    pub(crate) fn refused(text: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Refused, error: anyhow::anyhow!("{text}") }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Other, error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Exit::Other, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Locked { .. } => Exit::Unfinished,
            OpenError::Newer { .. } | OpenError::Damaged { .. } => Exit::Damaged,
            _ => Exit::Refused,
        };
        let is_damaged = matches!(error, OpenError::Damaged { .. });
        let error = anyhow::Error::new(error);
        match is_damaged {
            true => Self::new(exit, error.context("the journal cannot be read; the archived manifests can")),
            false => Self::new(exit, error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::new(Exit::Damaged, error)
    }
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::Read(error) => error.into(),
            EvidenceError::Content { .. } => Self::new(Exit::Refused, error),
            other => Self::new(Exit::Other, other),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let exit = if matches!(error, LoadError::NoSuchRun(_)) { Exit::Other } else { Exit::Damaged };
        Self::new(exit, error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Load(error) => error.into(),
            EngineError::UnknownStep { .. } => Self::new(Exit::Damaged, error),
            other => Self::new(Exit::Other, other),
        }
    }
}
