//! The steps of a pivot, one file a step.

mod announce;
mod archive;
mod arm_guard;
mod await_ready;
mod bridge;
mod create_daemonset;
mod keep_line_up;
mod label_node;
mod library;
mod line_up;
mod lock;
mod preflight;
mod redirect;
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
