//! The modes in which the control plane can change hands on this node, and the mode that it will use.

use super::check_result::CheckResult;
use super::input::PreflightInput;
use crate::check::Check;
use crate::component::Component;
use crate::host::Listener;
use crate::manifest::StaticPod;
use crate::settings::{HandoverMode, Wanted};
use crate::site::{describe, in_static_pod};
use std::collections::BTreeMap;

const CHECK: Check = Check::Handover;
const NFT_REMEDY: &str = "install nftables, with a kernel that has its nat chains, or take another way";

/// Why a mode cannot be used.
type Reason = String;

/// Programs that use the API server over loopback, in words.
type Clients = String;

/// Chooses the mode, with the results of its checks. If one refuses, the mode cannot be used.
pub(super) async fn choose(
    input: &PreflightInput,
    static_pods: &BTreeMap<Component, StaticPod>,
) -> (HandoverMode, Vec<CheckResult>) {
    let steer = can_steer(input, static_pods).await;
    let redirect = input.node.host.redirect_support().await.map_err(|error| error.to_string());
    let (way, mut results) = decide(input.handover, steer, redirect);
    results.extend(over_loopback(input, static_pods).await.map(|clients| not_spared(way, &clients)));
    results.extend(input.max_latency.and_then(|_| unmeasured(way)));
    (way, results)
}

/// Refuses a limit of the answers' time where nothing is watched: only `steer` keeps the old server until the new
/// one was seen to answer.
fn unmeasured(way: HandoverMode) -> Option<CheckResult> {
    (way != HandoverMode::Steer).then(|| {
        let seen = format!("--max-latency is measured after the switch of steer, and {way} has no switch");
        CheckResult::refuse(CHECK, seen, "leave --max-latency out, or mend what rules steer out")
    })
}

fn decide(
    wanted: Wanted,
    steer: Result<(), Reason>,
    redirect: Result<(), Reason>,
) -> (HandoverMode, Vec<CheckResult>) {
    let pass = |way: HandoverMode, why: &str| (way, vec![CheckResult::pass(CHECK, format!("{way}: {why}"))]);
    let warn = |way: HandoverMode, why: String| {
        let remedy = format!("--handover {way} goes on knowingly");
        (way, vec![CheckResult::warn(CHECK, format!("{way}: {why}"), remedy)])
    };
    let refuse = |way: HandoverMode, why: Reason, remedy: &str| {
        (way, vec![CheckResult::refuse(CHECK, format!("{way} cannot work here: {why}"), remedy)])
    };
    match (wanted, steer, redirect) {
        (Wanted::Auto | Wanted::Way(HandoverMode::Steer), Ok(()), redirect) => {
            let (way, mut results) =
                pass(HandoverMode::Steer, "the live listeners can be shared and steered");
            results.extend(gap_on_the_way_back(redirect));
            (way, results)
        }
        (Wanted::Way(HandoverMode::Steer), Err(why), _) => {
            refuse(HandoverMode::Steer, why, "mend that, or leave --handover out: another way is found")
        }
        (Wanted::Auto, Err(why), Ok(())) => {
            warn(HandoverMode::Bridge, format!("since steer cannot work: {why}"))
        }
        (Wanted::Auto, Err(why), Err(nor)) => {
            warn(HandoverMode::Restart, format!("since steer cannot work: {why}; nor bridge: {nor}"))
        }
        (Wanted::Way(HandoverMode::Bridge), _, Ok(())) => {
            pass(HandoverMode::Bridge, "new connections can be redirected")
        }
        (Wanted::Way(HandoverMode::Bridge), _, Err(why)) => refuse(HandoverMode::Bridge, why, NFT_REMEDY),
        (Wanted::Way(HandoverMode::Restart), ..) => pass(HandoverMode::Restart, "it works everywhere"),
    }
}

/// Every way has a time in which such programs get no answer, or another one. With `steer` it is the shortest: the others
/// restart the static API server, and the redirect of `bridge` leaves loopback alone.
fn not_spared(way: HandoverMode, clients: &Clients) -> CheckResult {
    let (seen, remedy) = match way {
        HandoverMode::Steer => (
            "where the new API server answers while it starts",
            "nothing, if that program asks again when it is refused, as kube-vip does; roll back with --keep-port-sharing \
             then: the exact way back leaves loopback without an API server for some seconds",
        ),
        HandoverMode::Bridge | HandoverMode::Restart => (
            "where no API server answers while the static one is restarted",
            "nothing, if that program can wait for some seconds; kube-vip gives its address to another node meanwhile",
        ),
    };
    CheckResult::warn(CHECK, format!("{clients}, {seen}"), remedy)
}

