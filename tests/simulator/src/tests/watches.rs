//! Watches, as kube's own watcher uses them. `behaviours` has what they share with a real server's.

use super::*;
use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event, watcher};
use std::pin::Pin;

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<ConfigMap>>> + Send>>;

fn map(value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"value": value}})).unwrap()
}

fn named() -> watcher::Config {
    watcher::Config::default().fields("metadata.name=m")
}

/// The watcher's next event, in short. An error is `-` and its text.
async fn next(events: &mut Events) -> String {
    let value = |map: ConfigMap| map.data.unwrap()["value"].clone();
    match tokio::time::timeout(SOON, events.next()).await.expect("the watcher said nothing").unwrap() {
        Ok(Event::Init) => "init".into(),
        Ok(Event::InitApply(map)) => format!("init {}", value(map)),
        Ok(Event::InitDone) => "init done".into(),
        Ok(Event::Apply(map)) => format!("apply {}", value(map)),
        Ok(Event::Delete(map)) => format!("delete {}", value(map)),
        Err(error) => format!("- {error:?}"),
    }
}

/// The watcher's next event that is no error: a watcher goes on after errors.
async fn next_good(events: &mut Events) -> String {
    loop {
        let said = next(events).await;
        if !said.starts_with('-') {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn change(maps: &Api<ConfigMap>, value: &str) {
    maps.patch("m", &PatchParams::default(), &Patch::Merge(map(value))).await.unwrap();
}

#[tokio::test]
async fn kubes_watcher_follows_through_cuts_and_forgotten_history() {
    let bench = Bench::up().await;
    for streamed in [false, true] {
        let maps = bench.api::<ConfigMap>();
        maps.create(&PostParams::default(), &map("1")).await.unwrap();
        let config = if streamed { named().streaming_lists() } else { named().page_size(1) };
        let mut events: Events = Box::pin(watcher(maps.clone(), config));
        for said in ["init", "init 1", "init done"] {
            assert_eq!(next(&mut events).await, said, "streamed: {streamed}");
        }
        change(&maps, "2").await;
        assert_eq!(next(&mut events).await, "apply 2");

        // The connection goes. The next watch goes on where this one was, and tells what happened meanwhile.
        bench.simulator.cut_watches();
        change(&maps, "3").await;
        assert_eq!(next_good(&mut events).await, "apply 3");

        // The connection goes, and so does the history. The watcher is told 410, and lists again.
        bench.simulator.inject(ApiFault {
            method: Some("GET"),
            path: "watch=true".into(),
            times: 1,
            outcome: Outcome::InternalError,
        });
        bench.simulator.cut_watches();
        let failed = next(&mut events).await;
        assert!(failed.contains("an injected fault"), "{failed}");
        change(&maps, "4").await;
        bench.simulator.compact();
        let expired = next(&mut events).await;
        assert!(expired.contains("Expired"), "{expired}");
        for said in ["init", "init 4", "init done"] {
            assert_eq!(next_good(&mut events).await, said);
        }
        maps.delete("m", &DeleteParams::default()).await.unwrap();
        assert_eq!(next_good(&mut events).await, "delete 4");
    }
}

#[tokio::test]
async fn a_watch_over_tcp_ends_when_its_server_is_killed() {
    let bench = Bench::up().await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = bench.simulator.serve_on(listener).unwrap();
    let (client, _) = Simulator::connect(address).unwrap();
    let maps = Api::<ConfigMap>::namespaced(client, "kube-system");
    let mut events: Events = Box::pin(watcher(maps.clone(), named()));
    for said in ["init", "init done"] {
        assert_eq!(next(&mut events).await, said);
    }
    maps.create(&PostParams::default(), &map("1")).await.unwrap();
    assert_eq!(next(&mut events).await, "apply 1");
    let before = bench.simulator.snapshot().of(SERVER, Origin::Static).next().unwrap().pid;
    bench.simulator.crash(SERVER);
    let back = |s: &Snapshot| s.api_up && s.of(SERVER, Origin::Static).all(|p| p.pid != before);
    bench.until("another process serves", back).await;
    // Leases have moved on since the last version that this watch saw, and the new server has no history.
    change(&maps, "2").await;
    let mut said = next_good(&mut events).await;
    while said.starts_with("init") {
        said = next_good(&mut events).await;
        if said == "init 2" {
            return;
        }
    }
    assert_eq!(said, "apply 2");
}
