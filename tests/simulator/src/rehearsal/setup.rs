//! The subject of a rehearsal: a person's own manifests, or built-in ones. They are read once and never
//! written to. Each simulated node gets its own copies.

use super::kubeadm;
use super::version::Version;
use crate::{SimulatorOptions, write_certificates};
use fulcrum_steps::component::Component;
use fulcrum_steps::host::{FileImage, ManifestsDir};
use fulcrum_steps::manifest::{StaticPod, glance};
use fulcrum_steps::preflight::{CheckResult, Refused, find_manifests, preflight_disk};
use fulcrum_steps::settings::Wanted;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Manifests, and a node for them.
#[derive(Debug, Clone)]
pub struct Setup {
    files: BTreeMap<String, FileImage>,
    version: Version,
    api: Api,
    /// The results of the checks of the files.
    results: Vec<CheckResult>,
    handover: Wanted,
    /// The directory of the files. `None` for the built-in ones.
    from: Option<PathBuf>,
    /// Whether a world's files outlive it.
    keep: bool,
    /// How many nodes a world has.
    nodes: u8,
    /// Whether its nodes have certificates.
    certificates: bool,
    /// Whether its pivots put them into Secrets.
    in_secrets: bool,
    /// The length of one second of `minReadySeconds`. `None`: as short as the pace has it.
    second: Option<Duration>,
    /// How long candidates honour a leader's lease. `None`: as short as the pace has it.
    lease: Option<Duration>,
}

/// What the API server's manifest says about the node.
#[derive(Debug, Clone, Copy, Default)]
struct Api {
    address: Option<IpAddr>,
    port: Option<u16>,
    endpoints_by_hand: bool,
}

impl Api {
    /// Takes for the node's address the one that the kubelet asks, which is the node's as kubeadm writes it.
    /// Without it, takes the one that the API server publishes.
    fn of(server: &StaticPod) -> Self {
        let asked = server.health().host.and_then(|host| host.parse::<IpAddr>().ok());
        let asked = asked.filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
        Self {
            address: asked.or_else(|| server.advertise_address()),
            port: Some(server.port()),
            endpoints_by_hand: !server.publishes_itself(),
        }
    }
}

/// Nothing can be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The real pivot would refuse these manifests, in these words.
    #[error(transparent)]
    Refused(Refused),
    /// The image's tag does not have the version.
    #[error("{manifest} runs {image}, and no version can be read from that: say it with --kubernetes")]
    NoVersion {
        /// The manifest.
        manifest: PathBuf,
        /// Its image.
        image: String,
    },
    /// A file could not be read, or a copy could not be made.
    #[error("the manifests to rehearse with: {0}")]
    Disk(#[from] io::Error),
}

