//! The standby: for each component, the static manifest that would bring it back.
//!
//! At first it is the manifest that the pivot took away. When the DaemonSet changes and has proven itself, it
//! becomes what runs now. The standby is files in a directory of their own, with the mode and owner that they
//! have when restored. The originals stay in the archive and in the journal, for the rollback.

use crate::component::Component;
use crate::host::{FileImage, ManifestsDir};
use crate::manifest::{StaticPod, Target, standby_of};
use fulcrum_engine::state::{RunId, fsync};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

/// The standby of one pivot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    dir: ManifestsDir,
    /// How the DaemonSets were made, where they have their certificates from Secrets.
    with_secrets: Option<Target>,
}

impl Standby {
    /// The standby of the pivot `run`.
    pub fn of(state_dir: &Path, run: RunId) -> Self {
        let dir = ManifestsDir::new(state_dir.join("standby").join(run.to_string()));
        Self { dir, with_secrets: None }
    }

    /// This standby, of DaemonSets that were made for `target`. Where these have certificates from Secrets, the
    /// standby begins with the mirror's files: the ones that the manifests name may be older by then.
    #[must_use]
    pub fn made_for(self, target: Target) -> Self {
        Self { with_secrets: Some(target).filter(|target| target.in_secrets.is_some()), ..self }
    }

    /// The component's manifest. `None` if none was kept.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn get(&self, component: Component) -> io::Result<Option<FileImage>> {
        self.dir.read(component.manifest_file())
    }

    /// When the component's manifest was kept. `None` if none was.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn kept_at(&self, component: Component) -> io::Result<Option<SystemTime>> {
        match fs::metadata(self.dir.file(component.manifest_file())) {
            Ok(metadata) => metadata.modified().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this is the component's standby, restored by the guard.
    ///
    /// # Errors
    /// When the standby is there and cannot be read.
    pub fn is(&self, component: Component, image: &FileImage) -> io::Result<bool> {
        Ok(self.get(component)?.as_ref() == Some(image))
    }

    /// Whether this is the component's standby, and not the manifest that the pivot began with, of which a
    /// copy was archived.
    ///
    /// # Errors
    /// When the standby is there and cannot be read.
    pub(crate) fn is_fallback(
        &self,
        component: Component,
        image: &FileImage,
        archived: &Path,
    ) -> io::Result<bool> {
        let original = || fs::read(archived).is_ok_and(|bytes| bytes == image.content.as_bytes());
        Ok(self.is(component, image)? && !original())
    }

    /// Keeps the component's manifest from now on.
    ///
    /// # Errors
    /// When it cannot be written. The earlier manifest is then still there.
    pub fn keep(&self, component: Component, image: &FileImage) -> io::Result<()> {
        let dir = self.dir.path();
        if !dir.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let parents = dir.ancestors().skip(1).take(2);
            parents.map(fsync::sync_dir).collect::<io::Result<Vec<()>>>()?;
        }
        self.dir.sweep(component.manifest_file())?;
        self.dir.write(component.manifest_file(), image)
    }

    /// Whether every component without a manifest in `manifests` has its standby there as a spare, which
    /// becomes the manifest on a full disk, too.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn is_laid_by(&self, manifests: &ManifestsDir) -> io::Result<bool> {
        for component in Component::ALL {
            let name = component.manifest_file();
            let Some(image) = self.get(component)? else { continue };
            if !manifests.file(name).exists() && manifests.read_spare(name)?.as_ref() != Some(&image) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes [`Standby::is_laid_by`] true. No other process may be writing to `manifests` meanwhile.
    ///
    /// # Errors
    /// When a spare cannot be written.
    pub(crate) fn lay_by(&self, manifests: &ManifestsDir) -> io::Result<()> {
        for component in Component::ALL {
            if let Some(image) = self.get(component)? {
                manifests.lay_by(component.manifest_file(), &image)?;
            }
        }
        Ok(())
    }

    /// Keeps what the pivot took away, where nothing is kept yet. With `--permit-port-sharing`: a DaemonSet's
    /// pod can start beside it, and it beside one, without any help.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin<'a>(
        &self,
        retired: impl IntoIterator<Item = (&'a Component, &'a FileImage)>,
    ) -> io::Result<()> {
        for (component, image) in retired {
            if self.get(*component)?.is_none() {
                let pod = StaticPod::parse(*component, image.content.as_bytes()).map_err(io::Error::other)?;
                let of_mirror = self.with_secrets.as_ref();
                let of_mirror = of_mirror
                    .map(|target| standby_of(*component, &pod.daemonset(target), target))
                    .transpose()
                    .map_err(io::Error::other)?;
                let shared = match of_mirror {
                    Some(content) => image.with_content(content),
                    None if pod.permits_port_sharing() => image.clone(),
                    None => {
                        image.with_content(String::from_utf8_lossy(&pod.with_port_sharing()).into_owned())
                    }
                };
                self.keep(*component, &shared)?;
            }
        }
        Ok(())
    }
}
