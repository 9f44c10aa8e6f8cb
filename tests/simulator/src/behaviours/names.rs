//! The names of what behaviours make. Every object bears [`LABEL`], and every file has a name of [`FILES`]. So
//! a sweep finds all of it again.

/// The label of everything that behaviours make.
pub(super) const LABEL: &str = "fulcrum-behaviour";
pub(super) const SELECTOR: &str = "fulcrum-behaviour=yes";

/// Every file that behaviours put into the manifests directory, except for [`STASH`].
pub(super) const FILES: [&str; 6] = [POD, OTHER, THIRD, SECOND, "behaves-broken.yaml", HIDDEN];
pub(super) const POD: &str = "behaves-pod.yaml";
pub(super) const OTHER: &str = "behaves-other.yaml";
pub(super) const THIRD: &str = "behaves-third.yaml";
pub(super) const SECOND: &str = "behaves-apiserver.yaml";
pub(super) const HIDDEN: &str = ".behaves-hidden.yaml";
/// The API server's own manifest while it is out of the way. A killed behaviour leaves it.
pub(super) const STASH: &str = ".behaves-stash-kube-apiserver.yaml";
