//! How long an examination takes where nothing answers, by a clock that only waits move.

use super::facts::Serving;
use super::gather::{Patient, gather};
use crate::cluster::Cluster;
use crate::host::{
    Answer, Host, HostError, KubeadmPhase, Listener, ManifestsDir, Node, Presented, Process, Question, Read,
    Redirect, RedirectState, Steering, Strain, UnitState, Units,
};
use async_trait::async_trait;
use fulcrum_engine::state::fsync::write_atomic;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use jiff::Timestamp;
use kube::client::Body;
use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A machine on which every question hangs.
#[derive(Debug)]
struct Hangs;

/// An edge whose methods never answer, apart from `rest`.
macro_rules! hang {
    ($edge:ident { $($name:ident($($kind:ty),*) -> $answer:ty;)* } $($rest:tt)*) => {
        #[async_trait]
        impl $edge for Hangs {
            $(async fn $name(&self, $(_: $kind),*) -> Result<$answer, HostError> { pending().await })*
            $($rest)*
        }
    };
}

hang! {
    Host {
        boot_id() -> String;
        listeners(u16) -> Vec<Listener>;
        local_clients(u16) -> Vec<Process>;
        pod_processes(&str) -> Vec<Process>;
        ask(&Question) -> Answer;
        read(&Question) -> Read;
        presented(SocketAddr, Option<&str>) -> Presented;
        started(&Process) -> Timestamp;
        end(&Process) -> ();
        kubeadm_version() -> String;
        renew_certificate(&str, &Path) -> ();
        kubeadm_phase(&KubeadmPhase<'_>) -> ();
        memory_available() -> u64;
        strain() -> Strain;
        sync_time(&Path) -> Duration;
        is_shared(&Listener) -> bool;
        share(&Listener) -> ();
        unshare(&Listener) -> ();
        steer(&[Listener], Steering) -> ();
        steering(&[Listener]) -> Option<Steering>;
        unsteer(&[Listener]) -> ();
        steering_support(&Listener) -> ();
        hold_back(&Process, u16, Duration) -> usize;
        last_sent(&Process, u16) -> Option<Duration>;
        redirect(&Redirect) -> ();
        end_redirect() -> ();
        forget_redirect() -> ();
        redirect_state() -> RedirectState;
        redirect_support() -> ();
    }
}

hang! {
    Units {
        support() -> ();
        reload() -> ();
        enable(&str) -> ();
        disable(&str, bool) -> ();
        state(&str) -> UnitState;
        words(&str) -> String;
        sees(&str, &Path, bool) -> ();
    }

    fn dir(&self) -> &Path {
        Path::new("/nowhere")
    }

    fn program(&self) -> &Path {
        Path::new("/nowhere/fulcrum")
    }

    fn home(&self) -> &Path {
        Path::new("/nowhere")
    }

    fn hides(&self, _: &Path) -> bool {
        false
    }
}

/// An API that is ready and has none of the objects, or one that never answers.
fn api(is_up: bool) -> Cluster {
    let service = tower::service_fn(move |request: Request<Body>| async move {
        if !is_up {
            pending::<()>().await;
        }
        let gone = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
        let (code, text) = if request.uri().path() == "/readyz" { (200, "ok") } else { (404, gone) };
        Response::builder().status(code).body(Full::new(Bytes::from(text)))
    });
    Cluster::new(kube::Client::new(service, "default"))
}

async fn examine(is_up: bool) -> (Duration, super::Facts) {
    let dir = tempfile::tempdir().unwrap();
    let etcd = "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec:\n  containers:\n  - name: etcd\n    \
                command: [etcd, '--listen-metrics-urls=http://127.0.0.1:2381']\n";
    write_atomic(&dir.path().join("etcd.yaml"), etcd.as_bytes(), Some(0o600), None).unwrap();
    let patient = Patient {
        node: Node {
            manifests: ManifestsDir::new(dir.path()),
            host: Arc::new(Hangs),
            units: Arc::new(Hangs),
        },
        cluster: api(is_up),
        no_way: None,
        state_dir: dir.path().join("none"),
        kubeconfig: dir.path().join("admin.conf"),
        verify: true,
    };
    let began = Instant::now();
    let facts = Box::pin(gather(&patient)).await;
    (began.elapsed(), facts)
}

#[tokio::test(start_paused = true)]
async fn an_examination_ends_in_time_whatever_hangs() {
    let (took, facts) = examine(true).await;
    assert!(took < Duration::from_secs(2), "with the API up: {took:?}");
    assert!(facts.api.is_ok(), "{:?}", facts.api);
    let (took, facts) = examine(false).await;
    // The command gives the kubeconfig another second.
    assert!(took < Duration::from_secs(4), "with the API down: {took:?}");
    assert!(facts.api.as_ref().is_err_and(|why| why.contains("no answer within")), "{:?}", facts.api);
    assert!(facts.guard.is_err() && facts.redirect.is_err() && facts.etcd.is_some_and(|etcd| etcd.is_err()));
    assert!(facts.components.values().all(|one| matches!(one.serving, Serving::Not(_))));
}
