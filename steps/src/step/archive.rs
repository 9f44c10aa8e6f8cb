//! `archive`: makes byte-exact copies of the three manifests and journals their digests.
//!
//! The DaemonSets are made from these copies, and a person can restore them by hand when nothing else is
//! left. Undo keeps them: they do no harm, and history refers to them.

use crate::change;
use crate::component::Component;
use crate::host::{FileImage, ManifestsDir};
use crate::site::Site;
use crate::step_name::StepKind;
use async_trait::async_trait;
use fulcrum_engine::state::{Digest, fsync};
use fulcrum_engine::{Context, ProbeResult, Step, StepError, StepId};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

pub(super) struct Archive {
    pub(super) site: Arc<Site>,
}

#[async_trait]
impl Step for Archive {
    /// Copies that were cut short are made again: copying costs no more than comparing.
    async fn probe(&self, _cx: &Context) -> Result<ProbeResult, StepError> {
        Ok(ProbeResult::Absent)
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        let mut copies = Map::new();
        for component in Component::ALL {
            let name = component.manifest_file();
            let image = self.site.node.manifests.read(name)?;
            let image = image.ok_or_else(|| {
                let path = self.site.node.manifests.file(name);
                StepError::fatal(format!("{} is gone since the checks: nothing to archive", path.display()))
            })?;
            let path = self.site.archived(cx.run(), component);
            if let Some(dir) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
                fsync::sync_dir(&self.site.archive())?;
                fsync::sync_dir(&self.site.state_dir)?;
            }
            fsync::write_atomic(
                &path,
                image.content.as_bytes(),
                Some(image.mode),
                Some((image.uid, image.gid)),
            )?;
            let state =
                change::file_state(image.content.as_bytes(), image.mode, Some((image.uid, image.gid)));
            change::record(change::file(&path, None, Some(state)));
            copies.insert(name.to_owned(), copy(&path, image.digest()));
        }
        Ok(copies.into())
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        let mut copies = Map::new();
        for component in Component::ALL {
            let path = self.site.archived(cx.run(), component);
            let digest = Digest::of(&fs::read(&path)?);
            copies.insert(component.manifest_file().to_owned(), copy(&path, digest));
        }
        Ok(copies.into())
    }

    async fn undo(&self, _cx: &Context) -> Result<(), StepError> {
        Ok(())
    }
}

fn copy(path: &Path, digest: Digest) -> Value {
    json!({ "path": path, "digest": digest })
}

/// Whether this is the manifest that the `archive` step copied.
pub(super) fn holds(cx: &Context, component: Component, image: &FileImage) -> bool {
    digest(cx, component) == Some(&json!(image.digest()))
}

/// The digest of the copy, as journalled. Version 0.1 wrote it without the path.
pub(super) fn digest(cx: &Context, component: Component) -> Option<&Value> {
    let copy = &cx.output_value(StepId::from(StepKind::Archive).as_str())?[component.manifest_file()];
    Some(copy.get("digest").unwrap_or(copy))
}

/// The archived file, as [`read`] checks it, with its mode and owner.
pub(super) fn image(site: &Site, cx: &Context, component: Component) -> Result<FileImage, StepError> {
    let content = String::from_utf8(read(site, cx, component)?).map_err(StepError::fatal)?;
    let path = site.archived(cx.run(), component);
    let dir = ManifestsDir::new(path.parent().unwrap_or(&path));
    let missing = || StepError::fatal(format!("the archived manifest {} is gone", path.display()));
    let image = dir.read(component.manifest_file())?.ok_or_else(missing)?;
    Ok(image.with_content(content))
}

/// The archived manifest, checked against the digest that the `archive` step journalled.
pub(super) fn read(site: &Site, cx: &Context, component: Component) -> Result<Vec<u8>, StepError> {
    let path = site.archived(cx.run(), component);
    let bytes = fs::read(&path).map_err(|error| {
        StepError::fatal(format!("read the archived manifest {}: {error}", path.display()))
    })?;
    if digest(cx, component) != Some(&json!(Digest::of(&bytes))) {
        return Err(StepError::fatal(format!(
            "the archived manifest {} is not what was archived (its digest differs from the journal's); \
             roll back: the way back does not need it",
            path.display()
        )));
    }
    Ok(bytes)
}
