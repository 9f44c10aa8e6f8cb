//! Installs the guard, and removes it: a copy of the program, a unit, and its start.

use super::text::{PROGRAM_FILE, UNIT, UnitOf, unit};
use crate::host::{HostError, UnitState, Units};
use fulcrum_engine::state::{Digest, fsync};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The guard's orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// The directory of the journal.
    pub state_dir: PathBuf,
    /// The kubelet's manifests directory.
    pub manifests_dir: PathBuf,
    /// How long a control plane may be silent.
    pub patience: Duration,
    /// A second failure within this time of a first one is left to a person.
    pub hold_off: Duration,
}

/// How long a control plane may be silent by default.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A second failure within this time of a first one is left to a person, by default.
pub const HOLD_OFF: Duration = Duration::from_secs(600);

/// How much of the guard is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The unit's file, if it is there.
    pub unit_file: Option<PathBuf>,
    /// Whether file and program are what this program would install.
    pub current: bool,
    /// Whether the unit is started at boots, and runs.
    pub state: UnitState,
}

/// The guard could not be installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// systemd refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What was seen.
        source: io::Error,
    },
}

/// Installs and starts the guard. Parts of it that exist already stay as they are. Each file is whole or
/// absent at any instant, and the unit is enabled last.
///
/// # Errors
/// When a file cannot be written, or systemd refuses.
pub async fn arm(units: &dyn Units, orders: &Orders) -> Result<(), ArmError> {
    let places = Places::of(units);
    let program = read(units.program())?;
    if digest_of(&places.program)? != Some(Digest::of(&program)) {
        let home = units.home();
        let mut dir = fs::DirBuilder::new();
        dir.recursive(true).mode(0o755).create(home).map_err(disk("make", home))?;
        sync(home.parent().unwrap_or(home))?;
        fsync::sweep(&places.program).map_err(disk("sweep beside", &places.program))?;
        write(&places.program, &program, 0o755)?;
    }
    let text = places.text(units, orders);
    if digest_of(&places.unit)? != Some(Digest::of(text.as_bytes())) {
        fsync::sweep(&places.unit).map_err(disk("sweep beside", &places.unit))?;
        write(&places.unit, text.as_bytes(), 0o644)?;
    }
    units.reload().await?;
    Ok(units.enable(UNIT).await?)
}

/// Removes the guard, and ends it. If this process is the guard, it ends by itself when it sees that it has
/// no unit.
///
/// # Errors
/// When a file cannot be removed, or systemd refuses.
pub async fn disarm(units: &dyn Units) -> Result<(), ArmError> {
    let places = Places::of(units);
    if places.unit.exists() {
        units.disable(UNIT, !is_the_guard()).await?;
    }
    remove(&places.unit)?;
    units.reload().await?;
    if units.home().exists() {
        remove(&places.program)?;
    }
    Ok(())
}

/// How much of the guard is installed.
///
/// # Errors
/// When this cannot be seen.
pub async fn installed(units: &dyn Units, orders: &Orders) -> Result<Installed, ArmError> {
    let places = Places::of(units);
    let unit_file = places.unit.exists().then(|| places.unit.clone());
    let text = places.text(units, orders);
    let current = digest_of(&places.unit)? == Some(Digest::of(text.as_bytes()))
        && digest_of(&places.program)? == digest_of(units.program())?;
    Ok(Installed { unit_file, current, state: units.state(UNIT).await? })
}

/// Whether the unit started this process. The unit says so in the environment.
fn is_the_guard() -> bool {
    std::env::var_os("FULCRUM_GUARD").is_some()
}

struct Places {
    program: PathBuf,
    unit: PathBuf,
}

impl Places {
    fn of(units: &dyn Units) -> Self {
        Self { program: units.home().join(PROGRAM_FILE), unit: units.dir().join(UNIT) }
    }

    fn text(&self, units: &dyn Units, orders: &Orders) -> String {
        unit(&UnitOf {
            program: &self.program,
            state_dir: &orders.state_dir,
            manifests_dir: &orders.manifests_dir,
            units_dir: units.dir(),
            patience: orders.patience,
            hold_off: orders.hold_off,
        })
    }
}

fn disk<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ArmError + 'a {
    move |source| ArmError::Disk { doing, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Vec<u8>, ArmError> {
    fs::read(path).map_err(disk("read", path))
}

fn digest_of(path: &Path) -> Result<Option<Digest>, ArmError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Digest::of(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk("read", path)(error)),
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), ArmError> {
    fsync::write_atomic(path, bytes, Some(mode), None).map_err(disk("write", path))
}

fn remove(path: &Path) -> Result<(), ArmError> {
    fsync::remove_durable(path).map_err(disk("remove", path))
}

fn sync(path: &Path) -> Result<(), ArmError> {
    fsync::sync_dir(path).map_err(disk("sync", path))
}
