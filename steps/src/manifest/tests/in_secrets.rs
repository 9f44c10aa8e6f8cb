//! Certificates that come from Secrets, and the standby that reads the mirror.

use super::{GOLDEN, target};
use crate::component::Component;
use crate::manifest::{InSecrets, NotInSecrets, StaticPod, Target, same_spec, standby_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const ROOT: &str = "/etc/kubernetes";
const MIRROR: &str = "/var/lib/fulcrum/certificates";

fn with_secrets(minor: u32) -> Target {
    let of = InSecrets { root: ROOT.into(), mirror: MIRROR.into(), files: BTreeSet::new() };
    Target { in_secrets: Some(of), ..target(minor) }
}

fn kubeadms() -> impl Iterator<Item = (Component, u32, StaticPod)> {
    let parsed = |(component, minor, manifest, _): (Component, u32, &[u8], &str)| {
        (component, minor, StaticPod::parse(component, manifest).unwrap())
    };
    GOLDEN.into_iter().take(6).map(parsed)
}

/// The host's paths that a pod mounts below kubeadm's directory.
fn of_the_host(spec: &Value) -> Vec<&str> {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let paths = volumes.filter_map(|volume| volume["hostPath"]["path"].as_str());
    paths.filter(|path| path.starts_with(ROOT)).collect()
}

/// Every file that the pod sees at a path, as `path secret/key`.
fn from_secrets(spec: &Value) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for mount in spec["containers"][0]["volumeMounts"].as_array().unwrap() {
        let volume =
            spec["volumes"].as_array().unwrap().iter().find(|one| one["name"] == mount["name"]).unwrap();
        for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
            for item in source["secret"]["items"].as_array().unwrap() {
                let (at, path) = (mount["mountPath"].as_str().unwrap(), item["path"].as_str().unwrap());
                let at = if mount["subPath"] == *path { at.to_owned() } else { format!("{at}/{path}") };
                let secret = source["secret"]["name"].as_str().unwrap();
                seen.insert(format!("{at} {secret}/{}", item["key"].as_str().unwrap()));
            }
        }
    }
    seen
}

/// No path changes and no word: the files come from elsewhere. What no flag names is not there, the CA's key in an
/// API server least of all.
#[test]
fn a_pod_finds_each_file_that_its_flags_name_and_no_other() {
    for (component, minor, pod) in kubeadms() {
        let (plain, made) = (pod.daemonset(&target(minor)), pod.daemonset(&with_secrets(minor)));
        let spec = &made["spec"]["template"]["spec"];
        assert_eq!(of_the_host(spec), Vec::<&str>::new(), "{component} 1.{minor}");
        let container = &spec["containers"][0];
        assert_eq!(container["command"], plain["spec"]["template"]["spec"]["containers"][0]["command"]);
        let words = container["command"].as_array().unwrap().iter().filter_map(Value::as_str);
        let named: BTreeSet<&str> = words
            .filter_map(|word| Some(word.split_once('=')?.1))
            .filter(|path| path.starts_with(ROOT))
            .collect();
        let seen = from_secrets(spec);
        let paths: BTreeSet<&str> = seen.iter().filter_map(|one| one.split(' ').next()).collect();
        assert_eq!(paths, named, "{component} 1.{minor}");
        let files = pod.secret_files(Path::new(ROOT)).unwrap();
        assert_eq!(files.len(), named.len());
        let has_the_key = seen.iter().any(|one| one.ends_with(" ca/tls.key"));
        assert_eq!(has_the_key, component == Component::ControllerManager, "{component}");
    }
}

/// The standby of such a DaemonSet needs nothing of the API, and makes the same DaemonSet but for where its files are.
#[test]
fn the_standby_reads_the_mirror() {
    for (component, minor, pod) in kubeadms() {
        let made = pod.daemonset(&with_secrets(minor));
        let standby = standby_of(component, &made, &with_secrets(minor)).unwrap();
        let document: Value = serde_json::from_str(&standby).unwrap();
        let again = StaticPod::parse(component, standby.as_bytes()).unwrap();
        assert_eq!(again.api_reference(), None);
        assert!(!standby.contains("projected") && !standby.contains("subPath"), "{standby}");
        assert!(of_the_host(&document["spec"]).is_empty() && standby.contains(MIRROR));
        let original = pod.daemonset(&target(minor)).to_string();
        let back = again.daemonset(&target(minor)).to_string().replace(MIRROR, ROOT);
        let typeless = |text: &str| {
            text.replace("\"FileOrCreate\"", "\"File\"").replace("\"DirectoryOrCreate\"", "\"Directory\"")
        };
        let [original, back] =
            [original, back].map(|text| serde_json::from_str::<Value>(&typeless(&text)).unwrap());
        assert_eq!(same_spec(&original, &back), Ok(()), "{component} 1.{minor}");
        // Without the Secrets' place in the settings it is what it always was: a refusal.
        assert!(standby_of(component, &made, &target(minor)).is_err());
    }
}

#[test]
fn what_cannot_come_from_secrets_is_named() {
    let (component, _, manifest, _) = GOLDEN[0];
    let text = String::from_utf8(manifest.to_vec()).unwrap();
    let why = |from: &str, to: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        StaticPod::parse(component, changed.as_bytes()).unwrap().secret_files(Path::new(ROOT)).unwrap_err()
    };
    let elsewhere = why("tls-cert-file=/etc/kubernetes/pki/", "tls-cert-file=/srv/");
    assert!(
        matches!(elsewhere, NotInSecrets::Elsewhere { ref flag, .. } if flag == "tls-cert-file"),
        "{elsewhere}"
    );
    let unknown = why("pki/sa.pub", "pki/sa.pub,/etc/kubernetes/pki/old-sa.pub");
    assert!(unknown.to_string().contains("/etc/kubernetes/pki/old-sa.pub: no Secret"), "{unknown}");
    let covers = why("path: /etc/kubernetes/pki", "path: /etc/kubernetes");
    assert!(covers.to_string().contains("the host's /etc/kubernetes, not"), "{covers}");
    let part = why(
        "    - mountPath: /etc/kubernetes/pki\n",
        "    - mountPath: /etc/kubernetes/pki\n      subPath: a\n",
    );
    assert!(matches!(part, NotInSecrets::Part { .. }), "{part}");
    let not_root = why("  securityContext:\n", "  securityContext:\n    runAsUser: 1000\n");
    assert!(matches!(not_root, NotInSecrets::NotRoot { .. }), "{not_root}");
    let mut two: Value = serde_saphyr::from_str(&text).unwrap();
    let mounts = json!([{ "name": "k8s-certs", "mountPath": "/pki" }]);
    let more = json!({ "name": "sidecar", "image": "x", "volumeMounts": mounts });
    two["spec"]["containers"].as_array_mut().unwrap().push(more);
    let two = StaticPod::parse(component, two.to_string().as_bytes()).unwrap();
    let shared = two.secret_files(Path::new(ROOT)).unwrap_err();
    assert!(shared.to_string().starts_with("container sidecar mounts volume k8s-certs"), "{shared}");
}
