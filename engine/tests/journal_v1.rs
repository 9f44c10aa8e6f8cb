//! A journal that version 0.1 wrote, and that every later version opens, reads, goes on with and undoes.
//!
//! `fixtures/journal-1`: a run that failed and was rolled back, and one that was paused in the middle, with a
//! pre-image. `fixtures/journal-1-cut-forward` and `-back`: runs whose process was killed twice by SIGKILL, the
//! second time when it had just taken the run up; commit 8e89c5c wrote them. No fixture ever changes.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../../tests/harness/mod.rs"]
mod harness;

use async_trait::async_trait;
use fulcrum_engine::load::load;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, RunId};
use fulcrum_engine::{
    Context, Engine, Outcome, PauseCause, Plan, ProbeResult, Session, Step, StepError, StepSpec,
};
use harness::copy_dir;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-1")
}

/// Its effect is nothing; it knows what its run is about from what was journalled.
struct Quiet {
    spec: StepSpec,
}

#[async_trait]
impl Step for Quiet {
    fn saves(&self) -> bool {
        self.spec.args["saves"] == true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(vec![b'p'; 5000])
    }

    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        if self.saves() && cx.pre_image() != Some(&[b'p'; 5000]) {
            return Err(StepError::fatal("the pre-image is not what was saved"));
        }
        if self.spec.args["fails"] == true {
            return Err(StepError::fatal("as the plan says"));
        }
        Ok(json!({ "made": self.spec.id }))
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match self.saves() && cx.pre_image() != Some(&[b'p'; 5000]) {
            true => Err(StepError::fatal("the pre-image is not what was saved")),
            false => Ok(()),
        }
    }
}

fn engine(journal: &Journal) -> Engine {
    let session = Session {
        boot_id: "boot-1".into(),
        pid: 1,
        program: "fulcrum 0.1.0".into(),
        role: fulcrum_engine::Role::default(),
        actor: fulcrum_engine::Actor::new(),
    };
    let registry =
        |spec: &StepSpec| -> Result<Arc<dyn Step>, String> { Ok(Arc::new(Quiet { spec: spec.clone() })) };
    Engine::new(journal.clone(), registry, session)
}

fn plan(last_fails: bool) -> Plan {
    let step = |id: &str, args: Value| StepSpec::new(id, args);
    let steps = vec![
        step("first", json!({})),
        step("second", json!({ "saves": true })).after(["first"]),
        step("third", json!({ "fails": last_fails })).after(["second"]),
    ];
    Plan::new("schema-1", steps).unwrap()
}

fn runs(journal: &Journal) -> Vec<RunId> {
    journal.reader().runs().unwrap().into_iter().map(|header| header.run).collect()
}

/// What the fixture says of itself: every run, its head, and the bodies of its entries.
fn told(journal: &Journal) -> String {
    let run = |run: &RunId| {
        let head = journal.reader().verify(*run).unwrap();
        let bodies =
            journal.reader().entries(*run).map(|entry| entry.unwrap().body + "\n").collect::<String>();
        format!("run {run} head {} {}\n{bodies}", head.seq, head.hash)
    };
    runs(journal).iter().map(run).collect()
}

#[tokio::test]
async fn a_journal_of_version_0_1_opens_for_ever() {
    let root = tempfile::tempdir().unwrap();
    copy_dir(&fixture().join("state"), root.path());
    let journal = Journal::open(root.path(), "look").unwrap();
    assert_eq!(told(&journal), std::fs::read_to_string(fixture().join("told")).unwrap());
    let [rolled_back, paused] = runs(&journal)[..] else { panic!("two runs, not {:?}", runs(&journal)) };
    assert!(load(&journal.reader(), rolled_back).unwrap().is_rolled_back());
    let breakpoint =
        Phase::Paused { reason: "breakpoint after second".into(), cause: PauseCause::Breakpoint };
    assert_eq!(*load(&journal.reader(), paused).unwrap().phase(), breakpoint);

    let ending = engine(&journal).resume(paused).await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{}", ending.phase);
    let ending = engine(&journal).roll_back(paused, "as asked").await.unwrap();
    assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{}", ending.phase);
}

#[tokio::test]
async fn a_run_that_version_0_1_was_killed_in_goes_on() {
    for (name, back) in [("forward", false), ("back", true)] {
        let root = tempfile::tempdir().unwrap();
        let fixture = fixture().with_file_name(format!("journal-1-cut-{name}"));
        copy_dir(&fixture.join("state"), root.path());
        let journal = Journal::open(root.path(), "look").unwrap();
        assert_eq!(told(&journal), std::fs::read_to_string(fixture.join("told")).unwrap());
        let [run] = runs(&journal)[..] else { panic!("one run, not {:?}", runs(&journal)) };
        let loaded = load(&journal.reader(), run).unwrap();
        assert_eq!(loaded.rollback().map(|rollback| rollback.mode.clone()), back.then_some(None));
        let session = loaded.session().unwrap();
        assert_eq!((session.program.as_str(), session.role.as_str()), ("fulcrum 0.1.0 guard", ""));
        let ending = engine(&journal).resume(run).await.unwrap();
        let expected = if back { Outcome::RolledBack } else { Outcome::Completed };
        assert!(matches!(ending.phase, Phase::Ended(outcome, _) if outcome == expected), "{}", ending.phase);
        if !back {
            let ending = engine(&journal).roll_back(run, "as asked").await.unwrap();
            assert!(matches!(ending.phase, Phase::Ended(Outcome::RolledBack, _)), "{}", ending.phase);
        }
    }
}

/// Writes the fixture: once, by the version that it is of.
#[tokio::test]
#[ignore = "the fixture is there, and is not to change"]
async fn write_the_fixture() {
    let state = fixture().join("state");
    assert!(!state.exists(), "the fixture is there");
    std::fs::create_dir_all(&state).unwrap();
    let journal = Journal::open(&state, "fixture").unwrap();
    let _ = engine(&journal).start(plan(true)).await.unwrap();
    let _ = engine(&journal).pause_after(["second".into()]).start(plan(false)).await.unwrap();
    std::fs::write(fixture().join("told"), told(&journal)).unwrap();
}
