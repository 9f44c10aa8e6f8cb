//! Reads the ends of certificates' validity, in PEM files and in kubeconfigs.

use super::facts::Certificate;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The certificates below kubeadm's directories: `pki/`, `pki/etcd/`, and those within the kubeconfigs
/// beside `pki/`. `root` is `/etc/kubernetes`. A file that is missing is not looked for.
pub(super) fn certificates(root: &Path) -> Vec<Result<Certificate, String>> {
    let mut found = Vec::new();
    for dir in [root.join("pki"), root.join("pki/etcd")] {
        for path in files(&dir, "crt") {
            found.push(read(&path).and_then(|bytes| of_pem(&path, &bytes)));
        }
    }
    for path in files(root, "conf") {
        found.extend(in_kubeconfig(&path));
    }
    found
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))
}

/// The certificate of the file's first user, if it is written in the file. One that is a path of its own is
/// read by the kubelet, which renews it.
fn in_kubeconfig(path: &Path) -> Option<Result<Certificate, String>> {
    let broken = |cause: String| Some(Err(format!("read {}: {cause}", path.display())));
    let text = match read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return Some(Err(error)),
    };
    let config: Value = match serde_saphyr::from_str(&text) {
        Ok(config) => config,
        Err(error) => return broken(error.to_string()),
    };
    let data = config["users"][0]["user"]["client-certificate-data"].as_str()?;
    match BASE64_STANDARD.decode(data.trim()) {
        Ok(pem) => Some(of_pem(path, &pem)),
        Err(error) => broken(error.to_string()),
    }
}

/// The first certificate of the file to end.
fn of_pem(path: &Path, pem: &[u8]) -> Result<Certificate, String> {
    let broken = |cause: String| format!("read the certificate in {}: {cause}", path.display());
    let chain = x509_cert::Certificate::load_pem_chain(pem).map_err(|error| broken(error.to_string()))?;
    let ends = chain.iter().map(|one| one.tbs_certificate.validity.not_after.to_unix_duration().as_secs());
    let end = ends.min().ok_or_else(|| broken("there is none".to_owned()))?;
    let not_after = i64::try_from(end).ok().and_then(|end| Timestamp::from_second(end).ok());
    let not_after = not_after.ok_or_else(|| broken(format!("it ends at {end}")))?;
    Ok(Certificate { path: path.to_owned(), not_after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PEM: &str = include_str!("../../tests/fixtures/until-2033.crt");

    #[test]
    fn certificates_are_read_from_files_and_kubeconfigs() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("pki/etcd")).unwrap();
        fs::write(dir.path().join("pki/apiserver.crt"), PEM).unwrap();
        fs::write(dir.path().join("pki/etcd/server.crt"), "no certificate").unwrap();
        let data = BASE64_STANDARD.encode(PEM);
        let config = json!({ "users": [{ "name": "a", "user": { "client-certificate-data": data } }] });
        fs::write(dir.path().join("admin.conf"), config.to_string()).unwrap();
        fs::write(dir.path().join("kubelet.conf"), r#"{"users":[{"user":{"client-certificate":"/x"}}]}"#)
            .unwrap();
        let found = certificates(dir.path());
        assert_eq!(found.len(), 3, "{found:?}");
        let until = |at: usize| found[at].as_ref().unwrap().not_after.to_string();
        assert!(until(0).starts_with("2033-"), "{}", until(0));
        assert_eq!(until(2), until(0), "the kubeconfig's");
        assert!(found[1].as_ref().unwrap_err().contains("etcd/server.crt"), "{found:?}");
    }
}
