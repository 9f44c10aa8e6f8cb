//! The program on the host, for a run that a pod starts.

use fulcrum_engine::state::{Digest, fsync};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the program is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// It was there: this very program.
    Found(PathBuf),
    /// It was written.
    Written(PathBuf),
}

impl Installed {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Found(path) | Self::Written(path) => path,
        }
    }
}

/// Finds `program` in one of these places, or writes it to the last of them. The file is whole or absent at any instant.
/// A program that runs from it goes on.
///
/// # Errors
/// What the system refused, with the file.
pub fn install(program: &[u8], places: &[&Path]) -> io::Result<Installed> {
    let digest = Digest::of(program);
    let is_it = |path: &&&Path| {
        let runs =
            fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        runs && fs::read(path).is_ok_and(|bytes| Digest::of(&bytes) == digest)
    };
    if let Some(path) = places.iter().find(is_it) {
        return Ok(Installed::Found((*path).to_owned()));
    }
    let path =
        places.last().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no place is named"))?;
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(named)?;
    }
    fsync::sweep(path).map_err(named)?;
    fsync::write_atomic(path, program, Some(0o755), None).map_err(named)?;
    Ok(Installed::Written((*path).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_or_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let (packaged, own) = (dir.path().join("usr/bin/fulcrum"), dir.path().join("usr/local/bin/fulcrum"));
        let places = [packaged.as_path(), own.as_path()];
        assert_eq!(install(b"one", &places).unwrap(), Installed::Written(own.clone()));
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(install(b"one", &places).unwrap(), Installed::Found(own.clone()));
        // A package's program is another version: it stays, and a word for the newer one is not needed.
        fs::create_dir_all(packaged.parent().unwrap()).unwrap();
        fs::write(&packaged, b"two").unwrap();
        assert_eq!(install(b"three", &places).unwrap(), Installed::Written(own.clone()));
        assert_eq!(fs::read(&packaged).unwrap(), b"two");
        // One that cannot be executed is none.
        assert_eq!(install(b"two", &places).unwrap(), Installed::Written(own.clone()));
        fs::set_permissions(&packaged, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(install(b"two", &places).unwrap(), Installed::Found(packaged));
    }
}
