//! The process whose power is cut: runs the workflow forward and back until then.

use crate::workflow::{effects_dir, plan, registry};
use fulcrum_engine::load::load;
use fulcrum_engine::state::{Journal, RunId, Timestamp, fsync};
use fulcrum_engine::{Engine, Event, Observer, Session};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Works in `disk` until it is killed, or until the disk fails.
pub(crate) fn work(disk: &Path, boot: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let effects = effects_dir(disk);
        if std::fs::create_dir_all(&effects).and_then(|()| fsync::sync_dir(disk)).is_err() {
            return;
        }
        let Ok(journal) = Journal::open(disk.join("state"), "power cut") else { return };
        let engine = engine(&journal, disk, boot).observer(Arc::new(Aloud));
        // Forward, back, forward, ...: it ends with the first error.
        while go_on(&journal, &engine).await.is_some() {}
    });
}

/// An engine on that disk.
pub(crate) fn engine(journal: &Journal, disk: &Path, boot: &str) -> Engine {
    let session = Session {
        boot_id: boot.into(),
        pid: std::process::id(),
        program: "power cut".into(),
        role: fulcrum_engine::Role::default(),
        actor: fulcrum_engine::Actor::new(),
    };
    Engine::new(journal.clone(), registry(effects_dir(disk)), session)
}

async fn go_on(journal: &Journal, engine: &Engine) -> Option<()> {
    let Some(last) = journal.reader().runs().ok()?.last().map(|header| header.run) else {
        return engine.start(plan()).await.ok().map(drop);
    };
    remove_old(journal).await?;
    let state = load(&journal.reader(), last).ok()?;
    let ended = match (state.is_rolled_back(), state.is_over()) {
        (true, _) => engine.start(plan()).await,
        (false, true) => engine.roll_back(last, "it has completed").await,
        (false, false) => engine.resume(last).await,
    };
    ended.ok().map(drop)
}

/// Keeps the last three runs.
async fn remove_old(journal: &Journal) -> Option<()> {
    let runs = journal.reader().runs().ok()?;
    let old: Vec<RunId> = runs.iter().rev().skip(3).map(|header| header.run).collect();
    if old.is_empty() {
        return Some(());
    }
    old.iter().for_each(|run| say(*run, "removing"));
    journal.prune(old, "old").await.ok().map(drop)
}

fn say(run: RunId, what: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{run} {what}");
    let _ = out.flush();
}

/// Says every event once it is in the journal.
struct Aloud;

impl Observer for Aloud {
    fn event(&self, run: RunId, _time: Timestamp, event: &Event) {
        say(run, &serde_json::to_string(event).unwrap_or_default());
    }
}

/// Writes and syncs a file of its own until the power is cut, as a database on this disk would. Unsynced
/// parts of the journal may reach the disk with it.
pub(crate) fn sync_beside(disk: &Path) {
    // Each time a new file: it does not fill the disk.
    while std::fs::File::create(disk.join("beside")).is_ok_and(|mut file| {
        (0..256).all(|_| file.write_all(&[7; 4096]).and_then(|()| file.sync_all()).is_ok())
    }) {}
}
