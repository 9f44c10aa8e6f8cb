//! The release that a DaemonSet's image and flags say. Pure.

use super::skew::{Version, of_image};
use crate::component::Component;
use serde_json::Value;
use std::collections::BTreeMap;

/// The flag by which a component behaves as another release.
pub const EMULATED: &str = "emulated-version";
/// The component of a release or a feature gate that is written as `kube=1.36` or `kube:NAME`, as without it.
pub(super) const KUBE: &str = "kube";

/// The release that a DaemonSet's image names, if it names one.
pub(super) fn runs(component: Component, live: &Value) -> Option<Version> {
    of_image(image(component, live)?)
}

/// A DaemonSet's image.
pub(super) fn image(component: Component, live: &Value) -> Option<&str> {
    let containers = live["spec"]["template"]["spec"]["containers"].as_array()?;
    let container = containers.iter().find(|container| container["name"] == component.name());
    container.or(containers.first())?["image"].as_str()
}

/// The minor release that these flags have a component behave as. Written as `1.36`, or as `kube=1.36` among others.
pub(super) fn emulated(flags: &BTreeMap<String, String>) -> Option<u32> {
    let minor = |one: &str| {
        let (of, version) = one.split_once('=').unwrap_or((KUBE, one));
        let minor = version.trim().trim_start_matches('v').strip_prefix("1.")?;
        if of.trim() == KUBE { minor.parse().ok() } else { None }
    };
    flags.get(EMULATED)?.split(',').find_map(minor)
}
