//! Certificates and kubeconfigs in Secrets: which files a component reads, and the volumes that have them. Pure.
//!
//! A component finds its files at the paths at which the host has them: a projected volume stands where the
//! host's directory stood. It has the files that the component's flags name, and no others. An API server,
//! for one, never gets the CA's key.

use super::command_line::CommandLine;
use super::static_pod::StaticPod;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// kubeadm's directory of certificates, below `/etc/kubernetes`.
const PKI: &str = "pki";
/// Only root reads a file of the volume: 0400.
const MODE: u32 = 0o400;
/// The keys of a Secret of type `kubernetes.io/tls`.
pub const CERTIFICATE: &str = "tls.crt";
/// See [`CERTIFICATE`].
pub const KEY: &str = "tls.key";

/// Where the certificates are that are in Secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InSecrets {
    /// kubeadm's directory, `/etc/kubernetes`: the Secrets are made from files below it.
    pub root: PathBuf,
    /// The directory of this host with the files of the Secrets. The standby reads these: it is started without
    /// an API, and can mount no Secret.
    pub mirror: PathBuf,
    /// The files, below either directory.
    pub files: BTreeSet<String>,
}

/// A file, and its place in a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretFile {
    /// The path below kubeadm's directory.
    pub path: &'static str,
    /// The Secret.
    pub secret: &'static str,
    /// The key in the Secret.
    pub key: &'static str,
}

const fn row(path: &'static str, secret: &'static str, key: &'static str) -> SecretFile {
    SecretFile { path, secret, key }
}

/// Every file that can be in a Secret. The Secrets have the names that kubeadm 1.9 gave them. It had none for
/// what an API server needs of etcd.
const FILES: [SecretFile; 16] = [
    row("pki/ca.crt", "ca", CERTIFICATE),
    row("pki/ca.key", "ca", KEY),
    row("pki/apiserver.crt", "apiserver", CERTIFICATE),
    row("pki/apiserver.key", "apiserver", KEY),
    row("pki/apiserver-kubelet-client.crt", "apiserver-kubelet-client", CERTIFICATE),
    row("pki/apiserver-kubelet-client.key", "apiserver-kubelet-client", KEY),
    row("pki/apiserver-etcd-client.crt", "apiserver-etcd-client", CERTIFICATE),
    row("pki/apiserver-etcd-client.key", "apiserver-etcd-client", KEY),
    row("pki/etcd/ca.crt", "etcd-ca", CERTIFICATE),
    row("pki/front-proxy-ca.crt", "front-proxy-ca", CERTIFICATE),
    row("pki/front-proxy-client.crt", "front-proxy-client", CERTIFICATE),
    row("pki/front-proxy-client.key", "front-proxy-client", KEY),
    row("pki/sa.pub", "sa", CERTIFICATE),
    row("pki/sa.key", "sa", KEY),
    row("controller-manager.conf", "controller-manager.conf", "controller-manager.conf"),
    row("scheduler.conf", "scheduler.conf", "scheduler.conf"),
];

/// The flags that name certificates, keys and kubeconfigs.
const FLAGS: [&str; 18] = [
    "authentication-kubeconfig",
    "authorization-kubeconfig",
    "client-ca-file",
    "cluster-signing-cert-file",
    "cluster-signing-key-file",
    "etcd-cafile",
    "etcd-certfile",
    "etcd-keyfile",
    "kubeconfig",
    "kubelet-client-certificate",
    "kubelet-client-key",
    "proxy-client-cert-file",
    "proxy-client-key-file",
    "service-account-key-file",
    "service-account-private-key-file",
    "service-account-signing-key-file",
    "tls-cert-file",
    "tls-private-key-file",
];

/// Why a component cannot have its certificates from Secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInSecrets {
    /// A flag names a file outside of kubeadm's directory of certificates, and no kubeconfig of kubeadm's.
    #[error("--{flag} names {path}, which is not in a volume of {}/pki, and no kubeconfig of kubeadm's", root.display())]
    Elsewhere {
        /// The flag.
        flag: String,
        /// The file.
        path: String,
        /// kubeadm's directory.
        root: PathBuf,
    },
    /// A flag names a file there that kubeadm does not make.
    #[error("--{flag} names {path}: no Secret is known for this file")]
    Unknown {
        /// The flag.
        flag: String,
        /// The file.
        path: String,
    },
    /// A volume has the certificates and more, or a part of them.
    #[error(
        "volume {volume} is the host's {path}, not {}/pki itself: it would bring the files in by another way",
        root.display()
    )]
    Covers {
        /// The volume.
        volume: String,
        /// The host's directory.
        path: String,
        /// kubeadm's directory.
        root: PathBuf,
    },
    /// Another container reads the files, too.
    #[error("container {container} mounts volume {volume}, too: which files it needs cannot be told")]
    Shared {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
    },
    /// The component mounts a part of a volume only.
    #[error("volume {volume} is mounted with a subPath")]
    Part {
        /// The volume.
        volume: String,
    },
    /// The component does not run as root.
    #[error(
        "securityContext has {field}: the files of the Secrets would belong to root, and be readable to it alone"
    )]
    NotRoot {
        /// The field.
        field: &'static str,
    },
}

