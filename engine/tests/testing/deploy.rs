//! A deployment as in `examples/deploy.rs`, without its pauses: files are copied, checked, and a link is
//! switched over to them, which is saved beforehand.

use async_trait::async_trait;
use fulcrum_engine::state::fsync;
use fulcrum_engine::testing::{Process, World};
use fulcrum_engine::{Context, Plan, ProbeResult, Step, StepError, StepRegistry, StepSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILES: usize = 3;

pub(crate) struct Deploy(tempfile::TempDir);

impl World for Deploy {
    /// Every path below the root, with what a file holds or a link leads to.
    type Seen = BTreeMap<PathBuf, String>;

    async fn fresh() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("v1")).unwrap();
        symlink("v1", root.path().join("current")).unwrap();
        Deploy(root)
    }

    fn plan(&self) -> Plan {
        let step = |name: &str| StepSpec::new(name, json!({ "root": self.0.path() }));
        let steps = vec![step("copy"), step("check").after(["copy"]), step("switch").after(["check"])];
        Plan::new("deploy", steps).unwrap()
    }

    fn registry(&self, _: &Process) -> impl StepRegistry + 'static {
        |spec: &StepSpec| -> Result<Arc<dyn Step>, String> {
            let root = PathBuf::from(spec.args["root"].as_str().ok_or("no root")?);
            Ok(match spec.id.as_str() {
                "copy" => Arc::new(Copy(root.join("v2"))),
                "check" => Arc::new(Check(root.join("v2"))),
                _ => Arc::new(Switch(root.join("current"))),
            })
        }
    }

    async fn seen(&self) -> Self::Seen {
        let mut seen = BTreeMap::new();
        let mut dirs = vec![self.0.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.0.path()).unwrap().to_owned();
                let what = if path.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else if path.is_dir() {
                    dirs.push(path.clone());
                    "a directory".to_owned()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                seen.insert(name, what);
            }
        }
        seen
    }
}

struct Copy(PathBuf);

#[async_trait]
impl Step for Copy {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        match fs::read_dir(&self.0).map(Iterator::count) {
            Ok(FILES) => Ok(ProbeResult::Done),
            Ok(count) => Ok(ProbeResult::Partial(format!("{count} of {FILES} files"))),
            Err(_) => Ok(ProbeResult::Absent),
        }
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        fs::create_dir_all(&self.0)?;
        for n in 0..FILES {
            fs::write(self.0.join(format!("{n}.html")), "new")?;
            tokio::task::yield_now().await;
        }
        Ok(Value::Null)
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

struct Check(PathBuf);

#[async_trait]
impl Step for Check {
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent) // It changes nothing: checking again is as good.
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        let files = fs::read_dir(&self.0)?.count();
        if files == FILES { Ok(json!(files)) } else { Err(StepError::fatal(format!("{files} files"))) }
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

struct Switch(PathBuf);

impl Switch {
    fn lead_to(&self, target: &Path) -> Result<(), StepError> {
        let next = self.0.with_extension("next");
        fsync::remove_durable(&next)?;
        symlink(target, &next)?;
        Ok(fs::rename(&next, &self.0)?)
    }
}

#[async_trait]
impl Step for Switch {
    fn saves(&self) -> bool {
        true
    }

    async fn save(&self, _cx: &Context) -> Result<Vec<u8>, StepError> {
        Ok(fs::read_link(&self.0)?.into_os_string().into_encoded_bytes())
    }

    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        let there = fs::read_link(&self.0)?.as_path() == Path::new("v2");
        Ok(if there { ProbeResult::Done } else { ProbeResult::Absent })
    }

    async fn run(&self, _cx: &Context) -> Result<Value, StepError> {
        self.lead_to(Path::new("v2")).map(|()| Value::Null)
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match cx.pre_image() {
            None => Ok(()), // It never began.
            Some(before) => self.lead_to(Path::new(std::str::from_utf8(before).map_err(StepError::fatal)?)),
        }
    }
}
