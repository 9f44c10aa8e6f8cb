//! The edge to the machine: its manifests directory, its processes and sockets.

mod host;
pub use host::*;
