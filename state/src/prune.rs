//! Removes runs from the log. A record names them before anything of them goes. Then each segment with parts
//! of them is replaced by one with blanks at their places. So nothing else moves. A segment without other
//! content is emptied. If a crash interrupts the prune, the next opening of the journal finishes it.

use std::collections::BTreeMap;
use std::collections::HashSet;

use crate::AppendError;
use crate::DiskError;
use crate::RunId;
use crate::Timestamp;
use crate::active::WriteError;
use crate::blob;
use crate::disk::Disk;
use crate::index::Index;
use crate::log;
use crate::meta::Meta;
use crate::place;
use crate::record;
use crate::record::LostContent;
use crate::record::PruneContent;
use crate::record::PrunedRun;
use crate::scan::Found;
use crate::scan::Scanner;
use crate::shared::Shared;

/// The most runs that one record names. Such a record fits well into a commit.
pub(crate) const RUNS_MAX: usize = 500;

/// The most characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 1000;

/// The content of a prune's record.
pub(crate) fn content(index: &Index, runs: &[RunId], reason: &str) -> Result<PruneContent, AppendError> {
    let mut gone = Vec::new();
    for run in runs {
        // A second call ends the earlier prune.
        if let Some(state) = index.run(*run) {
            gone.push(PrunedRun { run: *run, head: state.header.head });
        }
    }
    let last = index.predecessor().map(|last| last.run);
    let reason = reason.chars().take(REASON_CHARS_MAX).collect();
    Ok(PruneContent { time: Timestamp::now(), reason, last, runs: gone })
}

/// Removes everything of the runs that are recorded as pruned. `active` is the segment that takes more
/// records: a writer that has it open opens it again afterwards, whatever this returns.
pub(crate) fn finish(shared: &Shared, active: u32) -> Result<(), WriteError> {
    let disk = shared.disk.as_ref();
    let index = shared.index();
    let runs: HashSet<RunId> = index.leftovers().iter().map(|(run, _)| *run).collect();
    if runs.is_empty() {
        return Ok(());
    }
    let mut segments = BTreeMap::new();
    for extent in index.leftovers().iter().flat_map(|(_, extents)| extents) {
        segments.insert(extent.segment, index.lives_in(extent.segment));
    }
    drop(index);
    for (segment, lives) in segments {
        rewrite(disk, segment, &runs, lives || segment == active).map_err(WriteError::not_written)?;
        log::put_in_place(disk, &place::segment_name(segment)).map_err(WriteError::Failed)?;
        crate::fault::point("prune/segment");
    }
    blob::remove(disk, |run| runs.contains(&run)).map_err(WriteError::not_written)?;
    shared.index_mut().finished_prune();
    Ok(())
}

/// Makes the segment that is to replace one: without these runs. If nothing else `lives` in it, keeps only the
/// records that belong to no run.
fn rewrite(disk: &dyn Disk, segment: u32, runs: &HashSet<RunId>, lives: bool) -> Result<(), DiskError> {
    let name = place::segment_name(segment);
    let failed = |e| DiskError::new("rewrite", disk.path(&name), e);
    let file = disk.open(&name, false).map_err(failed)?;
    let size = file.size().map_err(failed)?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut bytes, 0).map_err(failed)?;
    bytes.truncate(read);
    let mut scanner = Scanner::new(file, 0, size);
    let mut kept = Vec::new();
    let mut after = 0;
    let mut end = 0;
    let mut damaged = false;
    loop {
        match scanner.next().map_err(failed)? {
            Found::Record { at, prefix, content } => {
                let (from, to) = (at as usize, at as usize + prefix.len);
                end = to;
                let meta = Meta::read(prefix.kind, content);
                match &meta {
                    Some(Meta::Segment(content)) => after = content.after,
                    Some(Meta::Prune(_)) => kept.extend_from_slice(&bytes[from..to]),
                    _ => {}
                }
                if meta.is_some_and(|meta| belongs(&meta, runs)) {
                    record::blank(&mut bytes[from..to]);
                }
            }
            Found::Bad { to, .. } => (damaged, end) = (true, to as usize),
            Found::End { clean, .. } => {
                if !clean {
                    // What is behind stays as it is.
                    (damaged, end) = (true, bytes.len());
                }
                break;
            }
        }
    }
    if lives || damaged {
        log::fill(disk, &name, size, &bytes[..end]).map(drop)
    } else {
        let mut header = log::segment_record(segment, after, true);
        record::mark_first(&mut header);
        record::mark_last(&mut header);
        header.append(&mut kept);
        log::fill(disk, &name, header.len() as u64, &header).map(drop)
    }
}

fn belongs(meta: &Meta, runs: &HashSet<RunId>) -> bool {
    match meta {
        Meta::Run(content) => runs.contains(&content.run),
        Meta::Blob { run, .. } | Meta::Lost(LostContent { run, .. }) => runs.contains(run),
        Meta::Entry(entry) => runs.contains(&entry.run),
        Meta::Segment(_) | Meta::Prune(_) | Meta::Blank => false,
    }
}
