//! `on-host` as a pod runs it: in mounts of its own, beside a process 1 whose mounts, programs and systemd are a stage.

use super::harness::skipped;
use std::process::{Command, Output};

/// What stands for systemd: it runs a unit's program to its end at once, and keeps the exit code.
const STAGE: &str = r#"
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/state
mount -t tmpfs none /usr/local/bin
cd /usr/local/bin
cat >systemd-run <<'END'
#!/bin/sh
while [ "$1" != -- ]; do case $1 in --description=*) echo "${1#*=}" >/run/stage.description ;; esac; shift; done
shift
echo "$@" >>/run/stage.words
"$@" >/run/stage.said 2>&1
echo $? >/run/stage.code
END
cat >systemctl <<'END'
#!/bin/sh
case $1 in
show)
  [ -e /run/stage.code ] || { echo LoadState=not-found; exit; }
  echo LoadState=loaded; echo ActiveState=failed; echo SubState=failed; echo ExecMainCode=1
  echo "ExecMainStatus=$(cat /run/stage.code)"; echo "Description=$(cat /run/stage.description)" ;;
stop | reset-failed) rm -f /run/stage.code ;;
esac
END
printf '#!/bin/sh\ncat /run/stage.said\n' >journalctl
chmod +x *
# A pod: other mounts, in which neither the stage nor the program is.
pod() { unshare --mount --propagation private sh -c 'mount -t tmpfs none /usr/local/bin && mount -t tmpfs none /run && exec "$@"' pod "$@"; }
for time in 1 2; do
  code=0
  pod "$FULCRUM" on-host pivot -- --yes --state-dir /run/state || code=$?
  echo "exit $code"
done
cmp "$FULCRUM" /usr/local/bin/fulcrum && echo "the program is on the host"
[ ! -e /run/stage.code ] && echo "the unit is forgotten"
cat /run/stage.words
"#;

#[test]
fn a_pod_starts_the_run_on_its_host_and_ends_with_its_exit_code() {
    let mut stage = Command::new("unshare");
    stage.args(["--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private", "sh", "-c", STAGE]);
    stage
        .env("FULCRUM", env!("CARGO_BIN_EXE_fulcrum"))
        .env_remove("KUBECONFIG")
        .env_remove("FULCRUM_STATE_DIR");
    let Ok(Output { status, stdout, stderr }) = stage.output() else { return skipped("there is no unshare") };
    let [said, talk] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if talk.contains("unshare:") {
        return skipped("no namespaces can be made");
    }
    assert!(status.success(), "{said}\n{talk}");
    // The run is refused: this host has no kubeconfig. The pod says so, in the run's words, each time.
    assert_eq!(said.matches("exit 3").count(), 2, "{said}\n{talk}");
    assert_eq!(talk.matches("kubeconfig /etc/kubernetes/admin.conf could not be read").count(), 2, "{talk}");
    assert_eq!(talk.matches("/usr/local/bin/fulcrum was written").count(), 1, "{talk}");
    assert_eq!(talk.matches("/usr/local/bin/fulcrum is there").count(), 1, "{talk}");
    for word in [
        "the program is on the host",
        "the unit is forgotten",
        "/usr/local/bin/fulcrum pivot --yes --state-dir /run/state",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}
