//! The guard: what brings a self-hosted control plane back after a reboot or a failure.
//!
//! A static control plane starts from files. A self-hosted one starts from objects that only it can serve:
//! once all of it is down, nothing starts it again. The guard runs before the kubelet. At a boot it restores
//! the API server's static manifest as the journal and the disk direct: there is no API to ask. Once the API
//! answers, it restores the other two, and a run like any other hands the control plane over to the
//! DaemonSets. Afterwards the guard watches. A control plane that does not answer any more gets its static
//! pods back.
//!
//! The guard keeps no journal open while it rests: `fulcrum pivot`, `resume` and `rollback` never wait for
//! it.
//!
//! [`decide`] decides by values alone. The other modules gather the values and carry the decision out.

mod boot;
pub mod decide;
mod env;
mod error;
mod expiry;
mod gone;
mod idle;
mod intervals;
mod journal_view;
mod mirror;
mod pause;
mod renew;
mod reports;
mod roll_call;
mod roll_certs;
mod signs;
mod spare;
mod tell;
mod watch;

#[cfg(test)]
mod tests;

pub use boot::{Carried, Start, boot, carry_on};
pub use env::GuardEnv;
pub use error::GuardError;
pub use intervals::Intervals;
pub use journal_view::JournalView;
pub use watch::{Ended, Guard, HOW_TO_GO_ON};
