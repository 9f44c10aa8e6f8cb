//! What is in the Secrets of a control plane, from files and back. It has keys in it: nothing here prints it, and
//! an error never quotes it.

use super::read::Certificate;
use super::renewable::{match_key, of_kubeconfig};
use crate::change;
use crate::manifest::{CERTIFICATE, InSecrets, KEY, SecretFile};
use fulcrum_engine::state::fsync;
use fulcrum_evidence::sha256_hex;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Only root reads a file of the mirror, or looks into its directories.
const FILE: u32 = 0o600;
const DIR: u32 = 0o700;
/// The file with what is being written into the mirror. A certificate and its key are two files: after a crash
/// between them this one has both.
const PENDING: &str = "pending";
/// The key pair with which service accounts' tokens are signed. It has no certificate.
const SERVICE_ACCOUNTS: &str = "sa";
/// The longest that one file may be. An object of the API has 1 MiB at most, and its bytes are written in base64.
pub const LONGEST: u64 = 256 * 1024;

/// The data of one Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its name.
    pub secret: &'static str,
    data: BTreeMap<&'static str, Vec<u8>>,
}

/// Files to write, by their paths below the mirror.
#[derive(Serialize, Deserialize)]
struct Pending {
    files: BTreeMap<String, ByteString>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret {} ({})", self.secret, self.digest())
    }
}

impl Contents {
    /// What the Secrets have if they are made of the files below `dir`: of kubeadm's, or of the mirror's.
    ///
    /// # Errors
    /// When a file cannot be read, or is too long for a Secret. The error names it.
    pub fn of_files(of: &InSecrets, dir: &Path) -> io::Result<Vec<Self>> {
        let mut found: BTreeMap<&'static str, Self> = BTreeMap::new();
        for SecretFile { path, secret, key } in of.files() {
            let path = dir.join(path);
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("read {}: {error}", path.display()));
            let bytes = fs::read(&path).map_err(named)?;
            if bytes.len() as u64 > LONGEST {
                return Err(named(io::Error::other(format!("it is longer than {LONGEST} bytes"))));
            }
            let contents = found.entry(secret).or_insert_with(|| Self { secret, data: BTreeMap::new() });
            contents.data.insert(key, bytes);
        }
        Ok(found.into_values().collect())
    }

    /// What the Secrets should have: their keys, each with nothing in it.
    pub fn shapes(of: &InSecrets) -> Vec<Self> {
        let mut found: BTreeMap<&'static str, Self> = BTreeMap::new();
        for SecretFile { secret, key, .. } in of.files() {
            let shape = found.entry(secret).or_insert_with(|| Self { secret, data: BTreeMap::new() });
            shape.data.insert(key, Vec::new());
        }
        found.into_values().collect()
    }

    /// What a Secret of the API has of this. Keys that nobody asked for are left out.
    pub fn of_secret(&self, live: &Secret) -> Self {
        let data = live.data.iter().flatten();
        let known = data.filter_map(|(key, value)| {
            self.data.keys().find(|known| **known == key.as_str()).map(|known| (*known, value.0.clone()))
        });
        Self { secret: self.secret, data: known.collect() }
    }

    /// The Secret, with these annotations.
    pub fn to_secret(&self, namespace: &str, annotations: BTreeMap<String, String>) -> Secret {
        let is_pair = [CERTIFICATE, KEY].iter().all(|key| self.data.contains_key(key));
        let mut secret = Secret {
            type_: Some(if is_pair { "kubernetes.io/tls" } else { "Opaque" }.to_owned()),
            data: Some(self.bytes()),
            ..Secret::default()
        };
        secret.metadata.name = Some(self.secret.to_owned());
        secret.metadata.namespace = Some(namespace.to_owned());
        secret.metadata.annotations = Some(annotations);
        secret
    }

    /// As the data of a Secret.
    pub fn bytes(&self) -> BTreeMap<String, ByteString> {
        self.data.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(bytes.clone()))).collect()
    }

    /// The SHA-256 over the keys and the SHA-256 of what each has.
    pub fn digest(&self) -> String {
        let digests: BTreeMap<_, _> = self.data.iter().map(|(key, bytes)| (key, sha256_hex(bytes))).collect();
        sha256_hex(json!(digests).to_string().as_bytes())
    }

    /// Whether a process could start with this: nothing is missing of what `wanted` has, certificates can be read,
    /// have not ended, and belong to their keys.
    ///
    /// # Errors
    /// What is wrong. It never quotes a key.
    pub fn is_whole(&self, wanted: &Self, now: Timestamp) -> Result<(), String> {
        if let Some(missing) = wanted.data.keys().find(|key| !self.data.contains_key(*key)) {
            return Err(format!("it has no {missing}"));
        }
        if self.secret == SERVICE_ACCOUNTS {
            let is_pem = |bytes: &Vec<u8>| bytes.trim_ascii_start().starts_with(b"-----BEGIN ");
            return match self.data.values().all(is_pem) {
                true => Ok(()),
                false => Err("it is not PEM".to_owned()),
            };
        }
        let (certificate, key) = match self.data.get(self.secret) {
            Some(text) => {
                let (certificate, key) = of_kubeconfig(text)?;
                (certificate, Some(key))
            }
            None => {
                let part = |key: &str| self.data.get(key).cloned();
                (part(CERTIFICATE).ok_or("it has no certificate")?, part(KEY))
            }
        };
        let ends = Certificate::of_pem(&certificate)?.not_after;
        if ends < now {
            return Err(format!("its certificate has ended at {ends}"));
        }
        key.map_or(Ok(()), |key| match_key(&certificate, &key))
    }
}

