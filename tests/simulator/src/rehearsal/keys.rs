//! Private keys, and the files that have one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The part of a key's second line that is taken. The line begins with what all keys of a kind have.
const OF_LINE: (usize, usize) = (24, 40);
/// The part of a kubeconfig's `client-key-data` that is taken.
const OF_DATA: (usize, usize) = (80, 60);
/// Only root reads and writes a file with a key.
pub const FOR_ROOT: u32 = 0o600;

/// A piece of each key, as its file has it, as a kubeconfig has it, and as a Secret has either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeSet<String>);

impl Keys {
    /// The keys below this directory of kubeadm's, `/etc/kubernetes`: of certificates, and in kubeconfigs.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(root: &Path) -> io::Result<Self> {
        let mut keys = Self::default();
        keys.learn(root)?;
        Ok(keys)
    }

    /// Adds the keys that are there now. Those that were there before stay known.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn learn(&mut self, root: &Path) -> io::Result<()> {
        let has_ending = |path: &PathBuf, ending| path.extension().is_some_and(|of| of == ending);
        for path in files(&root.join("pki"))?.into_iter().filter(|path| has_ending(path, "key")) {
            self.learn_key(&fs::read_to_string(path)?);
        }
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            if !has_ending(&path, "conf") {
                continue;
            }
            let text = fs::read_to_string(path)?;
            // The simulated kubeadm writes JSON.
            let config: Value = serde_json::from_str(&text).unwrap_or_default();
            let Some(data) = config["users"][0]["user"]["client-key-data"].as_str() else { continue };
            let at = text.find(data).unwrap_or_default();
            self.learn_piece(&text, at + OF_DATA.0, OF_DATA.1);
            if let Some(key) = BASE64_STANDARD.decode(data).ok().and_then(|key| String::from_utf8(key).ok()) {
                self.learn_key(&key);
            }
        }
        Ok(())
    }

    fn learn_key(&mut self, pem: &str) {
        if let Some(first) = pem.find('\n') {
            self.learn_piece(pem, first + 1 + OF_LINE.0, OF_LINE.1);
        }
    }

    /// Learns a piece of this text, and what stands for it where the whole text is in base64.
    fn learn_piece(&mut self, text: &str, at: usize, len: usize) {
        let encoded = BASE64_STANDARD.encode(text);
        let in_base64 = at.div_ceil(3) * 4..(at + len) / 3 * 4;
        let pieces = [text.get(at..at + len), encoded.get(in_base64)];
        self.0.extend(pieces.into_iter().flatten().map(str::to_owned));
    }

    /// Whether a key is in this text.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|piece| text.contains(piece))
    }

    /// The files below a directory that have a key, with their modes.
    ///
    /// # Errors
    /// When a file cannot be read. One that goes meanwhile is none.
    pub fn found_in(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u32)>> {
        let mut found = Vec::new();
        for path in files(dir)? {
            let read = fs::read(&path).and_then(|bytes| Ok((bytes, fs::metadata(&path)?)));
            let (bytes, metadata) = match read {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            if self.are_in(&String::from_utf8_lossy(&bytes)) {
                found.push((path, metadata.permissions().mode() & 0o7777));
            }
        }
        Ok(found)
    }
}

/// Every plain file below a directory.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                // A socket, or gone meanwhile.
                _ => {}
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SimulatorOptions, write_certificates};

    /// As a file, as a kubeconfig, and as a Secret of either has it.
    #[test]
    fn a_key_is_found_however_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = dir.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        write_certificates(&SimulatorOptions::new(&manifests)).unwrap();
        let keys = Keys::of(dir.path()).unwrap();
        assert!(keys.0.len() > 20, "{}", keys.0.len());
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let (key, config) = (read("pki/apiserver.key"), read("scheduler.conf"));
        for text in [&key, &config, &BASE64_STANDARD.encode(&key), &BASE64_STANDARD.encode(&config)] {
            assert!(keys.are_in(text), "{text}");
        }
        let certificate = read("pki/apiserver.crt");
        assert!(!keys.are_in(&certificate) && !keys.are_in(&BASE64_STANDARD.encode(&certificate)));
        let found = keys.found_in(dir.path()).unwrap();
        assert!(found.contains(&(dir.path().join("pki/sa.key"), FOR_ROOT)), "{found:?}");
        assert!(found.iter().all(|(path, mode)| *mode == FOR_ROOT && path.extension().unwrap() != "crt"));
    }
}
