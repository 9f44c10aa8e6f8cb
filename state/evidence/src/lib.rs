//! Evidence for an auditor: who did what with which program, signed, and what of that can be verified.
//!
//! The journal's own chain finds what was damaged by accident. A process with root can forge entries and make
//! the chain anew. So the end of each run signs all records of the journal with the node's key, and what was
//! signed can be kept elsewhere. docs/audit.md says what this proves against whom.
//!
//! | module | what it is |
//! |---|---|
//! | [`actor`] | who is at work on a run, and with what |
//! | [`merkle`] | the tree of RFC 6962 |
//! | [`key`] | Ed25519 keys, as files and as text |
//! | [`note`] | what is signed: a checkpoint of C2SP |
//! | [`leaves`] | from the journal to the leaves of the tree |
//! | [`seal`] | signs the journal as it is; rotates the key; keeps the leaves of what is pruned |
//! | [`verify`] | what can be verified, what not and why, and what is wrong |
//! | [`export`], [`import`] | a directory for an auditor, and the check of one |

pub mod actor;
mod encode;
pub mod error;
pub mod export;
pub mod import;
pub mod key;
pub mod leaves;
pub mod merkle;
pub mod note;
pub mod seal;
mod statement;
pub mod verify;

pub use encode::sha256_hex;
pub use error::EvidenceError;
