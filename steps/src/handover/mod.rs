//! What several steps and the guard do when a component changes hands.

pub(crate) mod beside;
pub mod bridge;
pub(crate) mod drain;
pub(crate) mod elsewhere;
pub(crate) mod endpoints;
pub(crate) mod hold_back;
pub(crate) mod lasting;
pub(crate) mod lease;
pub(crate) mod line;
pub(crate) mod pair;
pub(crate) mod removal;
pub(crate) mod roll_out;
pub(crate) mod shadow;
pub(crate) mod stand_still;
pub mod standby;
pub mod standbys;
