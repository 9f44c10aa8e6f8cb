# what fulcrum refuses: each with its exit code, a message that helps, and nothing changed
# shellcheck shell=bash

remember_static
unchanged() { expect_same "$1: nothing has changed" "$STATIC_MANIFESTS $STATIC_TRACES " "$(manifests) $(traces) $(daemonsets)"; }
# refused CODE WHY ARGS...: `fulcrum pivot --yes ARGS` ends with that code and explains itself on stderr.
refused() {
  local expected=$1 why=$2
  shift 2
  fulcrum pivot --yes "$@"
  expect_eq "$why: exit code" "$expected" "$CODE"
  check "$why: stderr has a message and a remedy" has_remedy
  check "$why: no backtrace" no_backtrace
  unchanged "$why"
}
# What was seen and what to do are one sentence, divided by a semicolon; usage errors point to --help.
has_remedy() { grep -E '[^;]{8,}; [^;]{8,}|--help' "$ERR" || { echo "stderr: $(cat "$ERR")"; return 1; }; }
no_backtrace() { ! grep -E 'panicked at|RUST_BACKTRACE' "$ERR"; }

# --- manifests: a copy of the directory, with one thing wrong
copy=/etc/kubernetes/manifests-copy
wrong() { # COMMAND to spoil it with, run in the copy
  node_exec rm -rf $copy
  node_exec cp -a /etc/kubernetes/manifests $copy
  node_exec sh -c "cd $copy && $1"
}
refused 3 'no manifests directory' --manifests-dir /etc/kubernetes/none
wrong 'printf "a: [b\n" >kube-scheduler.yaml'
refused 3 'a manifest that is not YAML' --manifests-dir $copy
wrong 'sed -i "s/^kind: Pod/kind: ConfigMap/" kube-scheduler.yaml'
refused 3 'a manifest that is not a Pod' --manifests-dir $copy
wrong 'sed -i "/hostNetwork: true/d" kube-scheduler.yaml'
refused 3 'a Pod that is not on the host network' --manifests-dir $copy
wrong 'sed -i "s/--secure-port=6443/--secure-port=none/" kube-apiserver.yaml'
refused 3 'a Pod that listens on no port to recognise' --manifests-dir $copy
wrong 'sed -i "s/containerPort: 6443/containerPort: none/" kube-apiserver.yaml'
refused 3 'a probe of a port that is none' --manifests-dir $copy
wrong 'rm kube-scheduler.yaml'
refused 3 'a manifest that is missing' --manifests-dir $copy
node_exec rm -rf $copy

# --- the way to the API
refused 3 'no kubeconfig' --kubeconfig /etc/kubernetes/none.conf
node_exec sh -c 'echo "not: [a kubeconfig" >/run/bad.conf'
refused 3 'a kubeconfig that cannot be read' --kubeconfig /run/bad.conf
node_exec sh -c 'sed "s/:6443/:6444/" /etc/kubernetes/admin.conf >/run/nobody-there.conf'
refused 3 'an API server that nobody reaches' --kubeconfig /run/nobody-there.conf

# --- the machine
fulcrum_through setpriv --reuid 65534 --regid 65534 --clear-groups
refused 3 'not root'
fulcrum_through
node_exec sh -c 'mkdir /run/read-only && mount --bind /run/read-only /run/read-only && mount -o remount,bind,ro /run/read-only'
state_dir_is /run/read-only
refused 3 'a state directory that cannot be written'
node_exec sh -c 'mkdir /run/full && mount -t tmpfs -o size=64k tmpfs /run/full'
node_exec sh -c 'cat /dev/zero >/run/full/filler' 2>/dev/null || true # until there is no room
state_dir_is /run/full
refused 3 'a state directory on a full disk'
state_dir_is /var/lib/fulcrum

# --- usage
refused 2 'an option that does not exist' --no-such-option
fulcrum_ends 2 no-such-command

# --- a second run beside the first
next_call pivot
node_exec timeout "$RUN_DEADLINE" fulcrum pivot --yes -o json --state-dir "$STATE_DIR" >"$OUT" 2>"$ERR" &
first=$! first_out=$OUT
need wait_until 'a first pivot is under way' 30 grep -q '"step-started".*"share-port/' "$first_out"
fulcrum_ends 7 pivot --yes
running=$(node_exec pgrep -x fulcrum | head -n 1)
check "it names the process that is at it ($running)" grep -qw "$running" "$ERR"
first_code=0
wait $first || first_code=$?
expect_eq 'the first pivot ends with 0' 0 $first_code
check_pivoted
