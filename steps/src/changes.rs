//! What a run has changed, before and after, as the journal tells it: manifests, DaemonSets, and all else that its
//! steps have recorded.
//!
//! The bytes come from the pre-images that steps keep in the journal. A journal of any version has them. One of
//! version 0.1 has no records: there the pre-images tell what was changed.

mod recorded;

use self::recorded::{Contents, courses};
use crate::cluster::NAMESPACE;
use crate::component::Component;
use crate::host::FileImage;
use crate::manifest::{StaticPod, read_as_the_kubelet};
use crate::run_info::RunInfo;
use crate::step::{Job, SavedEtcd};
use crate::step_name::{StepKind, StepName};
use crate::upgrade::with_etcd_image;
use fulcrum_engine::state::{Digest, RunId};
use fulcrum_engine::status::{Status, StepState};
use fulcrum_engine::{Run, StepId, StepSpec};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// One thing that a run has changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The component that it belongs to. `None`: what all of them use, such as the guard.
    pub component: Option<Component>,
    /// What was changed.
    pub what: Changed,
    /// Whether the change has been undone: what was there before is there again.
    pub undone: bool,
}

/// What was changed, before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Changed {
    /// A file of the kubelet's manifests directory, or of the standby. `None`: no file.
    File { path: PathBuf, before: Option<FileImage>, after: Option<FileImage> },
    /// A DaemonSet that the run has made where there was none. `pod` is the static pod that `object` was made
    /// of. `object` is what this version makes of that pod: the journal keeps the pod's bytes and not the
    /// object's.
    #[serde(rename = "daemonset")]
    DaemonSet { namespace: String, name: String, pod: Value, object: Value },
    /// The command line of the component in a DaemonSet, word by word.
    CommandLine { namespace: String, name: String, before: Vec<String>, after: Vec<String> },
    /// Anything else, as its step has recorded it: digests, or values. `null`: it was not there.
    Recorded { name: String, before: Value, after: Value },
}

/// Where pre-images and archived manifests are read. The caller does the I/O.
pub trait Kept {
    /// The blob with this digest, checked against it.
    fn blob(&self, digest: &Digest) -> Option<Vec<u8>>;
    /// The bytes of the archived manifest of the component.
    fn archived(&self, component: Component) -> Option<Vec<u8>>;
    /// What the steps of the run have recorded, in the order of the journal.
    fn recorded(&self) -> Vec<Value>;
    /// The standby of the component for this pivot, and its path.
    fn standby(&self, pivot: RunId, component: Component) -> Option<(PathBuf, FileImage)>;
}

/// What the run has changed, component by component. What cannot be read is not there.
pub fn changes(id: RunId, run: &Run, kept: &impl Kept) -> Vec<Change> {
    let Ok(info) = RunInfo::of(run.plan()) else { return Vec::new() };
    let parts = Component::ALL.map(|component| Part { id, run, kept, info: &info, component });
    let facts = kept.recorded();
    if facts.is_empty() {
        return parts.iter().flat_map(Part::changes).collect();
    }
    let mut contents = Contents::default();
    parts.iter().flat_map(Part::images).chain(of_etcd(run, kept)).for_each(|image| contents.add(image));
    let manifests = info.settings.manifests();
    let mut files: Vec<Change> = Vec::new();
    let mut others: Vec<Change> = Vec::new();
    for course in courses(&facts) {
        let path = PathBuf::from(&course.name);
        let is_it = |component: &Component| path == manifests.file(component.manifest_file());
        let component = Component::ALL.into_iter().find(is_it);
        let what = match (contents.image(&course.before), contents.image(&course.after)) {
            (Ok(before), Ok(after)) if path.is_absolute() => Changed::File { path, before, after },
            _ => Changed::Recorded { name: course.name, before: course.before, after: course.after },
        };
        let change = Change { component, what, undone: course.undone };
        if component.is_some() { files.push(change) } else { others.push(change) }
    }
    let of = |part: &Part<'_, _>| {
        let own = files.iter().filter(|change| change.component == Some(part.component)).cloned();
        let own: Vec<Change> = own.collect();
        let own = whole(own, part.manifest());
        let own: Vec<Change> = own.into_iter().chain(part.daemonset()).chain(part.command_line()).collect();
        own
    };
    let mut all: Vec<Change> = parts.iter().flat_map(of).collect();
    // These are shown with what is in them.
    let shown: Vec<String> = all.iter().filter_map(|change| change.what.daemonset()).collect();
    others.retain(|change| !matches!(&change.what, Changed::Recorded { name, .. } if shown.contains(name)));
    all.extend(others);
    all
}

