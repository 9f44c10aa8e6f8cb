//! The content of the manifests directory.

use crate::component::Component;
use crate::host::ManifestsDir;
use crate::manifest::{Glance, StaticPod, glance};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// The manifests directory and the static pods in it.
pub(super) struct HostFacts {
    /// The directory, with the names of the manifests.
    pub(super) manifests: ManifestsDir,
    pub(super) names: BTreeMap<Component, String>,
    pub(super) static_pods: BTreeMap<Component, StaticPod>,
}

impl HostFacts {
    pub(super) fn new(manifests: &ManifestsDir) -> Self {
        let names = own_names(manifests);
        let manifests = manifests.clone().naming(&names);
        Self { manifests, names, static_pods: BTreeMap::new() }
    }

    /// The path of the component's manifest, for a message.
    pub(super) fn path(&self, component: Component) -> String {
        self.manifests.file(component.manifest_file()).display().to_string()
    }
}

/// The directory `manifests`, with its manifests' names where those are not kubeadm's.
pub fn find_manifests(manifests: ManifestsDir) -> ManifestsDir {
    let names = own_names(&manifests);
    manifests.naming(&names)
}

/// The name of a component's manifest where it is not kubeadm's: the only file from which the kubelet runs the
/// component. If there are several, fulcrum cannot tell which is meant.
fn own_names(manifests: &ManifestsDir) -> BTreeMap<Component, String> {
    let names: Vec<OsString> = manifests.names().unwrap_or_default();
    let look = |name: &OsString| {
        let bytes = manifests.read_as_the_kubelet(name).ok()??;
        Some((name.to_str()?.to_owned(), glance(&bytes)?))
    };
    let pods: Vec<(String, Glance)> = names.iter().filter_map(look).collect();
    let is_plain = |component: Component, name: &str| {
        let image = manifests.read(name).ok().flatten();
        image.is_some_and(|image| {
            StaticPod::parse(component, image.content.as_bytes())
                .is_ok_and(|pod| pod.name() == component.name())
        })
    };
    let absent = Component::ALL
        .into_iter()
        .filter(|component| !names.iter().any(|name| name == component.manifest_file()));
    let found = absent.filter_map(|component| {
        let mut running = pods.iter().filter(|(_, pod)| pod.stands_for(component));
        let (only, _) = running.next()?;
        (running.next().is_none() && is_plain(component, only)).then(|| (component, only.clone()))
    });
    found.collect()
}
