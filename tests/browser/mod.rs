//! The page of `fulcrum history --html` in a real browser: what it fetches, what is in it, how well it can be read,
//! and what a person hears who does not see it. Pictures of it are in the target directory's `tmp` afterwards.

mod devtools;

use self::devtools::{Browser, Tab, url};
use crate::harness::{copy_dir, skipped};
use crate::support::{TestSite, outcome};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fulcrum_engine::{Context, Outcome, ProbeResult, Step, StepError, StepRegistry, StepSpec};
use fulcrum_steps::step::library;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use tempfile::TempDir;

/// The largest page of a pivot and its way back.
const BYTES_MAX: u64 = 200_000;
/// What a person can operate, or is told of as one thing.
const NAMED: [&str; 9] = [
    "link",
    "button",
    "DisclosureTriangle",
    "image",
    "region",
    "navigation",
    "heading",
    "SvgRoot",
    "RootWebArea",
];

/// The page of a journal.
struct Page {
    file: PathBuf,
    /// The runs, as `history -o json` tells them.
    runs: Value,
    _dir: TempDir,
}

impl Page {
    fn of(state_dir: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history.html");
        let history = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
            command.env_clear().args(["history", "--state-dir"]).arg(state_dir).args(args).output().unwrap()
        };
        let written = history(&["--html", file.to_str().unwrap()]);
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let mut told: Value = serde_json::from_slice(&history(&["-o", "json"]).stdout).unwrap();
        Self { file, runs: told["runs"].take(), _dir: dir }
    }

    /// The number of attempts at each step of each run that was begun.
    fn attempts(&self) -> BTreeMap<&str, BTreeMap<&str, usize>> {
        let mut runs = BTreeMap::new();
        for run in self.runs.as_array().unwrap() {
            let steps: &mut BTreeMap<&str, usize> = runs.entry(run["run"].as_str().unwrap()).or_default();
            for attempt in run["attempts"].as_array().unwrap() {
                *steps.entry(attempt["step"].as_str().unwrap()).or_default() += 1;
            }
        }
        runs
    }

    /// This page with something in it that must not be there.
    fn with(&self, from: &str, to: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history.html");
        let text = std::fs::read_to_string(&self.file).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        Self { file, runs: self.runs.clone(), _dir: dir }
    }
}

/// Everything that is wrong with the page in this scheme and width.
fn faults(tab: &mut Tab, page: &Page, scheme: &str, width: u32) -> Vec<String> {
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    tab.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    let mobile = width < 640;
    let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile });
    tab.call("Emulation.setDeviceMetricsOverride", metrics);
    let mut faults = fetched(&tab.load(&page.file), &page.file);
    let seen = tab.evaluate(include_str!("look.js"));
    assert!(seen["texts"].as_u64() > Some(100) && seen["shapes"].as_u64() > Some(10), "{seen}");
    for (name, what) in [
        ("pale", "contrast"),
        ("clipped", "a text is cut off"),
        ("twice", "an id is there twice"),
        ("nowhere", "a link leads nowhere or away"),
    ] {
        let found = seen[name].as_array().unwrap().iter();
        faults.extend(found.map(|one| format!("{what}: {}", one.as_str().unwrap())));
    }
    if seen["nameless"] != 0 {
        faults.push(format!("{} pictures without words", seen["nameless"]));
    }
    if seen["width"].as_u64() > Some(width.into()) {
        faults.push(format!("it is {} pixels wide", seen["width"]));
    }
    faults.extend(missing(&seen["runs"], page));
    faults.extend(nameless(&tab.call("Accessibility.getFullAXTree", json!({}))));
    faults
}

/// Every request but the one for the page itself, and everything that the browser has complained of.
fn fetched(events: &[Value], file: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let mut requests = 0;
    for event in events {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" if params["request"]["url"] == url(file).as_str() => requests += 1,
            "Network.requestWillBeSent" => faults.push(format!("a request: {}", params["request"]["url"])),
            "Network.webSocketCreated" => faults.push(format!("a request: {}", params["url"])),
            "Log.entryAdded" => faults.push(format!("the browser says: {}", params["entry"]["text"])),
            "Runtime.consoleAPICalled" => faults.push(format!("the page says: {}", params["args"])),
            "Runtime.exceptionThrown" => faults.push(format!("a script failed: {params}")),
            _ => {}
        }
    }
    assert_eq!(requests, 1, "the page itself is fetched, and requests are seen: {events:#?}");
    faults
}