/// Writes these into the mirror. All of it is on the disk when this returns. After a crash in between,
/// [`finish_mirror`] writes the rest.
///
/// # Errors
/// When a file cannot be written. Each file is whole in each case.
pub fn write_mirror(of: &InSecrets, contents: &[Contents]) -> io::Result<()> {
    if let Some(parent) = of.mirror.parent() {
        make_dir(&of.mirror, parent)?;
    }
    let files = of.files().filter_map(|file| {
        let contents = contents.iter().find(|one| one.secret == file.secret)?;
        Some((file.path.to_owned(), ByteString(contents.data.get(file.key)?.clone())))
    });
    let text = serde_json::to_vec(&Pending { files: files.collect() })?;
    let pending = of.mirror.join(PENDING);
    fsync::sweep(&pending)?;
    fsync::write_atomic(&pending, &text, Some(FILE), None)?;
    finish_mirror(of)
}

/// Writes what was to be written into the mirror when a crash came. Nothing to do, usually.
///
/// # Errors
/// When a file cannot be read or written.
pub fn finish_mirror(of: &InSecrets) -> io::Result<()> {
    let pending = of.mirror.join(PENDING);
    let text = match fs::read(&pending) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    // What the parser says could quote the file.
    let all: Pending = serde_json::from_slice(&text)
        .map_err(|_| io::Error::other(format!("{} cannot be read", pending.display())))?;
    for (path, ByteString(bytes)) in &all.files {
        let path = of.mirror.join(path);
        if let Some(dir) = path.parent() {
            make_dir(dir, &of.mirror)?;
        }
        fsync::sweep(&path)?;
        fsync::write_atomic(&path, bytes, Some(FILE), None)?;
        change::record(change::file(&path, None, Some(change::file_state(bytes, FILE, None))));
    }
    fsync::remove_durable(&pending)
}

/// Removes the mirror. No error if there is none.
///
/// # Errors
/// What the system refused.
pub fn remove_mirror(of: &InSecrets) -> io::Result<()> {
    if !of.mirror.exists() {
        return Ok(());
    }
    let paths = of.files().map(|file| of.mirror.join(file.path));
    for path in paths.chain([of.mirror.join(PENDING)]) {
        if path.exists() {
            fsync::remove_durable(&path)?;
        }
    }
    fs::remove_dir_all(&of.mirror)?;
    of.mirror.parent().map_or(Ok(()), fsync::sync_dir)
}

/// Makes a directory for root, and those between it and `top`, durably.
fn make_dir(dir: &Path, top: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(DIR).create(dir)?;
    for parent in dir.ancestors().skip(1).take_while(|parent| parent.starts_with(top)) {
        fsync::sync_dir(parent)?;
    }
    Ok(())
}
