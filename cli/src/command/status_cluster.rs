//! `fulcrum status --cluster`: every control-plane node, as the cluster tells it.

use super::carry_on::signals;
use crate::args::Status;
use crate::env::access;
use crate::exit::{Exit, Failure};
use crate::render::overview;
use crate::shell::Shell;
use fulcrum_steps::cluster::Cluster;
use fulcrum_steps::overview::{Overview, gather, judge};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, timeout};

/// How often `--watch` looks again: four kinds of objects, and a few kilobytes. What it shows is mostly ages, and those
/// change without an event of the cluster.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long the API may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Clears a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) async fn status_cluster(args: &Status, shell: &Shell) -> Result<Exit, Failure> {
    let kubeconfig = &args.place.kubeconfig;
    let (access, _) = access(kubeconfig).await?;
    if !args.watch {
        let seen = look(&access.cluster, kubeconfig).await?;
        shell.print(&shown(&seen, shell)?);
        return Ok(Exit::Done);
    }
    let mut again = tokio::time::interval(LOOK_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let [mut interrupt, mut terminate, _] = signals()?;
    let clear = if std::io::stdout().is_terminal() && !shell.json() { CLEAR } else { "" };
    let mut before = None;
    loop {
        let next = async {
            again.tick().await;
            look(&access.cluster, kubeconfig).await
        };
        let seen = tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
            seen = next => seen,
        };
        // A cluster that does not answer is what a person watches for.
        let text = match seen {
            Ok(seen) => shown(&seen, shell)?,
            Err(failure) if shell.json() => {
                serde_json::json!({ "event": "error", "error": format!("{:#}", failure.error) }).to_string()
                    + "\n"
            }
            Err(failure) => format!("{:#}\n", failure.error),
        };
        // A reader that has gone away ends the watch.
        if before.as_ref() != Some(&text) && !shell.print(&format!("{clear}{text}")) {
            return Ok(Exit::Done);
        }
        before = Some(text);
    }
}

fn shown(seen: &Overview, shell: &Shell) -> Result<String, Failure> {
    overview(seen, shell).map_err(|error| Failure::new(Exit::Other, error))
}

async fn look(cluster: &Cluster, kubeconfig: &Path) -> Result<Overview, Failure> {
    let why = match timeout(WITHIN, gather(cluster)).await {
        Ok(Ok(facts)) => return Ok(judge(&facts)),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {WITHIN:?}"),
    };
    Err(Failure::new(
        Exit::Other,
        anyhow::anyhow!(
            "the cluster of {} could not be asked about its nodes: {why}; `fulcrum status` on each node tells what it is \
             without the API, and --kubeconfig may name another way to it",
            kubeconfig.display()
        ),
    ))
}