/// A volume whose files come from Secrets.
struct Moved {
    volume: String,
    /// Where the component sees it.
    at: String,
    /// Below kubeadm's directory: `pki`, or a kubeconfig.
    path: String,
    files: BTreeSet<SecretFile>,
}

impl SecretFile {
    /// The file with this path below kubeadm's directory.
    pub fn of(path: &str) -> Option<Self> {
        FILES.into_iter().find(|file| file.path == path)
    }

    /// Whether it is a kubeconfig.
    pub fn is_kubeconfig(self) -> bool {
        !self.path.starts_with("pki/")
    }
}

impl InSecrets {
    /// The files, with their places in the Secrets.
    pub fn files(&self) -> impl Iterator<Item = SecretFile> {
        self.files.iter().filter_map(|path| SecretFile::of(path))
    }
}

impl StaticPod {
    /// The files that the component reads, if all of them can come from Secrets. `root` is `/etc/kubernetes`.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn secret_files(&self, root: &Path) -> Result<BTreeSet<SecretFile>, NotInSecrets> {
        let Some(spec) = self.document["spec"].as_object() else { return Ok(BTreeSet::new()) };
        runs_as_root(spec, self.container)?;
        let moved = moved(spec, self.container, &self.line, root)?;
        Ok(moved.into_iter().flat_map(|volume| volume.files).collect())
    }

    /// The directories and files of the host that the pod would still mount.
    pub fn other_host_paths(&self, root: &Path) -> Vec<String> {
        let volumes = self.document["spec"]["volumes"].as_array().into_iter().flatten();
        let paths = volumes.filter_map(|volume| volume["hostPath"]["path"].as_str());
        paths.filter(|path| below(path, root).is_none()).map(str::to_owned).collect()
    }
}

/// Has the pod read its certificates from Secrets. A pod for which [`StaticPod::secret_files`] is an error stays as
/// it is.
pub(super) fn into_secrets(spec: &mut Map<String, Value>, container: usize, line: &CommandLine, root: &Path) {
    let Ok(moved) = moved(spec, container, line, root) else { return };
    for Moved { volume, path, files, .. } in moved {
        let entry = named(spec.get_mut("volumes"), &volume);
        let Some(entry) = entry.and_then(Value::as_object_mut) else { continue };
        entry.remove("hostPath");
        entry.insert("projected".to_owned(), projection(&files, &path));
        if path != PKI {
            each_mount(spec, &volume, |mount| drop(mount.insert("subPath".to_owned(), path.clone().into())));
        }
    }
}

/// Has the pod read the mirror's files where it reads Secrets. Other references to Secrets stay.
pub(super) fn out_of_secrets(spec: &mut Map<String, Value>, mirror: &Path) {
    let volumes: Vec<Value> = spec.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    for volume in &volumes {
        let (Some(name), Some(path)) = (volume["name"].as_str(), projected_path(volume)) else { continue };
        let kind = if path == PKI { "Directory" } else { "File" };
        if let Some(entry) = named(spec.get_mut("volumes"), name).and_then(Value::as_object_mut) {
            entry.remove("projected");
            entry.insert("hostPath".to_owned(), json!({ "path": mirror.join(path), "type": kind }));
        }
        if path != PKI {
            each_mount(spec, name, |mount| drop(mount.remove("subPath")));
        }
    }
}

/// What a projected volume has, if it is one that [`into_secrets`] makes: `pki`, or a kubeconfig.
fn projected_path(volume: &Value) -> Option<&'static str> {
    let sources = volume["projected"]["sources"].as_array().filter(|sources| !sources.is_empty())?;
    let mut kubeconfig = None;
    for source in sources {
        let (secret, items) = (source["secret"]["name"].as_str()?, source["secret"]["items"].as_array()?);
        for item in items {
            let key = item["key"].as_str()?;
            let file = FILES.into_iter().find(|file| file.secret == secret && file.key == key)?;
            kubeconfig = kubeconfig.or(file.is_kubeconfig().then_some(file.path));
        }
    }
    Some(kubeconfig.unwrap_or(PKI))
}

fn projection(files: &BTreeSet<SecretFile>, path: &str) -> Value {
    let mut items: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for file in files {
        let below = if path == PKI { file.path.trim_start_matches("pki/") } else { file.path };
        items.entry(file.secret).or_default().push(json!({ "key": file.key, "path": below }));
    }
    let sources =
        items.into_iter().map(|(name, items)| json!({ "secret": { "name": name, "items": items } }));
    json!({ "defaultMode": MODE, "sources": sources.collect::<Vec<_>>() })
}

