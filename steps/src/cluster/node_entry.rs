//! A node's entry in the roll call: what the cluster knows of a control-plane node. Pure; docs/formats/roll-call.md
//! has the form.

use crate::component::Component;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// The version of the form that this program writes. A new field leaves the version as it is.
pub const ROLL_CALL_VERSION: u32 = 1;

/// What the cluster keeps of one node. Versions of fulcrum before the roll call wrote `run`, `phase`, `program` and
/// `checkpoint` alone, and read these four.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The version of the form. 0 in entries of before the roll call.
    #[serde(default)]
    pub format_version: u32,
    /// When the entry was written. `None` in entries of before the roll call.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub written: Option<Timestamp>,
    /// What the node is, by its manifests.
    #[serde(default)]
    pub mode: NodeMode,
    /// The run that was begun, gone on with, or ended last.
    #[serde(default)]
    pub run: String,
    /// The run's purpose, as people read it: `pivot`, `fall-back`. Empty in entries of before the roll call.
    #[serde(default)]
    pub kind: String,
    /// How the run stands.
    #[serde(default)]
    pub phase: RunPhase,
    /// Why the run has ended or paused, or why it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How the run hands over: `steer`, `bridge` or `restart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<String>,
    /// The program that has worked on the run last.
    #[serde(default)]
    pub program: String,
    /// The SHA-256 of that program's file, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_sha256: Option<String>,
    /// What the node has signed last (C2SP checkpoint). `None` before the end of its first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The public half of the key that has signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The guard, as it has said itself. `None` if none ever has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardEntry>,
}

/// The guard of a node, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardEntry {
    /// What it does.
    pub state: GuardState,
    /// When it said so last. It does so every [`GUARD_BEATS_EVERY`] at least.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub beat: Option<Timestamp>,
    /// The standby. `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<StandbyEntry>,
    /// What keeps it from its work, or why the static pods stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

/// How often the guard says that it is there. A node is lost after 40 s by its kubelet's lease; this need not be as
/// quick, and a write a minute from each node is little.
pub const GUARD_BEATS_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// A guard that has said nothing for longer is silent. One beat may be late, and another be refused.
pub const GUARD_SILENT_AFTER: std::time::Duration = std::time::Duration::from_secs(180);

/// The standby of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyEntry {
    /// Since when the oldest of its manifests is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub since: Option<Timestamp>,
    /// Whether the DaemonSets have changed since, and have not yet proven themselves.
    #[serde(default)]
    pub behind: bool,
    /// Of which DaemonSets the guard has found it to be what they run. Empty until it has looked, and always by a guard
    /// of an earlier version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of: BTreeMap<Component, DaemonsetVersion>,
}

/// Which DaemonSet, and which of its specs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonsetVersion {
    /// The object's uid.
    pub uid: String,
    /// Its `metadata.generation`, which every change of the spec raises.
    pub generation: i64,
}

impl DaemonsetVersion {
    /// That of this object. `None` if it says none.
    pub(crate) fn of(live: &Value) -> Option<Self> {
        let metadata = &live["metadata"];
        let (uid, generation) = (metadata["uid"].as_str()?, metadata["generation"].as_i64()?);
        Some(Self { uid: uid.to_owned(), generation })
    }
}

/// What a node is, by its manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeMode {
    /// Static manifests for all three components.
    Static,
    /// For none.
    SelfHosted,
    /// For some.
    Half,
    /// The entry does not say, or says it in a word of a later version.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// It was begun, or taken up again.
    Running,
    /// A component is being cut over.
    Cutting,
    /// It goes back.
    RollingBack,
    /// It has stopped at a safe point.
    Paused,
    /// It waits for a time or a decision, without a process.
    Waiting,
    /// Every step is done.
    Completed,
    /// Undone to the end.
    RolledBack,
    /// Only a person can go on.
    NeedsOperator,
    /// Given up as it was.
    Abandoned,
    /// The entry does not say, or says it in a word of a later version.
    #[default]
    Unknown,
}

/// What the guard does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardState {
    /// It is installed, and will start at a boot. A run that has armed it says so.
    Armed,
    /// It watches.
    Watching,
    /// The static pods serve, and stay until a person decides otherwise.
    StaysStatic,
    /// A word of a later version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl NodeEntry {
    /// Reads an entry of any version.
    ///
    /// # Errors
    /// When it is no entry.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// How a run has ended of which the entry does not know that: the API gave no answer at its end, say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndOfRun {
    /// The run's id.
    pub run: String,
    /// How it has ended.
    pub phase: RunPhase,
    /// When that was known. What the entry says of a later time stays: a person may take the run up again.
    pub known: Timestamp,
}

impl EndOfRun {
    /// Writes it into the entry, unless the entry knows of it, or of something later.
    pub fn enter(&self, entry: &mut NodeEntry) {
        let is_news = self.phase.is_over() && !entry.phase.is_over() && entry.run == self.run;
        if is_news && entry.written.is_none_or(|written| written <= self.known) {
            (entry.phase, entry.written, entry.reason) = (self.phase, Some(self.known), None);
        }
    }
}

