# Power cuts, and what the guard makes of them. Sourced by lib.sh.
# shellcheck shell=bash

# power_cut: the node goes off, everything that only memory has is lost, and it boots again.
power_cut() { power_off; power_on; }
# power_off: CUT_AT is when.
power_off() {
  CUT_AT=$(date +%s.%N)
  node_off
}
# power_on: BOOTED_AT is when. The node ends with the (sub)shell that calls this.
power_on() {
  BOOTED_AT=$(date +%s.%N)
  node_boot >>"$LOGS/node.log" 2>&1
}
# power_cut_of_all: of three nodes, at once.
power_cut_of_all() {
  on_each_node node_off
  BOOTED_AT=$(date +%s.%N)
  on_each_node node_boot >>"$LOGS/node.log" 2>&1
}
# cut_at STEP COMMAND ARGS...: the power goes as soon as fulcrum says that the step has begun, and comes back.
cut_at() { off_at "$@"; power_on; }
# off_at STEP COMMAND ARGS...: the same, and it stays away.
off_at() {
  want 'step-started|undo-started' "$1"
  shift
  fulcrum_until is_wanted "$@"
  if [ -n "$HIT" ]; then pass "the power is cut at $WANTED_STEP of \`fulcrum $*\`"; else fail "a cut at $WANTED_STEP" "$LAST_LINE"; fi
  power_off
}
# seconds_until SECONDS COMMAND...: seconds from the boot until it ends with 0; nothing if it never did.
seconds_until() {
  if within "$@" >/dev/null; then awk -v from="$BOOTED_AT" -v to="$(date +%s.%N)" 'BEGIN {printf "%.1f\n", to - from}'; fi
}
# power_cuts WHAT STEADY [LOADED]: three of them, each followed by a wait until the node is STEADY again, and under load if
# LOADED. answered_after and led_after WHAT then say how soon the API answered, and how soon the leases were renewed again, on
# average: etcd's election takes 0.1 to 1 s, and an API server that comes before it tries again later.
power_cuts() {
  local number times='' leaders=''
  # Found now: a load that begins in the middle of what is timed would be waited for.
  [ -z "${3:-}" ] || [ -n "$LOAD_RATE" ] || load_rate
  for number in 1 2 3; do
    hand_overs_from_now
    power_cut
    times="$times $(seconds_until 240 says_ready)"
    ${3:+load_start}
    leaders="$leaders $(seconds_until 240 leaders_again)"
    wait_until "$1, power cut $number: as before, without help" 420 "$2"
    [ -n "${3:-}" ] || continue
    load_stop 'from the first good answer until then'
    check_unharmed "$1, power cut $number"
  done
  average "$times" >"$LOGS/$1.answered"
  average "$leaders" >"$LOGS/$1.led"
  note "$1: the API answers after$times s, on average $(answered_after "$1"); there are leaders after$leaders s, on average \
$(led_after "$1")"
}
answered_after() { cat "$LOGS/$1.answered"; }
led_after() { cat "$LOGS/$1.led"; }
# says_ready: as api_answers, by a lighter program: what asks takes the node's processors, too.
says_ready() { curl -fsS --max-time 1 --cacert "$DISK/etc/kubernetes/pki/ca.crt" "https://$NODE_IP:6443/readyz"; }
# average FIGURES: of three; nothing if one is missing.
average() { printf '%s\n' "$1" | awk 'NF == 3 {printf "%.2f\n", ($1 + $2 + $3) / 3}'; }
# leaders_again: both leases have been renewed since the boot.
leaders_again() {
  kubectl -n kube-system get lease kube-controller-manager kube-scheduler -o json |
    jq -e --arg since "$(date -u -d "@$BOOTED_AT" +%FT%T.%6NZ)" '.items | length == 2 and all(.spec | .holderIdentity != "" and .renewTime > $since)'
}
# guard_pid: the guard's process, seen from here.
guard_pid() {
  local inner pid
  inner=$(node_exec systemctl show --property=MainPID --value "$GUARD_UNIT") || return
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
# last_of KIND OUTCOME: the last run of that kind. The guard's own may have followed.
last_of() { journal_says ".runs | map(select(.kind == \"$1\")) | last | select(.outcome == \"$2\")" >/dev/null; }
last_kind_is() { journal_says ".runs | last | select(.kind == \"$1\" and .outcome == \"completed\")" >/dev/null; }
# hand_overs_from_now: self_hosted_again, from then on, means a run that began later.
hand_overs_from_now() { RUNS_SINCE=$(printf '%012x' "$(date +%s%3N)"); }
self_hosted_again() { last_run_is hand-over completed "$RUNS_SINCE" && daemonsets_ready; }
static_pods_serve() { mirror_pods_are "etcd-$NODE kube-apiserver-$NODE kube-controller-manager-$NODE kube-scheduler-$NODE"; }
event_said() { kubectl get events -A -o json | jq -e '[.items[] | select(.reason == "FellBackToStaticPods")] | length > 0'; }
