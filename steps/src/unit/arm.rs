//! Installs the guard, and removes it: a copy of the program, a unit, its start, and the proof that the unit's
//! sandbox keeps nothing from it.

use super::text::{PROGRAM_FILE, Told, UNIT, UnitOf, told, unit};
use crate::change::{self, file_state};
use crate::host::{HostError, UnitState, Units};
use fulcrum_engine::StepError;
use fulcrum_engine::state::{Digest, fsync};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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
    /// Whether the guard rolls out what goes on with an older certificate.
    pub roll_certificates: bool,
}

impl Orders {
    /// The orders for a guard. What is not said is what the installed guard was told, and otherwise the default.
    ///
    /// # Errors
    /// When the installed unit cannot be read.
    pub fn new(
        units: &dyn Units,
        state_dir: &Path,
        manifests_dir: &Path,
        said: Told,
    ) -> Result<Self, ArmError> {
        let kept = text_of(&Places::of(units).unit)?.map_or_else(Told::default, |text| told(&text));
        Ok(Self {
            state_dir: state_dir.to_owned(),
            manifests_dir: manifests_dir.to_owned(),
            patience: said.patience.or(kept.patience).unwrap_or(PATIENCE),
            hold_off: said.hold_off.or(kept.hold_off).unwrap_or(HOLD_OFF),
            roll_certificates: said.roll_certificates.or(kept.roll_certificates).unwrap_or(false),
        })
    }
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

/// The unit as it was. An exact undo needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitImage {
    /// The text of its file.
    pub text: String,
    /// Whether it was started at every boot.
    pub enabled: bool,
}

/// The guard could not be installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// systemd refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The guard runs, and something that it needs is not there for it.
    #[error(
        "the guard runs, but in its sandbox it has not what it needs: {0}; keep the journal, the manifests and the \
         kubeconfig where every process finds them, such as /var/lib/fulcrum and /etc/kubernetes"
    )]
    Blind(HostError),
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

/// Another attempt may succeed: systemd and the disk may answer otherwise.
impl From<ArmError> for StepError {
    fn from(error: ArmError) -> Self {
        Self::retry(error)
    }
}

/// Installs and starts the guard, and checks that the guard finds the journal, the manifests and `reads`.
/// Parts of it that exist already stay as they are. Each file is whole or absent at any instant, and the unit
/// is enabled last.
///
/// # Errors
/// When a file cannot be written, or systemd refuses, or the guard does not find what it needs.
pub async fn arm(units: &dyn Units, orders: &Orders, reads: &[PathBuf]) -> Result<(), ArmError> {
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
    places.write_unit(&places.text(units, orders))?;
    units.reload().await?;
    units.enable(UNIT).await?;
    prove(units, orders, reads).await
}

/// Checks that the guard, which runs, finds the journal, the manifests and `reads` in its sandbox.
///
/// # Errors
/// [`ArmError::Blind`] if not.
pub async fn prove(units: &dyn Units, orders: &Orders, reads: &[PathBuf]) -> Result<(), ArmError> {
    for path in [&orders.state_dir, &orders.manifests_dir] {
        units.sees(UNIT, path, true).await.map_err(ArmError::Blind)?;
    }
    for path in reads {
        units.sees(UNIT, path, false).await.map_err(ArmError::Blind)?;
    }
    Ok(())
}

/// The unit as it is. `None` if there is none.
///
/// # Errors
/// When it cannot be read, or systemd does not say whether it is enabled.
pub async fn image(units: &dyn Units) -> Result<Option<UnitImage>, ArmError> {
    let Some(text) = text_of(&Places::of(units).unit)? else { return Ok(None) };
    Ok(Some(UnitImage { text, enabled: units.state(UNIT).await?.enabled }))
}

/// Makes the unit be as it was. A guard that calls this goes on as it is: it has no other unit to wait for.
///
/// # Errors
/// When the file cannot be written, or systemd refuses.
pub async fn restore(units: &dyn Units, before: &UnitImage) -> Result<(), ArmError> {
    if image(units).await?.as_ref() == Some(before) {
        return Ok(());
    }
    Places::of(units).write_unit(&before.text)?;
    units.reload().await?;
    match before.enabled {
        true if is_the_guard() => Ok(()),
        true => Ok(units.enable(UNIT).await?),
        false => Ok(units.disable(UNIT, !is_the_guard()).await?),
    }
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
    let current = text_of(&places.unit)? == Some(places.text(units, orders))
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

    fn write_unit(&self, text: &str) -> Result<(), ArmError> {
        if text_of(&self.unit)?.as_deref() == Some(text) {
            return Ok(());
        }
        fsync::sweep(&self.unit).map_err(disk("sweep beside", &self.unit))?;
        write(&self.unit, text.as_bytes(), 0o644)
    }

    fn text(&self, units: &dyn Units, orders: &Orders) -> String {
        unit(&UnitOf {
            program: &self.program,
            state_dir: &orders.state_dir,
            manifests_dir: &orders.manifests_dir,
            units_dir: units.dir(),
            patience: orders.patience,
            hold_off: orders.hold_off,
            roll_certificates: orders.roll_certificates,
        })
    }
}

fn disk<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ArmError + 'a {
    move |source| ArmError::Disk { doing, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Vec<u8>, ArmError> {
    fs::read(path).map_err(disk("read", path))
}

fn text_of(path: &Path) -> Result<Option<String>, ArmError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk("read", path)(error)),
    }
}

fn digest_of(path: &Path) -> Result<Option<Digest>, ArmError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Digest::of(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk("read", path)(error)),
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), ArmError> {
    let before = state_of(path);
    fsync::write_atomic(path, bytes, Some(mode), None).map_err(disk("write", path))?;
    change::record(change::file(path, before, state_of(path)));
    Ok(())
}

fn remove(path: &Path) -> Result<(), ArmError> {
    let before = state_of(path);
    fsync::remove_durable(path).map_err(disk("remove", path))?;
    if before.is_some() {
        change::record(change::file(path, before, None));
    }
    Ok(())
}

/// What a change says of the file. `None` if there is none.
fn state_of(path: &Path) -> Option<Value> {
    let (bytes, metadata) = (fs::read(path).ok()?, fs::metadata(path).ok()?);
    Some(file_state(&bytes, metadata.mode() & 0o7777, Some((metadata.uid(), metadata.gid()))))
}

fn sync(path: &Path) -> Result<(), ArmError> {
    fsync::sync_dir(path).map_err(disk("sync", path))
}
