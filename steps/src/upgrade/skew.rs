//! Which release may follow which. Pure. The rules are those of Kubernetes' version skew policy.

use std::fmt;
use std::str::FromStr;

/// A version of Kubernetes 1: `v1.36.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The minor release.
    pub minor: u32,
    /// The patch.
    pub patch: u32,
}

/// A kubelet may be this many minor releases older than an API server (since 1.28; two before).
const KUBELETS_BEHIND: u32 = 3;

/// An upgrade that Kubernetes does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkewError {
    /// Backwards.
    #[error(
        "{to} is older than {from}, which runs: `fulcrum upgrade rollback` takes an upgrade back until it is finalized"
    )]
    Backwards {
        /// What runs.
        from: Version,
        /// What was asked for.
        to: Version,
    },
    /// A minor release is skipped.
    #[error("{to} skips a minor release after {from}: upgrade to 1.{} first, and finalize that", from.minor + 1)]
    Skips {
        /// What runs.
        from: Version,
        /// What was asked for.
        to: Version,
    },
    /// A kubelet would be too old.
    #[error("the kubelet of node {node} is {kubelet}, and an API server of {to} takes none older than 1.{}: upgrade it first", to.minor.saturating_sub(KUBELETS_BEHIND))]
    KubeletTooOld {
        /// The node.
        node: String,
        /// Its kubelet's version.
        kubelet: Version,
        /// What was asked for.
        to: Version,
    },
    /// Kubelets would be newer than the API server, which the policy never allows.
    #[error(
        "the API server would be {to} again, and Kubernetes supports no kubelet that is newer: {}; downgrade them to {} first, \
         or go on with --allow-downgrade", listed(.kubelets), .to.release()
    )]
    KubeletsTooNew {
        /// The nodes, with the versions of their kubelets.
        kubelets: Vec<(String, Version)>,
        /// What would run again.
        to: Version,
    },
}

/// Whether `to` may follow `from`, beside kubelets of these versions.
///
/// # Errors
/// When the skew policy forbids it.
pub fn allowed(from: Version, to: Version, kubelets: &[(String, Version)]) -> Result<(), SkewError> {
    if to < from {
        return Err(SkewError::Backwards { from, to });
    }
    if to.minor > from.minor + 1 {
        return Err(SkewError::Skips { from, to });
    }
    let too_old = kubelets.iter().find(|(_, kubelet)| kubelet.minor + KUBELETS_BEHIND < to.minor);
    match too_old {
        Some((node, kubelet)) => Err(SkewError::KubeletTooOld { node: node.clone(), kubelet: *kubelet, to }),
        None => Ok(()),
    }
}

/// Whether an API server may be of the release `to` again, beside kubelets of these versions.
///
/// # Errors
/// When a kubelet is of a newer minor release.
pub(super) fn allowed_back(to: Version, kubelets: Vec<(String, Version)>) -> Result<(), SkewError> {
    let newer: Vec<_> = kubelets.into_iter().filter(|(_, kubelet)| kubelet.minor > to.minor).collect();
    match newer.is_empty() {
        true => Ok(()),
        false => Err(SkewError::KubeletsTooNew { kubelets: newer, to }),
    }
}

fn listed(kubelets: &[(String, Version)]) -> String {
    let each = kubelets.iter().map(|(node, kubelet)| format!("that of node {node} is {kubelet}"));
    each.collect::<Vec<_>>().join(", ")
}

impl Version {
    /// The minor release as a flag names it: `1.36`.
    pub fn release(self) -> String {
        format!("1.{}", self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}.{}", self.minor, self.patch)
    }
}

/// The release that an image's tag names, if it names one.
pub(super) fn of_image(image: &str) -> Option<Version> {
    let (image, _digest) = image.split_once('@').unwrap_or((image, ""));
    image.rsplit_once(':')?.1.parse().ok()
}

/// The text is no version of Kubernetes 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of Kubernetes: write e.g. v1.36.3")]
pub struct NoVersion(String);

impl FromStr for Version {
    type Err = NoVersion;

    /// Reads `v1.36.3`. What follows the patch (`-gke.1`, `+k3s1`) is left out.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let error = || NoVersion(text.to_owned());
        let rest = text.trim().trim_start_matches('v').strip_prefix("1.").ok_or_else(error)?;
        let (minor, rest) = rest.split_once('.').ok_or_else(error)?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = |digits: &str| digits.parse().map_err(|_| error());
        Ok(Self { minor: number(minor)?, patch: number(&rest[..end])? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_as_kubernetes_writes_them() {
        assert_eq!(version("v1.36.3"), Version { minor: 36, patch: 3 });
        assert_eq!(version("1.20.15-gke.7"), Version { minor: 20, patch: 15 });
        assert_eq!(version("v1.31.0+k3s1\n").to_string(), "v1.31.0");
        for wrong in ["", "v1", "v1.36", "v2.1.0", "1.x.0", "latest"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_minor_release_is_skipped_and_none_goes_back() {
        let from = version("v1.35.3");
        for (to, fine) in
            [("v1.35.3", true), ("v1.35.9", true), ("v1.36.0", true), ("v1.35.2", false), ("v1.37.0", false)]
        {
            assert_eq!(allowed(from, version(to), &[]).is_ok(), fine, "{to}");
        }
    }

    #[test]
    fn a_kubelet_may_be_three_releases_older() {
        let kubelets =
            |text: &str| vec![("cp1".to_owned(), version("v1.35.3")), ("w1".to_owned(), version(text))];
        let (from, to) = (version("v1.35.3"), version("v1.36.0"));
        assert_eq!(allowed(from, to, &kubelets("v1.33.0")), Ok(()));
        let refused = allowed(from, to, &kubelets("v1.32.9")).unwrap_err();
        assert!(refused.to_string().contains("node w1 is v1.32.9"), "{refused}");
        assert!(refused.to_string().contains("older than 1.33"), "{refused}");
    }

    #[test]
    fn no_kubelet_may_be_newer_than_what_comes_back() {
        let kubelets =
            |text: &str| vec![("cp1".to_owned(), version("v1.35.3")), ("w1".to_owned(), version(text))];
        for fine in ["v1.34.1", "v1.35.9"] {
            assert_eq!(allowed_back(version("v1.35.3"), kubelets(fine)), Ok(()), "{fine}");
        }
        let refused = allowed_back(version("v1.35.3"), kubelets("v1.36.0")).unwrap_err().to_string();
        assert!(refused.contains("that of node w1 is v1.36.0") && !refused.contains("cp1"), "{refused}");
        assert!(refused.contains("downgrade them to 1.35 first"), "{refused}");
    }
}
