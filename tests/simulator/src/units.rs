//! A simulated machine's units: real files in a directory. Nothing starts them. An enabled unit is a symbolic
//! link, as with systemd, and the code that reboots the machine looks for it.

use async_trait::async_trait;
use fulcrum_steps::host::{HostError, UnitState, Units};
use std::io;
use std::path::{Path, PathBuf};

/// The units of a rehearsal, below one directory.
#[derive(Debug, Clone)]
pub struct SimulatedUnits {
    dir: PathBuf,
    program: PathBuf,
    home: PathBuf,
    hidden: PathBuf,
}

impl SimulatedUnits {
    /// The units below `root`, which is made as far as it is missing.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(root: &Path) -> io::Result<Self> {
        let units = Self {
            dir: root.join("units"),
            program: root.join("program"),
            home: root.join("lib"),
            hidden: root.join("hidden"),
        };
        std::fs::create_dir_all(units.wants())?;
        if !units.program.exists() {
            std::fs::write(&units.program, "what would be copied is this program\n")?;
        }
        Ok(units)
    }

    fn wants(&self) -> PathBuf {
        self.dir.join("multi-user.target.wants")
    }

    /// From now on no unit finds what is at `path`.
    ///
    /// # Errors
    /// When this cannot be written down.
    pub fn hide(&self, path: &Path) -> io::Result<()> {
        std::fs::write(&self.hidden, path.as_os_str().as_encoded_bytes())
    }

    /// Whether a boot starts this unit: it is enabled, and its file is whole.
    pub fn starts(&self, unit: &str) -> bool {
        self.wants().join(unit).exists()
    }
}

#[async_trait]
impl Units for SimulatedUnits {
    async fn support(&self) -> Result<(), HostError> {
        Ok(())
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn home(&self) -> &Path {
        &self.home
    }

    async fn reload(&self) -> Result<(), HostError> {
        Ok(())
    }

    async fn enable(&self, unit: &str) -> Result<(), HostError> {
        match std::os::unix::fs::symlink(self.dir.join(unit), self.wants().join(unit)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(HostError::new(format!("enable {unit}"), error))
            }
            _ => Ok(()),
        }
    }

    async fn disable(&self, unit: &str, _stop: bool) -> Result<(), HostError> {
        match std::fs::remove_file(self.wants().join(unit)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HostError::new(format!("disable {unit}"), error))
            }
            _ => Ok(()),
        }
    }

    async fn state(&self, unit: &str) -> Result<UnitState, HostError> {
        let enabled = self.starts(unit);
        Ok(UnitState { enabled, active: enabled })
    }

    async fn words(&self, _unit: &str) -> Result<String, HostError> {
        Ok(String::new())
    }

    fn hides(&self, _path: &Path) -> bool {
        false
    }

    async fn sees(&self, unit: &str, path: &Path, _writes: bool) -> Result<(), HostError> {
        let hidden = std::fs::read(&self.hidden).unwrap_or_default();
        match hidden == path.as_os_str().as_encoded_bytes() {
            true => Err(HostError::new(format!("look at {} as {unit} does", path.display()), "it is hidden")),
            false => Ok(()),
        }
    }
}
