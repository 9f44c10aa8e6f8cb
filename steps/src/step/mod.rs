//! The steps of a pivot, one file a step.

mod announce;
mod archive;
mod arm_guard;
mod await_ready;
mod await_roll_out;
mod bridge;
mod create_daemonset;
mod edit_daemonset;
mod fall_back;
mod forget_certs;
mod job;
mod label_node;
mod library;
mod lock;
mod prefer_serving;
mod prefer_static;
mod preflight;
mod prove_certs;
mod record_head;
mod recorded;
mod redirect;
mod renew_certs;
mod renew_standby;
mod restore_static;
mod retire_static;
mod roll_certs;
mod roll_out;
mod share_live;
mod share_port;
mod switch;
mod upload_config;
mod vacate_port;
mod verify;

pub use job::{BridgeAct, Job, RedirectAct};
pub use library::library;
