//! The kinds of fault that an experiment can ask for. Invariant: the table of what each way of running
//! can do stands here and nowhere else.

use serde::{Deserialize, Serialize};

/// A way to run an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Simulated: the whole system in one thread, on a paused clock and a simulated disk.
    Sim,
    /// The running system, over its operators' API.
    Live,
    /// The program in a process of its own, killed with `kill -9`.
    Kill9,
}

impl Mode {
    /// Its name in experiments and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Live => "live",
            Self::Kill9 => "kill9",
        }
    }
}

/// A kind of fault, as an experiment names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is told by the effect of the same name in `chaos::fault`")]
pub enum Kind {
    ProviderStatus,
    ProviderReset,
    ProviderSlow,
    ProviderDrip,
    ProviderStall,
    ProviderCut,
    ProviderGarbage,
    ProviderWrong,
    ProviderLost,
    ProviderPoison,
    PlatformStatus,
    PlatformReset,
    PlatformSlow,
    PlatformLost,
    PlatformLate,
    ActorPanic,
    ActorError,
    ActorHang,
    ActorSlow,
    ActorKill,
    ActorFlood,
    DiskFull,
    DiskSyncError,
    DiskAppendError,
    ClockJump,
    Crash,
}

/// What a fault is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Provider,
    Platform,
    Actor,
    Disk,
    Clock,
    Process,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::ProviderStatus,
        Self::ProviderReset,
        Self::ProviderSlow,
        Self::ProviderDrip,
        Self::ProviderStall,
        Self::ProviderCut,
        Self::ProviderGarbage,
        Self::ProviderWrong,
        Self::ProviderLost,
        Self::ProviderPoison,
        Self::PlatformStatus,
        Self::PlatformReset,
        Self::PlatformSlow,
        Self::PlatformLost,
        Self::PlatformLate,
        Self::ActorPanic,
        Self::ActorError,
        Self::ActorHang,
        Self::ActorSlow,
        Self::ActorKill,
        Self::ActorFlood,
        Self::DiskFull,
        Self::DiskSyncError,
        Self::DiskAppendError,
        Self::ClockJump,
        Self::Crash,
    ];

    /// Its name in experiments and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProviderStatus => "provider_status",
            Self::ProviderReset => "provider_reset",
            Self::ProviderSlow => "provider_slow",
            Self::ProviderDrip => "provider_drip",
            Self::ProviderStall => "provider_stall",
            Self::ProviderCut => "provider_cut",
            Self::ProviderGarbage => "provider_garbage",
            Self::ProviderWrong => "provider_wrong",
            Self::ProviderLost => "provider_lost",
            Self::ProviderPoison => "provider_poison",
            Self::PlatformStatus => "platform_status",
            Self::PlatformReset => "platform_reset",
            Self::PlatformSlow => "platform_slow",
            Self::PlatformLost => "platform_lost",
            Self::PlatformLate => "platform_late",
            Self::ActorPanic => "actor_panic",
            Self::ActorError => "actor_error",
            Self::ActorHang => "actor_hang",
            Self::ActorSlow => "actor_slow",
            Self::ActorKill => "actor_kill",
            Self::ActorFlood => "actor_flood",
            Self::DiskFull => "disk_full",
            Self::DiskSyncError => "disk_sync_error",
            Self::DiskAppendError => "disk_append_error",
            Self::ClockJump => "clock_jump",
            Self::Crash => "crash",
        }
    }

    /// The ways of running that can do it. A simulation can do everything. Only its disk and its clock
    /// can be made to lie, and a running system is not killed under its users. Nor is it given an
    /// answer that looks right or that drips, a post that comes late, a call that kills, or messages of which
    /// it was not asked.
    #[must_use]
    pub fn modes(self) -> &'static [Mode] {
        match (self, self.victim()) {
            (Self::ActorFlood | Self::ProviderPoison | Self::ProviderDrip, _) => &[Mode::Sim],
            (Self::ProviderWrong | Self::PlatformLate, _) => &[Mode::Sim, Mode::Kill9],
            (_, Victim::Provider | Victim::Platform) => &[Mode::Sim, Mode::Live, Mode::Kill9],
            (_, Victim::Actor) => &[Mode::Sim, Mode::Live],
            (_, Victim::Disk | Victim::Clock) => &[Mode::Sim],
            (_, Victim::Process) => &[Mode::Sim, Mode::Kill9],
        }
    }

    pub(super) fn victim(self) -> Victim {
        match self {
            Self::ProviderStatus
            | Self::ProviderReset
            | Self::ProviderSlow
            | Self::ProviderDrip
            | Self::ProviderStall
            | Self::ProviderCut
            | Self::ProviderGarbage
            | Self::ProviderWrong
            | Self::ProviderLost
            | Self::ProviderPoison => Victim::Provider,
            Self::PlatformStatus
            | Self::PlatformReset
            | Self::PlatformSlow
            | Self::PlatformLost
            | Self::PlatformLate => Victim::Platform,
            Self::ActorPanic
            | Self::ActorError
            | Self::ActorHang
            | Self::ActorSlow
            | Self::ActorKill
            | Self::ActorFlood => Victim::Actor,
            Self::DiskFull | Self::DiskSyncError | Self::DiskAppendError => Victim::Disk,
            Self::ClockJump => Victim::Clock,
            Self::Crash => Victim::Process,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert!(Kind::ALL.is_sorted());
        for mode in [Mode::Sim, Mode::Live, Mode::Kill9] {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
    }

    #[test]
    fn a_running_server_takes_every_kind_that_says_so() {
        let live = Kind::ALL.into_iter().filter(|kind| kind.modes().contains(&Mode::Live)).map(Kind::name);
        assert_eq!(live.collect::<Vec<_>>(), gateway::live::Kind::ALL.map(gateway::live::Kind::name));
    }

    #[test]
    fn a_simulation_can_do_every_kind() {
        assert!(Kind::ALL.iter().all(|kind| kind.modes().contains(&Mode::Sim)));
    }
}
