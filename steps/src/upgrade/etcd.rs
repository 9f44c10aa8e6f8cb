//! Which image of etcd may follow which, and the manifest with it. Pure.
//!
//! etcd goes from one minor release to the next one only. Back it goes with more than an image: a newer one rewrites its data
//! when all members run it. A patch may go both ways.

use crate::manifest::read_as_the_kubelet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// The name of its container, and of its image.
const ETCD: &str = "etcd";

/// Where a minor release may start from: its predecessor's first patch that does not leave it data which it cannot take.
/// etcd.io, "Upgrade etcd from v3.5 to v3.6": before 3.5.20 a member that was promoted is a learner again ("too many
/// learner member in cluster").
const STARTS_FROM: [(EtcdVersion, u32); 1] = [(EtcdVersion { major: 3, minor: 6, patch: 0 }, 20)];

/// Where a minor release may run beside members of its predecessor: their first patch that will do. etcd.io, "Upgrade etcd
/// from v3.6 to v3.7": patches before 3.6.11 "may not be compatible with a rolling upgrade to 3.7". A member that is alone
/// runs beside none, and kubeadm 1.37 brings it from 3.6.8 to 3.7.0.
const RUNS_BESIDE: [(EtcdVersion, u32); 1] = [(EtcdVersion { major: 3, minor: 7, patch: 0 }, 11)];

/// A version of etcd: `3.6.6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EtcdVersion {
    /// The major release.
    pub major: u32,
    /// The minor release.
    pub minor: u32,
    /// The patch.
    pub patch: u32,
}

/// The text is no version of etcd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of etcd")]
pub struct NoEtcdVersion(String);

/// An upgrade of etcd that etcd does not allow, or an image that cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdStepError {
    /// Back to another minor release.
    #[error(
        "etcd {to} is older than {from}, which runs, and an image alone does not go back to another minor release: etcd wants \
         `etcdctl downgrade enable {}.{}` before, one minor release at a time (etcd.io, \"Downgrading etcd clusters\"), or a \
         snapshot from before is restored; fulcrum does neither", to.major, to.minor
    )]
    Backwards {
        /// What runs.
        from: EtcdVersion,
        /// What was asked for.
        to: EtcdVersion,
    },
    /// Back to an earlier patch.
    #[error(
        "etcd {to} is an earlier patch than {from}, which runs: `fulcrum rollback RUN` takes back the run that brought {from}"
    )]
    EarlierPatch {
        /// What runs.
        from: EtcdVersion,
        /// What was asked for.
        to: EtcdVersion,
    },
    /// A minor release is skipped.
    #[error(
        "etcd {to} skips a minor release after {from}: name a kubeadm that takes {}.{} first", from.major, from.minor + 1
    )]
    Skips {
        /// What runs.
        from: EtcdVersion,
        /// What was asked for.
        to: EtcdVersion,
    },
    /// Another major release.
    #[error("etcd {to} is of another major release than {from}, and nothing is known of that")]
    Major {
        /// What runs.
        from: EtcdVersion,
        /// What was asked for.
        to: EtcdVersion,
    },
    /// The patch that runs is too old for the minor release.
    #[error(
        "etcd {to} may not start on what {from} has written: upgrade to {}.{}.{first} or a later patch first", from.major,
        from.minor
    )]
    TooOld {
        /// What runs.
        from: EtcdVersion,
        /// What was asked for.
        to: EtcdVersion,
        /// The first patch that will do.
        first: u32,
    },
    /// Members of the minor release before are of a patch that the new one may not work beside.
    #[error(
        "etcd {to} may not work beside a member of {from}, and there are several members: upgrade each to {}.{}.{first} or a \
         later patch first, with a kubeadm that takes one, or by hand in the manifest, node by node", from.major, from.minor
    )]
    Beside {
        /// What runs.
        from: EtcdVersion,
        /// What was asked for.
        to: EtcdVersion,
        /// The first patch that will do.
        first: u32,
    },
    /// The release does not know flags of the manifest.
    #[error(
        "etcd {to} does not know {} of the manifest and would not start: write what has replaced them (etcd.io, \"Upgrade etcd \
         from v3.5 to v3.6\"), wait until etcd serves again, and say this again", flags.join(", ")
    )]
    Flags {
        /// What was asked for.
        to: EtcdVersion,
        /// The flags.
        flags: Vec<String>,
    },
    /// The image's tag names no version.
    #[error("image {0} names no version of etcd in its tag")]
    NoVersion(String),
    /// The image is pinned.
    #[error(
        "image {0} is pinned by a digest, which is of no other image: write the manifest's image with a tag, or the new digest \
         by hand"
    )]
    Pinned(String),
    /// The manifest does not show where its image is.
    #[error("the image {0} cannot be replaced alone in the manifest: change it by hand")]
    NotAlone(String),
}

