//! Keeps the standby beside the manifests, too, under names that the kubelet does not read. After a boot with a
//! full disk a rename makes it the manifest.

use super::GuardError;
use super::idle::JournalEye;
use super::watch::Watch;
use crate::run_info::LockPurpose;
use fulcrum_engine::state::{Journal, OpenError};

impl Watch<'_> {
    /// Lays the standby by. The journal is open meanwhile. So no rollback, which restores manifests, can be
    /// under way. What fails is tried again the next time.
    pub(super) fn lay_by(&self, eye: &mut JournalEye) {
        if let Err(error) = self.try_to_lay_by(eye) {
            tracing::warn!(%error, "after a boot with a full disk the manifests could not be restored");
        }
    }

    fn try_to_lay_by(&self, eye: &mut JournalEye) -> Result<(), GuardError> {
        let state_dir = self.guard.env.state_dir();
        let (standby, manifests) = (self.told.standby(&state_dir), &self.site.node.manifests);
        if standby.is_laid_by(manifests).map_err(GuardError::disk("compare the spare manifests"))? {
            return Ok(());
        }
        let journal = match Journal::open(state_dir, LockPurpose::Guard.text()) {
            Err(OpenError::Locked { .. }) => return Ok(()),
            opened => opened?,
        };
        let laid_by = standby.lay_by(manifests).map_err(GuardError::disk("lay the manifests by"));
        drop(journal);
        eye.seen();
        laid_by
    }
}
