//! The checks of a simulated cluster after a run: everything is self-hosted, or everything is exactly as it
//! was before.

use super::error::RehearsalError;
use super::inventory::{Difference, difference, inventory};
use super::pace::{POLL, SOON};
use super::point::When;
use super::simulated_site::SimulatedSite;
use crate::{Origin, Snapshot};
use fulcrum_engine::state::Reader;
use fulcrum_evidence::note::Note;
use fulcrum_evidence::verify::{Elsewhere, Report, Standing, verify};
use fulcrum_steps::cluster::LOCK_LEASE;
use fulcrum_steps::component::Component;
use fulcrum_steps::host::FileImage;
use fulcrum_steps::manifest::StaticPod;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Those of these files that are no component's manifest, under whatever name.
pub(super) fn others(files: &BTreeMap<String, FileImage>) -> BTreeMap<String, FileImage> {
    let is_ours = |image: &FileImage| {
        let bytes = image.content.as_bytes();
        let is = |component: &Component| {
            StaticPod::parse(*component, bytes).is_ok_and(|pod| pod.name() == component.name())
        };
        Component::ALL.iter().any(is)
    };
    let others = files.iter().filter(|(_, image)| !is_ours(image));
    others.map(|(name, image)| (name.clone(), image.clone())).collect()
}

impl SimulatedSite {
    /// Checks that the whole control plane runs from DaemonSets, and from nothing else, and that the lock is
    /// free.
    ///
    /// # Errors
    /// With the first difference.
    pub async fn is_self_hosted(&self) -> Result<(), Difference> {
        let hosted = |seen: &Snapshot| {
            Component::ALL.iter().all(|component| {
                seen.serves(component.name(), Origin::Api) && !seen.runs(component.name(), Origin::Static)
            })
        };
        self.machine().until("the control plane to be self-hosted", SOON, hosted).await?;
        self.compare_files(&self.others, true)?;
        match self.cluster.lease(LOCK_LEASE).await? {
            None => Ok(()),
            Some(_) => Err(Difference::Objects("the lock is still held".to_owned())),
        }
    }

    /// Checks the journal, by itself and against what the cluster keeps of it. Nothing of it may stand worse than
    /// this. A process that was killed between the end of its run and the signature has left records that are
    /// not signed.
    ///
    /// # Errors
    /// With everything that stands worse.
    pub async fn is_verified(&self, journal: &Reader, at_worst: Standing) -> Result<(), RehearsalError> {
        let report = self.evidence(journal).await?;
        if report.worst() <= at_worst {
            return Ok(());
        }
        let bad = report.findings.iter().filter(|finding| finding.standing > at_worst);
        let texts: Vec<&str> = bad.map(|finding| finding.text.as_str()).collect();
        Err(RehearsalError::Unverified(texts.join("; ")))
    }

    /// Checks what verification says of a journal whose process was killed at this instant of a signing: no
    /// more than what is there.
    ///
    /// # Errors
    /// When it says more, or that something is wrong.
    pub(super) async fn is_honest_at(&self, when: When) -> Result<(), RehearsalError> {
        let expected = match when {
            // The cluster knows what was signed after the way there, and the rest is signed here.
            When::UndoSigned => Standing::Verified,
            _ => Standing::NotChecked,
        };
        let report = self.evidence(&Reader::open(self.state_dir())?).await?;
        match report.worst() == expected {
            true => Ok(()),
            false => Err(RehearsalError::Unverified(format!("{:?} at once after {when}", report.worst()))),
        }
    }

    async fn evidence(&self, journal: &Reader) -> Result<Report, RehearsalError> {
        let entry = self.cluster.entry_of(self.machine().name()).await?;
        let checkpoint = entry.and_then(|entry| entry.checkpoint);
        let note = checkpoint.and_then(|text| Note::parse(&text)).ok_or_else(|| "it has none".to_owned());
        let elsewhere = Elsewhere { place: "the cluster".to_owned(), note };
        Ok(verify(journal, &self.state_dir(), &[elsewhere])?)
    }

    /// Checks that everything is as it was before: files byte for byte, processes, objects.
    ///
    /// # Errors
    /// With the first difference.
    pub async fn is_as_before(&self) -> Result<(), Difference> {
        self.is_static().await?;
        self.compare_objects().await
    }

    /// Checks that this node's files and processes are as they were before. While other nodes are
    /// self-hosted, the objects are not.
    ///
    /// # Errors
    /// With the first difference.
    pub async fn is_static(&self) -> Result<(), Difference> {
        let plain = |seen: &Snapshot| {
            Component::ALL.iter().all(|component| {
                let name = component.name();
                let mut processes = seen.of(name, Origin::Static);
                let shares = self.shared.get(name).copied().unwrap_or(false);
                let exact = processes.all(|process| process.shares_port == shares);
                seen.serves(name, Origin::Static) && exact && !seen.runs(name, Origin::Api)
            })
        };
        self.machine().until("the control plane to be static, as it was before", SOON, plain).await?;
        self.compare_files(&self.before, false)
    }

    /// Checks that these files are there and no others, dot-files included. The spares of manifests that were
    /// taken away may be there `with_spares`.
    fn compare_files(
        &self,
        expected: &BTreeMap<String, FileImage>,
        with_spares: bool,
    ) -> Result<(), Difference> {
        let differs = |name: &str, seen| Err(Difference::File { name: name.to_owned(), seen });
        for (name, image) in expected {
            match self.manifests().read(name)? {
                None => return differs(name, "is gone"),
                Some(now) if now.content != image.content => {
                    return differs(name, "has other bytes than before");
                }
                Some(now) if now != *image => return differs(name, "has another mode or owner than before"),
                Some(_) => {}
            }
        }
        let manifests = self.manifests();
        let spares: Vec<_> = self.before.keys().map(|name| manifests.spare(name)).collect();
        for entry in std::fs::read_dir(manifests.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_spare = with_spares && spares.contains(&entry.path());
            if !is_spare && !expected.contains_key(&name) {
                return differs(&name, "is left there");
            }
        }
        Ok(())
    }

    /// Compares the objects, once they stand still: mirror pods follow their processes.
    async fn compare_objects(&self) -> Result<(), Difference> {
        let end = Instant::now() + SOON;
        loop {
            let now = inventory(self.machine()).await;
            let differs = match &now {
                Ok(now) => difference(&self.objects, now),
                Err(error) => Some(error.to_string()),
            };
            let Some(differs) = differs else { return Ok(()) };
            if Instant::now() > end {
                return Err(Difference::Objects(differs));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