/// What the journal tells and the page does not show: once in the picture, once in words.
fn missing(shown: &Value, page: &Page) -> Vec<String> {
    let counted = |rows: &Value, number: &str| -> BTreeMap<String, u64> {
        let rows = rows.as_array().unwrap().iter().filter(|row| row["seen"] == true);
        rows.map(|row| (row["name"].as_str().unwrap().to_owned(), row[number].as_u64().unwrap())).collect()
    };
    let mut faults = Vec::new();
    for (run, steps) in page.attempts() {
        let Some(section) = shown.as_array().unwrap().iter().find(|section| section["run"] == run) else {
            faults.push(format!("run {run} is missing"));
            continue;
        };
        let (rows, folds) = (counted(&section["rows"], "bars"), counted(&section["folds"], "attempts"));
        for (step, attempts) in steps {
            for (place, found) in [("picture", rows.get(step)), ("words", folds.get(step))] {
                if found != Some(&(attempts as u64)) {
                    faults.push(format!("{step}: {attempts} attempts, in the {place} {found:?}"));
                }
            }
        }
    }
    faults
}

/// What has no name in the accessibility tree and must have one.
fn nameless(tree: &Value) -> Vec<String> {
    let text = |value: &Value| value["value"].as_str().unwrap_or_default().trim().to_owned();
    let mut named = 0;
    let mut faults = Vec::new();
    for node in tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false) {
        let properties = node["properties"].as_array().into_iter().flatten();
        let focusable =
            properties.filter(|one| one["name"] == "focusable").any(|one| one["value"]["value"] == true);
        let role = text(&node["role"]);
        if !focusable && !NAMED.contains(&role.as_str()) {
            continue;
        }
        match text(&node["name"]).is_empty() {
            true => faults.push(format!("a {role} without a name")),
            false => named += 1,
        }
    }
    assert!(named > 50, "the tree is there: {named}");
    faults
}

