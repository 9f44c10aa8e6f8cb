//! kubeadm, which renders the manifests of its release, and brings along what is beside the control plane.

use crate::exit::{Exit, Failure};
use async_trait::async_trait;
use fulcrum_engine::state::fsync::write_atomic;
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::StaticPod;
use fulcrum_steps::upgrade::{KubeadmInput, RenderError, Renderer, Version, etcd_in_list, kubeadm_config};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// kubeadm renders in well under a second. It asks no cluster for that.
const WITHIN: Duration = Duration::from_secs(30);

/// Where `kubeadm init --dry-run` writes (kubeadm's constants.go, EnvVarInitDryRunDir).
const DRY_RUN_DIR: &str = "KUBEADM_INIT_DRYRUN_DIR";

/// A kubeadm program.
pub(crate) struct Kubeadm {
    program: PathBuf,
}

#[async_trait]
impl Renderer for Kubeadm {
    async fn version(&self) -> Result<Version, RenderError> {
        let text = self.run("say its version", &["version", "-o", "short"], None).await?;
        text.parse().map_err(|error| self.failed("say its version", error))
    }

    async fn static_pods(
        &self,
        input: &KubeadmInput,
        version: Version,
    ) -> Result<Vec<StaticPod>, RenderError> {
        let attempt = format!("render the manifests of {version}");
        let (dir, file) = self.configuration(&attempt, input, version)?;
        let arguments = ["init", "phase", "control-plane", "all", "--dry-run", "--config", &file];
        self.run(&attempt, &arguments, Some(dir.path())).await?;
        let read = |component: Component| {
            let bytes = std::fs::read(dir.path().join(component.manifest_file())).map_err(|error| {
                self.failed(&attempt, format!("it wrote no {}: {error}", component.manifest_file()))
            })?;
            StaticPod::parse(component, &bytes).map_err(|error| self.failed(&attempt, error))
        };
        Component::ALL.into_iter().map(read).collect()
    }

    async fn etcd_image(
        &self,
        input: &KubeadmInput,
        version: Version,
    ) -> Result<Option<String>, RenderError> {
        let attempt = format!("say which images {version} takes");
        let (_dir, file) = self.configuration(&attempt, input, version)?;
        let list = self.run(&attempt, &["config", "images", "list", "--config", &file], None).await?;
        Ok(etcd_in_list(&list).map(str::to_owned))
    }
}

impl Kubeadm {
    pub(crate) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// A file with what it reads as its configuration, in a directory of its own.
    fn configuration(
        &self,
        attempt: &str,
        input: &KubeadmInput,
        version: Version,
    ) -> Result<(TempDir, String), RenderError> {
        let config = kubeadm_config(input, version).map_err(|error| self.failed(attempt, error))?;
        let dir = tempfile::Builder::new().prefix("fulcrum-kubeadm-").tempdir();
        let dir = dir.map_err(|error| self.failed(attempt, error))?;
        let file = dir.path().join("config.yaml");
        write_atomic(&file, config.as_bytes(), None, None).map_err(|error| self.failed(attempt, error))?;
        let file = file.display().to_string();
        Ok((dir, file))
    }

    async fn run(
        &self,
        attempt: &str,
        arguments: &[&str],
        dir: Option<&Path>,
    ) -> Result<String, RenderError> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(dir) = dir {
            command.env(DRY_RUN_DIR, dir);
        }
        let output = tokio::time::timeout(WITHIN, command.output()).await;
        let output = output.map_err(|_| self.failed(attempt, format!("it did not end within {WITHIN:?}")))?;
        let output = output.map_err(|error| self.failed(attempt, error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(self.failed(attempt, format!("{}: {}", output.status, said.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn failed(&self, attempt: &str, seen: impl ToString) -> RenderError {
        RenderError {
            program: self.program.display().to_string(),
            attempt: attempt.to_owned(),
            seen: seen.to_string(),
        }
    }
}

pub(crate) fn copy_program(program: &Path, copy: &Path) -> Result<(), Failure> {
    let failed = |attempt: &str, error: io::Error| {
        let text = format!("{attempt} {}: {error}; nothing was changed", program.display());
        Failure::new(Exit::Other, anyhow::anyhow!(text))
    };
    let found = which(program).map_err(|error| failed("find", error))?;
    let bytes = std::fs::read(&found).map_err(|error| failed("read", error))?;
    write_atomic(copy, &bytes, Some(0o700), None).map_err(|error| failed("copy", error))
}

/// The file of a program that is named by its path, or by its name on the search path.
fn which(program: &Path) -> io::Result<PathBuf> {
    if program.components().count() > 1 {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}
