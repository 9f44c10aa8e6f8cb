# Power cuts, and what the guard makes of them. Sourced by lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with lib.sh and the scenarios

GUARD_UNIT=fulcrum-guard.service

# power_cut: the node goes off, everything that only memory has is lost, and it boots again. booted_at is when it came on.
power_cut() {
  node_off
  booted_at=$(date +%s.%N)
  node_boot >>"$logs/node.log" 2>&1
}
# api_back_after SECONDS: seconds from the boot to the first good answer of the API; nothing if none came.
api_back_after() {
  if within "$1" api_answers; then awk -v from="$booted_at" -v to="$(date +%s.%N)" 'BEGIN {printf "%.1f\n", to - from}'; fi
}
# power_cuts STEADY: three of them, each after the node is STEADY again; best is how soon the API answered after one of them. It
# differs by 2 s from one to the next: an election of etcd's takes 0.1 to 1 s, and an API server that comes before it tries again later.
power_cuts() {
  local number seen
  best=''
  for number in 1 2 3; do
    [ "$number" = 1 ] || wait_until "the node is as before after power cut $((number - 1))" 420 "$1"
    hand_overs_from_now
    power_cut
    seen=$(api_back_after 240)
    best=$(printf '%s\n' "$best" "$seen" | sed '/^$/d' | sort -n | head -n 1)
  done
}
# guard_pid: the guard's process, seen from here.
guard_pid() {
  local inner pid
  inner=$(cat "/proc/$(node_pid)/root/run/lab/units/$GUARD_UNIT.main") || return
  for pid in $(pgrep -x fulcrum); do
    if grep -q "^NSpid:.*[[:space:]]$inner\$" "/proc/$pid/status" 2>/dev/null; then echo "$pid"; return; fi
  done
  return 1
}
# journal_says JQ: something of the journal, once nobody works on it.
journal_says() { node_exec fulcrum history -o json --state-dir "$STATE_DIR" | jq -er "$1"; }
# last_run_is KIND OUTCOME [SINCE]: and it began then or later. The ids of runs begin with the time.
last_run_is() {
  journal_says ".runs | map(select(.kind != \"renew-standby\")) | last | select(.kind == \"$1\" and .outcome == \"$2\" and
    (.run[0:8] + .run[9:13]) >= \"${3:-}\")" >/dev/null
}
last_kind_is() { journal_says ".runs | last | select(.kind == \"$1\" and .outcome == \"completed\")" >/dev/null; }
# hand_overs_from_now: self_hosted_again, from then on, means a run that began later.
hand_overs_from_now() { runs_since=$(printf '%012x' "$(date +%s%3N)"); }
self_hosted_again() { last_run_is hand-over completed "$runs_since" && daemonsets_ready; }
static_pods_serve() { mirror_pods_are "etcd-$NODE kube-apiserver-$NODE kube-controller-manager-$NODE kube-scheduler-$NODE"; }
event_said() { kubectl get events -A -o json | jq -e '[.items[] | select(.reason == "StaticPodsStandIn")] | length > 0'; }
