//! The steps of a pivot, one file a step.

mod announce;
mod archive;
mod arm_guard;
mod await_ready;
mod bridge;
mod create_daemonset;
mod drain;
mod endpoints;
pub(crate) mod hold_back;
mod keep_line_up;
mod label_node;
mod lease;
mod library;
mod line_up;
mod lock;
mod pair;
mod preflight;
mod redirect;
mod removal;
mod renew_standby;
mod restore_static;
mod retire_static;
mod seal;
mod share_live;
mod share_port;
mod stand_in;
mod switch;
mod vacate_port;
mod verify;

pub use library::{BridgeAct, Job, RedirectAct, library};
