//! The unit that starts the guard, as text.

use std::path::Path;
use std::time::Duration;

/// Its name.
pub const UNIT: &str = "fulcrum-guard.service";
/// The option of a guard that rolls out what goes on with an older certificate.
const ROLLS: &str = "--roll-certificates";
/// The program's name in its own directory.
pub(super) const PROGRAM_FILE: &str = "fulcrum";

/// The unit's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitOf<'a> {
    /// The copy of the program.
    pub(super) program: &'a Path,
    /// The directory of the journal.
    pub(super) state_dir: &'a Path,
    /// The kubelet's manifests directory.
    pub(super) manifests_dir: &'a Path,
    /// The directory of unit files. The guard removes its own when it has undone a pivot.
    pub(super) units_dir: &'a Path,
    /// How long a control plane may be silent.
    pub(super) patience: Duration,
    /// A second failure within this time of a first one is left to a person.
    pub(super) hold_off: Duration,
    /// Whether the guard rolls out what goes on with an older certificate.
    pub(super) roll_certificates: bool,
}

/// What a guard was told, as far as somebody has said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// How long a control plane may be silent.
    pub patience: Option<Duration>,
    /// A second failure within this time of a first one is left to a person.
    pub hold_off: Option<Duration>,
    /// Whether the guard rolls out what goes on with an older certificate.
    pub roll_certificates: Option<bool>,
}

/// The unit's text.
///
/// The unit may write where the guard writes, also below kubeadm's directory, where a renewal of certificates may
/// have been cut short. It has the capabilities that the steps need: files of any
/// owner (`DAC`, `CHOWN`, `FOWNER`), ending a server that has drained (`KILL`), the owners of sockets
/// (`SYS_PTRACE`), steering connections on a port (`NET_ADMIN`), holding back what is sent to a server that
/// ends (`BPF`).
pub(super) fn unit(of: &UnitOf) -> String {
    let home = of.program.parent().unwrap_or(of.program);
    let [program, state_word] = [of.program, of.state_dir].map(|path| word(path, "").replace('$', "$$"));
    let [mounted_state, mounted_manifests, mounted_home] =
        [of.state_dir, of.manifests_dir, home].map(|path| word(path, ""));
    // The dash, which lets a path be absent, is a part of the word.
    let [state, manifests, units, home] =
        [of.state_dir, of.manifests_dir, of.units_dir, home].map(|path| word(path, "-"));
    // Beside the manifests are the certificates. A manifests directory at the root has nothing beside it.
    let beside = of.manifests_dir.parent().filter(|dir| dir.parent().is_some());
    let kubernetes = beside.map(|dir| format!(" {}", word(dir, "-"))).unwrap_or_default();
    let (patience, hold_off) = (of.patience.as_secs(), of.hold_off.as_secs());
    let rolls = if of.roll_certificates { " --roll-certificates" } else { "" };
    format!(
        "\
# Written by fulcrum; `fulcrum guard uninstall` and `fulcrum rollback` take it away.
[Unit]
Description=fulcrum guard: brings this node's self-hosted control plane back after a boot or a failure
Before=kubelet.service
RequiresMountsFor={mounted_state} {mounted_manifests} {mounted_home}
StartLimitIntervalSec=0

[Service]
Type=notify
Environment=FULCRUM_GUARD=1
# It works seldom and rests long: what threads have freed is not kept for each of them.
Environment=MALLOC_ARENA_MAX=1
ExecStart={program} guard --state-dir {state_word} --patience {patience}s --hold-off {hold_off}s{rolls}
Restart=always
RestartSec=1
# 0: there is nothing to guard any more. 130: told to end.
RestartPreventExitStatus=0
SuccessExitStatus=130
TimeoutStartSec=60
# A guard that has stopped guards nothing.
WatchdogSec=60
WatchdogSignal=SIGKILL
OOMScoreAdjust=-900
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER CAP_KILL CAP_SYS_PTRACE CAP_NET_ADMIN CAP_BPF
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={state} {manifests}{kubernetes} {units} {home}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"
    )
}

/// What the guard was told that a unit with this text starts, as far as the text has it. A newer or an older version has
/// written it, or a person has changed it.
pub(super) fn told(text: &str) -> Told {
    let command = text.lines().rfind(|line| line.starts_with("ExecStart=")).unwrap_or_default();
    let words: Vec<&str> = command.split_whitespace().collect();
    let time = |option: &str| {
        // The last one: a path may have such words, too.
        let value = words.get(words.iter().rposition(|word| *word == option)? + 1)?;
        value.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok())
    };
    let rolls = words.iter().rfind(|word| word.starts_with(ROLLS)).map(|word| *word == ROLLS);
    Told { patience: time("--patience"), hold_off: time("--hold-off"), roll_certificates: rolls }
}

/// A path as one word of a unit file (systemd.syntax(7)): escapes everything that ends a word, quotes it, or
/// begins a specifier. Within a command line a dollar is doubled, too.
fn word(path: &Path, before: &str) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@,$".contains(c);
    let escaped: String = path
        .chars()
        .map(|c| match c {
            '%' => "%%".to_owned(),
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    match path.chars().all(|c| plain(c) || c == '%') {
        true => format!("{before}{escaped}"),
        false => format!("\"{before}{escaped}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words_whatever_is_in_them() {
        let of = |path: &str| word(Path::new(path), "-");
        assert_eq!(of("/var/lib/fulcrum"), "-/var/lib/fulcrum");
        assert_eq!(of("/srv/50%full"), "-/srv/50%%full");
        assert_eq!(of("/srv/my state"), "\"-/srv/my state\"");
        assert_eq!(of("/a\"b\\c"), "\"-/a\\\"b\\\\c\"");
        assert_eq!(of("/a\nb"), "\"-/a\\x0ab\"");
        let path = Path::new("/srv/a $b 5%");
        let text = unit(&UnitOf {
            program: Path::new("/usr/local/lib/fulcrum/fulcrum"),
            state_dir: path,
            manifests_dir: Path::new("/etc/kubernetes/manifests"),
            units_dir: Path::new("/etc/systemd/system"),
            patience: Duration::from_secs(30),
            hold_off: Duration::from_secs(600),
            roll_certificates: true,
        });
        assert!(text.contains("guard --state-dir \"/srv/a $$b 5%%\" --patience 30s"), "{text}");
        assert!(text.contains("ReadWritePaths=\"-/srv/a $b 5%%\" -/etc/kubernetes/manifests"), "{text}");
        let [patience, hold_off] = [30, 600].map(|seconds| Some(Duration::from_secs(seconds)));
        assert_eq!(told(&text), Told { patience, hold_off, roll_certificates: Some(true) });
        let patience = Some(Duration::from_secs(120));
        let expected = Told { patience, ..Told::default() };
        assert_eq!(told("ExecStart=/x guard --patience 2m"), expected);
        assert!(text.contains("RequiresMountsFor=\"/srv/a $b 5%%\" /etc/kubernetes/manifests"), "{text}");
    }
}
