//! What a renewal would do, or why it cannot. Pure, but for a look at which files are there.

use super::ENDS_SOON;
use super::judge::Inventory;
use super::read::Certificate;
use super::reload::Reload;
use super::renewable::{Authority, Renewable};
use super::used::Program;
use crate::component::Component;
use fulcrum_evidence::sha256_hex;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a renewal does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// What kubeadm renews.
    pub names: Vec<Renewable>,
    /// The components that read some of them at their start only, with which. Their DaemonSets are rolled out.
    pub rolled: BTreeMap<Component, Vec<Renewable>>,
    /// Other processes that read one at their start only, and the command that restarts them. Nothing here does.
    pub by_hand: Vec<(Program, Renewable, String)>,
}

/// Why nothing can be renewed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRenewable {
    /// There is nothing that kubeadm could renew.
    #[error(
        "no certificate of kubeadm's is below {}: nothing was changed; renew these certificates the way they were made",
        .0.display()
    )]
    NoneHere(PathBuf),
    /// This one is not here.
    #[error("{} is not on this node, or has no certificate in it: kubeadm cannot renew {name}", path.display())]
    NotHere {
        /// What was named.
        name: Renewable,
        /// Its file.
        path: PathBuf,
    },
    /// The authority's key is elsewhere.
    #[error(
        "{} is not on this node: {name} is signed by a CA whose key is elsewhere, and has to be renewed there; name \
         the certificates that kubeadm can renew",
        key.display()
    )]
    ExternalCa {
        /// The certificate.
        name: Renewable,
        /// The key of its authority.
        key: PathBuf,
    },
    /// What the authority signs ends with the authority.
    #[error(
        "the CA {} ends at {ends}: {name} would be no good after that; renew the CA first, by hand: see \
         docs/certificates.md",
        authority.name()
    )]
    CaEnds {
        /// The certificate.
        name: Renewable,
        /// Its authority.
        authority: Authority,
        /// The authority's end.
        ends: Timestamp,
    },
    /// The authority's certificate cannot be read.
    #[error("the CA's certificate {}: {cause}", path.display())]
    CaUnread {
        /// Its file.
        path: PathBuf,
        /// What was seen.
        cause: String,
    },
    /// A certificate and its key do not belong together.
    #[error("{0}; kubeadm copies names from the certificate: put the right files there first")]
    NotWhole(String),
}

impl Renewal {
    /// What renewing these does. Without names: all that are here. `root` is `/etc/kubernetes`.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn of(
        names: &[Renewable],
        inventory: &Inventory,
        root: &Path,
        now: Timestamp,
    ) -> Result<Self, NotRenewable> {
        let here: Vec<Renewable> = Renewable::all().filter(|name| name.is_here(root)).collect();
        if let Some(name) = names.iter().find(|name| !here.contains(name)) {
            return Err(NotRenewable::NotHere { name: *name, path: name.certificate_file(root) });
        }
        let names: Vec<Renewable> =
            here.into_iter().filter(|name| names.is_empty() || names.contains(name)).collect();
        if names.is_empty() {
            return Err(NotRenewable::NoneHere(root.to_owned()));
        }
        for name in &names {
            refuse(*name, root, now)?;
        }
        let mut renewal = Self { rolled: BTreeMap::new(), by_hand: Vec::new(), names };
        renewal.who_reads_at_its_start(inventory);
        Ok(renewal)
    }

    fn who_reads_at_its_start(&mut self, inventory: &Inventory) {
        let of_kubeadm = [
            (Renewable::ControllerManagerConf, Component::ControllerManager),
            (Renewable::SchedulerConf, Component::Scheduler),
        ];
        let held = of_kubeadm.into_iter().filter(|(name, _)| self.names.contains(name));
        let mut held: Vec<(Renewable, Component)> = held.collect();
        for entry in &inventory.entries {
            let Some(name) = self.names.iter().find(|name| name.name() == entry.name).copied() else {
                continue;
            };
            for user in entry.users.iter().filter(|user| user.reload == Reload::Never) {
                match user.program {
                    Program::Component(component) => held.push((name, component)),
                    program => self.by_hand.push((program, name, user.restart.clone())),
                }
            }
        }
        for (name, component) in held {
            let names = self.rolled.entry(component).or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
}

/// Refuses what kubeadm could not renew, or what would be no good.
fn refuse(name: Renewable, root: &Path, now: Timestamp) -> Result<(), NotRenewable> {
    let authority = name.authority();
    let (path, key) = (authority.certificate_file(root), authority.key_file(root));
    if !key.exists() {
        return Err(NotRenewable::ExternalCa { name, key });
    }
    let read = std::fs::read(&path).map_err(|error| error.to_string());
    let ca = read.and_then(|pem| Certificate::of_pem(&pem));
    let ca = ca.map_err(|cause| NotRenewable::CaUnread { path, cause })?;
    if ca.not_after.duration_since(now) < ENDS_SOON {
        return Err(NotRenewable::CaEnds { name, authority, ends: ca.not_after });
    }
    name.whole(root).map(drop).map_err(NotRenewable::NotWhole)
}

/// What tells the pods that were started with these certificates from those that were started before.
///
/// # Errors
/// When one cannot be read.
pub fn fingerprint(names: &[Renewable], root: &Path) -> Result<String, String> {
    let digests: Result<Vec<String>, String> =
        names.iter().map(|name| Ok(name.whole(root)?.sha256())).collect();
    Ok(sha256_hex(digests?.concat().as_bytes()))
}