impl Setup {
    /// The manifests that kubeadm wrote for this version.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub fn built_in(version: Version) -> Result<Self, SetupError> {
        Ok(Self {
            files: kubeadm::manifests(version)?,
            version,
            api: Api::default(),
            results: Vec::new(),
            handover: Wanted::Auto,
            from: None,
            keep: false,
            nodes: 1,
            certificates: false,
            in_secrets: false,
            second: None,
            lease: None,
        })
    }

    /// The manifests in `dir`. If no version is given, the image's tag has it.
    ///
    /// # Errors
    /// When the pivot itself would refuse the files, when no version can be found, or when a file that the
    /// kubelet reads cannot be read.
    pub fn own(dir: &Path, version: Option<Version>) -> Result<Self, SetupError> {
        let manifests = find_manifests(ManifestsDir::new(dir));
        let results = preflight_disk(&manifests).map_err(SetupError::Refused)?;
        let mut files = BTreeMap::new();
        for name in manifests.names()? {
            let name = name.to_string_lossy().into_owned();
            // The kubelet runs plain files only. The checks have reported all others.
            if let Some(image) = manifests.read(&name).ok().flatten() {
                files.insert(name, image);
            }
        }
        let name = Component::ApiServer.manifest_file();
        let server = manifests.read(name)?;
        let server =
            server.and_then(|image| StaticPod::parse(Component::ApiServer, image.content.as_bytes()).ok());
        let image = server.as_ref().map_or("", StaticPod::image);
        let version = version.or_else(|| Version::of_image(image)).ok_or_else(|| SetupError::NoVersion {
            manifest: manifests.file(name),
            image: image.to_owned(),
        })?;
        let api = server.as_ref().map(Api::of).unwrap_or_default();
        let (handover, from) = (Wanted::Auto, Some(dir.to_owned()));
        let (keep, nodes, certificates, in_secrets, second, lease) = (false, 1, false, false, None, None);
        Ok(Self {
            files,
            version,
            api,
            results,
            handover,
            from,
            keep,
            nodes,
            certificates,
            in_secrets,
            second,
            lease,
        })
    }

    /// The manifests in `dir` if its three component files exist and can be read, otherwise built-in ones.
    ///
    /// # Errors
    /// As [`Setup::own`] or [`Setup::built_in`].
    pub fn found_in(dir: &Path, version: Option<Version>) -> Result<Self, SetupError> {
        let manifests = find_manifests(ManifestsDir::new(dir));
        let there =
            |component: Component| std::fs::File::open(manifests.file(component.manifest_file())).is_ok();
        match Component::ALL.into_iter().all(there) {
            true => Self::own(dir, version),
            false => Self::built_in(version.unwrap_or(Version::DEFAULT)),
        }
    }

    /// This setup with another hand-over.
    #[must_use]
    pub fn with_handover(self, handover: Wanted) -> Self {
        Self { handover, ..self }
    }

    /// This setup. With `keep`, the simulated node's files and the journal outlive it.
    #[must_use]
    pub fn kept(self, keep: bool) -> Self {
        Self { keep, ..self }
    }

    /// This setup, for a cluster of so many control-plane nodes, at least one. Each gets copies of the
    /// manifests as they would be there.
    #[must_use]
    pub fn with_nodes(self, nodes: u8) -> Self {
        Self { nodes: nodes.max(1), ..self }
    }

    /// This setup, on nodes that have certificates, and whose manifests name those.
    #[must_use]
    pub fn with_certificates(self) -> Self {
        Self { certificates: true, ..self }
    }

    /// This setup, on nodes that have certificates, with pivots that put those into Secrets.
    #[must_use]
    pub fn with_certs_in_secrets(self) -> Self {
        Self { certificates: true, in_secrets: true, ..self }
    }

    /// Whether its pivots put certificates into Secrets.
    pub(super) fn stores_certs(&self) -> bool {
        self.in_secrets
    }

    /// This setup, where a second of `minReadySeconds` has this length. By default it is so short that the old pod of a
    /// roll-out goes as soon as the new one is Ready.
    #[must_use]
    pub fn with_second(self, second: Duration) -> Self {
        Self { second: Some(second), ..self }
    }

    /// This setup, where candidates honour a lease for so long. By default a busy machine may hold up the process that gives
    /// the lease back for longer.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// How many nodes its clusters have.
    pub fn nodes(&self) -> u8 {
        self.nodes
    }

    /// Whether the files outlive this setup.
    pub(super) fn keeps(&self) -> bool {
        self.keep
    }

    /// The results of the checks of the files, before the simulation.
    pub fn results(&self) -> &[CheckResult] {
        &self.results
    }

    /// How the control plane shall change hands.
    pub fn handover(&self) -> Wanted {
        self.handover
    }

    /// The version of the simulated node.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The directory of the manifests. `None` for the built-in ones.
    pub fn from(&self) -> Option<&Path> {
        self.from.as_deref()
    }

    /// The refusal with the names of the files that the copies in `copies` were made from. The copies are gone when
    /// a person reads this.
    #[must_use]
    pub fn of_originals(&self, mut refused: Refused, copies: &ManifestsDir) -> Refused {
        let copies = copies.path().display().to_string();
        if let Some(originals) = &self.from {
            for verdict in &mut refused.results {
                for text in [&mut verdict.seen, &mut verdict.remedy] {
                    *text = text.replace(&copies, &originals.display().to_string());
                }
            }
        }
        refused
    }

    /// Puts copies of the manifests into `dir`, owned by the user of this process, and describes the node for
    /// them.
    pub(super) fn install(&self, dir: &Path) -> io::Result<SimulatorOptions> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let manifests = ManifestsDir::new(dir);
        let mut options = SimulatorOptions::new(dir);
        for (name, image) in &self.files {
            // The owner can read the copy, even if the original's mode forbids it.
            let copy = FileImage { mode: image.mode | 0o600, uid, gid, ..image.clone() };
            manifests.write(name, &copy)?;
        }
        if self.certificates {
            write_certificates(&options)?;
        }
        kubeadm::mark_node(&mut options, self.version);
        options.pace.tick = super::pace::TICK;
        if let Some(second) = self.second {
            options.pace.second = second;
        }
        if let Some(lease) = self.lease {
            options.pace.lease = lease;
        }
        options.node_address = self.api.address.unwrap_or(options.node_address);
        options.api_port = self.api.port.unwrap_or(options.api_port);
        options.endpoints_by_hand = self.api.endpoints_by_hand;
        let is_etcd = |image: &FileImage| {
            glance(image.content.as_bytes())
                .is_some_and(|pod| pod.name == "etcd" || pod.name.starts_with("etcd-"))
        };
        options.etcd_outside = !self.files.values().any(is_etcd);
        Ok(options)
    }

    /// Puts the manifests of another node of that cluster into `dir`, as kubeadm makes them there: with its
    /// own address and name.
    pub(super) fn install_beside(
        &self,
        first: &SimulatorOptions,
        number: u8,
        dir: &Path,
    ) -> io::Result<SimulatorOptions> {
        let options = first.beside(number, dir);
        self.install(dir)?;
        let (manifests, own) = (ManifestsDir::new(dir), options.node_address.to_string());
        for name in self.files.keys() {
            let Some(image) = manifests.read(name)? else { continue };
            let mut content = replaced(&image.content, &first.node_address.to_string(), &own);
            if self.from.is_none() {
                content = replaced(&content, &first.node_name, &options.node_name);
            }
            manifests.write(name, &image.with_content(content))?;
        }
        Ok(options)
    }
}

/// The text with this word replaced wherever it is not a part of a longer one.
fn replaced(text: &str, from: &str, to: &str) -> String {
    let is_more = |letter: Option<char>| letter.is_some_and(|l| l.is_ascii_alphanumeric() || l == '.');
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        done.push_str(before);
        let whole = !is_more(done.chars().next_back()) && !is_more(after.chars().next());
        done.push_str(if whole { to } else { from });
        rest = after;
    }
    done + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_are_replaced() {
        let text = "https://10.0.0.1:2379,https://10.0.0.11:2379,10.0.0.1";
        let expected = "https://10.0.0.2:2379,https://10.0.0.11:2379,10.0.0.2";
        assert_eq!(replaced(text, "10.0.0.1", "10.0.0.2"), expected);
    }
}
