//! A version of Kubernetes, as `--kubernetes` names it.

use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The releases whose shape a rehearsal knows: 1.20 is the oldest that can be pivoted.
const MINORS: RangeInclusive<u16> = 20..=37;

/// A release of Kubernetes 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 35 of `1.35.3`.
    pub minor: u16,
    /// 3 of `1.35.3`.
    pub patch: u16,
}

/// Not a version that can be rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{said}` is not a version of Kubernetes that can be rehearsed: say 1.{} to 1.{}, e.g. 1.35 or 1.35.3",
    MINORS.start(), MINORS.end()
)]
pub struct VersionError {
    said: String,
}

impl Version {
    /// The version of a rehearsal without manifests and without a given version. The project's figures are
    /// measured on it.
    pub const DEFAULT: Self = Self { minor: 35, patch: 3 };

    /// The next minor release. After the newest one that is known: its next patch.
    pub(super) fn next(self) -> Self {
        match self.minor < *MINORS.end() {
            true => Self { minor: self.minor + 1, patch: 0 },
            false => Self { patch: self.patch + 1, ..self },
        }
    }

    /// The version in an image's tag (`registry.k8s.io/kube-apiserver:v1.35.3`), of any release.
    pub(super) fn of_image(image: &str) -> Option<Self> {
        let name = image.split('@').next()?;
        let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
        Self::read(tag.split(['-', '_', '+']).next()?)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim_start_matches('v').split('.');
        let (major, minor) = (parts.next()?, parts.next()?.parse().ok()?);
        let patch = match parts.next() {
            Some(patch) => patch.parse().ok()?,
            None => last_patch(minor),
        };
        (major == "1" && parts.next().is_none()).then_some(Self { minor, patch })
    }
}

/// The patch release if none is named. 1.20.0 to 1.20.3 are refused for their kubelet; 1.35.3 is the one that
/// is measured.
fn last_patch(minor: u16) -> u16 {
    match minor {
        20 => 15,
        35 => Version::DEFAULT.patch,
        _ => 0,
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let known = Self::read(text).filter(|version| MINORS.contains(&version.minor));
        known.ok_or_else(|| VersionError { said: text.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}.{}", self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_and_images_write_them() {
        for (text, minor, patch) in [("1.35", 35, 3), ("v1.20.2", 20, 2), ("1.36.0", 36, 0), ("1.20", 20, 15)]
        {
            assert_eq!(text.parse(), Ok(Version { minor, patch }), "{text}");
        }
        for text in ["", "35", "1", "2.35", "1.19", "1.38", "1.35.3.1", "1.x"] {
            let error = text.parse::<Version>().unwrap_err().to_string();
            assert!(error.contains("1.20 to 1.37"), "{error}");
        }
        let of = |image| Version::of_image(image).map(|version| version.to_string());
        assert_eq!(of("registry.k8s.io/kube-apiserver:v1.35.3").as_deref(), Some("1.35.3"));
        assert_eq!(of("localhost:5000/kube-apiserver:v1.20.2-k3s1@sha256:00").as_deref(), Some("1.20.2"));
        assert_eq!(of("localhost:5000/kube-apiserver"), None);
        assert_eq!(of("kube-apiserver:latest"), None);
    }
}