/// The exact way back needs a bridge.
fn gap_on_the_way_back(redirect: Result<(), Reason>) -> Option<CheckResult> {
    let why = redirect.err()?;
    let seen = format!("the exact way back will leave the API away for some seconds: {why}");
    Some(CheckResult::warn(CHECK, seen, "install nftables before a rollback, and there will be no gap"))
}

async fn can_steer(
    input: &PreflightInput,
    static_pods: &BTreeMap<Component, StaticPod>,
) -> Result<(), Reason> {
    for pod in static_pods.values() {
        let listener = the_listener(input, pod).await?;
        input.node.host.steering_support(&listener).await.map_err(|error| error.to_string())?;
        if pod.component() == Component::ApiServer {
            tells_itself_apart(pod, &listener)?;
        }
    }
    Ok(())
}

/// The one socket that listens on the component's port.
async fn the_listener(input: &PreflightInput, pod: &StaticPod) -> Result<Listener, Reason> {
    let (component, port) = (pod.component(), pod.port());
    let listeners = input.node.host.listeners(port).await.map_err(|error| error.to_string())?;
    match listeners.as_slice() {
        [one] if in_static_pod(&one.process) => Ok(one.clone()),
        [one] => Err(format!("{} listens on port {port}, not a static {component}", describe(&one.process))),
        [] => Err(format!("no process listens on port {port} of {component}")),
        several => Err(format!("{} sockets listen on port {port} of {component}, not one", several.len())),
    }
}

/// While it starts, a new API server asks itself over loopback, and would get no answer from the old one. So
/// connections over loopback go to the new server.
fn tells_itself_apart(pod: &StaticPod, listener: &Listener) -> Result<(), Reason> {
    if !listener.address.ip().is_unspecified() {
        return Err(format!(
            "the API server listens on {} only, and asks itself there like everybody else",
            listener.address
        ));
    }
    if pod.is_asked_over_loopback() {
        let why = "the kubelet, or another container of its pod, asks the API server over loopback, as a new one asks \
                   itself while it starts";
        return Err(why.to_owned());
    }
    Ok(())
}

/// Who uses the API server over loopback, as far as can be seen.
async fn over_loopback(
    input: &PreflightInput,
    static_pods: &BTreeMap<Component, StaticPod>,
) -> Option<Clients> {
    let port = static_pods.get(&Component::ApiServer)?.port();
    let clients = input.node.host.local_clients(port).await.ok().filter(|clients| !clients.is_empty())?;
    let clients: Vec<String> = clients.iter().map(describe).collect();
    Some(format!("{} uses the API over loopback on port {port}", clients.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Level;

    #[test]
    fn the_best_way_is_taken_and_its_reason_given() {
        let (yes, no) = (|| Ok(()), |why: &str| Err(why.to_owned()));
        let way = |way| Wanted::Way(way);
        use {HandoverMode as H, Level as L};
        for (wanted, can, redirect, handover, level, words) in [
            (Wanted::Auto, yes(), yes(), H::Steer, L::Pass, "steer: the live"),
            (Wanted::Auto, yes(), no("no nft"), H::Steer, L::Warn, "no nft"),
            (Wanted::Auto, no("old kernel"), yes(), H::Bridge, L::Warn, "steer cannot work: old kernel"),
            (
                Wanted::Auto,
                no("old kernel"),
                no("no nft"),
                H::Restart,
                L::Warn,
                "old kernel; nor bridge: no nft",
            ),
            (way(H::Steer), no("old kernel"), yes(), H::Steer, L::Refuse, "cannot work here: old kernel"),
            (way(H::Bridge), yes(), no("no nft"), H::Bridge, L::Refuse, "cannot work here: no nft"),
            (way(H::Bridge), no("old kernel"), yes(), H::Bridge, L::Pass, "redirected"),
            (way(H::Restart), yes(), yes(), H::Restart, L::Pass, "everywhere"),
        ] {
            let (chosen, results) = decide(wanted, can, redirect);
            let worst = results.iter().max_by_key(|verdict| verdict.level).unwrap();
            assert_eq!((chosen, worst.level), (handover, level), "{worst}");
            assert!(worst.to_string().contains(words), "{worst}");
        }
    }
}
