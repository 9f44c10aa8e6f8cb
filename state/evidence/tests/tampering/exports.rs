//! Tampers with an export, which `verify.sh` and this program must both see.

use super::story::{Story, copy};
use super::{count, known};
use fulcrum_evidence::export::export;
use fulcrum_evidence::import::check;
use fulcrum_evidence::key::SigningKey;
use fulcrum_evidence::verify::Standing;
use fulcrum_state::Reader;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The exit code of the export's own script.
fn script(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let out = Command::new("sh").arg(dir.join("verify.sh")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code(), text)
}

fn has_tools() -> bool {
    let there = |tool: &&str| {
        Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap().status.success()
    };
    let missing: Vec<&str> =
        ["jq", "sha256sum", "ssh-keygen"].into_iter().filter(|tool| !there(tool)).collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("FULCRUM_TESTS_SKIP_NONE").is_none(), "{missing:?} are not here");
        println!("skipped: {missing:?} are not here");
    }
    missing.is_empty()
}

#[tokio::test]
async fn an_export_is_verified_by_its_own_script_and_by_this_program() {
    let story = Story::tell().await;
    let (to, mail) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let journal = Reader::open(story.dir()).unwrap();
    let exported = export(&journal, &story.dir(), &[], to.path()).unwrap();
    assert_eq!(exported.runs, 6);
    let report = check(to.path(), &known(&story.note)).unwrap();
    assert_eq!(report.worst(), Standing::Verified, "{report:#?}");
    assert_eq!(check(to.path(), &[]).unwrap().worst(), Standing::NotChecked);
    if !has_tools() {
        return;
    }
    std::fs::write(mail.path(), story.notes[2].to_string()).unwrap();
    let (key, mail) = (exported.key.to_string(), mail.path().display().to_string());
    let arguments = ["--key", &key, "--checkpoint", &mail];
    let (code, text) = script(to.path(), &arguments);
    assert_eq!((code, text.matches("verified: ").count()), (Some(0), 6), "{text}");
    let (code, text) = script(to.path(), &[]);
    assert_eq!((code, text.matches("not checked: ").count()), (Some(11), 2), "{text}");
    // One run alone.
    let one = tempfile::tempdir().unwrap();
    let run = journal.runs().unwrap()[2].run;
    assert_eq!(export(&journal, &story.dir(), &[run], one.path()).unwrap().runs, 1);
    assert_eq!(check(one.path(), &known(&story.note)).unwrap().worst(), Standing::Verified);
    let (code, text) = script(one.path(), &arguments);
    assert_eq!(code, Some(0), "{text}");
    // Another journal's checkpoint, and another key.
    let other = Story::tell().await;
    assert_eq!(check(to.path(), &known(&other.note)).unwrap().worst(), Standing::Wrong);
    assert_eq!(script(to.path(), &["--key", "another"]).0, Some(8));
}

/// By one who has the node's key and signs the files anew: the tree was signed before.
#[tokio::test]
async fn a_proof_that_leads_elsewhere_is_wrong_also_in_signed_files() {
    let story = Story::tell().await;
    let to = tempfile::tempdir().unwrap();
    export(&Reader::open(story.dir()).unwrap(), &story.dir(), &[], to.path()).unwrap();
    let file = to.path().join("proofs.jsonl");
    let proofs = std::fs::read_to_string(&file).unwrap();
    let mut first: serde_json::Value = serde_json::from_str(proofs.lines().next().unwrap()).unwrap();
    first["path"].as_array_mut().unwrap().swap(0, 1);
    let others: Vec<&str> = proofs.lines().skip(1).collect();
    std::fs::write(&file, format!("{first}\n{}\n", others.join("\n"))).unwrap();
    sign_anew(to.path(), &story.dir());
    assert_eq!(check(to.path(), &[]).unwrap().worst(), Standing::Wrong);
    if has_tools() {
        let (code, text) = script(to.path(), &[]);
        assert_eq!(code, Some(8), "{text}");
        assert!(text.contains("WRONG: the proof of a run does not lead to the checkpoint"), "{text}");
    }
}

/// The list of files and its signature, for the files as they are now.
fn sign_anew(dir: &Path, state_dir: &Path) {
    let sums = std::fs::read_to_string(dir.join("SHA256SUMS")).unwrap();
    let line = |line: &str| {
        let name = &line[66..];
        let content = std::fs::read(dir.join(name)).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &content);
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digest}  {name}\n")
    };
    let sums: String = sums.lines().map(line).collect();
    let key = SigningKey::read(&state_dir.join("evidence/key")).unwrap().unwrap();
    std::fs::write(dir.join("SHA256SUMS.sig"), key.ssh_signature(sums.as_bytes())).unwrap();
    std::fs::write(dir.join("SHA256SUMS"), sums).unwrap();
}

#[tokio::test]
async fn no_tampering_with_an_export_is_verified() {
    let story = Story::tell().await;
    let whole = tempfile::tempdir().unwrap();
    let exported = export(&Reader::open(story.dir()).unwrap(), &story.dir(), &[], whole.path()).unwrap();
    let (tools, key) = (has_tools(), exported.key.to_string());
    for number in 0..count(12) {
        let mut rng = fastrand::Rng::with_seed(number as u64);
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        let what = tamper(dir.path(), number, &mut rng);
        let wrong = check(dir.path(), &[]).map_or(true, |report| report.worst() == Standing::Wrong);
        assert!(wrong, "{what} ({number}) is not seen");
        if tools {
            // The script itself is among the files. A person starts one that is known to be right.
            std::fs::copy(whole.path().join("verify.sh"), dir.path().join("verify.sh")).unwrap();
            let (code, text) = script(dir.path(), &["--key", &key]);
            let seen = code != Some(0) && code != Some(11);
            assert!(seen || what == "verify.sh", "{what} ({number}) is not seen by the script: {text}");
        }
    }
}

fn tamper(dir: &Path, number: usize, rng: &mut fastrand::Rng) -> String {
    let mut files: Vec<PathBuf> = ["", "blobs"]
        .iter()
        .flat_map(|below| std::fs::read_dir(dir.join(below)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let file = &files[(number / 3) % files.len()];
    let mut content = std::fs::read(file).unwrap();
    match number % 3 {
        0 => {
            let at = rng.usize(..content.len());
            content[at] ^= 1 << rng.u8(..8);
            std::fs::write(file, content).unwrap();
        }
        1 => {
            // A line less.
            let end = content.iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| at + 1);
            content.drain(..end);
            std::fs::write(file, content).unwrap();
        }
        _ => std::fs::remove_file(file).unwrap(),
    }
    file.strip_prefix(dir).unwrap().display().to_string()
}
