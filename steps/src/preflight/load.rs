//! Whether the node has time for a hand-over: what its API server, its kernel and its disk say of the last
//! seconds.

use super::check_result::CheckResult;
use crate::check::Check;
use crate::component::Component;
use crate::host::Strain;
use crate::site::Site;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// The longest that the API server may take for an answer. An idle one takes some milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// The longest that a sync may take. A follower of etcd that hears nothing for so long asks for an election.
const SYNC_MAX: Duration = Duration::from_secs(1);
/// The most percent of the time in which all work may stand still for the disk, and for memory.
const IO_MAX: f64 = 60.0;
const MEMORY_MAX: f64 = 20.0;
/// Processors are overloaded if both are exceeded. Alone, the share counts what waits at a low priority, and the
/// load counts what waits for the disk. Builds at a low priority put 8 on each processor of the lab's machine, and
/// hand-overs beside them lost no request.
const CPU_MAX: f64 = 80.0;
const LOAD_MAX: f64 = 16.0;

/// How often API server and disk are asked. The one in the middle counts: a single slow answer says little.
const QUESTIONS: usize = 5;
const SYNCS: usize = 3;

const REMEDY: &str = "wait until the node has time, or stop what loads it (`top`, `cat /proc/pressure/*`)";

/// What was seen. What could not be seen says why.
#[derive(Debug, Clone)]
struct Seen {
    /// How long an answer of the API server takes. `None` if it was not asked.
    answer: Option<Result<Duration, String>>,
    sync: Result<Duration, String>,
    strain: Result<Strain, String>,
    /// The person's own limit of answers.
    max_latency: Option<Duration>,
}

/// Looks how busy the node is. `has_server` says whether there is a manifest that names the API server's port.
pub(super) async fn load_checks(site: &Site, has_server: bool) -> Vec<CheckResult> {
    let host = &site.node.host;
    let dir = site.state_dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    let question = site.question(Component::ApiServer);
    let mut answers = Vec::new();
    for _ in 0..if has_server { QUESTIONS } else { 0 } {
        let began = Instant::now();
        // Whether the answer is the right one is what `static-pod` checks.
        let answer = timeout(2 * ANSWER_MAX, host.ask(&question)).await;
        answers.push(match answer {
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(_)) | Err(_) => Ok(began.elapsed()),
        });
    }
    let mut syncs = Vec::new();
    for _ in 0..SYNCS {
        let began = Instant::now();
        syncs.push(match timeout(2 * SYNC_MAX, host.sync_time(dir)).await {
            Ok(time) => time.map_err(|error| error.to_string()),
            Err(_) => Ok(began.elapsed()),
        });
    }
    judge(&Seen {
        answer: has_server.then(|| middle(answers)),
        sync: middle(syncs),
        strain: host.strain().await.map_err(|error| error.to_string()),
        max_latency: site.settings.max_latency,
    })
}

/// The time in the middle. An error if one was met.
fn middle(times: Vec<Result<Duration, String>>) -> Result<Duration, String> {
    let mut times = times.into_iter().collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied().ok_or_else(|| "not asked".to_owned())
}

/// What the facts mean: a refusal for each that is too much, or else one line with all of them.
fn judge(seen: &Seen) -> Vec<CheckResult> {
    let mut said = Vec::new();
    let mut too_much = Vec::new();
    if let Some(answer) = &seen.answer {
        let limit = seen.max_latency.map_or(ANSWER_MAX, |limit| limit.min(ANSWER_MAX));
        time("the API server takes", "for an answer", answer, limit, (&mut said, &mut too_much));
    }
    time("the disk takes", "for a sync", &seen.sync, SYNC_MAX, (&mut said, &mut too_much));
    match &seen.strain {
        Ok(strain) => pressure(strain, &mut said, &mut too_much),
        Err(error) => said.push(format!("how busy the machine is was not seen: {error}")),
    }
    if too_much.is_empty() {
        return vec![CheckResult::pass(Check::Load, said.join(", "))];
    }
    too_much.into_iter().map(|seen| CheckResult::refuse(Check::Load, seen, REMEDY)).collect()
}

type Found<'a> = (&'a mut Vec<String>, &'a mut Vec<String>);

fn time(
    who: &str,
    what: &str,
    took: &Result<Duration, String>,
    limit: Duration,
    (said, too_much): Found<'_>,
) {
    match took {
        Ok(took) if *took > limit => {
            too_much.push(format!("{who} {} {what}, more than {}", short(*took), short(limit)));
        }
        Ok(took) => said.push(format!("{who} {} {what}", short(*took))),
        Err(error) => said.push(format!("how long {who} {what} was not seen: {error}")),
    }
}

