//! `fulcrum status --cluster --watch`, as who reads its lines sees it.

use crate::cli::kubeconfig;
use crate::harness::Talker;
use crate::support::{SOON, setup};
use fulcrum_engine::Outcome;
use fulcrum_engine::run::Phase;
use fulcrum_simulator::rehearsal::SimulatedSite;
use fulcrum_steps::plan;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a change may take until it is shown: it looks every 2 s, and waits for 5 s on a cluster that is silent.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// The lines of a watch.
struct Watch {
    child: Talker,
    lines: UnboundedReceiver<String>,
    last: String,
}

impl Watch {
    fn start(command: &mut Command) -> Self {
        let mut child = Talker::start(command);
        let (to, lines) = unbounded_channel();
        let said = child.lines();
        std::thread::spawn(move || said.take_while(|line| to.send(line.clone()).is_ok()).for_each(drop));
        Self { child, lines, last: String::new() }
    }

    /// Reads until a line is so. What has not changed is not shown again.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let read = async {
            loop {
                let line = self.lines.recv().await.expect("it watches");
                assert_ne!(line, self.last, "shown twice");
                let seen = serde_json::from_str(&line).unwrap();
                self.last = line;
                if is_so(&seen) {
                    return;
                }
            }
        };
        let shown = tokio::time::timeout(SHOWN_WITHIN, read).await;
        assert!(shown.is_ok(), "{what} is not shown; last: {}", self.last);
    }
}

/// What each node is, and who has the lock.
fn are(seen: &Value, nodes: [&str; 3], holder: Option<&str>) -> bool {
    let is = seen["nodes"].as_array().into_iter().flatten().map(|node| node["is"].as_str());
    seen["lock"]["holder"].as_str() == holder && is.eq(nodes.map(Some))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_the_cluster_sees_each_change_and_ends_the_watch() {
    let root = tempfile::tempdir().unwrap();
    let sites = SimulatedSite::boot_all(&setup().with_nodes(3), root.path()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = sites[0].machine().serve_balanced_on(listener).unwrap();
    let config = root.path().join("watch.conf");
    std::fs::write(&config, kubeconfig(&format!("http://{address}"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.env_clear().args(["status", "--cluster", "--watch", "-o", "json", "--kubeconfig"]).arg(config);
    let mut watch = Watch::start(&mut command);
    let all_static = ["static"; 3];
    watch.until("a static cluster", |seen| are(seen, all_static, None)).await;

    let (site, journal) = (&sites[1], sites[1].journal().unwrap());
    let settings = site.preflight().await.unwrap().settings;
    let plan = plan::pivot(&settings, SOON).unwrap();
    let engine = site.engine(&journal, settings).await.unwrap();
    let paused = engine.pause_after(["lock".into()]).start(plan).await.unwrap();
    let holder = format!("node-2/{}", paused.run);
    let is_paused = |seen: &Value| {
        are(seen, all_static, Some(&holder)) && seen["nodes"][1]["run"]["phase"].as_str() == Some("paused")
    };
    watch.until("the run that has the lock", is_paused).await;
    let ending = site.resume(&journal, paused.run).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{:?}", ending.phase);
    watch.until("its end", |seen| are(seen, ["static", "self-hosted", "static"], None)).await;

    // A cluster that does not answer is what a person watches for.
    sites.iter().for_each(|site| site.machine().power_off());
    watch.until("that there is no answer", |seen| seen["event"].as_str() == Some("error")).await;
    kill_process(Pid::from_raw(watch.child.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(watch.child.wait().code(), Some(0));
}
