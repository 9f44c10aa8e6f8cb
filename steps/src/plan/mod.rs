//! The plans: which steps, in which order, and with which deadlines.

mod adopt;
mod cuts;
mod edit;
mod guard;
mod pivot;
mod renew_certs;
mod roll_certs;
mod story;
mod upgrade;
mod upgrade_etcd;

pub use crate::run_info::{FALL_BACK, PIVOT, shown};
pub use adopt::{ADOPT, adopt};
pub use cuts::{before, cuts};
pub use edit::{EDIT, Edit, edit, edited};
pub(crate) use guard::renew_standby;
pub use guard::{HAND_OVER, RENEW_STANDBY, fall_back, hand_over};
pub use pivot::pivot;
pub use renew_certs::{RENEW_CERTS, RenewCerts, renew_certs};
pub use roll_certs::{ROLL_CERTS, roll_certs};
pub use story::{StepStory, story};
pub use upgrade::{FINALIZE, Rest, UPGRADE, Upgrade, finalize, upgrade};
pub use upgrade_etcd::{UPGRADE_ETCD, UpgradeEtcd, etcd_changed, upgrade_etcd};
