//! The certificates of a control plane: what is in the files, and what each running process has of them.
//!
//! A new file is not yet a new certificate in use. Some processes read a changed file by themselves, others
//! never do. So each listening process is asked for the certificate that it presents, and the start of a
//! process that never reads again is compared with the file's last change.
//!
//! `kubeadm certs renew` renews some of them. [`Renewal`] says which, and who has to be restarted for that;
//! [`KeptDir`] keeps the files from before.

mod contents;
mod judge;
mod kept;
mod look;
mod read;
mod reload;
mod renewable;
mod renewal;
mod seen;
mod used;

#[cfg(test)]
mod tests;

pub use contents::{Contents, LONGEST, finish_mirror, remove_mirror, write_mirror};
pub use judge::{Entry, Inventory, State, User};
pub use kept::{Compared, KeptDir, KeptFile};
pub use look::{Pace, Ports, inventory};
pub use read::Certificate;
pub use reload::Reload;
pub use renewable::{Authority, Renewable, UnknownName};
pub use renewal::{NotRenewable, Renewal, fingerprint};
pub use used::{Program, Usage};

use jiff::SignedDuration;

/// A certificate that ends within this time is to be renewed.
pub const ENDS_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
