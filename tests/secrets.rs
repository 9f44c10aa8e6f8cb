//! No secret leaves the node: a pivot and its way back beside a PKI, kubeconfigs and a Secret of the API that are
//! full of marks. No mark is in anything that fulcrum keeps, writes or says, however much it is asked to say.

use crate::support::TestSite;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fulcrum_engine::Outcome;
use fulcrum_engine::state::Reader;
use fulcrum_simulator::rehearsal::{Setup, Then, Verb};
use fulcrum_simulator::{SimulatorOptions, write_control_plane};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Texts that must be nowhere.
#[derive(Default)]
struct Marks(Vec<String>);

impl Marks {
    /// A password or a token.
    fn text(&mut self, name: &str) -> String {
        let text = format!("the-secret-of-{name}");
        // Also as a header, a Secret or a kubeconfig has it. Of three places in base64 one is this.
        let written = [0, 1, 2].map(|before| BASE64_STANDARD.encode(format!("{}{text}", "x".repeat(before))));
        self.0.extend(written.iter().map(|written| written[4..written.len() - 4].to_owned()));
        self.0.push(text.clone());
        text
    }

    /// A private key, as a file has it.
    fn key(&mut self, name: &str) -> String {
        let inside = self.text(name);
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64_STANDARD.encode(inside)
        )
    }

    /// A private key, as a kubeconfig has it.
    fn key_data(&mut self, name: &str) -> String {
        let data = BASE64_STANDARD.encode(self.key(name));
        self.0.push(data[40..80].to_owned());
        data
    }
}

/// `/etc/kubernetes` with marks wherever a secret can be. Some files are broken: errors quote.
fn marked_pki(dir: &Path, marks: &mut Marks) {
    let pki = dir.join("pki");
    std::fs::create_dir_all(pki.join("etcd")).unwrap();
    for name in ["ca", "apiserver", "front-proxy-client", "sa", "etcd/server", "etcd/ca"] {
        let key = marks.key(name);
        std::fs::write(pki.join(format!("{name}.key")), &key).unwrap();
        // A key where a certificate is looked for.
        std::fs::write(pki.join(format!("{name}.crt")), key).unwrap();
    }
    let secrets = [
        ("admin.conf", format!("client-key-data: {}", marks.key_data("admin"))),
        ("scheduler.conf", format!("client-certificate-data: {}", marks.key_data("scheduler"))),
        ("kubelet.conf", format!("client-certificate: pki/sa.key, token: {}", marks.text("kubelet"))),
        ("controller-manager.conf", format!("token: {}, broken: [", marks.text("controller-manager"))),
    ];
    for (name, user) in secrets {
        std::fs::write(dir.join(name), kubeconfig("https://127.0.0.1:9", &user)).unwrap();
    }
}

fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

/// Kubeconfigs for an API that answers, with each kind of secret; and two that cannot be used.
fn kubeconfigs(home: &Path, api: &str, marks: &mut Marks) -> Vec<PathBuf> {
    let tokens = home.join("token");
    std::fs::write(&tokens, marks.text("file")).unwrap();
    let users = [
        ("token.yaml", format!("token: {}", marks.text("token"))),
        ("password.yaml", format!("username: u, password: {}", marks.text("password"))),
        ("token-file.yaml", format!("tokenFile: {}", tokens.display())),
    ];
    let write = |(name, user): (&str, String)| {
        let path = home.join(name);
        std::fs::write(&path, kubeconfig(api, &user)).unwrap();
        path
    };
    let unusable = ["admin.conf", "controller-manager.conf"].map(|name| home.join(name));
    users.into_iter().map(write).chain(unusable).collect()
}

/// A node whose manifests name the files in `home`.
async fn site(home: &Path) -> TestSite {
    let manifests = home.join("original");
    std::fs::create_dir_all(&manifests).unwrap();
    write_control_plane(&SimulatorOptions::new(&manifests)).unwrap();
    for entry in std::fs::read_dir(&manifests).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("/etc/kubernetes", home.to_str().unwrap())).unwrap();
    }
    TestSite::boot_with(&Setup::own(&manifests, None).unwrap()).await
}

/// Everything that the command with these arguments says, at its loudest; with its name.
fn ask(state_dir: &Path, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.env_clear().args(["-vvv", "--state-dir"]).arg(state_dir).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (format!("{arguments:?}"), lossy(&[output.stdout, output.stderr].concat()))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A run in a process of its own, with all of its log.
pub(crate) async fn run_with_its_log(world: &TestSite, verb: Verb) -> String {
    let orders = world.orders(verb).await.unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
    command.args(["-vvv", "rehearsal-child", &orders]).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stays_open = child.stdin.take();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    drop(stays_open);
    let log = lossy(&[ended.stdout, ended.stderr].concat());
    assert!(ended.status.success(), "{log}");
    log
}

/// The texts of all files below a directory, but for the node's key.
fn texts(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => texts(&path, found),
            false if path.ends_with("evidence/key") => {}
            false => found.push((path.display().to_string(), lossy(&std::fs::read(&path).unwrap()))),
        }
    }
}