fn pressure(strain: &Strain, said: &mut Vec<String>, too_much: &mut Vec<String>) {
    let stalls = [("disk", strain.io, IO_MAX), ("memory", strain.memory, MEMORY_MAX)];
    for (what, share, limit) in stalls {
        match share {
            Some(share) if share > limit => too_much.push(format!(
                "in {share:.0} % of the last 10 s all work waited for {what}, more than {limit} %"
            )),
            Some(share) => said.push(format!("{share:.0} % waits for {what}")),
            None => {}
        }
    }
    let each = strain.load / f64::from(strain.processors.max(1));
    // Without PSI the load alone says it.
    match strain.cpu.is_none_or(|share| share > CPU_MAX) && each > LOAD_MAX {
        true => {
            too_much.push(format!("{each:.0} tasks run or wait for each processor, more than {LOAD_MAX}"));
        }
        false => said.push(format!("load {each:.1} a processor")),
    }
}

fn short(time: Duration) -> String {
    match time.as_millis() {
        millis if millis < 1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Level;

    fn idle() -> Seen {
        let strain = Strain { cpu: Some(3.0), memory: Some(0.0), io: Some(1.0), load: 0.4, processors: 2 };
        let (answer, sync) = (Some(Ok(Duration::from_millis(7))), Ok(Duration::from_millis(2)));
        Seen { answer, sync, strain: Ok(strain), max_latency: None }
    }

    #[test]
    fn each_kind_of_overload_is_named_with_its_limit() {
        let strained = |change: fn(&mut Strain)| {
            let mut seen = idle();
            change(seen.strain.as_mut().unwrap());
            seen
        };
        let second = Duration::from_millis(1400);
        let slow = Some(Ok(second));
        for (seen, words) in [
            (Seen { answer: slow, ..idle() }, "the API server takes 1.4 s for an answer, more than 1.0 s"),
            (
                Seen { max_latency: Some(Duration::from_millis(5)), ..idle() },
                "the API server takes 7 ms for an answer, more than 5 ms",
            ),
            (Seen { sync: Ok(second), ..idle() }, "the disk takes 1.4 s for a sync, more than 1.0 s"),
            (strained(|one| one.io = Some(71.0)), "71 % of the last 10 s all work waited for disk"),
            (strained(|one| one.memory = Some(30.0)), "30 % of the last 10 s all work waited for memory"),
            (
                strained(|one| (one.cpu, one.load) = (Some(99.0), 40.0)),
                "20 tasks run or wait for each processor, more than 16",
            ),
            (strained(|one| (one.cpu, one.load) = (None, 40.0)), "20 tasks run or wait"),
        ] {
            let found = judge(&seen);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].check, found[0].level), (Check::Load, Level::Refuse), "{found:?}");
            assert!(found[0].seen.contains(words) && found[0].remedy == REMEDY, "{words}: {}", found[0]);
        }
    }

    #[test]
    fn a_busy_node_that_keeps_up_is_not_overloaded() {
        let mut busy = idle();
        // Work of a low priority waits, and the load counts it.
        busy.strain = Ok(Strain { cpu: Some(99.0), load: 6.0, ..busy.strain.unwrap() });
        let no_load =
            Seen { strain: Ok(Strain { cpu: Some(10.0), load: 40.0, ..idle().strain.unwrap() }), ..idle() };
        for seen in [idle(), busy, no_load] {
            let found = judge(&seen);
            assert_eq!((found.len(), found[0].level), (1, Level::Pass), "{found:?}");
        }
        assert_eq!(
            judge(&idle())[0].seen,
            "the API server takes 7 ms for an answer, the disk takes 2 ms for a sync, 1 % waits for disk, \
             0 % waits for memory, load 0.2 a processor"
        );
    }

    /// What cannot be seen is said, and is no reason to refuse.
    #[test]
    fn what_cannot_be_seen_refuses_nothing() {
        let seen = Seen {
            answer: Some(middle(vec![Ok(Duration::ZERO), Err("refused".into())])),
            sync: Err("no nameless files".into()),
            strain: Err("no /proc".into()),
            max_latency: None,
        };
        let found = judge(&seen);
        assert_eq!(found[0].level, Level::Pass);
        for words in ["for an answer was not seen: refused", "no nameless files", "no /proc"] {
            assert!(found[0].seen.contains(words), "{words}: {}", found[0]);
        }
    }

    #[test]
    fn the_time_in_the_middle_counts() {
        let times = [9000, 2, 1].map(|millis| Ok(Duration::from_millis(millis)));
        assert_eq!(middle(times.into()), Ok(Duration::from_millis(2)));
    }
}
