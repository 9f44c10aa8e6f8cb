//! In which way the control plane can change hands on this node, and in which it will.

use super::facts::Ask;
use super::verdict::Verdict;
use crate::component::Component;
use crate::host::Listener;
use crate::manifest::StaticPod;
use crate::settings::{Handover, Wanted};
use crate::site::{describe, in_static_pod};
use std::collections::BTreeMap;

/// The name of these checks.
const CHECK: &str = "handover";
const NFT_REMEDY: &str = "install nftables, with a kernel that has its nat chains, or take another way";

/// Why a way cannot be taken.
type Reason = String;

/// The way, and what is to be said about it; if a verdict refuses, it cannot be taken.
pub(super) async fn choose(
    ask: &Ask,
    static_pods: &BTreeMap<Component, StaticPod>,
) -> (Handover, Vec<Verdict>) {
    let steer = can_steer(ask, static_pods).await;
    let redirect = ask.host.redirect_support().await.map_err(|error| error.to_string());
    decide(ask.handover, steer, redirect)
}

fn decide(
    wanted: Wanted,
    steer: Result<(), Reason>,
    redirect: Result<(), Reason>,
) -> (Handover, Vec<Verdict>) {
    let pass = |way: Handover, why: &str| (way, vec![Verdict::pass(CHECK, format!("{way}: {why}"))]);
    let warn = |way: Handover, why: String| {
        let remedy = format!("--handover {way} goes on knowingly");
        (way, vec![Verdict::warn(CHECK, format!("{way}: {why}"), remedy)])
    };
    let refuse = |way: Handover, why: Reason, remedy: &str| {
        (way, vec![Verdict::refuse(CHECK, format!("{way} cannot work here: {why}"), remedy)])
    };
    match (wanted, steer, redirect) {
        (Wanted::Auto | Wanted::Way(Handover::Steer), Ok(()), redirect) => {
            let (way, mut verdicts) = pass(Handover::Steer, "the live listeners can be shared and steered");
            verdicts.extend(redirect.err().map(|why| {
                let seen = format!("the exact way back will leave the API away for some seconds: {why}");
                Verdict::warn(CHECK, seen, "install nftables before a rollback, and there will be no gap")
            }));
            (way, verdicts)
        }
        (Wanted::Way(Handover::Steer), Err(why), _) => {
            refuse(Handover::Steer, why, "mend that, or leave --handover out: another way is found")
        }
        (Wanted::Auto, Err(why), Ok(())) => warn(Handover::Bridge, format!("since steer cannot work: {why}")),
        (Wanted::Auto, Err(why), Err(nor)) => {
            warn(Handover::Restart, format!("since steer cannot work: {why}; nor bridge: {nor}"))
        }
        (Wanted::Way(Handover::Bridge), _, Ok(())) => {
            pass(Handover::Bridge, "new connections can be redirected")
        }
        (Wanted::Way(Handover::Bridge), _, Err(why)) => refuse(Handover::Bridge, why, NFT_REMEDY),
        (Wanted::Way(Handover::Restart), ..) => pass(Handover::Restart, "it works everywhere"),
    }
}

async fn can_steer(ask: &Ask, static_pods: &BTreeMap<Component, StaticPod>) -> Result<(), Reason> {
    for pod in static_pods.values() {
        let listener = the_listener(ask, pod).await?;
        ask.host.steering_support(&listener).await.map_err(|error| error.to_string())?;
        if pod.component() == Component::ApiServer {
            tell_itself_apart(ask, pod, &listener).await?;
        }
    }
    Ok(())
}

/// The one socket that listens on the component's port.
async fn the_listener(ask: &Ask, pod: &StaticPod) -> Result<Listener, Reason> {
    let (component, port) = (pod.component(), pod.port());
    let listeners = ask.host.listeners(port).await.map_err(|error| error.to_string())?;
    match listeners.as_slice() {
        [one] if in_static_pod(&one.process) => Ok(one.clone()),
        [one] => Err(format!("on port {port} listens {}, not a static {component}", describe(&one.process))),
        [] => Err(format!("nobody listens on port {port} of {component}")),
        several => Err(format!("{} sockets listen on port {port} of {component}, not one", several.len())),
    }
}

/// While it starts, a new API server asks itself over loopback, and would get no answer from the old one. So what
/// comes over loopback goes to the new one, and must be its own.
async fn tell_itself_apart(ask: &Ask, pod: &StaticPod, listener: &Listener) -> Result<(), Reason> {
    let port = pod.port();
    if !listener.address.ip().is_unspecified() {
        return Err(format!(
            "the API server listens on {} only, and asks itself there like everybody else",
            listener.address
        ));
    }
    if pod.is_asked_over_loopback() {
        return Err(
            "the kubelet asks the API server over loopback, as a new one asks itself while it starts".into(),
        );
    }
    let clients = ask.host.local_clients(port).await.map_err(|error| error.to_string())?;
    if clients.is_empty() {
        return Ok(());
    }
    let clients: Vec<String> = clients.iter().map(describe).collect();
    Err(format!(
        "{} uses the API over loopback on port {port}, where the new API server answers while it starts",
        clients.join(" and ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Level;

    #[test]
    fn the_best_way_is_taken_and_its_reason_given() {
        let (yes, no) = (|| Ok(()), |why: &str| Err(why.to_owned()));
        let way = |way| Wanted::Way(way);
        use {Handover as H, Level as L};
        for (wanted, steer, redirect, handover, level, words) in [
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
            let (chosen, verdicts) = decide(wanted, steer, redirect);
            let worst = verdicts.iter().max_by_key(|verdict| verdict.level).unwrap();
            assert_eq!((chosen, worst.level), (handover, level), "{worst}");
            assert!(worst.to_string().contains(words), "{worst}");
        }
    }
}
