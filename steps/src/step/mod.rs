//! The steps of a pivot, one file a step.

mod archive;
mod await_ready;
mod create_daemonset;
mod drain;
mod label_node;
mod lease;
mod library;
mod lock;
mod preflight;
mod retire_static;
mod seal;
mod share_port;
mod verify;

pub use library::{Job, library};
