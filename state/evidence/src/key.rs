//! Ed25519 keys: the node's own as a file of its own, public ones as text.

use crate::encode::{base64, from_base64, hex, sha256};
use crate::error::EvidenceError;
use fulcrum_state::{RunId, fsync};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;
use std::path::Path;

/// What precedes the 32 bytes of a key in PKCS #8 (RFC 8410).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// The number of Ed25519 in signed notes.
const ED25519_NOTE: u8 = 1;
/// The beginning of the names of keys.
const NAME: &str = "fulcrum.dev/journal/";

/// A public key and its name, which is the origin of the checkpoints that it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    bytes: [u8; 32],
}

/// A key that signs.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// A new key of this name; without a name, of a new one.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate(name: Option<&str>) -> Result<Self, EvidenceError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| EvidenceError::Crypto { doing: "made" })?;
        let name = name.map_or_else(|| format!("{NAME}{}", RunId::new()), str::to_owned);
        Self::of(&name, seed)
    }

    /// The key with this name and these 32 bytes.
    ///
    /// # Errors
    /// When the library refuses them.
    pub fn of(name: &str, seed: [u8; 32]) -> Result<Self, EvidenceError> {
        let refused = |_| EvidenceError::Crypto { doing: "used" };
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(refused)?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { seed, pair, public: PublicKey { name: name.to_owned(), bytes } })
    }

    /// Reads the key in the file at `path`. `None` if there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not as [`write`](Self::write) leaves it.
    pub fn read(path: &Path) -> Result<Option<Self>, EvidenceError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(EvidenceError::file("read", path))?,
        };
        let unusable =
            || EvidenceError::content(path, "it is no key; `fulcrum history rotate-key` makes a new one");
        let mut lines = text.lines();
        let name = lines.next().filter(|name| is_name(name)).ok_or_else(unusable)?;
        let der = lines.nth(1).and_then(from_base64).ok_or_else(unusable)?;
        let seed = der.strip_prefix(&PKCS8).and_then(|seed| seed.try_into().ok()).ok_or_else(unusable)?;
        let key = Self::of(name, seed)?;
        // So no byte of the file can differ from what was written.
        (key.text() == text).then_some(Some(key)).ok_or_else(unusable)
    }

    /// Writes the key to the file at `path`: its name, and PKCS #8 in PEM, for its owner only. After a crash the
    /// file is whole, or is what it was before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EvidenceError> {
        let written = fsync::write_atomic(path, self.text().as_bytes(), Some(0o600), None);
        written.map_err(EvidenceError::file("write", path))
    }

    fn text(&self) -> String {
        let der = base64(&[&PKCS8[..], &self.seed].concat());
        format!("{}\n-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n", self.public.name)
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    /// A signature that `ssh-keygen -Y verify -n file` accepts (SSHSIG), in its armour.
    pub fn ssh_signature(&self, message: &[u8]) -> String {
        let signature = [string(b"ssh-ed25519"), string(&self.sign(&to_sign(message)))].concat();
        let key = self.public.ssh_bytes();
        let parts = [&string(&key)[..], &string(b"file"), &string(b""), &string(b"sha256")].concat();
        let all = [&b"SSHSIG"[..], &1u32.to_be_bytes(), &parts, &string(&signature)].concat();
        let lines: Vec<String> = base64(&all)
            .as_bytes()
            .chunks(70)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
    }
}

/// Shows the public half only.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// The key in a line `NAME+ID+BASE64`, the form that tools for signed notes read. `None` for another text.
    pub fn parse(line: &str) -> Option<Self> {
        // The name has no plus sign; base64 may.
        let (name, rest) = line.split_once('+')?;
        let (_, key) = rest.split_once('+')?;
        let bytes = from_base64(key)?;
        let (kind, bytes) = bytes.split_first()?;
        let key = Self { name: name.to_owned(), bytes: bytes.try_into().ok()? };
        (*kind == ED25519_NOTE && is_name(name) && key.to_string() == line).then_some(key)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in signed notes.
    pub fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[ED25519_NOTE], &self.bytes]);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Whether the signature is this key's over the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
    }

    /// Whether an SSHSIG in its armour is this key's over the message.
    pub fn verifies_ssh(&self, message: &[u8], armoured: &str) -> bool {
        let body = armoured.strip_prefix("-----BEGIN SSH SIGNATURE-----\n");
        let body = body.and_then(|body| body.strip_suffix("\n-----END SSH SIGNATURE-----\n"));
        let Some(bytes) = body.and_then(|body| from_base64(&body.replace('\n', ""))) else { return false };
        let key = self.ssh_bytes();
        let parts = [&string(&key)[..], &string(b"file"), &string(b""), &string(b"sha256")].concat();
        let before = [&b"SSHSIG"[..], &1u32.to_be_bytes(), &parts, &83u32.to_be_bytes()].concat();
        let signature = bytes.strip_prefix(&before[..]);
        let signature = signature.and_then(|rest| rest.strip_prefix(&string(b"ssh-ed25519")[..]));
        let signature = signature.and_then(|rest| rest.strip_prefix(&64u32.to_be_bytes()));
        signature.is_some_and(|signature| self.verifies(&to_sign(message), signature))
    }

    /// The line of an `allowed_signers` file of `ssh-keygen`.
    pub fn allowed_signer(&self) -> String {
        format!("{} namespaces=\"file\" ssh-ed25519 {}", self.name, base64(&self.ssh_bytes()))
    }

    fn ssh_bytes(&self) -> Vec<u8> {
        [string(b"ssh-ed25519"), string(&self.bytes)].concat()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = base64(&[&[ED25519_NOTE], &self.bytes[..]].concat());
        write!(f, "{}+{}+{key}", self.name, hex(&self.id()))
    }
}

/// Whether a text may be the name of a key.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
}

/// What an SSHSIG signs.
fn to_sign(message: &[u8]) -> Vec<u8> {
    let hash = sha256(&[message]);
    [&b"SSHSIG"[..], &string(b"file"), &string(b""), &string(b"sha256"), &string(&hash)].concat()
}

/// A text in the form of SSH: its length, then its bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_not_with_another_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(SigningKey::read(&path).unwrap().is_none());
        let key = SigningKey::generate(None).unwrap();
        key.write(&path).unwrap();
        assert_eq!(SigningKey::read(&path).unwrap().unwrap().public(), key.public());
        let written = std::fs::read(&path).unwrap();
        for at in 0..written.len() {
            let mut other = written.clone();
            other[at] ^= 1;
            std::fs::write(&path, &other).unwrap();
            let read = SigningKey::read(&path).ok().flatten();
            assert!(read.is_none_or(|read| read.public() != key.public()), "byte {at}");
        }
        assert!(!format!("{key:?}").contains(&base64(&key.seed)));
    }

    #[test]
    fn a_public_key_is_a_line_and_verifies_only_what_it_signed() {
        let key = SigningKey::of("example.org/log", [7; 32]).unwrap();
        let line = key.public().to_string();
        assert_eq!(PublicKey::parse(&line).as_ref(), Some(key.public()));
        assert_eq!(PublicKey::parse(&line.replace("log+", "lag+")), None, "the id is that of the name");
        assert!(key.public().verifies(b"yes", &key.sign(b"yes")));
        assert!(!key.public().verifies(b"no", &key.sign(b"yes")));
        let ssh = key.ssh_signature(b"yes");
        assert!(key.public().verifies_ssh(b"yes", &ssh) && !key.public().verifies_ssh(b"no", &ssh));
    }
}
