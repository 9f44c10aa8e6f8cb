//! The flags that a minor release of etcd does not know any more: etcd ends at its start, and a member of another minor
//! release does not go back. Pure.

use super::etcd::{EtcdStepError, EtcdVersion, etcd_words};

/// The first release without the flags, and the flags, separated by spaces. Made from what etcd registers (`embed/config.go`
/// and `etcdmain/config.go` of go.etcd.io/etcd/server: v3.5.21, v3.6.8, v3.7.0). etcd.io says the same in "Upgrade etcd from
/// v3.5 to v3.6", and in the one to v3.7, but for the two of discovery. kubeadm before 1.34 writes
/// `experimental-initial-corrupt-check` and `experimental-watch-progress-notify-interval`, and an image alone leaves them.
const GONE: [(EtcdVersion, &str); 2] = [
    (
        EtcdVersion { major: 3, minor: 6, patch: 0 },
        "enable-v2 experimental-enable-v2v3 proxy proxy-dial-timeout proxy-failure-wait proxy-read-timeout \
         proxy-refresh-interval proxy-write-timeout",
    ),
    (
        EtcdVersion { major: 3, minor: 7, patch: 0 },
        "discovery discovery-proxy experimental-bootstrap-defrag-threshold-megabytes experimental-compact-hash-check-enabled \
         experimental-compact-hash-check-time experimental-compaction-batch-limit experimental-compaction-sleep-interval \
         experimental-corrupt-check-time experimental-distributed-tracing-address \
         experimental-distributed-tracing-instance-id experimental-distributed-tracing-sampling-rate \
         experimental-distributed-tracing-service-name experimental-downgrade-check-time \
         experimental-enable-distributed-tracing experimental-enable-lease-checkpoint \
         experimental-enable-lease-checkpoint-persist experimental-initial-corrupt-check \
         experimental-memory-mlock experimental-peer-skip-client-san-verification experimental-snapshot-catchup-entries \
         experimental-stop-grpc-service-on-defrag experimental-txn-mode-write-with-shared-buffer \
         experimental-warning-apply-duration experimental-warning-unary-request-duration \
         experimental-watch-progress-notify-interval",
    ),
];

/// Refuses a manifest with flags that `to` does not know any more.
///
/// # Errors
/// When there is one.
pub(super) fn etcd_flags_known(manifest: &str, to: EtcdVersion) -> Result<(), EtcdStepError> {
    let gone = |name: &str| {
        GONE.iter().any(|(since, flags)| *since <= to && flags.split(' ').any(|one| one == name))
    };
    let name_of = |word: &String| {
        // etcd takes one dash as well as two.
        let text = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
        let (name, _) = text.split_once('=').unwrap_or((text, ""));
        gone(name).then(|| format!("--{name}"))
    };
    let flags: Vec<String> = etcd_words(manifest).iter().filter_map(name_of).collect();
    match flags.is_empty() {
        true => Ok(()),
        false => Err(EtcdStepError::Flags { to, flags }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(words: &[&str]) -> String {
        let words = words.iter().map(|word| format!("    - {word}\n")).collect::<String>();
        format!(
            "spec:\n  containers:\n  - name: etcd\n    image: r/etcd:3.6.12-0\n    command:\n    - etcd\n{words}"
        )
    }

    #[test]
    fn each_flag_that_goes_is_named_in_its_release_and_no_other_is() {
        let [before, first] = [5, 6].map(|minor| EtcdVersion { major: 3, minor, patch: 0 });
        for (since, flags) in GONE {
            let before = EtcdVersion { minor: since.minor - 1, patch: 99, ..since };
            for flag in flags.split(' ') {
                for word in [format!("--{flag}=x"), format!("-{flag}")] {
                    let manifest = manifest(&[&word, "--name=cp1"]);
                    let flags = vec![format!("--{flag}")];
                    assert_eq!(
                        etcd_flags_known(&manifest, since),
                        Err(EtcdStepError::Flags { to: since, flags })
                    );
                    assert_eq!(etcd_flags_known(&manifest, before), Ok(()), "{flag}");
                }
            }
        }
        let kubeadms =
            manifest(&["--feature-gates=InitialCorruptCheck=true", "--watch-progress-notify-interval=5s"]);
        let next = EtcdVersion { major: 3, minor: 7, patch: 0 };
        assert_eq!([before, first, next].map(|to| etcd_flags_known(&kubeadms, to)), [const { Ok(()) }; 3]);
    }

    #[test]
    fn what_kubeadm_wrote_before_1_34_is_named_whole() {
        let old =
            ["--experimental-initial-corrupt-check=true", "--experimental-watch-progress-notify-interval=5s"];
        let refused = etcd_flags_known(&manifest(&old), EtcdVersion { major: 3, minor: 7, patch: 0 });
        let said = refused.unwrap_err().to_string();
        let both = "does not know --experimental-initial-corrupt-check, --experimental-watch-progress-notify-interval of";
        assert!(said.contains(both), "{said}");
    }
}
