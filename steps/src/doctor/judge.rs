//! Judges the facts of this machine. Pure.

use super::facts::{ComponentFacts, Facts, Ground, GuardFacts, JournalFacts, Origin, Serving};
use super::finding::{Area, Finding};
use super::judge_cluster::{api, daemonsets, leaders, lock};
use crate::component::Component;
use crate::guard::decide::Standing;
use crate::host::RedirectState;

/// What DaemonSets that this journal does not know lack.
const NO_WAY_BACK: &str = "there is none for these DaemonSets: a reboot would lose the control plane";

/// What the facts mean, in the order of the areas. Every area has at least one finding.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = journal(facts);
    findings.extend(run(facts));
    findings.extend(api(facts));
    findings.extend(manifests(facts));
    findings.extend(way_back(facts));
    findings.extend(daemonsets(facts));
    findings.extend(serving(facts));
    findings.push(preference(facts));
    findings.extend(leaders(facts));
    findings.extend(standby(facts));
    findings.extend(guard(facts));
    findings.extend(certificates(facts));
    findings.push(etcd(facts));
    findings.extend(leftovers(facts));
    findings.push(lock(facts));
    findings
}

fn journal(facts: &Facts) -> Vec<Finding> {
    let area = Area::Journal;
    vec![match &facts.journal {
        JournalFacts::Absent => Finding::good(area, "nothing was ever done here"),
        JournalFacts::Whole { runs } => Finding::good(area, format!("{runs} runs, all as they were written")),
        JournalFacts::NotAllRead => Finding {
            remedy: "fulcrum history --verify".to_owned(),
            ..Finding::unknown(area, "it opens, and is too long to be read in a moment")
        },
        JournalFacts::Broken(error) => Finding::bad(
            area,
            error.clone(),
            "fulcrum history --verify says what is damaged; restore the state directory from a copy, or bring the \
             static pods back by hand from its archive/",
        ),
    }]
}

/// The runs that are not at an end.
fn run(facts: &Facts) -> Vec<Finding> {
    let area = Area::Run;
    if let Some(writer) = &facts.writer {
        return vec![Finding::good(area, format!("a run is in progress: {writer}"))];
    }
    if facts.unfinished.is_empty() {
        return vec![Finding::good(area, "no run is unfinished")];
    }
    let ill = facts.unfinished.iter().map(|(run, purpose, standing)| {
        let (how, remedy) = match standing {
            Standing::Paused => ("paused", format!("fulcrum resume {run}, or fulcrum rollback {run}")),
            Standing::NeedsOperator => {
                ("in need of a person", format!("fulcrum history {run}; then fulcrum rollback {run}"))
            }
            Standing::Unfinished { rolling_back: true } => {
                ("rolled back in part", format!("fulcrum resume {run}"))
            }
            _ => ("done in part", format!("fulcrum resume {run}, or fulcrum rollback {run}")),
        };
        Finding::bad(
            area,
            format!("run {run} ({}) is {how}, and no process works on it", purpose.name()),
            remedy,
        )
    });
    ill.collect()
}

/// The manifests against what the journal says should be there.
fn manifests(facts: &Facts) -> Vec<Finding> {
    let area = Area::Manifests;
    let ill = |component: &Component, seen: &ComponentFacts| -> Option<Finding> {
        let path = seen.path.display();
        match (facts.ground, seen.manifest) {
            (Some(Ground::Static), false) if !self_hosted_elsewhere(facts, *component) => Some(Finding::bad(
                area,
                format!("there is no {path}, and no run of fulcrum has taken the file away"),
                format!("restore {path}: from a backup, or kubeadm init phase control-plane"),
            )),
            (Some(Ground::SelfHosted(_)), true) if seen.is_standby => Some(Finding::warning(
                area,
                format!("{path} is the standby: {component} has fallen back to its static pod"),
                "fulcrum guard hand-over",
            )),
            (Some(Ground::SelfHosted(_)), true) => Some(Finding::bad(
                area,
                format!("{path} is there beside the DaemonSet, and fulcrum has not put the file there"),
                format!(
                    "move {path} to another directory if the DaemonSet is to serve; fulcrum rollback if not"
                ),
            )),
            _ => None,
        }
    };
    let ill: Vec<Finding> =
        facts.components.iter().filter_map(|(component, seen)| ill(component, seen)).collect();
    if !ill.is_empty() {
        return ill;
    }
    vec![match facts.ground {
        Some(Ground::Static) if is_foreign(facts) => Finding::unknown(
            area,
            "there are none: DaemonSets that this journal does not know run in their place",
        ),
        Some(Ground::Static) => Finding::good(area, "the static manifests are there"),
        Some(Ground::SelfHosted(_)) => {
            Finding::good(area, "no static manifest is left, as the pivot completed")
        }
        Some(Ground::Between(run)) => Finding::unknown(area, format!("run {run} is between the two")),
        None => Finding::unknown(area, "the journal does not say what should be there"),
    }]
}