impl EtcdVersion {
    /// The version that an image's tag names: `3.6.6-0`, or `v3.6.6` of etcd's own images.
    pub fn of_image(image: &str) -> Option<Self> {
        tag_of(image)?.parse().ok()
    }

    /// Whether both are of one minor release. Each then starts on what the other has written.
    pub const fn is_of_minor(self, other: Self) -> bool {
        self.major == other.major && self.minor == other.minor
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for EtcdVersion {
    type Err = NoEtcdVersion;

    /// What follows the patch (`-0`, the revision of Kubernetes' image) is left out.
    fn from_str(text: &str) -> Result<Self, NoEtcdVersion> {
        let plain = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
        let numbers: Option<Vec<u32>> = plain.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([major, minor, patch]) => Ok(Self { major: *major, minor: *minor, patch: *patch }),
            _ => Err(NoEtcdVersion(text.to_owned())),
        }
    }
}

/// Whether `to` may follow `from`.
///
/// # Errors
/// When etcd does not allow it.
pub fn etcd_allowed(from: EtcdVersion, to: EtcdVersion) -> Result<(), EtcdStepError> {
    if to < from && from.is_of_minor(to) {
        return Err(EtcdStepError::EarlierPatch { from, to });
    }
    if to < from {
        return Err(EtcdStepError::Backwards { from, to });
    }
    if to.major != from.major {
        return Err(EtcdStepError::Major { from, to });
    }
    if to.minor > from.minor + 1 {
        return Err(EtcdStepError::Skips { from, to });
    }
    let first = STARTS_FROM.iter().find(|(minor, _)| to.is_of_minor(*minor)).map(|(_, first)| *first);
    match first {
        Some(first) if to.minor > from.minor && from.patch < first => {
            Err(EtcdStepError::TooOld { from, to, first })
        }
        _ => Ok(()),
    }
}

/// Whether `to` may run beside these members, which the others are while one after the other gets `to`.
///
/// # Errors
/// When etcd's documentation asks for a later patch of one.
pub(super) fn etcd_beside(members: &[EtcdVersion], to: EtcdVersion) -> Result<(), EtcdStepError> {
    let first = RUNS_BESIDE.iter().find(|(minor, _)| to.is_of_minor(*minor)).map(|(_, first)| *first);
    let (Some(first), true) = (first, members.len() > 1) else { return Ok(()) };
    let before = |from: &&EtcdVersion| from.major == to.major && from.minor < to.minor && from.patch < first;
    match members.iter().find(before) {
        Some(from) => Err(EtcdStepError::Beside { from: *from, to, first }),
        None => Ok(()),
    }
}

/// The image that a manifest gets: `live` with the version of the one that kubeadm names. What a person has made of the
/// repository stays, and so does the spelling of etcd's own tags.
///
/// # Errors
/// When one of the two has no version, or a digest.
pub fn etcd_image(live: &str, kubeadms: &str) -> Result<String, EtcdStepError> {
    if live.contains('@') {
        return Err(EtcdStepError::Pinned(live.to_owned()));
    }
    let to = EtcdVersion::of_image(kubeadms).ok_or_else(|| EtcdStepError::NoVersion(kubeadms.to_owned()))?;
    let no_version = || EtcdStepError::NoVersion(live.to_owned());
    EtcdVersion::of_image(live).ok_or_else(no_version)?;
    let (tag, wanted) = (tag_of(live).ok_or_else(no_version)?, tag_of(kubeadms).unwrap_or_default());
    let repository = live.strip_suffix(tag).unwrap_or(live);
    Ok(match tag.starts_with('v') {
        true => format!("{repository}v{to}"),
        false => format!("{repository}{wanted}"),
    })
}

/// The image of etcd in what `kubeadm config images list` says. `None` where etcd is not kubeadm's.
pub fn etcd_in_list(list: &str) -> Option<&str> {
    let is_etcd = |image: &&str| {
        let name = image.rsplit('/').next().unwrap_or_default();
        name.split([':', '@']).next() == Some(ETCD)
    };
    list.lines().map(str::trim).find(is_etcd)
}

/// The tag of an image, if it has one and no digest.
fn tag_of(image: &str) -> Option<&str> {
    let (image, _digest) = image.split_once('@').unwrap_or((image, ""));
    let (_, tag) = image.rsplit_once(':')?;
    (!tag.contains('/')).then_some(tag)
}

/// The image of etcd's container in a manifest. `None` if this is not the pod of etcd.
pub fn etcd_of(manifest: &str) -> Option<String> {
    let document = read_as_the_kubelet(manifest.as_bytes())?;
    let at = container_of(&document)?;
    Some(document["spec"]["containers"][at]["image"].as_str()?.to_owned())
}

/// The words that start etcd in a manifest. Empty if this is not the pod of etcd.
pub(super) fn etcd_words(manifest: &str) -> Vec<String> {
    let Some(document) = read_as_the_kubelet(manifest.as_bytes()) else { return Vec::new() };
    let Some(at) = container_of(&document) else { return Vec::new() };
    let words = ["command", "args"].map(|key| document["spec"]["containers"][at][key].as_array().cloned());
    let words = words.into_iter().flatten().flatten();
    words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn container_of(pod: &Value) -> Option<usize> {
    pod["spec"]["containers"].as_array()?.iter().position(|container| container["name"] == ETCD)
}

/// The manifest with another image for etcd, every other byte as it is.
///
/// # Errors
/// When no text can be replaced that changes the image and nothing else.
pub fn with_etcd_image(manifest: &str, from: &str, to: &str) -> Result<String, EtcdStepError> {
    let not_alone = || EtcdStepError::NotAlone(from.to_owned());
    let mut wanted = read_as_the_kubelet(manifest.as_bytes()).ok_or_else(not_alone)?;
    let at = container_of(&wanted).ok_or_else(not_alone)?;
    wanted["spec"]["containers"][at]["image"] = to.into();
    let changed = manifest.match_indices(from).map(|(start, _)| {
        let (before, after) = (&manifest[..start], &manifest[start + from.len()..]);
        format!("{before}{to}{after}")
    });
    let mut right = changed.filter(|text| read_as_the_kubelet(text.as_bytes()).as_ref() == Some(&wanted));
    right.next().ok_or_else(not_alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> EtcdVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_read_in_both_spellings() {
        for (image, read) in [
            ("registry.k8s.io/etcd:3.6.6-0", Some("3.6.6")),
            ("quay.io/coreos/etcd:v3.5.21", Some("3.5.21")),
            ("localhost:5000/etcd:3.5.24-0@sha256:00", Some("3.5.24")),
            ("localhost:5000/etcd", None),
            ("etcd:latest", None),
            ("etcd:3.6", None),
        ] {
            assert_eq!(EtcdVersion::of_image(image).map(|one| one.to_string()).as_deref(), read, "{image}");
        }
    }

    #[test]
    fn etcd_goes_one_minor_release_up_or_some_patches() {
        for (from, to, fine) in [
            ("3.6.6", "3.6.6", true),
            ("3.6.6", "3.6.9", true),
            ("3.6.6", "3.7.0", true),
            ("3.6.6", "3.6.5", false),
            ("3.6.6", "3.5.30", false),
            ("3.5.24", "3.7.0", false),
            ("3.7.9", "4.0.0", false),
            ("3.5.19", "3.6.6", false),
            ("3.5.20", "3.6.6", true),
            ("3.5.1", "3.5.2", true),
            ("3.4.9", "3.5.0", true),
        ] {
            assert_eq!(etcd_allowed(version(from), version(to)).is_ok(), fine, "{from} to {to}");
        }
        let said = etcd_allowed(version("3.5.9"), version("3.7.0")).unwrap_err().to_string();
        assert!(said.contains("takes 3.6 first"), "{said}");
        let said = etcd_allowed(version("3.5.9"), version("3.6.0")).unwrap_err().to_string();
        assert!(said.contains("upgrade to 3.5.20 or a later patch first"), "{said}");
        let said = etcd_allowed(version("3.6.6"), version("3.5.30")).unwrap_err().to_string();
        assert!(said.contains("`etcdctl downgrade enable 3.5`"), "{said}");
        let said = etcd_allowed(version("3.6.8"), version("3.6.6")).unwrap_err().to_string();
        assert!(said.contains("`fulcrum rollback RUN`") && !said.contains("downgrade"), "{said}");
    }

    #[test]
    fn several_members_are_of_a_patch_that_the_next_minor_release_works_beside() {
        for (members, to, fine) in [
            (&["3.6.6"][..], "3.7.0", true),
            (&["3.6.6", "3.6.12", "3.6.12"], "3.7.0", false),
            (&["3.6.11", "3.6.12", "3.7.0"], "3.7.0", true),
            (&["3.6.6", "3.6.6"], "3.6.8", true),
            (&["3.5.20", "3.5.20"], "3.6.8", true),
        ] {
            let members: Vec<_> = members.iter().map(|text| version(text)).collect();
            assert_eq!(etcd_beside(&members, version(to)).is_ok(), fine, "{members:?} to {to}");
        }
        let said = etcd_beside(&[version("3.6.8"); 3], version("3.7.0")).unwrap_err().to_string();
        assert!(said.contains("upgrade each to 3.6.11 or a later patch first"), "{said}");
    }

    #[test]
    fn the_repository_of_the_manifest_stays() {
        let kubeadms = "registry.k8s.io/etcd:3.6.8-0";
        for (live, image) in [
            ("registry.k8s.io/etcd:3.6.6-0", "registry.k8s.io/etcd:3.6.8-0"),
            ("mirror.example:5000/k8s/etcd:3.5.24-0", "mirror.example:5000/k8s/etcd:3.6.8-0"),
            ("quay.io/coreos/etcd:v3.6.6", "quay.io/coreos/etcd:v3.6.8"),
        ] {
            assert_eq!(etcd_image(live, kubeadms).as_deref(), Ok(image));
        }
        let pinned = etcd_image("r/etcd:3.6.6-0@sha256:00", kubeadms);
        assert!(matches!(pinned, Err(EtcdStepError::Pinned(_))), "{pinned:?}");
        for (live, kubeadms) in [("r/etcd:latest", kubeadms), ("r/etcd:3.6.6-0", "r/etcd")] {
            let refused = etcd_image(live, kubeadms);
            assert!(matches!(refused, Err(EtcdStepError::NoVersion(_))), "{refused:?}");
        }
    }

    #[test]
    fn kubeadms_list_has_etcd_or_not() {
        let list = "registry.k8s.io/kube-apiserver:v1.36.3\nregistry.k8s.io/pause:3.10.1\nregistry.k8s.io/etcd:3.6.8-0\n";
        assert_eq!(etcd_in_list(list), Some("registry.k8s.io/etcd:3.6.8-0"));
        assert_eq!(etcd_in_list("registry.k8s.io/etcd-tools:1\nregistry.k8s.io/etcd/x:1"), None);
    }

    const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd # r/etcd:3.6.6-0\n  annotations: {was: 'r/etcd:3.6.6-0'}\n\
        spec:\n  containers:\n  - image: \"r/other:1\"\n    name: other\n  - name: etcd\n    image: r/etcd:3.6.6-0   # mine\n";

    #[test]
    fn nothing_but_the_image_changes_in_the_manifest() {
        let after = with_etcd_image(MANIFEST, "r/etcd:3.6.6-0", "r/etcd:3.6.8-0").unwrap();
        assert_eq!(
            after,
            MANIFEST.replace("image: r/etcd:3.6.6-0   # mine", "image: r/etcd:3.6.8-0   # mine")
        );
        assert_eq!(etcd_of(&after).as_deref(), Some("r/etcd:3.6.8-0"));
        assert_eq!(etcd_of("kind: Pod\nspec: {containers: [{name: kube-apiserver, image: a}]}\n"), None);
        let aliased = "spec:\n  containers:\n  - {name: other, image: &i r/etcd:3.6.6-0}\n  - {name: etcd, image: *i}\n";
        let refused = with_etcd_image(aliased, "r/etcd:3.6.6-0", "r/etcd:3.6.8-0");
        assert!(matches!(refused, Err(EtcdStepError::NotAlone(_))), "{refused:?}");
    }

    proptest! {
        /// Steps that are allowed lead up, and through every minor release.
        #[test]
        fn allowed_steps_never_lead_down_and_never_skip(a in 0..9u32, b in 0..40u32, c in 0..9u32, d in 0..40u32) {
            let [from, to] = [(a, b), (c, d)].map(|(minor, patch)| EtcdVersion { major: 3, minor, patch });
            if etcd_allowed(from, to).is_ok() {
                prop_assert!(to >= from && to.minor - from.minor <= 1);
                // And back only within the minor release.
                prop_assert!(to == from || etcd_allowed(to, from).is_err());
            }
            prop_assert_eq!(to.to_string().parse::<EtcdVersion>().unwrap(), to);
        }
    }
}
