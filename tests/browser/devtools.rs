//! A headless Chromium, spoken to over a pipe in the DevTools protocol.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that an answer may take. A start takes 2 s on an idle machine.
const WITHIN: Duration = Duration::from_secs(60);

/// The program, if it is here.
const CHROMIUM: [&str; 2] = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];

/// A browser with a profile of its own. It is killed when it is dropped.
pub(super) struct Browser {
    child: Child,
    tell: ChildStdin,
    told: Receiver<Value>,
    calls: u64,
    /// What happened since it was last asked for.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it. `None` if it is not installed.
    pub(super) fn start() -> Option<Self> {
        let program = CHROMIUM.into_iter().find(|program| Path::new(program).exists())?;
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // The browser speaks on 3 and 4.
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh", program]);
        // No sandbox: it does not start as root with one, and the page is ours.
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--remote-debugging-pipe", "--no-first-run", "--disable-background-networking"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (tell, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (send, told) = channel();
        std::thread::spawn(move || {
            for message in said.split(0).map_while(Result::ok) {
                if send.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        Some(Self { child, tell, told, calls: 0, events: Vec::new(), _profile: profile })
    }

    /// A new tab.
    pub(super) fn tab(&mut self) -> Tab<'_> {
        let target = self.call(None, "Target.createTarget", json!({ "url": "about:blank" }));
        let target = target["targetId"].as_str().unwrap().to_owned();
        let attach = json!({ "targetId": target, "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach);
        let session = session["sessionId"].as_str().unwrap().to_owned();
        let mut tab = Tab { browser: self, target, session };
        for domain in ["Page", "Network", "Log", "Runtime", "Accessibility"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        self.tell.write_all(format!("{message}\0").as_bytes()).unwrap();
        let until = Instant::now() + WITHIN;
        loop {
            let mut answer = self.next(until, method);
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn next(&self, until: Instant, waiting_for: &str) -> Value {
        let left = until.saturating_duration_since(Instant::now());
        let told = self.told.recv_timeout(left);
        told.unwrap_or_else(|error| panic!("the browser, while {waiting_for} was waited for: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tab of the browser. It is closed when it is dropped.
pub(super) struct Tab<'a> {
    browser: &'a mut Browser,
    target: String,
    session: String,
}

impl Tab<'_> {
    /// Calls a method, and waits for its result.
    pub(super) fn call(&mut self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Loads the file, to the end. Returns what happened meanwhile.
    pub(super) fn load(&mut self, file: &Path) -> Vec<Value> {
        self.browser.events.clear();
        self.call("Page.navigate", json!({ "url": url(file) }));
        let until = Instant::now() + WITHIN;
        while !self.browser.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.browser.next(until, "the page");
            self.browser.events.push(event);
        }
        // What the load has set off is told before this is answered.
        self.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))");
        let own = |event: &Value| event["sessionId"] == self.session.as_str();
        let events = std::mem::take(&mut self.browser.events);
        events.into_iter().filter(own).collect()
    }

    /// The value of the expression in the page.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }
}

impl Drop for Tab<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.browser.call(None, "Target.closeTarget", json!({ "targetId": self.target }));
        }
    }
}

/// The address of the file.
pub(super) fn url(file: &Path) -> String {
    format!("file://{}", file.display())
}