/// Looks at the page. Keeps a picture of it if it gets a name.
fn assert_good(tab: &mut Tab, page: &Page, (scheme, width): (&str, u32), name: Option<&str>) {
    let faults = faults(tab, page, scheme, width);
    assert!(faults.is_empty(), "{scheme}, {width} pixels: {faults:#?}\n{}", page.runs);
    if let Some(name) = name {
        let picture = tab.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{scheme}-{width}.png"));
        std::fs::write(to, picture).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_all_of_a_run_to_everybody_and_fetches_nothing() {
    let Some(mut browser) = Browser::start() else {
        return skipped("chromium is not installed: a browser looks at the page");
    };
    // A pivot and its way back.
    let world = TestSite::boot().await;
    let journal = world.journal();
    let ending = world.pivot(&journal).await;
    assert_eq!(outcome(&world.rollback(&journal, ending.run).await), Outcome::RolledBack);
    drop(journal);
    let page = Page::of(&world.state_dir());
    let bytes = std::fs::metadata(&page.file).unwrap().len();
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
    let [run] = &page.runs.as_array().unwrap()[..] else { panic!("one run goes there and back") };
    assert_eq!(run["counts"]["undone"], 32, "each step is there: {run}");
    for view in [("light", 1280), ("light", 390), ("dark", 1280), ("dark", 390)] {
        assert_good(&mut browser.tab(), &page, view, Some("there-and-back"));
    }
    // The name of a step leads to its words, which are folded away at first.
    let mut tab = browser.tab();
    tab.load(&page.file);
    let follow = "(() => { const link = document.querySelector('.chart a'); const fold = \
                  document.querySelector(link.getAttribute('href')).closest('details'); const before = fold.open; \
                  link.click(); return new Promise((done) => setTimeout(() => done([before, fold.open]), 50)); })()";
    assert_eq!(tab.evaluate(follow), json!([false, true]), "a link opens what it leads to");
    drop(tab);

    // A run that failed; runs that were cut, are open, paused, and the guard's.
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/fixtures/kept");
    let mut pages = vec![Page::of(&failed().await.state_dir())];
    for name in ["mid-pivot", "mid-rollback"] {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&kept.join(name), dir.path());
        pages.push(Page::of(dir.path()));
    }
    for page in pages {
        for view in [("light", 1280), ("dark", 390)] {
            assert_good(&mut browser.tab(), &page, view, None);
        }
    }
}

/// Each check finds what it is there for.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_finds_what_is_wrong_with_a_page() {
    let Some(mut browser) = Browser::start() else {
        return skipped("chromium is not installed: a browser looks at the page");
    };
    let world = TestSite::boot().await;
    let _ = world.pivot(&world.journal()).await;
    let page = Page::of(&world.state_dir());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap();
    let image = format!("<img alt=\"x\" src=\"http://{address}/x.png\"></body>");
    let cut = "<p style=\"width:9em;overflow:hidden;white-space:nowrap\">a text that is too long</p></body>";
    for (from, to, fault) in [
        ("</body>", image.as_str(), "a request: "),
        ("</body>", "<script>throw 1</script></body>", "the browser says: "),
        ("</body>", "<p style=\"color:#666\">pale on dark</p></body>", "contrast: "),
        ("</body>", cut, "a text is cut off"),
        ("</body>", "<button></button></body>", "a button without a name"),
        ("</body>", "<svg role=\"img\"></svg></body>", "1 pictures without words"),
        ("</body>", "<div tabindex=\"0\"></div></body>", "without a name"),
        ("</body>", "<p style=\"width:500px\">wide</p></body>", " pixels wide"),
        ("</body>", "<a href=\"#there\">away</a></body>", "a link leads nowhere"),
        ("<summary>lock", "<summary>look", "lock: 1 attempts, in the words None"),
        ("title=\"lock", "title=\"look", "lock: 1 attempts, in the picture None"),
        ("<h4>Run", "<h4 hidden>Run", "1 attempts, in the words Some(0)"),
    ] {
        let found = faults(&mut browser.tab(), &page.with(from, to), "dark", 390);
        assert!(found.iter().any(|found| found.contains(fault)), "{to}: {found:#?}");
    }
    let pale = page.with("</body>", "<p style=\"color:#888\">pale on light</p></body>");
    assert_eq!(faults(&mut browser.tab(), &pale, "dark", 390), [""; 0]);
    assert_eq!(faults(&mut browser.tab(), &pale, "light", 390).len(), 1);
    // The page forbids what it does not do: the request was asked for and not made.
    assert!(server.accept().is_err(), "a request has left the page");
    // Without its policy the browser makes it.
    server.set_nonblocking(false).unwrap();
    let (say, made) = channel();
    std::thread::spawn(move || say.send(server.accept().is_ok()));
    let open = page.with("Content-Security-Policy", "X").with("</body>", &image);
    let _ = faults(&mut browser.tab(), &open, "light", 390);
    assert_eq!(made.recv_timeout(Duration::from_secs(10)), Ok(true));
}

/// A pivot whose last check fails. It has gone back by itself.
async fn failed() -> TestSite {
    let world = TestSite::boot().await.with(|world| {
        world.with_steps(Arc::new(|site| {
            let good = library(site);
            Arc::new(move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
                let step = good.step(spec)?;
                Ok(if spec.id.as_str() == "verify" { Arc::new(Failing(step)) } else { step })
            })
        }))
    });
    let ending = world.pivot(&world.journal()).await;
    assert_eq!(outcome(&ending), Outcome::RolledBack);
    world
}

struct Failing(Arc<dyn Step>);

#[async_trait]
impl Step for Failing {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.0.probe(cx).await
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        Err(StepError::fatal("the cluster does not work"))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.0.undo(cx).await
    }
}
