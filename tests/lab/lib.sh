# What the scenarios are written with. Sourced by session; a scenario runs in a subshell of it, with `set -e`:
# a failed check is noted and the scenario goes on; a failed command, or a failed check behind `need`, ends it.
# What it shares with others in variables is in globals.sh.
# shellcheck shell=bash

. "$HERE/kills.sh"
. "$HERE/load.sh"
. "$HERE/guard.sh"
. "$HERE/rollouts.sh"
. "$HERE/upgrades.sh"
. "$HERE/terminal.sh"

# --- checks: one line each -------------------------------------------------------------------------------------------

pass() { FAILED=''; printf 'ok   %s: %s\n' "$SCENARIO" "$1"; echo ok >>"$RESULTS"; }
# fail WHAT SEEN
fail() { FAILED=yes; printf 'FAIL %s: %s: %s\n' "$SCENARIO" "$1" "$2"; echo FAIL >>"$RESULTS"; }
count() { grep -c "^$1\$" "$RESULTS" || true; }
note() { printf '     %s\n' "$@"; }

# expect_eq WHAT EXPECTED SEEN. EXPECTED may name several: 'a|b'.
expect_eq() {
  case "|$2|" in
  *"|$3|"*) pass "$1" ;;
  *) fail "$1" "expected $(shorten "$2"), saw $(shorten "$3")" ;;
  esac
}
# expect_same WHAT BEFORE AFTER: two texts of several lines; what differs is shown.
expect_same() {
  local changes
  if changes=$(diff <(echo "$2") <(echo "$3")); then pass "$1"; else fail "$1" "(< before, > after) $changes"; fi
}
# check WHAT COMMAND...: it ends with 0. What it printed is shown if it does not.
check() {
  local said
  if said=$("${@:2}" 2>&1); then pass "$1"; else fail "$1" "${said:-${*:2}}"; fi
}
# wait_until WHAT SECONDS COMMAND...: the same, tried until the deadline.
wait_until() {
  local began=$SECONDS
  if within "$2" "${@:3}"; then
    pass "$1 (after $((SECONDS - began)) s)"
  else
    fail "$1" "not within $2 s; last: $LAST_SEEN"
  fi
}
# need CHECK...: nothing after it makes sense if it fails.
need() {
  "$@"
  if [ -n "$FAILED" ]; then note "$SCENARIO ends here: nothing after that makes sense"; exit $GIVEN_UP; fi
}
# within SECONDS COMMAND...: tries it until it ends with 0; what it printed last is in LAST_SEEN.
within() {
  local end=$((SECONDS + $1))
  shift
  until LAST_SEEN=$("$@" 2>&1); do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}
