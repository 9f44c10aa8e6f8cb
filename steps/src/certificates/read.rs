//! Reads certificates: PEM files, kubeconfigs, and what a server presents.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fulcrum_evidence::sha256_hex;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use x509_cert::der::{Decode, Encode};

/// A certificate, the first one of its file or of what a server presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The name that it is for: its common name, or all of the subject.
    pub subject: String,
    /// The name of the authority that has signed it.
    pub issuer: String,
    /// The end of its validity. Of several in one file, the first end.
    pub not_after: Timestamp,
    leaf: x509_cert::Certificate,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnDisk {
    pub(super) certificate: Certificate,
    /// The last change of the file.
    pub(super) changed: Timestamp,
    /// It is a kubeconfig, which has the certificate in itself.
    pub(super) inline: bool,
}

/// What a kubeconfig leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leads {
    /// It has the certificate in itself.
    Inline(Box<OnDisk>),
    /// To a file.
    To(PathBuf),
    /// To no certificate: a token, or another program.
    Nowhere,
}

impl Certificate {
    /// Whether this is that very certificate.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.leaf == other.leaf
    }

    /// Whether it has signed itself: an authority, or a certificate that a process has made for itself.
    pub fn is_self_signed(&self) -> bool {
        self.leaf.tbs_certificate.issuer == self.leaf.tbs_certificate.subject
    }

    /// The SHA-256 of it (DER), which everybody may know.
    pub fn sha256(&self) -> String {
        // What was decoded can be encoded.
        sha256_hex(&self.leaf.to_der().unwrap_or_default())
    }

    /// The certificate of a server, as it presents it (DER).
    pub(super) fn of_der(der: &[u8]) -> Result<Self, String> {
        let leaf = x509_cert::Certificate::from_der(der).map_err(|error| error.to_string())?;
        Self::of_chain(vec![leaf])
    }

    /// The certificate in a PEM text. Other blocks, such as the key in the kubelet's file, are passed over.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let decoded = CertificateDer::pem_slice_iter(pem).map(|block| {
            let block = block.map_err(|error| error.to_string())?;
            x509_cert::Certificate::from_der(&block).map_err(|error| error.to_string())
        });
        Self::of_chain(decoded.collect::<Result<_, String>>()?)
    }

    fn of_chain(chain: Vec<x509_cert::Certificate>) -> Result<Self, String> {
        let end = |one: &x509_cert::Certificate| {
            one.tbs_certificate.validity.not_after.to_unix_duration().as_secs()
        };
        let end = chain.iter().map(end).min();
        let Some((leaf, end)) = chain.into_iter().next().zip(end) else {
            return Err("there is none".to_owned());
        };
        let not_after = i64::try_from(end).ok().and_then(|end| Timestamp::from_second(end).ok());
        let not_after = not_after.ok_or_else(|| format!("it ends at {end}"))?;
        let name = |name: &x509_cert::name::Name| common_name(&name.to_string());
        let (subject, issuer) = (name(&leaf.tbs_certificate.subject), name(&leaf.tbs_certificate.issuer));
        Ok(Self { subject, issuer, not_after, leaf })
    }
}

/// `CN=kubernetes-admin,O=kubeadm:cluster-admins`: the common name, or all of it where there is none.
fn common_name(name: &str) -> String {
    let common = name.split([',', '+']).find_map(|part| part.trim().strip_prefix("CN="));
    common.unwrap_or(name).to_owned()
}

/// The certificate in a PEM file.
pub(super) fn pem_file(path: &Path) -> Result<OnDisk, String> {
    let pem = read(path)?;
    let certificate = Certificate::of_pem(&pem)
        .map_err(|cause| format!("read the certificate in {}: {cause}", path.display()))?;
    Ok(OnDisk { certificate, changed: changed(path)?, inline: false })
}

/// The certificate of the kubeconfig's first user.
pub(super) fn kubeconfig(path: &Path) -> Result<Leads, String> {
    let broken = |cause: &str| format!("read {}: {cause}", path.display());
    let text = read(path)?;
    // What the parser says quotes the file, which has a key in it.
    let config: Value = serde_saphyr::from_str(&String::from_utf8_lossy(&text))
        .map_err(|_| broken("it is not YAML, or no kubeconfig"))?;
    let user = &config["users"][0]["user"];
    if let Some(data) = user["client-certificate-data"].as_str() {
        let pem = BASE64_STANDARD.decode(data.trim()).map_err(|error| broken(&error.to_string()))?;
        let certificate = Certificate::of_pem(&pem).map_err(|cause| broken(&cause))?;
        let found = OnDisk { certificate, changed: changed(path)?, inline: true };
        return Ok(Leads::Inline(Box::new(found)));
    }
    Ok(match user["client-certificate"].as_str() {
        Some(file) => Leads::To(path.parent().unwrap_or(path).join(file)),
        None => Leads::Nowhere,
    })
}

/// The files in a directory whose names end so, sorted. None if there is no such directory.
pub(super) fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))
}

fn changed(path: &Path) -> Result<Timestamp, String> {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    let changed = changed.map_err(|error| format!("look at {}: {error}", path.display()))?;
    Timestamp::try_from(changed).map_err(|error| format!("look at {}: {error}", path.display()))
}
