//! Whether etcd is old for a release of Kubernetes. That refuses no upgrade: no API server ends because of etcd's version, it
//! leaves out what that etcd cannot do (k8s.io/apiserver, `pkg/storage/feature`). Reads the cluster, and changes nothing.

use super::etcd::{EtcdVersion, etcd_allowed};
use super::etcd_members::{MemberRuns, members_run, way};
use super::{KubeadmInput, Version, Wish};

/// The oldest etcd outside of the cluster that the newest kubeadm of a minor release, and of those after, supports
/// (`MinExternalEtcdVersion`, kubeadm's `constants.go`: v1.28.15, v1.31.14 to v1.37.2). Earlier patches supported older ones.
const OUTSIDE: [(u32, EtcdVersion); 2] = [
    (28, EtcdVersion { major: 3, minor: 4, patch: 13 }),
    (31, EtcdVersion { major: 3, minor: 5, patch: 24 }),
];

/// What a person should know of etcd before an upgrade to `to`.
pub(super) async fn etcd_behind(wish: &Wish<'_>, input: &KubeadmInput, to: Version) -> Vec<String> {
    let unknown = |why: String| vec![format!("whether etcd is old for {to} is not known: {why}")];
    let takes = match wish.kubeadm.etcd_image(input, to).await {
        Ok(image) => image,
        Err(error) => return unknown(error.to_string()),
    };
    let members = match way(wish) {
        Ok((door, _)) => members_run(wish.cluster, &door).await,
        Err(error) => return unknown(error.to_string()),
    };
    match members {
        Ok(members) => behind(to, takes.as_deref(), &members),
        Err(error) => unknown(error.to_string()),
    }
}

/// The same, by what kubeadm takes (no image where etcd is outside of the cluster) and what each member runs.
fn behind(to: Version, takes: Option<&str>, members: &[MemberRuns]) -> Vec<String> {
    let silent = members.iter().filter_map(|member| Some((&member.name, member.version.as_ref().err()?)));
    let mut told: Vec<String> = silent
        .map(|(name, why)| format!("etcd's member {name} was not asked for its version: {why}"))
        .collect();
    let wanted = match takes {
        Some(image) => EtcdVersion::of_image(image),
        None => OUTSIDE.iter().rev().find(|(since, _)| to.minor >= *since).map(|(_, oldest)| *oldest),
    };
    let Some(wanted) = wanted else { return told };
    let runs = members.iter().filter_map(|member| Some((&member.name, *member.version.as_ref().ok()?)));
    let older: Vec<_> = runs.filter(|(_, version)| *version < wanted).collect();
    let Some(oldest) = older.iter().map(|(_, version)| *version).min() else { return told };
    let list: Vec<String> = older.iter().map(|(name, version)| format!("{name} ({version})")).collect();
    let list = list.join(", ");
    told.push(match (takes, etcd_allowed(oldest, wanted)) {
        (Some(_), Ok(())) => format!(
            "kubeadm takes etcd {wanted} for {to}, and older ones run: {list}; `fulcrum upgrade etcd` on each node, before or \
             after this"
        ),
        (Some(_), Err(why)) => format!("kubeadm takes etcd {wanted} for {to}, and older ones run: {list}; {why}"),
        (None, _) => format!(
            "the newest kubeadm of {} supports no etcd outside of the cluster that is older than {wanted}, and older ones run: \
             {list}; upgrade them as they run, before this", to.release()
        ),
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(to: &str, takes: Option<&str>, members: &[(&str, &str)]) -> Vec<String> {
        let runs = |(name, version): &(&str, &str)| MemberRuns {
            name: (*name).to_owned(),
            version: version.parse().map_err(|_| (*version).to_owned()),
        };
        behind(to.parse().unwrap(), takes, &members.iter().map(runs).collect::<Vec<_>>())
    }

    #[test]
    fn members_that_are_older_than_kubeadms_etcd_are_named_with_the_way() {
        let members = [("a", "3.6.6"), ("b", "3.6.8"), ("c", "3.6.9")];
        let said = told("v1.36.3", Some("r/etcd:3.6.8-0"), &members).join("|");
        assert!(
            said.contains(
                "takes etcd 3.6.8 for v1.36.3, and older ones run: a (3.6.6); `fulcrum upgrade etcd`"
            ),
            "{said}"
        );
        assert_eq!(told("v1.36.3", Some("r/etcd:3.6.6-0"), &members), [""; 0]);
        let skips = told("v1.37.2", Some("r/etcd:3.7.0-0"), &[("a", "3.5.24"), ("b", "3.6.8")]).join("|");
        assert!(
            skips.contains("a (3.5.24), b (3.6.8); etcd 3.7.0 skips a minor release after 3.5.24"),
            "{skips}"
        );
        let silent = told("v1.36.3", Some("r/etcd:3.6.8-0"), &[("a", "it is away")]).join("|");
        assert_eq!(silent, "etcd's member a was not asked for its version: it is away");
        assert_eq!(told("v1.36.3", Some("r/etcd:mine"), &members), [""; 0]);
    }

    #[test]
    fn outside_of_the_cluster_it_is_kubeadms_oldest_that_counts() {
        for (to, version, fine) in [
            ("v1.27.16", "3.3.0", true),
            ("v1.28.15", "3.4.12", false),
            ("v1.30.14", "3.4.13", true),
            ("v1.31.14", "3.5.23", false),
            ("v1.37.2", "3.5.24", true),
            ("v1.38.0", "3.5.23", false),
        ] {
            assert_eq!(told(to, None, &[("a", version)]).is_empty(), fine, "{to} with {version}");
        }
    }
}
