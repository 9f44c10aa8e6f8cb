//! The simulated kubeadm: it makes a node's certificates and renews them, in real files below the node's
//! directory. They are real certificates, signed by its own authorities with Ed25519, for a year.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fulcrum_steps::certificates::{Authority, Renewable};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::der::asn1::BitString;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::Validity;

/// Ed25519, RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const YEAR: Duration = Duration::from_secs(365 * 86400);

/// A certificate and its key, as PEM.
struct Made {
    certificate: String,
    key: String,
}

/// Who signs.
struct Signer {
    name: String,
    key: Vec<u8>,
}

/// Makes the authorities and every certificate of a new node below `root`, its `/etc/kubernetes`.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn init(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("pki/etcd"))?;
    for authority in [Authority::Ca, Authority::EtcdCa, Authority::FrontProxyCa] {
        let key = new_key()?;
        let signer = Signer { name: authority.name().to_owned(), key: key.clone() };
        let made = issue(authority.name(), &key, &signer, YEAR * 10)?;
        write(&authority.key_file(root), &made.key, 0o600)?;
        write(&authority.certificate_file(root), &made.certificate, 0o644)?;
    }
    // The key pair of service accounts' tokens.
    let key = new_key()?;
    let refused = |_| io::Error::other("a key that was made here is none");
    let pair = Ed25519KeyPair::from_pkcs8(&key).map_err(refused)?;
    write(&root.join("pki/sa.key"), &pem("PRIVATE KEY", &key), 0o600)?;
    write(&root.join("pki/sa.pub"), &pem("PUBLIC KEY", pair.public_key().as_ref()), 0o600)?;
    Renewable::all().try_for_each(|name| renew(root, name))
}

/// `kubeadm certs renew`: a new key, and a certificate for it. Writes in place, the key first, as kubeadm does.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn renew(root: &Path, name: Renewable) -> io::Result<()> {
    let authority = name.authority();
    let ca = fs::read(authority.certificate_file(root))?;
    Certificate::from_pem(&ca).map_err(io::Error::other)?;
    let key = der_of(&fs::read_to_string(authority.key_file(root))?)?;
    let signer = Signer { name: authority.name().to_owned(), key };
    let made = issue(name.name(), &new_key()?, &signer, YEAR)?;
    let files = name.files(root);
    match files.as_slice() {
        [certificate, key] => {
            write(key, &made.key, 0o600)?;
            write(certificate, &made.certificate, 0o644)
        }
        _ => write(&name.certificate_file(root), &kubeconfig(&made), 0o600),
    }
}

/// The certificate (DER) in a PEM file or a kubeconfig's text, if there is one.
pub(super) fn certificate_in(text: &[u8]) -> Option<Vec<u8>> {
    let config: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    let inline = config.and_then(|config| {
        BASE64_STANDARD.decode(config["users"][0]["user"]["client-certificate-data"].as_str()?).ok()
    });
    Certificate::from_pem(inline.as_deref().unwrap_or(text)).ok()?.to_der().ok()
}

fn kubeconfig(made: &Made) -> String {
    let user = json!({
        "client-certificate-data": BASE64_STANDARD.encode(&made.certificate),
        "client-key-data": BASE64_STANDARD.encode(&made.key),
    });
    json!({ "apiVersion": "v1", "kind": "Config", "users": [{ "name": "simulated", "user": user }] })
        .to_string()
}

fn new_key() -> io::Result<Vec<u8>> {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    Ok(made.map_err(|_| io::Error::other("no random key"))?.as_ref().to_vec())
}

fn issue(subject: &str, key: &[u8], signer: &Signer, lifetime: Duration) -> io::Result<Made> {
    let refused = |_| io::Error::other("a key that was made here is none");
    let pair = Ed25519KeyPair::from_pkcs8(key).map_err(refused)?;
    let signing = Ed25519KeyPair::from_pkcs8(&signer.key).map_err(refused)?;
    let der = certificate(subject, &signer.name, pair.public_key().as_ref(), lifetime, &signing)
        .map_err(io::Error::other)?;
    Ok(Made { certificate: pem("CERTIFICATE", &der), key: pem("PRIVATE KEY", key) })
}

fn certificate(
    subject: &str,
    issuer: &str,
    public: &[u8],
    lifetime: Duration,
    signing: &Ed25519KeyPair,
) -> x509_cert::der::Result<Vec<u8>> {
    let algorithm = AlgorithmIdentifierOwned { oid: ED25519, parameters: None };
    let mut serial = [0; 16];
    // A serial number that is not random is a serial number, too.
    let _ = SystemRandom::new().fill(&mut serial);
    serial[0] &= 0x7f;
    serial[0] |= 1;
    let tbs = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&serial)?,
        signature: algorithm.clone(),
        issuer: Name::from_str(&format!("CN={issuer}"))?,
        validity: Validity::from_now(lifetime)?,
        subject: Name::from_str(&format!("CN={subject}"))?,
        subject_public_key_info: SubjectPublicKeyInfoOwned {
            algorithm: algorithm.clone(),
            subject_public_key: BitString::from_bytes(public)?,
        },
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: None,
    };
    let signature = signing.sign(&tbs.to_der()?);
    let signature = BitString::from_bytes(signature.as_ref())?;
    let der = Certificate { tbs_certificate: tbs, signature_algorithm: algorithm, signature }.to_der()?;
    Certificate::from_der(&der).map(|_| der)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn der_of(pem: &str) -> io::Result<Vec<u8>> {
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    BASE64_STANDARD.decode(text).map_err(io::Error::other)
}

/// Writes over the file, as kubeadm does: not at once, and with the mode that the file has.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let is_new = !path.exists();
    fs::write(path, text)?;
    match is_new {
        true => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        false => Ok(()),
    }
}