/// What every command that reads says of the node, with each of these kubeconfigs.
fn said(world: &TestSite, kubeconfigs: &[PathBuf], to: &TempDir) -> Vec<(String, String)> {
    let file = |name: &str| to.path().join(name).display().to_string();
    let (page, trace, export) = (file("page.html"), file("trace.json"), file("export"));
    let told: Vec<Vec<&str>> = vec![
        vec!["history"],
        vec!["history", "-o", "json"],
        vec!["history", "-o", "jsonl"],
        vec!["history", "last", "--long"],
        vec!["history", "last", "--diff"],
        vec!["history", "last", "--diff", "-o", "json"],
        vec!["history", "--html", &page, "--trace", &trace],
        vec!["history", "checkpoint"],
        vec!["history", "export", &export],
        vec!["history", "import-check", &export],
        vec!["history", "--verify"],
    ];
    let manifests = world.manifests().path().display().to_string();
    let looks = [
        vec!["status"],
        vec!["doctor"],
        vec!["doctor", "-o", "json"],
        vec!["certs", "check"],
        vec!["preflight"],
    ];
    let places = kubeconfigs.iter().map(|kubeconfig| {
        ["--manifests-dir", manifests.as_str(), "--kubeconfig", kubeconfig.to_str().unwrap()]
    });
    let asked = places.flat_map(|place| looks.iter().map(move |look| [&look[..], &place[..]].concat()));
    let state_dir = world.state_dir();
    let mut found: Vec<(String, String)> = told.iter().map(|told| ask(&state_dir, told)).collect();
    // These wait for what does not answer: side by side.
    std::thread::scope(|scope| {
        let state_dir = &state_dir;
        let asked: Vec<_> = asked.map(|look| scope.spawn(move || ask(state_dir, &look))).collect();
        found.extend(asked.into_iter().map(|asked| asked.join().unwrap()));
    });
    texts(to.path(), &mut found);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_secret_leaves_the_node() {
    let (home, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut marks = Marks::default();
    marked_pki(home.path(), &mut marks);
    let world = site(home.path()).await;
    // `certs` looks beside the manifests directory, and the runs are told this kubeconfig.
    marked_pki(world.manifests().path().parent().unwrap(), &mut marks);
    let client = world.simulator.client();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let mut secret = Secret::default();
    secret.metadata.name = Some("bootstrap-token".to_owned());
    secret.data = Some([("token".to_owned(), ByteString(marks.text("bootstrap").into_bytes()))].into());
    secrets.create(&PostParams::default(), &secret).await.unwrap();

    let mut found = vec![("the log of the pivot".to_owned(), run_with_its_log(&world, Verb::Pivot).await)];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", world.machine().serve_on(listener).unwrap());
    let kubeconfigs = kubeconfigs(home.path(), &api, &mut marks);
    let world = tokio::task::spawn_blocking(move || {
        found.extend(said(&world, &kubeconfigs, &to));
        (world, found, to)
    });
    let (world, mut found, _to) = world.await.unwrap();
    found.push(("the log of the way back".to_owned(), run_with_its_log(&world, Verb::Rollback).await));
    assert_eq!(world.mend(Then::Rollback).await.unwrap(), Outcome::RolledBack);

    let state_dir = world.state_dir();
    texts(&state_dir, &mut found);
    let maps: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let map = maps.get("fulcrum").await.unwrap();
    found.push(("the ConfigMap".to_owned(), serde_json::to_string(&map).unwrap()));
    // The node's own key, behind the part that all keys have in common.
    let key = std::fs::read_to_string(state_dir.join("evidence/key")).unwrap();
    marks.0.push(key.lines().nth(2).unwrap()[24..60].to_owned());

    assert!(!Reader::open(&state_dir).unwrap().runs().unwrap().is_empty());
    for (place, content) in &found {
        for mark in &marks.0 {
            assert!(!content.contains(mark), "{mark} is in {place}: {content}");
        }
    }
    assert_places(&found, &api);
}

/// The places are the right ones: they are full of what is no secret.
fn assert_places(found: &[(String, String)], api: &str) {
    let told =
        |place: &str, text: &str| found.iter().any(|(name, all)| name.contains(place) && all.contains(text));
    for (place, text) in [
        ("the log of the pivot", "DEBUG"),
        ("the log of the pivot", "self-hosted-kube-apiserver"),
        ("the log of the way back", "DEBUG"),
        ("token.yaml", api),
        ("controller-manager.conf", "it is not YAML"),
        ("page.html", "retire-static"),
        ("trace.json", "retire-static"),
        ("entries.jsonl", "retire-static"),
        ("\"--diff\"", "tls-private-key-file"),
        ("\"certs\"", "scheduler.conf"),
        ("the ConfigMap", "fulcrum.dev/journal/"),
    ] {
        assert!(told(place, text), "{text} is not in {place}");
    }
}
