//! The resources that the API serves, and the rules in which they differ.

/// One resource of the API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
    /// Unique here: the store uses it as the resource's name.
    pub(super) plural: &'static str,
    pub(super) namespaced: bool,
    /// Has `/status`: a write to the object leaves its status alone, and the reverse.
    pub(super) status: bool,
    /// A PUT without `resourceVersion` overwrites the object.
    pub(super) unconditional_update: bool,
    /// A PUT of an absent object creates it.
    pub(super) create_on_update: bool,
}

const fn core(kind: &'static str, plural: &'static str) -> Resource {
    Resource {
        group: "",
        kind,
        plural,
        namespaced: true,
        status: false,
        unconditional_update: true,
        create_on_update: false,
    }
}

/// All resources. The flags are those of the strategies in `pkg/registry` of Kubernetes.
pub(super) static RESOURCES: &[Resource] = &[
    Resource { namespaced: false, status: true, ..core("Namespace", "namespaces") },
    Resource { namespaced: false, status: true, ..core("Node", "nodes") },
    Resource { status: true, ..core("Pod", "pods") },
    Resource { status: true, ..core("Service", "services") },
    core("ConfigMap", "configmaps"),
    core("Secret", "secrets"),
    core("Event", "events"),
    Resource { create_on_update: true, ..core("Endpoints", "endpoints") },
    Resource { group: "apps", status: true, ..core("DaemonSet", "daemonsets") },
    Resource { group: "apps", status: true, ..core("Deployment", "deployments") },
    Resource { group: "apps", ..core("ControllerRevision", "controllerrevisions") },
    Resource { group: "discovery.k8s.io", ..core("EndpointSlice", "endpointslices") },
    Resource {
        group: "coordination.k8s.io",
        unconditional_update: false,
        create_on_update: true,
        ..core("Lease", "leases")
    },
];

impl Resource {
    /// The resource served as `plural` by `group`. Every group has the version `v1` only.
    pub(super) fn find(group: &str, plural: &str) -> Option<&'static Resource> {
        RESOURCES.iter().find(|r| r.group == group && r.plural == plural)
    }

    /// The resource with this plural.
    pub(super) fn named(plural: &str) -> Option<&'static Resource> {
        RESOURCES.iter().find(|r| r.plural == plural)
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".into() } else { format!("{}/v1", self.group) }
    }

    /// The name in messages: `daemonsets.apps`.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }
}
