//! What an opening does beside reading the log. Only a disk that fails under the log keeps the journal shut.

use std::path::Path;

use crate::DiskError;
use crate::RunId;
use crate::active::Active;
use crate::active::WriteError;
use crate::blob;
use crate::commit::Staged;
use crate::disk::Disk;
use crate::error::with_sources;
use crate::fsync;
use crate::place::LOG;
use crate::place::Place;
use crate::prune;
use crate::record::LostContent;
use crate::shared::Shared;

/// Records the entries that the checkpoint knew and the log lacks.
pub(crate) fn record_lost(
    shared: &Shared,
    active: &mut Active,
    lost: Vec<(RunId, u64, u64)>,
) -> Result<(), DiskError> {
    for (run, seq, had) in lost {
        let detail = format!("{had} entries were acknowledged, as the checkpoint says");
        tracing::error!(%run, seq, detail, "the journal lost entries");
        let lost = LostContent { run, seq, detail };
        let mut staged = Staged::default();
        staged.lost(lost.clone());
        match active.write_staged(staged, shared) {
            Ok(()) => {}
            // The index keeps it until there is room.
            Err(WriteError::NoRoom(_)) => shared.index_mut().lost(lost, Place { at: active.end(), len: 0 }),
            Err(WriteError::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Removes what a killed process left unfinished. If that fails, the next opening does it.
pub(crate) fn sweep(disk: &dyn Disk, dir: Option<&Path>) {
    let result = disk.list(LOG).and_then(|names| {
        let unfinished = names.iter().filter(|name| name.ends_with(".tmp"));
        unfinished.into_iter().try_for_each(|name| disk.remove(&format!("{LOG}/{name}")))
    });
    let swept = dir.map_or(Ok(()), |dir| fsync::sweep(&dir.join("index")));
    if let Err(error) = result.and(swept) {
        tracing::warn!(%error, "what a killed process left in the journal is still there");
    }
}

/// Ends a prune that was cut short. If that fails, for want of room for example, the next prune or opening
/// does it.
pub(crate) fn tidy(shared: &Shared, active: u32) {
    let finished = prune::finish(shared, active).map_err(WriteError::error);
    let removed = blob::remove(shared.disk.as_ref(), |run| shared.index().pruned(run).is_some());
    if let Err(error) = finished.and(removed) {
        tracing::warn!(error = with_sources(&error), "pruned runs are still on the disk");
    }
}
