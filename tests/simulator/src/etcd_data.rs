//! The data of a machine's member of etcd: of which release they are.

use super::process::{Life, Machine, Proc};
use fulcrum_steps::upgrade::EtcdVersion;

impl Machine {
    /// The version of the member that works here.
    pub(super) fn etcd_version(&self) -> Option<EtcdVersion> {
        self.procs.values().filter(|proc| proc.life == Life::Working).find_map(|proc| proc.etcd)
    }

    /// Whether this process finds data of a newer minor release.
    pub(super) fn is_outdated(&self, pid: u32) -> bool {
        let own = self.etcd_of(pid);
        self.etcd_data.zip(own).is_some_and(|(data, own)| own < data && !own.is_of_minor(data))
    }

    /// A member that works has made the data its own.
    pub(super) fn note_data(&mut self, pid: u32) {
        self.etcd_data = self.etcd_data.max(self.etcd_of(pid));
    }

    fn etcd_of(&self, pid: u32) -> Option<EtcdVersion> {
        self.procs.get(&pid).and_then(|proc: &Proc| proc.etcd)
    }
}