shorten() { if [ ${#1} -le 800 ]; then echo "'$1'"; else echo "'${1:0:800}…'"; fi; }

# --- the command under test --------------------------------------------------------------------------------------------

# Each call leaves its output and messages in the scenario's logs, as NN-COMMAND.out and .err.
next_call() {
  local last
  last=$(find "$LOGS" -name '[0-9]*.out' | wc -l)
  OUT=$LOGS/$(printf '%02d' $((last + 1)))-$1.out ERR=${OUT%.out}.err
  : >"$OUT"
}

# fulcrum COMMAND ARGS...: runs it in the node to its end; sets CODE, OUT and ERR. What fulcrum_through named is put in front of it.
# fulcrum_through COMMAND ARGS...: the calls that follow are `COMMAND ARGS... fulcrum ...`; without a COMMAND, as before.
fulcrum_through() { FULCRUM_THROUGH=("$@"); }
# state_dir_is DIR: the calls that follow keep their journal there.
state_dir_is() { STATE_DIR=$1; }
fulcrum() {
  next_call "$1"
  CODE=0
  node_exec timeout --kill-after=5 $RUN_DEADLINE "${FULCRUM_THROUGH[@]}" fulcrum "$@" --state-dir "$STATE_DIR" >"$OUT" 2>"$ERR" || CODE=$?
}
# fulcrum_ends CODE COMMAND ARGS...: the same, and checks how it ended.
fulcrum_ends() {
  local expected=$1 began=$SECONDS
  shift
  fulcrum "$@"
  if [ "$CODE" = "$expected" ]; then pass "\`fulcrum $*\` ends with exit code $CODE ($((SECONDS - began)) s)"
  else fail "\`fulcrum $*\`" "expected exit code $expected, saw $CODE; stderr: $(tail -n 4 "$ERR")"; fi
}

# finished_as OUTCOME: the last call, made with -o json, closed with that.
finished_as() {
  local last
  last=$(tail -n 1 "$OUT")
  jq -e --arg outcome "$1" '.event == "finished" and .outcome == $outcome' <<<"$last" >/dev/null ||
    { echo "last line: $last"; return 1; }
}
# plan_steps: the names of the steps of a pivot, as fulcrum plans it now, and as its events say them.
# `plan` ends with 9 where there is something to do.
plan_steps() { { node_exec fulcrum plan -o json --state-dir "$STATE_DIR" "$@" 2>/dev/null || [ $? = 9 ]; } | jq -er '.steps[].step'; }
history_of() { node_exec fulcrum history -o json --state-dir "$STATE_DIR" | jq -r "$1"; }
status_of() { node_exec fulcrum status -o json --state-dir "$STATE_DIR" | jq -r "$1"; }

# --- what the node looks like --------------------------------------------------------------------------------------------

# Names, kinds, modes, owners and contents; dot-files too. Not times: a file that was put back may show it there.
manifests() {
  (
    cd "$MANIFESTS" || exit
    find . -mindepth 1 -printf '%P %y %m %U:%G\n' | sort
    find . -type f -exec sha256sum {} + | sort -k 2
  )
}
daemonsets() { kubectl -n kube-system get daemonsets -o name; }
mirror_pods() {
  kubectl -n kube-system get pods -o json |
    jq -r '[.items[].metadata | select(.annotations["kubernetes.io/config.mirror"]) | .name] | sort | join(" ")'
}
# What fulcrum adds to the cluster for the time of a run or of self-hosting.
traces() {
  kubectl get node "$NODE" -o json | jq -r '.metadata.labels | keys[] | "label " + .' &&
    kubectl -n kube-system get leases -o name | grep -v /apiserver- # those are named anew with each API server
}
# etcd's container, its process and its manifest: all three stay the same through everything.
etcd_identity() {
  local container
  container=$(kubectl -n kube-system get pod "etcd-$NODE" -o jsonpath='{.status.containerStatuses[0].containerID}')
  container=${container#containerd://}
  echo "$container pid $(node_exec ctr -n k8s.io task ls | awk -v id="$container" '$1 == id {print $2, $3}')"
  sha256sum <"$MANIFESTS/etcd.yaml"
}
api_answers() { kubectl get --raw /readyz --request-timeout=3s; }
api_silent() { ! kubectl get --raw /livez --request-timeout=2s; }

# daemonsets_ready: the three are there and the only pod of each is Ready.
daemonsets_ready() {
  local component counts
  for component in "${COMPONENTS[@]}"; do
    counts=$(kubectl -n kube-system get daemonset "self-hosted-$component" \
      -o jsonpath='{.status.desiredNumberScheduled}/{.status.numberReady}') || return
    [ "$counts" = 1/1 ] || { echo "self-hosted-$component: desired/ready $counts"; return 1; }
  done
}
mirror_pods_are() { local seen; seen=$(mirror_pods); [ "$seen" = "$1" ] || { echo "mirror pods: $seen"; return 1; }; }

# deployment_runs NAME: a Deployment made now gets its pod, scheduled and running. It needs all three components.
deployment_runs() {
  local image
  image=$(kubeadm config images list --kubernetes-version "$LAB_VERSION" 2>/dev/null | grep /pause:)
  kubectl apply -f - <<YAML >/dev/null &&
apiVersion: apps/v1
kind: Deployment
metadata: {name: $1}
spec:
  replicas: 2
  selector: {matchLabels: {app: $1}}
  template:
    metadata: {labels: {app: $1}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 0
      containers: [{name: pause, image: "$image", imagePullPolicy: Never}]
YAML
    kubectl rollout status "deployment/$1" --timeout=60s
}

# redirects: tables of nft that are fulcrum's.
redirects() { node_exec nft list tables | grep fulcrum || true; }

# pod_processes UID NAME: the pids (outside the node) of a pod's processes of that name; of all pods if UID is empty.
pod_processes() {
  local pid
  find /sys/fs/cgroup -path "*/$NODE_CGROUP/*pod${1//-/_}*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u |
    while read -r pid; do [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "${2:0:15}" ] || echo "$pid"; done
}

# control_plane_processes: the pid and the start time of each, so that a restart shows.
control_plane_processes() {
  local component pid
  for component in "${COMPONENTS[@]}"; do
    for pid in $(pod_processes '' "$component"); do echo "$component pid $pid started $(cut -d' ' -f22 "/proc/$pid/stat")"; done
  done
}

# remember_static: how the untouched node looks, for check_static and check_pivoted.
remember_static() { STATIC_MANIFESTS=$(manifests) STATIC_TRACES=$(traces) STATIC_ETCD=$(etcd_identity); }
# remember_etcd: it is another process after a power cut.
remember_etcd() { STATIC_ETCD=$(etcd_identity); }

# The short forms of "pivoted" and "static". A mirror pod can outlive its manifest for the pod's grace period.
check_pivoted() {
  check 'the API answers' api_answers
  wait_until 'the three DaemonSets are Ready' 30 daemonsets_ready
  wait_until 'of the mirror pods only etcd is left' 60 mirror_pods_are "etcd-$NODE"
  # The kubelet does not read the spares of the others.
  expect_eq 'of the manifests only etcd is left' etcd.yaml \
    "$(find "$MANIFESTS" -mindepth 1 -not -name '.fulcrum-spare-*' -printf '%P\n')"
  expect_same 'etcd is untouched' "$STATIC_ETCD" "$(etcd_identity)"
  expect_eq 'no connection is redirected' '' "$(redirects)"
  expect_eq 'status says self-hosted' self-hosted "$(status_of .state)"
}
# refresh_kubelet: ends it, and systemd starts it again. Its watch of the API backs off for up to a
# minute while the API restarts, and further when that happens again and again, as where fulcrum is killed; until it is
# back, new mirror pods are shown as Pending. A kubelet that starts does not wait.
refresh_kubelet() { node_exec systemctl restart kubelet; }
# What kubectl shows may be mirror pods that a kubelet has yet to replace; the checks before a pivot look for those of the
# processes that run.
static_ready() { node_ready && node_exec fulcrum pivot --dry-run --state-dir "$STATE_DIR"; }
# static_steady: three times in a row. A kubelet that has just started sees pods as unready again before it has asked them.
static_steady() { for _ in 1 2 3; do static_ready && sleep 2 || return; done; }
check_static() {
  expect_same 'the manifests directory is byte for byte as before' "$STATIC_MANIFESTS" "$(manifests)"
  wait_until 'the API answers, node and mirror pods are Ready' 240 static_steady
  expect_eq 'no DaemonSet is left' '' "$(daemonsets)"
  expect_same 'no label and no lease is left' "$STATIC_TRACES" "$(traces)"
  expect_same 'etcd is untouched' "$STATIC_ETCD" "$(etcd_identity)"
  expect_eq 'no connection is redirected' '' "$(redirects)"
  expect_eq 'status says static' static "$(status_of .state)"
}

# --- figures of a run ---------------------------------------------------------------------------------------------------

step_times() { node_exec fulcrum history -o json --state-dir "$STATE_DIR" | python3 -B "$HERE/tools/steps" | sed 's/^/     /'; }
# step_ended STEP: seconds from the last run's beginning to the end of that step, by the journal's own times; 'run' and
# 'undo' are the whole way forward and back.
step_ended() { node_exec fulcrum history -o json --state-dir "$STATE_DIR" | python3 -B "$HERE/tools/steps" --ended "$1"; }
# earlier A B: both are there and A < B.
earlier() { awk -v a="$1" -v b="$2" 'BEGIN {print "times:", a, b; exit !(a != "" && b != "" && a + 0 < b + 0)}'; }

# --- after a failure ---------------------------------------------------------------------------------------------------

show_logs() {
  local file unit
  echo "-- logs of $SCENARIO (all of them in $LOGS)"
  kubectl get pods -A -o wide --request-timeout=3s 2>&1 | tail -n 12 || true
  ls -lA "$MANIFESTS" || true
  mkdir -p "$LOGS/node"
  cp -rL "$DISK/var/log/pods" "$NODE_RUN/init.log" "$LOGS/node/" 2>/dev/null || true
  for unit in kubelet containerd "$GUARD_UNIT"; do node_log "$unit" >"$LOGS/node/$unit.log" 2>&1 || true; done
  node_exec fulcrum history --long --state-dir "$STATE_DIR" >"$LOGS/node/history.txt" 2>&1 || true
  echo '-- history'
  grep -A 8 -e '^[a-z-]* [0-9a-f-]\{36\} ' "$LOGS/node/history.txt" | tail -n 40 | cut -c -220 || true
  for file in "$LOGS"/*.err "$LOGS"/node/{kubelet,"$GUARD_UNIT"}.log "$LOGS"/node/pods/kube-system_*/*/*.log; do
    [ -s "$file" ] || continue
    echo "-- ${file#"$LOGS"/}"
    tail -n 6 "$file" | cut -c -220
  done
}