/// The changes of a component's manifest. Where the records do not begin with what the pre-image says, they lack the way
/// there: an earlier version has made it, or a crash came before the entry. Then the pre-image tells all.
fn whole(recorded: Vec<Change>, told: Option<Change>) -> Vec<Change> {
    let before = |change: &Change| match &change.what {
        Changed::File { before, .. } => before.clone(),
        _ => None,
    };
    match told {
        Some(told) if recorded.first().is_none_or(|first| before(first) != before(&told)) => vec![told],
        _ => recorded,
    }
}

impl Changed {
    /// The DaemonSet, as a record names it.
    fn daemonset(&self) -> Option<String> {
        match self {
            Self::DaemonSet { namespace, name, .. } | Self::CommandLine { namespace, name, .. } => {
                Some(format!("DaemonSet/{namespace}/{name}"))
            }
            Self::File { .. } | Self::Recorded { .. } => None,
        }
    }
}

/// etcd's manifest before and after a run that changes its image.
fn of_etcd(run: &Run, kept: &impl Kept) -> Vec<FileImage> {
    let id = StepId::from(StepKind::ChangeEtcd);
    let Some((spec, state)) = run.steps().find(|(spec, _)| spec.id == id) else { return Vec::new() };
    let Ok(Job::ChangeEtcd(change)) = serde_json::from_value(spec.args.clone()) else { return Vec::new() };
    let saved = state.pre_image.and_then(|digest| kept.blob(&digest));
    let saved = saved.and_then(|bytes| serde_json::from_slice::<SavedEtcd>(&bytes).ok());
    let Some(SavedEtcd { manifest, .. }) = saved else { return Vec::new() };
    let changed = with_etcd_image(&manifest.content, &change.from.image, &change.to.image);
    let changed = changed.ok().map(|content| manifest.with_content(content));
    std::iter::once(manifest).chain(changed).collect()
}

/// The part of a run that is about one component.
struct Part<'a, K> {
    id: RunId,
    run: &'a Run,
    kept: &'a K,
    info: &'a RunInfo,
    component: Component,
}

