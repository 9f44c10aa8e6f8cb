//! kubeadm, which renders the manifests of its release.

use crate::exit::{Exit, Failure};
use fulcrum_steps::component::Component;
use fulcrum_steps::manifest::StaticPod;
use fulcrum_steps::upgrade::{KubeadmInput, Version, kubeadm_config};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// kubeadm renders in well under a second. It asks no cluster for that.
const WITHIN: Duration = Duration::from_secs(30);

/// Where `kubeadm init --dry-run` writes (kubeadm's constants.go, EnvVarInitDryRunDir).
const DRY_RUN_DIR: &str = "KUBEADM_INIT_DRYRUN_DIR";

/// A kubeadm program.
pub(crate) struct Kubeadm {
    program: PathBuf,
}

impl Kubeadm {
    pub(crate) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Its release.
    pub(crate) async fn version(&self) -> Result<Version, Failure> {
        let text = self.run("say its version", &["version", "-o", "short"], None).await?;
        text.parse().map_err(|error| self.failed("say its version", &format!("{error}")))
    }

    /// The static pods that it makes for this version.
    pub(crate) async fn static_pods(
        &self,
        input: &KubeadmInput,
        version: Version,
    ) -> Result<Vec<StaticPod>, Failure> {
        let attempt = format!("render the manifests of {version}");
        let config = kubeadm_config(input, version).map_err(Failure::refused)?;
        let dir = tempfile::Builder::new().prefix("fulcrum-kubeadm-").tempdir()?;
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, config)?;
        let file = file.display().to_string();
        let arguments = ["init", "phase", "control-plane", "all", "--dry-run", "--config", &file];
        self.run(&attempt, &arguments, Some(dir.path())).await?;
        let read = |component: Component| {
            let path = dir.path().join(component.manifest_file());
            let bytes = std::fs::read(&path).map_err(|error| {
                self.failed(&attempt, &format!("it wrote no {}: {error}", component.manifest_file()))
            })?;
            StaticPod::parse(component, &bytes).map_err(|error| self.failed(&attempt, &error.to_string()))
        };
        Component::ALL.into_iter().map(read).collect()
    }

    async fn run(&self, attempt: &str, arguments: &[&str], dir: Option<&Path>) -> Result<String, Failure> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(dir) = dir {
            command.env(DRY_RUN_DIR, dir);
        }
        let output = tokio::time::timeout(WITHIN, command.output()).await;
        let output = output.map_err(|_| self.failed(attempt, &format!("it did not end within {WITHIN:?}")))?;
        let output = output.map_err(|error| self.failed(attempt, &error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(self.failed(attempt, &format!("{}: {}", output.status, said.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn failed(&self, attempt: &str, seen: &str) -> Failure {
        let program = self.program.display();
        let text = format!(
            "{program} could not {attempt}: {seen}; nothing was changed: name the kubeadm of the release with --kubeadm"
        );
        Failure::new(Exit::Refused, anyhow::anyhow!(text))
    }
}
