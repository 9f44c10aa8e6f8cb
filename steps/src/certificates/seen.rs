//! What was seen of the files and the processes.

use super::read::{self, Certificate, Leads, OnDisk};
use super::used::{Program, Usage, Used};
use crate::host::Process;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was seen, without a judgement.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Each file that has a certificate. What cannot be read says why.
    pub(super) files: BTreeMap<PathBuf, Result<OnDisk, String>>,
    /// Files that flags name and that are not there.
    pub(super) missing: BTreeSet<PathBuf>,
    /// Kubeconfigs that name a file.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    pub(super) processes: Vec<Running>,
}

/// A process that listens.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) program: Program,
    pub(super) process: Process,
    pub(super) started: Result<Timestamp, String>,
    pub(super) uses: Vec<Used>,
    /// What it presents, or why that could not be seen.
    pub(super) presents: Result<Certificate, String>,
    /// What the API server presents to itself.
    pub(super) loopback: Option<Certificate>,
}

impl Seen {
    pub(super) fn read_pem(&mut self, path: PathBuf) {
        self.files.entry(path).or_insert_with_key(|path| read::pem_file(path));
    }

    pub(super) fn read_kubeconfig(&mut self, path: PathBuf) {
        if self.files.contains_key(&path) || self.links.contains_key(&path) {
            return;
        }
        match read::kubeconfig(&path) {
            Ok(Leads::Inline(found)) => {
                self.files.insert(path, Ok(*found));
            }
            Ok(Leads::To(file)) => {
                self.read_pem(file.clone());
                self.links.insert(path, file);
            }
            Ok(Leads::Nowhere) => {}
            Err(error) => {
                self.files.insert(path, Err(error));
            }
        }
    }
}

impl Running {
    /// What it does with this file, if anything.
    pub(super) fn usages(&self, path: &Path, links: &BTreeMap<PathBuf, PathBuf>) -> Vec<Usage> {
        let leads = |used: &Used| used.path == path || links.get(&used.path).is_some_and(|to| to == path);
        let mut usages: Vec<Usage> = Vec::new();
        for used in self.uses.iter().filter(|used| leads(used)) {
            if !usages.contains(&used.usage) {
                usages.push(used.usage);
            }
        }
        usages
    }
}