/// The volumes that Secrets replace, each with the files that the component reads there.
fn moved(
    spec: &Map<String, Value>,
    container: usize,
    line: &CommandLine,
    root: &Path,
) -> Result<Vec<Moved>, NotInSecrets> {
    let mut found = Vec::new();
    for volume in spec.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        let (Some(name), Some(path)) = (volume["name"].as_str(), volume["hostPath"]["path"].as_str()) else {
            continue;
        };
        let Some(below) = below(path, root) else { continue };
        let is_whole = below == PKI || SecretFile::of(&below).is_some_and(SecretFile::is_kubeconfig);
        if !is_whole {
            let (volume, path) = (name.to_owned(), path.to_owned());
            return Err(NotInSecrets::Covers { volume, path, root: root.to_owned() });
        }
        if let Some(at) = mounted_at(spec, container, name)? {
            found.push(Moved { volume: name.to_owned(), at, path: below, files: BTreeSet::new() });
        }
    }
    for flag in line.flags() {
        for path in flag.value.split(',').filter(|path| path.starts_with('/')) {
            take(&mut found, &flag.name, path, root)?;
        }
    }
    found.retain(|volume| !volume.files.is_empty());
    Ok(found)
}

/// Adds the file that a flag names to those of its volume.
fn take(found: &mut [Moved], flag: &str, path: &str, root: &Path) -> Result<(), NotInSecrets> {
    let inside = |volume: &Moved| {
        let rest = path.strip_prefix(volume.at.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", volume.path))
    };
    let volume = found.iter_mut().find_map(|volume| Some((inside(volume)?, volume)));
    let (flag, path) = (flag.to_owned(), path.to_owned());
    let Some((below, volume)) = volume else {
        let names_one = FLAGS.contains(&flag.as_str());
        let elsewhere = NotInSecrets::Elsewhere { flag, path, root: root.to_owned() };
        return if names_one { Err(elsewhere) } else { Ok(()) };
    };
    let file = SecretFile::of(&below).ok_or(NotInSecrets::Unknown { flag, path })?;
    volume.files.insert(file);
    Ok(())
}

/// The host's path below kubeadm's directory, if it has certificates or kubeconfigs: `pki`, a part of it, or what
/// has all of it.
fn below(path: &str, root: &Path) -> Option<String> {
    let path = Path::new(path);
    let pki = root.join(PKI);
    if let Ok(rest) = path.strip_prefix(root) {
        let text = rest.to_string_lossy().into_owned();
        let is_one = text.is_empty() || path.starts_with(&pki) || SecretFile::of(&text).is_some();
        return is_one.then_some(text);
    }
    pki.starts_with(path).then(|| path.to_string_lossy().into_owned())
}

/// Where the component's container mounts the volume. `None` if it does not.
fn mounted_at(
    spec: &Map<String, Value>,
    container: usize,
    volume: &str,
) -> Result<Option<String>, NotInSecrets> {
    let mut at = None;
    for list in ["initContainers", "containers"] {
        let containers = spec.get(list).and_then(Value::as_array).into_iter().flatten().enumerate();
        for (number, one) in containers {
            let mut mounts = one["volumeMounts"].as_array().into_iter().flatten();
            let Some(mount) = mounts.find(|mount| mount["name"] == volume) else { continue };
            if list != "containers" || number != container {
                let container = one["name"].as_str().unwrap_or_default().to_owned();
                return Err(NotInSecrets::Shared { container, volume: volume.to_owned() });
            }
            let is_set = |field: &str| mount[field].as_str().is_some_and(|path| !path.is_empty());
            if is_set("subPath") || is_set("subPathExpr") {
                return Err(NotInSecrets::Part { volume: volume.to_owned() });
            }
            at = mount["mountPath"].as_str().map(str::to_owned);
        }
    }
    Ok(at)
}

fn runs_as_root(spec: &Map<String, Value>, container: usize) -> Result<(), NotInSecrets> {
    let pods = spec.get("securityContext").unwrap_or(&Value::Null);
    let own = spec.get("containers").map_or(&Value::Null, |list| &list[container]["securityContext"]);
    for context in [pods, own] {
        if context["runAsUser"].as_i64().is_some_and(|user| user != 0) {
            return Err(NotInSecrets::NotRoot { field: "runAsUser" });
        }
        if context["runAsNonRoot"] == true {
            return Err(NotInSecrets::NotRoot { field: "runAsNonRoot" });
        }
    }
    Ok(())
}

fn named<'a>(list: Option<&'a mut Value>, name: &str) -> Option<&'a mut Value> {
    list.and_then(Value::as_array_mut)?.iter_mut().find(|entry| entry["name"] == name)
}

/// Changes every mount of the volume.
fn each_mount(spec: &mut Map<String, Value>, volume: &str, change: impl Fn(&mut Map<String, Value>)) {
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten();
    for container in containers {
        let mounts = container["volumeMounts"].as_array_mut().into_iter().flatten();
        for mount in mounts.filter(|mount| mount["name"] == volume).filter_map(Value::as_object_mut) {
            change(mount);
        }
    }
}