/// The manifests that a rollback would restore.
fn way_back(facts: &Facts) -> Option<Finding> {
    let outrun = facts.outrun.as_ref()?;
    Some(Finding::warning(
        Area::Manifests,
        format!("fulcrum rollback is refused: {outrun}"),
        "stay self-hosted: the standby is of the new release; fulcrum rollback --allow-downgrade goes back all the same",
    ))
}

/// Whether the control plane is self-hosted, and not by a run of this journal.
fn is_foreign(facts: &Facts) -> bool {
    let stands_alone = |(component, seen): (&Component, &ComponentFacts)| {
        !seen.manifest && self_hosted_elsewhere(facts, *component)
    };
    facts.ground == Some(Ground::Static) && facts.components.iter().any(stands_alone)
}

/// Whether a DaemonSet that fulcrum has no run of stands for the component.
fn self_hosted_elsewhere(facts: &Facts, component: Component) -> bool {
    facts.api.as_ref().is_ok_and(|api| api.daemonsets.contains_key(&component))
}

fn serving(facts: &Facts) -> Vec<Finding> {
    let area = Area::Serving;
    let judge = |(component, seen): (&Component, &ComponentFacts)| -> Finding {
        let others = || match &seen.listeners {
            Ok(all) if all.is_empty() => "no process listens".to_owned(),
            Ok(all) => all.iter().map(|one| one.who.clone()).collect::<Vec<_>>().join(" and "),
            Err(error) => error.clone(),
        };
        match (&seen.serving, facts.ground) {
            (Serving::Not(why), Some(Ground::Static)) => Finding::bad(
                area,
                format!("{component} does not serve: {why}"),
                format!("journalctl -u kubelet; crictl ps -a --name {component}"),
            ),
            (Serving::Not(why), _) => Finding::bad(
                area,
                format!("{component} does not serve: {why}"),
                "the guard falls back to static pods by itself; fulcrum rollback brings them back now"
                    .to_owned(),
            ),
            (Serving::By(Origin::Other), _) => Finding::bad(
                area,
                format!("{component} is served by a process of no pod: {}", others()),
                "end that process: it holds the port of the control plane".to_owned(),
            ),
            (Serving::By(_), _) => Finding::good(area, format!("{component} serves: {}", others())),
        }
    };
    facts.components.iter().map(judge).collect()
}

fn preference(facts: &Facts) -> Finding {
    let area = Area::Preference;
    let served_by_pod = facts
        .components
        .get(&Component::ApiServer)
        .is_some_and(|seen| seen.serving == Serving::By(Origin::Api));
    match (facts.prefers_one, facts.shares_port) {
        (Some(false), _) => Finding::bad(
            area,
            "two API servers listen on one port, and the kernel spreads new connections over both",
            "systemctl restart fulcrum-guard: the guard has the kernel prefer one again",
        ),
        (Some(true), _) => Finding::good(area, "the kernel sends new connections to one of the API servers"),
        (None, Some(false)) if served_by_pod => Finding::bad(
            area,
            "the DaemonSet's API server does not share its port: the next roll-out would wait for it to end",
            "add --permit-port-sharing=true to the DaemonSet self-hosted-kube-apiserver",
        ),
        (None, _) => Finding::good(area, "one API server listens, or none"),
    }
}