impl RunPhase {
    /// Every phase that has a word.
    const ALL: [(Self, &str); 9] = [
        (Self::Running, "running"),
        (Self::Cutting, "cutting"),
        (Self::RollingBack, "rolling-back"),
        (Self::Paused, "paused"),
        (Self::Waiting, "waiting"),
        (Self::Completed, "completed"),
        (Self::RolledBack, "rolled-back"),
        (Self::NeedsOperator, "needs-operator"),
        (Self::Abandoned, "abandoned"),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(phase, _)| *phase == self).map_or("unknown", |(_, name)| name)
    }

    /// The phase with this word. Before the roll call a pause had its reason in parentheses behind it.
    fn of(text: &str) -> Self {
        let word = text.split(' ').next().unwrap_or_default();
        Self::ALL.iter().find(|(_, name)| *name == word).map_or(Self::Unknown, |(phase, _)| *phase)
    }

    /// Whether a process is at work on the run, or has died at work.
    pub fn in_flight(self) -> bool {
        matches!(self, Self::Running | Self::Cutting | Self::RollingBack)
    }

    /// Whether nothing is left to do of the run, as far as is known.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack | Self::Abandoned | Self::Unknown)
    }
}

impl<'de> Deserialize<'de> for RunPhase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&String::deserialize(deserializer)?))
    }
}

/// A time as Kubernetes writes it.
mod time {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Time, Timestamp};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        time.map(Time).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<Time>::deserialize(from)?.map(|time| time.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a newer version has added is no reason to lose the rest, and what an older one wrote is read as meant.
    #[test]
    fn entries_of_other_versions_are_read() {
        let old =
            json!({ "run": "r", "phase": "paused (SIGINT)", "program": "fulcrum 0.1.0", "checkpoint": "c" });
        let read = NodeEntry::parse(&old.to_string()).unwrap();
        assert_eq!((read.format_version, read.phase, read.mode), (0, RunPhase::Paused, NodeMode::Unknown));
        assert_eq!((read.checkpoint.as_deref(), read.written), (Some("c"), None));
        let new = json!({
            "format_version": 9, "mode": "levitating", "phase": "dreaming", "more": 1,
            "guard": { "state": "asleep", "beat": "2026-01-02T03:04:05Z" },
        });
        let read = NodeEntry::parse(&new.to_string()).unwrap();
        assert_eq!((read.mode, read.phase), (NodeMode::Unknown, RunPhase::Unknown));
        assert_eq!(read.guard.unwrap().state, GuardState::Unknown);
        assert!(NodeEntry::parse("no entry").is_err());
    }

    #[test]
    fn the_end_of_a_run_is_news_only_for_an_entry_of_that_run_from_before() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let end = EndOfRun { run: "r".into(), phase: RunPhase::Completed, known: at(5) };
        for (run, phase, written, expected) in [
            ("r", RunPhase::Cutting, Some(at(5)), RunPhase::Completed),
            ("r", RunPhase::Running, None, RunPhase::Completed),
            // A person has taken it up again, to undo it.
            ("r", RunPhase::RollingBack, Some(at(6)), RunPhase::RollingBack),
            ("another", RunPhase::Running, Some(at(1)), RunPhase::Running),
            ("r", RunPhase::Abandoned, Some(at(1)), RunPhase::Abandoned),
        ] {
            let mut entry = NodeEntry { run: run.into(), phase, written, ..NodeEntry::default() };
            end.enter(&mut entry);
            assert_eq!(entry.phase, expected, "{run} {phase:?} {written:?}");
        }
    }

    /// The form is read by other programs, and by fulcrum on other nodes: a change here is a new version.
    #[test]
    fn the_form_of_an_entry_is_kept() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let version = DaemonsetVersion { uid: "u".to_owned(), generation: 3 };
        let of = [(Component::Scheduler, version)].into();
        let standby = Some(StandbyEntry { since: Some(at), behind: false, of });
        let guard = GuardEntry { state: GuardState::Watching, beat: Some(at), standby, says: None };
        let entry = NodeEntry {
            format_version: ROLL_CALL_VERSION,
            written: Some(at),
            mode: NodeMode::SelfHosted,
            run: "r".to_owned(),
            kind: "pivot".to_owned(),
            phase: RunPhase::NeedsOperator,
            reason: Some("why".to_owned()),
            handover: Some("steer".to_owned()),
            program: "fulcrum 0.1.0".to_owned(),
            program_sha256: Some("ab".to_owned()),
            checkpoint: Some("c".to_owned()),
            key: Some("k".to_owned()),
            guard: Some(guard),
        };
        let expected = json!({
            "format_version": 1, "written": "2026-01-02T03:04:05Z", "mode": "self-hosted", "run": "r",
            "kind": "pivot", "phase": "needs-operator", "reason": "why", "handover": "steer",
            "program": "fulcrum 0.1.0", "program_sha256": "ab", "checkpoint": "c", "key": "k",
            "guard": { "state": "watching", "beat": "2026-01-02T03:04:05Z",
                       "standby": { "since": "2026-01-02T03:04:05Z", "behind": false,
                                    "of": { "kube-scheduler": { "uid": "u", "generation": 3 } } } },
        });
        assert_eq!(serde_json::to_value(&entry).unwrap(), expected);
        assert_eq!(NodeEntry::parse(&expected.to_string()).unwrap(), entry);
        for (phase, name) in RunPhase::ALL {
            assert_eq!(json!(phase), json!(name));
            assert_eq!(RunPhase::of(name), phase);
        }
    }
}
