//! Who is at work on a run, and with what, as the system tells it. Nothing here can fail: a fact that cannot be
//! found out is left out, since a run must not depend on it.

use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Why the process acted: for the guard, which no person has told to.
pub const REASON: &str = "reason";
/// The SHA-256 of the program's file, in hex.
pub const EXECUTABLE_SHA256: &str = "executable-sha256";

/// The most bytes of one fact.
const FACT_BYTES_MAX: usize = 1200;
/// What stands for a value that may be a secret.
const REDACTED: &str = "[redacted]";
/// Words in the name of an option whose value is never kept.
const SECRET_WORDS: [&str; 4] = ["token", "password", "secret", "private"];

/// The facts about this process, a program of this version that was called with these arguments.
///
/// | name | what it is |
/// |---|---|
/// | `uid` | the user that the process acts as |
/// | `login-uid` | the user who has logged in, whatever `sudo` and `su` came after (the kernel's `loginuid`) |
/// | `sudo-user` | `SUDO_USER`: what `sudo` says, and what a user of root's can forge |
/// | `terminal` | the terminal on standard input |
/// | `host`, `machine-id`, `boot-id` | the machine |
/// | `version`, `executable`, `executable-sha256` | the program |
/// | `arguments` | a JSON list, without what may be a secret |
pub fn this_process(version: &str, arguments: &[String]) -> BTreeMap<String, String> {
    let facts = [
        ("uid", Some(rustix::process::getuid().as_raw().to_string())),
        ("login-uid", login_uid()),
        ("sudo-user", std::env::var("SUDO_USER").ok()),
        ("terminal", terminal()),
        ("host", first_line("/proc/sys/kernel/hostname")),
        ("machine-id", first_line("/etc/machine-id")),
        ("boot-id", first_line("/proc/sys/kernel/random/boot_id")),
        ("version", Some(version.to_owned())),
        ("executable", std::env::current_exe().ok().map(|path| path.display().to_string())),
        (EXECUTABLE_SHA256, sha256_of(Path::new("/proc/self/exe")).ok()),
        ("arguments", serde_json::to_string(&without_secrets(arguments)).ok()),
    ];
    let known = facts.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), clipped(fact?))));
    known.filter(|(_, fact)| !fact.is_empty()).collect()
}

/// The arguments, without values that may be secrets. No option of fulcrum takes one; a person may still paste
/// one at the wrong place.
fn without_secrets(arguments: &[String]) -> Vec<String> {
    let mut hide_next = false;
    let mut kept = Vec::new();
    for argument in arguments {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument.as_str(), None),
        };
        let is_key = argument.contains("PRIVATE KEY");
        let lower = name.to_ascii_lowercase();
        let is_secret =
            !is_key && name.starts_with('-') && SECRET_WORDS.iter().any(|word| lower.contains(word));
        kept.push(match value {
            _ if std::mem::take(&mut hide_next) || is_key => REDACTED.to_owned(),
            Some(_) if is_secret => format!("{name}={REDACTED}"),
            _ => argument.clone(),
        });
        hide_next = is_secret && value.is_none();
    }
    kept
}

/// The user who has logged in. A process that no login started, as the guard, has none.
fn login_uid() -> Option<String> {
    first_line("/proc/self/loginuid").filter(|uid| uid != "4294967295")
}

fn terminal() -> Option<String> {
    let terminal = std::fs::read_link("/proc/self/fd/0").ok()?.display().to_string();
    (terminal.starts_with("/dev/pts/") || terminal.starts_with("/dev/tty")).then_some(terminal)
}

fn first_line(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

fn clipped(mut fact: String) -> String {
    let end = (0..=FACT_BYTES_MAX.min(fact.len())).rev().find(|end| fact.is_char_boundary(*end));
    fact.truncate(end.unwrap_or(0));
    fact
}

/// The SHA-256 of a file, in hexadecimal.
fn sha256_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Context::new(&SHA256));
    let mut some = vec![0; 1 << 20];
    loop {
        match file.read(&mut some)? {
            0 => break,
            read => hash.update(&some[..read]),
        }
    }
    Ok(hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told_and_the_digest_is_that_of_its_file() {
        let facts = this_process("1.2.3", &["pivot".to_owned()]);
        let exe = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let digest = ring::digest::digest(&SHA256, &exe);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(facts["executable-sha256"], hex);
        assert_eq!(facts["uid"], rustix::process::getuid().as_raw().to_string());
        assert_eq!((facts["version"].as_str(), facts["arguments"].as_str()), ("1.2.3", "[\"pivot\"]"));
        assert!(facts.contains_key("host") && facts.contains_key("boot-id"));
    }

    #[test]
    fn no_argument_that_may_be_a_secret_is_kept() {
        let given =
            ["--token=abc", "--admin-password", "hunter2", "-----BEGIN EC PRIVATE KEY-----x", "--yes"];
        let given: Vec<String> = given.iter().map(|word| (*word).to_owned()).collect();
        let kept = without_secrets(&given);
        assert_eq!(kept, ["--token=[redacted]", "--admin-password", REDACTED, REDACTED, "--yes"]);
    }

    #[test]
    fn a_long_fact_is_clipped_at_a_character() {
        assert_eq!(clipped("ä".repeat(1000)).len(), FACT_BYTES_MAX);
        assert_eq!(clipped("x".repeat(FACT_BYTES_MAX + 1)).len(), FACT_BYTES_MAX);
    }
}
