//! What the children run: steps that leave two files each, durably, and take them away.

use async_trait::async_trait;
use fulcrum_engine::state::fsync;
use fulcrum_engine::{Context, Plan, ProbeResult, Step, StepError, StepId, StepSpec};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One, then four side by side, one that saves a pre-image, two, one.
const STEPS: [(&str, &[&str]); 9] = [
    ("prepare", &[]),
    ("copy-1", &["prepare"]),
    ("copy-2", &["prepare"]),
    ("copy-3", &["prepare"]),
    ("copy-4", &["prepare"]),
    (SAVING, &["copy-1", "copy-2", "copy-3", "copy-4"]),
    ("left", &[SAVING]),
    ("right", &[SAVING]),
    ("last", &["left", "right"]),
];
const SAVING: &str = "replace";

pub(crate) fn plan() -> Plan {
    let steps = STEPS.iter().map(|(id, after)| StepSpec::new(*id, Value::Null).after(after.iter().copied()));
    Plan::new("power-cut", steps.collect()).unwrap()
}

/// The files of every step.
pub(crate) fn all_files() -> BTreeSet<String> {
    STEPS.iter().flat_map(|(id, _)| files_of(id)).collect()
}

pub(crate) fn files_of(step: &str) -> [String; 2] {
    [format!("{step}.1"), format!("{step}.2")]
}

/// The effects that are there. A file is whole or not there.
pub(crate) fn effects(dir: &Path) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    for file in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        if name.starts_with('.') {
            continue; // An interrupted write leaves it. No step reads it.
        }
        if fs::read_to_string(file.path()).unwrap() != content(&name) {
            return Err(format!("the file {name} is not what was written"));
        }
        found.insert(name);
    }
    Ok(found)
}

/// Where a disk has them.
pub(crate) fn effects_dir(disk: &Path) -> PathBuf {
    disk.join("effects")
}

fn content(name: &str) -> String {
    name.repeat(700)
}

/// The steps of the plan, with their effects in `dir`.
pub(crate) fn registry(dir: PathBuf) -> impl fulcrum_engine::StepRegistry + 'static {
    move |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
        Ok(Arc::new(TwoFiles { id: spec.id.clone(), dir: dir.clone() }))
    }
}

struct TwoFiles {
    id: StepId,
    dir: PathBuf,
}

#[async_trait]
impl Step for TwoFiles {
    fn saves(&self) -> bool {
        self.id.as_str() == SAVING
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(vec![7; 20_000])
    }

    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let there = files_of(self.id.as_str()).iter().filter(|name| self.dir.join(name).exists()).count();
        Ok(match there {
            0 => ProbeResult::Absent,
            2 => ProbeResult::Done,
            _ => ProbeResult::Partial("one of two files".into()),
        })
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        if cx.pre_image().is_some_and(|saved| saved != [7; 20_000]) {
            return Err(StepError::fatal("the pre-image is not what was saved"));
        }
        for name in files_of(self.id.as_str()) {
            fsync::write_atomic(&self.dir.join(&name), content(&name).as_bytes(), None, None)?;
            tokio::task::yield_now().await;
        }
        Ok(json!({ "files": 2 }))
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        for name in files_of(self.id.as_str()) {
            fsync::sweep(&self.dir.join(&name))?;
            fsync::remove_durable(&self.dir.join(&name))?;
        }
        Ok(())
    }
}
