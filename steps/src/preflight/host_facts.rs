//! The content of the manifests directory.

use crate::component::Component;
use crate::host::ManifestsDir;
use crate::manifest::StaticPod;
use std::collections::BTreeMap;

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

/// The name of a component's manifest where it is not kubeadm's: the only file that holds one. If several do,
/// fulcrum cannot tell which is meant.
fn own_names(manifests: &ManifestsDir) -> BTreeMap<Component, String> {
    let there: Vec<String> = manifests
        .names()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect();
    let is_one = |component: Component, name: &str| {
        let image = manifests.read(name).ok().flatten();
        image.is_some_and(|image| {
            StaticPod::parse(component, image.content.as_bytes())
                .is_ok_and(|pod| pod.name() == component.name())
        })
    };
    let absent = Component::ALL
        .into_iter()
        .filter(|component| !there.iter().any(|name| name == component.manifest_file()));
    let found = absent.filter_map(|component| {
        let mut others = there.iter().filter(|name| is_one(component, name));
        let only = others.next()?;
        others.next().is_none().then(|| (component, only.clone()))
    });
    found.collect()
}
