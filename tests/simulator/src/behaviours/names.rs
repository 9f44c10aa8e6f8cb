//! The names of what behaviours make. Every object bears [`LABEL`], and every file has a name of [`FILES`]. So
//! a sweep finds all of it again.

/// The label of everything that behaviours make.
pub(super) const LABEL: &str = "fulcrum-behaviour";
pub(super) const SELECTOR: &str = "fulcrum-behaviour=yes";

/// Every file that behaviours put into the manifests directory, except for those of [`stash`].
pub(super) const FILES: [&str; 6] = [POD, OTHER, THIRD, SECOND, "behaves-broken.yaml", HIDDEN];
pub(super) const POD: &str = "behaves-pod.yaml";
pub(super) const OTHER: &str = "behaves-other.yaml";
pub(super) const THIRD: &str = "behaves-third.yaml";
pub(super) const SECOND: &str = "behaves-apiserver.yaml";
pub(super) const HIDDEN: &str = ".behaves-hidden.yaml";

/// The components whose own manifests some behaviours move out of the way.
pub(super) const STASHED: [&str; 2] = ["kube-apiserver", "kube-scheduler"];

/// Where such a manifest is meanwhile. A killed behaviour leaves it.
pub(super) fn stash(component: &str) -> String {
    format!(".behaves-stash-{component}.yaml")
}
