//! The copy of the target's kubeadm. The last steps of an upgrade call it, also when the guard goes on with the run after
//! a reboot. It goes when the upgrade is over.

use crate::run_info::UPGRADE;
use fulcrum_engine::load::load;
use fulcrum_engine::state::Reader;
use fulcrum_engine::state::fsync::{remove_durable, sweep};
use std::path::{Path, PathBuf};

/// The copy of a kubeadm could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("no upgrade needs {} any more, and it is left: {cause}; remove it", path.display())]
pub(crate) struct CopyIsLeft {
    path: PathBuf,
    cause: String,
}

/// Where the kubeadm of an upgrade stays until the run is over. The guard, which may go on with the run, sees neither a
/// person's /tmp nor their search path.
pub fn kubeadm_copy(state_dir: &Path) -> PathBuf {
    state_dir.join("kubeadm")
}

/// Removes the copy unless an upgrade is unfinished, and what a killed process has left half-written beside it. The
/// caller has the journal open for writing, as a process has that makes the copy.
///
/// # Errors
/// When the journal or the state directory refuses. The copy stays then.
pub(crate) fn sweep_kubeadm(journal: &Reader, state_dir: &Path) -> Result<(), CopyIsLeft> {
    let path = kubeadm_copy(state_dir);
    swept(journal, &path).map_err(|cause| CopyIsLeft { path, cause })
}

fn swept(journal: &Reader, path: &Path) -> Result<(), String> {
    sweep(path).map_err(|error| error.to_string())?;
    if !path.exists() {
        return Ok(());
    }
    let runs = journal.runs().map_err(|error| error.to_string())?;
    for header in runs.iter().filter(|header| header.kind == UPGRADE) {
        if !load(journal, header.run).map_err(|error| error.to_string())?.is_over() {
            return Ok(());
        }
    }
    remove_durable(path).map_err(|error| error.to_string())
}
