//! The built-in control plane: the manifests of kubeadm 1.35, for a rehearsal without manifests of its own.

use super::kubeadm;
use super::options::SimulatorOptions;
use fulcrum_steps::host::ManifestsDir;
use std::io::{self, Write};

/// File name and text. `{address}`, `{node}` and `{version}` are filled in.
const CONTROL_PLANE: [(&str, &str); 4] = [
    ("etcd.yaml", include_str!("manifests/etcd.yaml")),
    ("kube-apiserver.yaml", include_str!("manifests/kube-apiserver.yaml")),
    ("kube-controller-manager.yaml", include_str!("manifests/kube-controller-manager.yaml")),
    ("kube-scheduler.yaml", include_str!("manifests/kube-scheduler.yaml")),
];

/// Where the files are that kubeadm's manifests name.
const KUBERNETES: &str = "/etc/kubernetes/";

/// Makes the certificates of the options' node, beside its manifests directory, and has its manifests name them.
///
/// # Errors
/// If a file cannot be read or written.
pub fn write_certificates(options: &SimulatorOptions) -> io::Result<()> {
    let root = options.root();
    kubeadm::init(&root)?;
    let (manifests, own) = (ManifestsDir::new(&options.manifests_dir), format!("{}/", root.display()));
    for name in manifests.names()? {
        let name = name.to_string_lossy().into_owned();
        if let Some(image) = manifests.read(&name)? {
            manifests.write(&name, &image.with_content(image.content.replace(KUBERNETES, &own)))?;
        }
    }
    Ok(())
}

/// Writes etcd, API server, controller manager and scheduler into the options' manifests directory, with mode
/// 0600 as kubeadm does. Each file appears whole or not at all, and replaces an earlier one.
///
/// # Errors
/// If the directory does not exist or a file cannot be written.
pub fn write_control_plane(options: &SimulatorOptions) -> io::Result<()> {
    let (major, minor, patch) = options.kubernetes_version;
    for (name, text) in CONTROL_PLANE {
        let text = text
            .replace("{address}", &options.node_address.to_string())
            .replace("{node}", &options.node_name)
            .replace("{version}", &format!("v{major}.{minor}.{patch}"));
        // A temporary file has mode 0600 and a name that begins with a dot. The kubelet ignores such names.
        let mut file = tempfile::Builder::new().prefix(".rehearsal-").tempfile_in(&options.manifests_dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(options.manifests_dir.join(name))?;
    }
    std::fs::File::open(&options.manifests_dir)?.sync_all()
}
