//! What steps return: told in the history, and read again after a crash.

use crate::support::setup;
use async_trait::async_trait;
use fulcrum_engine::load::load;
use fulcrum_engine::run::Phase;
use fulcrum_engine::{Context, Outcome, ProbeResult, Silent, Step, StepError, StepRegistry, StepSpec};
use fulcrum_simulator::rehearsal::{SimulatedSite, Steps};
use fulcrum_steps::settings::{HandoverMode, Wanted};
use fulcrum_steps::step::library;
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;

/// Returns what can be read after a crash, not what its run has returned.
struct Read(Arc<dyn Step>);

#[async_trait]
impl Step for Read {
    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        self.0.probe(cx).await
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let mut returned = self.0.run(cx).await?;
        let read = self.0.output(cx).await?;
        // It cannot be told later who led, and which version was made.
        if let Some(fields) = returned.as_object_mut() {
            fields.remove("leader");
            fields.remove("resource_version");
        }
        assert_eq!(read, returned, "{}", cx.step());
        Ok(read)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        self.0.undo(cx).await
    }

    fn saves(&self) -> bool {
        self.0.saves()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        self.0.save(cx).await
    }
}

/// A pivot goes by what was read as it goes by what was returned.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_has_made_can_be_read_after_a_crash_and_is_in_the_history() {
    for handover in [HandoverMode::Steer, HandoverMode::Restart] {
        let steps: Steps = Arc::new(|site| -> Arc<dyn StepRegistry> {
            let today = library(site);
            Arc::new(move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
                let step = today.step(spec)?;
                let told = ["archive", "create-daemonset/", "share-port/"];
                let told = told.iter().any(|name| spec.id.as_str().starts_with(name));
                Ok(if told { Arc::new(Read(step)) } else { step })
            })
        });
        let dir = tempfile::tempdir().unwrap();
        let setup = setup().with_handover(Wanted::Way(handover));
        let world = SimulatedSite::boot(&setup, dir.path()).await.unwrap().with_steps(steps);
        let journal = world.journal().unwrap();
        let ending = world.pivot(&journal, Arc::new(Silent)).await.unwrap();
        assert!(matches!(ending.phase, Phase::Ended(Outcome::Completed, _)), "{}", ending.phase);
        let run = load(&journal.reader(), ending.run).unwrap();
        let archive = &run.output(&"archive".into()).unwrap()["kube-scheduler.yaml"];
        assert!(std::path::Path::new(archive["path"].as_str().unwrap()).exists());
        let made = run.output(&"create-daemonset/kube-scheduler".into()).unwrap();
        assert_eq!(made["name"], "self-hosted-kube-scheduler");
        drop(journal);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        let output = command
            .env_clear()
            .arg("--state-dir")
            .arg(world.state_dir())
            .args(["history", "last", "--long"])
            .output();
        let history = String::from_utf8(output.unwrap().stdout).unwrap();
        let uid = made["uid"].as_str().unwrap();
        for words in [format!("      uid: {uid}\n"), format!("      kube-scheduler.yaml: {archive}\n")] {
            assert!(history.contains(&words), "{words}: {history}");
        }
    }
}
