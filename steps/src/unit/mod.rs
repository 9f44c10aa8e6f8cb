//! The guard's systemd unit: its text, its installation and its removal.

mod arm;
mod text;

pub use arm::{ArmError, HOLD_OFF, Installed, Orders, PATIENCE, UnitImage};
pub use arm::{arm, disarm, image, installed, prove, restore};
pub use text::{Told, UNIT};