impl<K: Kept> Part<'_, K> {
    fn changes(&self) -> Vec<Change> {
        [self.manifest(), self.daemonset(), self.command_line(), self.standby()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The step of this kind, if it was begun.
    fn begun(&self, kind: StepKind) -> Option<(&StepSpec, &StepState)> {
        let name = kind.of(self.component);
        self.run
            .steps()
            .find(|(spec, state)| StepName::parse(spec.id.as_str()) == Some(name) && state.started())
    }

    fn pre_image<T: serde::de::DeserializeOwned>(&self, kind: StepKind) -> Option<T> {
        let (_, state) = self.begun(kind)?;
        serde_json::from_slice(&self.kept.blob(&state.pre_image?)?).ok()
    }

    /// Every file that a pre-image, the archive or the standby still has.
    fn images(&self) -> Vec<FileImage> {
        let kinds = [StepKind::RetireStatic, StepKind::PrepareRestoreStatic, StepKind::RenewStandby];
        let mut images: Vec<FileImage> = kinds.into_iter().filter_map(|kind| self.pre_image(kind)).collect();
        if let Some((before, after)) = self.pre_image::<(FileImage, FileImage)>(StepKind::SharePort) {
            images.extend([before, after]);
        }
        let pivot = self.info.settings.of_pivot.unwrap_or(self.id);
        images.extend(self.kept.standby(pivot, self.component).map(|(_, image)| image));
        images
    }

    /// The manifest: rewritten by `share-port` where the static pod was restarted, taken away by
    /// `retire-static`.
    fn manifest(&self) -> Option<Change> {
        let shared: Option<(FileImage, FileImage)> = self.pre_image(StepKind::SharePort);
        let retired: Option<FileImage> = self.pre_image(StepKind::RetireStatic);
        let before = shared.as_ref().map(|(before, _)| before.clone()).or_else(|| retired.clone())?;
        let after = if retired.is_some() { None } else { shared.map(|(_, after)| after) };
        let kinds = [StepKind::SharePort, StepKind::RetireStatic, StepKind::PrepareRestoreStatic];
        let path = self.info.settings.manifests().file(self.component.manifest_file());
        let what = Changed::File { path, before: Some(before), after };
        Some(Change { component: Some(self.component), what, undone: self.undone(&kinds) })
    }

    fn daemonset(&self) -> Option<Change> {
        self.begun(StepKind::CreateDaemonset)?;
        let bytes = self.original()?;
        let made = StaticPod::parse(self.component, &bytes).ok()?;
        let object = made.daemonset(&self.info.settings.target(Some(self.id)));
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let pod = read_as_the_kubelet(&bytes)?;
        let what = Changed::DaemonSet { namespace, name, pod, object };
        Some(Change {
            component: Some(self.component),
            what,
            undone: self.undone(&[StepKind::CreateDaemonset]),
        })
    }

    fn command_line(&self) -> Option<Change> {
        let (spec, _) = self.begun(StepKind::EditDaemonset)?;
        let Ok(Job::EditDaemonset { was, words, .. }) = serde_json::from_value(spec.args.clone()) else {
            return None;
        };
        let (namespace, name) = (NAMESPACE.to_owned(), self.component.daemonset_name().to_owned());
        let what = Changed::CommandLine { namespace, name, before: was.all(), after: words.all() };
        Some(Change {
            component: Some(self.component),
            what,
            undone: self.undone(&[StepKind::EditDaemonset]),
        })
    }

    /// The standby, if it is still the one that this run has made: the journal has only its digest.
    fn standby(&self) -> Option<Change> {
        let before = self.pre_image(StepKind::RenewStandby)?;
        let made = &self.run.output(&StepKind::RenewStandby.of(self.component).id())?["manifest"];
        let (path, image) = self.kept.standby(self.info.settings.of_pivot?, self.component)?;
        let after = Some(image).filter(|image| json!(image.digest()) == *made)?;
        let what = Changed::File { path, before: Some(before), after: Some(after) };
        Some(Change { component: Some(self.component), what, undone: self.undone(&[StepKind::RenewStandby]) })
    }

    /// The manifest that the run began with: from the journal, else from the archive if it is what the
    /// journal says.
    fn original(&self) -> Option<Vec<u8>> {
        let shared =
            || self.pre_image::<(FileImage, FileImage)>(StepKind::SharePort).map(|(before, _)| before);
        let kept = self.pre_image(StepKind::PrepareRestoreStatic).or_else(shared);
        if let Some(image) = kept.or_else(|| self.pre_image(StepKind::RetireStatic)) {
            return Some(image.content.into_bytes());
        }
        let output = self.run.output(&StepKind::Archive.into())?;
        let copy = &output[self.component.manifest_file()];
        let digest = copy.get("digest").unwrap_or(copy);
        let bytes = self.kept.archived(self.component)?;
        (json!(Digest::of(&bytes)) == *digest).then_some(bytes)
    }

    /// Whether each of these steps, if it was begun, is undone.
    fn undone(&self, kinds: &[StepKind]) -> bool {
        kinds.iter().filter_map(|kind| self.begun(*kind)).all(|(_, state)| state.status == Status::Undone)
    }
}
