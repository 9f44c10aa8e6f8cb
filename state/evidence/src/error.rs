//! Why evidence could not be made or read.

use fulcrum_state::ReadError;
use std::io;
use std::path::{Path, PathBuf};

/// Evidence could not be made or read. A run never depends on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} cannot be used: {detail}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was seen, and what to do.
        detail: String,
    },
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system gives no random numbers, or a key is none.
    #[error("the key cannot be {doing}: the cryptographic library refuses")]
    Crypto {
        /// What was being done.
        doing: &'static str,
    },
}

impl EvidenceError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn content(path: &Path, detail: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), detail: detail.into() }
    }
}
