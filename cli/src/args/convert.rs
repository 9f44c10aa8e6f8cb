//! Between what is typed and what the steps are told.

use super::{HandoverArg, OnRebootArg};
use fulcrum_steps::settings::{HandoverMode, OnReboot, Wanted};

impl From<OnReboot> for OnRebootArg {
    fn from(on_reboot: OnReboot) -> Self {
        match on_reboot {
            OnReboot::Resume => Self::Resume,
            OnReboot::Rollback => Self::Rollback,
        }
    }
}

impl From<HandoverMode> for HandoverArg {
    fn from(mode: HandoverMode) -> Self {
        match mode {
            HandoverMode::Steer => Self::Steer,
            HandoverMode::Bridge => Self::Bridge,
            HandoverMode::Restart => Self::Restart,
        }
    }
}

impl From<OnRebootArg> for OnReboot {
    fn from(arg: OnRebootArg) -> Self {
        match arg {
            OnRebootArg::Resume => Self::Resume,
            OnRebootArg::Rollback => Self::Rollback,
        }
    }
}

impl From<HandoverArg> for Wanted {
    fn from(arg: HandoverArg) -> Self {
        match arg {
            HandoverArg::Auto => Self::Auto,
            HandoverArg::Steer => Self::Way(HandoverMode::Steer),
            HandoverArg::Bridge => Self::Way(HandoverMode::Bridge),
            HandoverArg::Restart => Self::Way(HandoverMode::Restart),
        }
    }
}