fn standby(facts: &Facts) -> Vec<Finding> {
    let area = Area::Standby;
    if is_foreign(facts) {
        return vec![Finding::unknown(area, NO_WAY_BACK)];
    }
    let Some(Ground::SelfHosted(_)) = facts.ground else {
        return vec![Finding::good(area, "none is needed: the control plane is not self-hosted")];
    };
    let broken = |(component, seen): (&Component, &ComponentFacts)| {
        let why = seen.standby.as_ref()?;
        let remedy =
            "fulcrum rollback while the API answers, then fulcrum pivot: a new pivot keeps a new standby";
        Some(Finding::bad(area, format!("the standby of {component} cannot be used: {why}"), remedy))
    };
    let mut findings: Vec<Finding> = facts.components.iter().filter_map(broken).collect();
    if findings.is_empty() && facts.files.spares == Some(false) {
        let remedy = "systemctl restart fulcrum-guard: the guard lays them by again";
        findings.push(Finding::warning(
            area,
            "beside the missing manifests there is no spare, or an old one: a boot with a full disk fails",
            remedy,
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good(area, "a boot has the manifests that it needs"));
    }
    findings
}

fn guard(facts: &Facts) -> Vec<Finding> {
    let area = Area::Guard;
    let needed = matches!(facts.ground, Some(Ground::SelfHosted(_)));
    let guard = match &facts.guard {
        Ok(guard) => guard,
        Err(error) => return vec![Finding::unknown(area, format!("systemd could not be asked: {error}"))],
    };
    let GuardFacts { installed, enabled, active, says } = guard;
    let mut findings = Vec::new();
    if !says.is_empty() {
        findings.push(Finding::warning(
            area,
            format!("the guard says: {says}"),
            "journalctl -u fulcrum-guard",
        ));
    }
    findings.push(match (needed, installed, enabled, active) {
        (false, false, ..) if is_foreign(facts) => Finding::unknown(area, NO_WAY_BACK),
        (false, ..) => Finding::good(area, "none is needed: the control plane is not self-hosted"),
        (true, false, ..) => Finding::bad(
            area,
            "no guard is installed: after a reboot nothing brings the control plane back",
            "fulcrum guard install",
        ),
        (true, true, false, _) => {
            Finding::bad(area, "no boot starts the guard", "systemctl enable --now fulcrum-guard")
        }
        (true, true, true, false) => {
            Finding::bad(area, "the guard does not run", "systemctl start fulcrum-guard")
        }
        (true, true, true, true) => Finding::good(area, "the guard runs, and every boot starts it"),
    });
    findings
}

fn certificates(facts: &Facts) -> Vec<Finding> {
    let area = Area::Certificates;
    let found = &facts.certificates;
    let mut findings: Vec<Finding> = Vec::new();
    for error in &found.unread {
        findings.push(Finding::warning(area, error.clone(), "mend the file, or its permissions"));
    }
    for entry in &found.entries {
        let (name, left) = (&entry.name, entry.left(facts.now));
        if left.is_negative() {
            let seen = format!("{name} ended at {}", entry.certificate.not_after);
            findings.push(Finding::bad(area, seen, entry.renewal.clone()));
        } else if entry.ends_soon(facts.now) {
            let seen = format!("{name} ends in {} days", left.as_hours() / 24);
            findings.push(Finding::warning(area, seen, entry.renewal.clone()));
        }
        for user in entry.users.iter().filter(|user| user.state.is_old()) {
            let seen = format!("{} (pid {}) still uses an older {name}", user.program, user.pid);
            findings.push(Finding::warning(area, seen, user.remedy.clone()));
        }
    }
    if findings.is_empty() {
        findings.push(match found.first_to_end() {
            Some(next) => {
                let (name, days) = (&next.name, next.left(facts.now).as_hours() / 24);
                Finding::good(area, format!("the first to end is {name}, in {days} days"))
            }
            None => Finding::unknown(area, "no certificate lies where kubeadm keeps them"),
        });
    }
    findings
}

fn etcd(facts: &Facts) -> Finding {
    let area = Area::Etcd;
    match &facts.etcd {
        None => Finding::unknown(area, "no etcd of kubeadm's runs here, or it opens no port for its health"),
        Some(Ok(200)) => Finding::good(area, "etcd says that it is healthy"),
        Some(Ok(status)) => Finding::bad(
            area,
            format!("etcd answers {status} to /health"),
            "crictl logs $(crictl ps -q --name etcd); etcdctl endpoint health --cluster",
        ),
        Some(Err(error)) => {
            Finding::bad(area, error.clone(), "journalctl -u kubelet; crictl ps -a --name etcd")
        }
    }
}

fn leftovers(facts: &Facts) -> Vec<Finding> {
    let area = Area::Leftovers;
    let between = matches!(facts.ground, Some(Ground::Between(_))) || facts.writer.is_some();
    let finish = "fulcrum resume finishes the run that needs it";
    let mut findings = Vec::new();
    match &facts.redirect {
        Ok(RedirectState::Active) if between => {
            findings.push(Finding::warning(area, "new connections are redirected to the bridge", finish));
        }
        Ok(RedirectState::Active) => findings.push(Finding::bad(
            area,
            "new connections to the API server are redirected, and no run needs that",
            "nft delete table inet fulcrum",
        )),
        Ok(RedirectState::Ended) => findings.push(Finding::warning(
            area,
            "the table inet fulcrum of nftables is left from a redirect that has ended",
            "nft delete table inet fulcrum",
        )),
        Ok(RedirectState::Absent) => {}
        Err(error) => findings.push(Finding::unknown(area, format!("the redirect cannot be seen: {error}"))),
    }
    if let Some(bridge) = &facts.files.bridge {
        let path = bridge.display();
        findings.push(match between {
            true => Finding::warning(area, format!("{path} runs a third API server"), finish),
            false => Finding::bad(
                area,
                format!("{path} runs a third API server, and no run needs it"),
                format!("rm {path}"),
            ),
        });
    }
    for path in &facts.files.half_written {
        let path = path.display();
        let seen = format!("a crash has left {path}, which the kubelet does not read");
        findings.push(Finding::warning(area, seen, format!("rm {path}")));
    }
    if findings.is_empty() {
        findings.push(Finding::good(area, "no redirect, no bridge, no half-written file"));
    }
    findings
}
