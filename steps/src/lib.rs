//! placeholder
pub mod component;
pub mod manifest;
pub mod node;
pub mod rehearsal;
