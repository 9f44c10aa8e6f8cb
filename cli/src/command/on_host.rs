//! `fulcrum on-host`: what a pod of `--all-nodes` runs. `main` has made this process one of the host's.
//!
//! systemd runs the command, as a unit of its own. This process only watches, and ends with the command's exit code. A
//! kill of it, or of its pod, changes nothing on the node.

use crate::args::{Args, OnHost};
use crate::env::require_root;
use crate::exit::{Exit, Failure};
use crate::journal::{last_run, read_journal};
use crate::render::for_resume;
use crate::shell::Shell;
use clap::Parser;
use fulcrum_engine::state::lock_holder;
use fulcrum_steps::all_nodes::{Installed, LastRun, POD_DEADLINE, install};
use fulcrum_steps::host::{OneOff, OneOffSeen, OneOffState, Systemd, Units};
use fulcrum_steps::run_info::LockPurpose;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The unit in which systemd runs the command.
const UNIT: OneOff = OneOff { unit: "fulcrum-all-nodes.service" };
/// Where the program may be: from a package, or written by this.
const PLACES: [&str; 2] = ["/usr/bin/fulcrum", "/usr/local/bin/fulcrum"];
/// How often this looks again.
const POLL: Duration = Duration::from_secs(1);
/// How long this watches: a little less than its pod may run.
const WITHIN: Duration = POD_DEADLINE.saturating_sub(Duration::from_secs(60));

pub(crate) async fn on_host(args: &OnHost, shell: &Shell) -> Result<Exit, Failure> {
    require_root()?;
    Systemd::default().support().await.map_err(|error| {
        Failure::refused(format!("{error}; `fulcrum {} --all-nodes --print` needs no systemd", args.task))
    })?;
    let until = Instant::now() + WITHIN;
    let description = format!("fulcrum {} --all-nodes", args.task);
    let seen = looked().await?;
    match seen.state {
        OneOffState::Running if seen.description == description => {
            shell.talk(format_args!("{} is at work already, and is watched", UNIT.unit));
        }
        OneOffState::Running => {
            let (unit, other) = (UNIT.unit, seen.description);
            let text = format!("{unit} is at work on this node: {other}; wait for its end");
            return Err(Failure::new(Exit::Unfinished, anyhow::anyhow!(text)));
        }
        OneOffState::Absent | OneOffState::Exited(_) | OneOffState::Killed(_) => {
            start(args, &description, until, shell).await?;
        }
    }
    watch(until, shell).await
}

/// Puts the program on the host, finds out what is to be run, and has systemd run it.
async fn start(args: &OnHost, description: &str, until: Instant, shell: &Shell) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Other, error);
    // This program, whatever has become of its file, and wherever it lies: in the pod's image.
    let program = std::fs::read("/proc/self/exe")?;
    let installed = install(&program, &PLACES.map(Path::new))?;
    let how = if matches!(installed, Installed::Found(_)) { "is there" } else { "was written" };
    shell.talk(format_args!("{} {how}", installed.path().display()));
    let told = [&["fulcrum".to_owned(), args.task.name().to_owned()][..], &args.options].concat();
    let told = Args::try_parse_from(told).map_err(|error| Failure::refused(error.to_string()))?;
    let state_dir = &told.global.state_dir;
    await_journal(state_dir, until, shell).await?;
    let task = args.task.on_node(last(state_dir)?);
    let task = task.map_err(|why| Failure::new(Exit::Unfinished, anyhow::anyhow!(why)))?;
    let options = if task == args.task { args.options.clone() } else { for_resume(&args.options) };
    let words = [vec![task.name().to_owned()], options].concat();
    UNIT.clear().await.map_err(failed)?;
    UNIT.start(description, installed.path(), &words).await.map_err(failed)?;
    shell.talk(format_args!("{}: fulcrum {}", UNIT.unit, words.join(" ")));
    Ok(())
}

/// The guard, or a person's command, may be at work. It ends, and the journal then says what is left to do.
async fn await_journal(state_dir: &Path, until: Instant, shell: &Shell) -> Result<(), Failure> {
    let mut said = false;
    while let Some(holder) = lock_holder(state_dir)? {
        let works = format!("`fulcrum {}`, pid {}, is at work on this node", holder.purpose, holder.pid);
        if Instant::now() >= until {
            let text = format!("{works}, and has not ended within {WITHIN:?}; nothing was begun");
            return Err(Failure::new(Exit::Unfinished, anyhow::anyhow!(text)));
        }
        if !said {
            shell.talk(format_args!("{works}; waits for its end"));
            said = true;
        }
        sleep(POLL).await;
    }
    Ok(())
}

fn last(state_dir: &Path) -> Result<LastRun, Failure> {
    if !state_dir.exists() {
        return Ok(LastRun::Over);
    }
    let last = last_run(&read_journal(state_dir, LockPurpose::Status)?)?;
    Ok(match last.filter(|(_, state)| !state.is_over()) {
        None => LastRun::Over,
        Some((_, state)) if state.rollback().is_some() => LastRun::Back,
        Some(_) => LastRun::Forward,
    })
}

/// Watches the unit to its end. Ends with its program's exit code, and says what it has said.
async fn watch(until: Instant, shell: &Shell) -> Result<Exit, Failure> {
    let unit = UNIT.unit;
    let unfinished = |text: String| Err(Failure::new(Exit::Unfinished, anyhow::anyhow!(text)));
    loop {
        let why = match UNIT.look().await {
            Ok(OneOffSeen { state: OneOffState::Running, .. }) => "it runs".to_owned(),
            Ok(OneOffSeen { state: OneOffState::Absent, .. }) => {
                return unfinished(format!(
                    "{unit} has gone from this node; `fulcrum status` there says how its run stands"
                ));
            }
            Ok(seen) => {
                shell.talk(UNIT.said(&seen).await.trim_end());
                // A unit that stays is cleared by the next command.
                if let Err(error) = UNIT.clear().await {
                    tracing::warn!(%error, "{unit} was not cleared");
                }
                let exit = if let OneOffState::Exited(code) = seen.state { Exit::of(code) } else { None };
                return exit.map_or_else(
                    || unfinished(format!("{unit} ended otherwise than a command does: {:?}", seen.state)),
                    Ok,
                );
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            return unfinished(format!("{unit} has not ended within {WITHIN:?} ({why}), and goes on"));
        }
        sleep(POLL).await;
    }
}

async fn looked() -> Result<OneOffSeen, Failure> {
    UNIT.look().await.map_err(|error| Failure::new(Exit::Other, error))
}
