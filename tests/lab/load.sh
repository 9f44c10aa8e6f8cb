# The load on the API server and what it says. Sourced by lib.sh.
# shellcheck shell=bash


# load_start [RATE]: asks the API server from outside the node until load_stop, which prints the figures. Each load of a
# scenario leaves load-N.log (a line a request: Unix time, kind, ms, ok or the error) and load-N.json in the scenario's logs.
# Without RATE the rate is the one that this machine bears.
load_start() {
  [ $# -gt 0 ] || [ -n "$LOAD_RATE" ] || load_rate
  # The load makes a little more than it is asked for.
  load_begin "${1:-$((LOAD_RATE * 21 / 20))}"
}
# load_begin RATE [OPTIONS...]: OPTIONS are the load's own.
load_begin() {
  local number
  number=$(($(find "$LOGS" -name 'load-*.log' | wc -l) + 1))
  LOAD_LOG=$LOGS/load-$number.log LOAD_SUMMARY=$LOGS/load-$number.json
  load "$@" --log "$LOAD_LOG" >"$LOAD_SUMMARY" 2>"$LOGS/load-$number.err" &
  LOAD_PID=$!
  listeners >"$LOGS/load-$number.listeners" &
  within 10 grep -q ' ok$' "$LOAD_LOG" || { echo "the load does not get through: $(tail -n 3 "${LOAD_LOG%.log}".*)" >&2; return 1; }
}
# load_start_small: where the API will be away: so many that fail at once would only make the API server's start longer.
load_start_small() { load_start "$LOAD_RATE_SMALL"; }
load() { exec "$RELEASE_DIR/load" --kubeconfig "$KUBECONFIG" --rate "$1" "${@:2}"; }

# load_rate: finds the rate of the scenario's loads: LOAD_RATE_FULL if that leaves a third of the machine idle before anything
# happens, half of it otherwise. A machine with less to spare refuses requests by itself (429) while API servers start.
load_rate() {
  local idle
  within 60 machine_rests || true
  (load "$LOAD_RATE_FULL" --log "$LOGS/rate.log" --seconds 6 >"$LOGS/rate.json" 2>"$LOGS/rate.err") &
  sleep 2 # until its connections are made
  idle=$(idle_percent 3)
  wait $!
  LOAD_RATE=$LOAD_RATE_FULL
  [ "$idle" -ge 33 ] || LOAD_RATE=$((LOAD_RATE_FULL / 2))
  note "$LOAD_RATE_FULL requests/s leave $idle % of the machine idle, p50 $(jq .p50_ms "$LOGS/rate.json") ms: the load is $LOAD_RATE/s"
}
machine_rests() { [ "$(idle_percent 2)" -ge 60 ]; }
# idle_percent SECONDS: how much of the machine's processors nobody used meanwhile, as a whole number.
idle_percent() {
  { head -n 1 /proc/stat; sleep "$1"; head -n 1 /proc/stat; } |
    awk '{idle = $5 + $6; all = $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; if (NR == 2) print int(100 * (idle - was) / (all - had)); was = idle; had = all}'
}

# listeners: as long as the load runs, which processes listen as API servers on the node, with the Unix time, whenever that is
# another one: what a failed request met.
listeners() {
  local before='' now
  while kill -0 "$LOAD_PID" 2>/dev/null; do
    now=$(nsenter -t "$(node_pid)" -n ss --no-header --tcp --listening --numeric --processes 2>/dev/null |
      sed -nE 's/^.*:([0-9]+) +[^ ]+ *users:\(\("kube-apiserver",pid=([0-9]+).*$/\1 pid \2/p' | sort | paste -sd ',')
    [ "$now" = "$before" ] || echo "$(date +%s.%3N) $now"
    before=$now
    sleep 0.2
  done
}

# load_stop LABEL
load_stop() {
  kill -TERM "$LOAD_PID" 2>/dev/null || true
  wait "$LOAD_PID" || { fail 'the load ran to its end' "$(tail -n 3 "${LOAD_LOG%.log}.err")"; return; }
  load_words "$1" | while IFS= read -r line; do note "$line"; done
}
load_figure() { jq -r "$1" "$LOAD_SUMMARY"; }

load_words() {
  jq -r --arg what "$1" --arg average "$(cut -d' ' -f1 /proc/loadavg)" '
    def tenths: . * 10 | round / 10;
    "\($what): \(.requests) requests in \(.seconds | tenths) s (\(.rate)/s), \(.failed) failed; p50 \(.p50_ms) ms, p99 \(.p99_ms) ms;",
    "  the load itself took \(.cpu_seconds | tenths) s of CPU, and the machine had a load average of \($average); slowest \(.slowest.ms) ms (\(.slowest.kind)); longest gap between successes \(.longest_gap.seconds) s, on new connections \(
      .kinds.fresh.longest_gap.seconds) s",
    (.kinds | to_entries[] | select(.value.failed > 0) |
      "  failed \(.key): \(.value.failed) of \(.value.requests) begun from \(.value.failures.first) to \(.value.failures.last), within \(.value.failures.most_ms) ms: \(
      .value.failures.errors | to_entries | sort_by(-.value) | .[:3] | map("\(.value) x \(.key)") | join(", "))"),
    "  watches: \(.watch.expected) events expected, \(.watch.missed) missed, slowest \(.watch.slowest_ms) ms; ended \(
      .watch.ended), broken \(.watch.broken), begun anew from a list \(.watch.listed)",
    (.watch.missed_for_example // [] | .[] | "  missed: \(.)"),
    "  \u0060kubernetes\u0060 without the address: " + ([.endpoints | to_entries[] |
      "\(.key) \(.value.watched.times) times, longest \([.value[].longest_ms] | max) ms"] | join("; ")),
    "  leases: " + ([.leaders | to_entries[] | "\(.key) changed hands \(.value.changes | length) times\(
      .value.changes | map(", \(.seconds) s after the last renewal") | join(""))"] | join("; "))' "$LOAD_SUMMARY"
}

# failed_requests: how many of which kind failed with what; 0 if none did.
failed_requests() {
  jq -r '[.kinds | to_entries[] | .key as $kind | (.value.failures.errors // {}) | to_entries[] |
    "\(.value) \($kind): \(.key)"] | if . == [] then 0 else join(", ") end' "$LOAD_SUMMARY"
}
# check_unharmed WHAT: the load did not notice anything. What it noticed is shown.
check_unharmed() {
  check "$1: at least $LOAD_RATE requests/s" at_least "$LOAD_RATE" "$(load_figure .rate)"
  expect_eq "$1: failed requests" 0 "$(failed_requests)"
  [ -z "$FAILED" ] || while IFS= read -r line; do note "API servers listening since $line"; done <"${LOAD_LOG%.log}.listeners"
  expect_eq "$1: missed watch events" 0 "$(load_figure 'if .watch.missed == 0 and .watch.expected > 0 then 0 else
    "\(.watch.missed) of \(.watch.expected)" end')"
}
# check_endpoints_held WHAT MS: `kubernetes` was never without the node's address for longer, by asking or by watching.
check_endpoints_held() {
  check "$1: \`kubernetes\` without endpoints for at most $2 ms" at_most "$2" \
    "$(load_figure '[.endpoints[][].longest_ms] | max')"
}
# or_p99 MS: MS, or the time that the slowest hundredth of the load's requests took, if that is more. What fulcrum does by a
# request cannot be quicker than the API server answers.
or_p99() { load_figure "[$1, .p99_ms] | max"; }
# at_most MOST SEEN, at_least LEAST SEEN: both are numbers, and so it is.
at_most() { awk -v most="$1" -v seen="$2" 'BEGIN {print seen == "" ? "no figure" : seen; exit !(most != "" && seen != "" && seen + 0 <= most + 0)}'; }
at_least() { awk -v least="$1" -v seen="$2" 'BEGIN {print seen == "" ? "no figure" : seen; exit !(least != "" && seen != "" && seen + 0 >= least + 0)}'; }

# leases_held: both have a holder who is alive. One that has just started may wait for the lease of a dead one to run out.
leases_held() {
  kubectl -n kube-system get leases kube-controller-manager kube-scheduler -o json | jq -er '[.items[] |
    select((.spec.holderIdentity // "") == "" or now - (.spec.renewTime | sub("\\.[0-9]+Z$"; "Z") | fromdate) > 5) |
    "\(.metadata.name): held by \(.spec.holderIdentity), renewed at \(.spec.renewTime)"] | if . == [] then true else (.[] | error) end'
}
# leaders_watched: notes when the controller manager and the scheduler that run now end, for check_leaders.
leaders_watched() {
  local component pid
  within 60 leases_held || { echo "$LAST_SEEN" >&2; return 1; }
  for component in "${LEADERS[@]}"; do
    pid=$(pod_processes '' "$component")
    rm -f "$LOGS/$component.ended"
    { tail --pid="$pid" -s 0.02 -f /dev/null && date +%s.%N >"$LOGS/$component.ended"; } &
  done
}
# leaderless COMPONENT: seconds from the end of the process that led until the next one had the lease.
leaderless() {
  awk -v ended="$(cat "$LOGS/$1.ended" 2>/dev/null)" -v acquired="$(load_figure ".leaders[\"$1\"].changes[0].acquired // empty")" \
    'BEGIN {if (ended == "" || acquired == "") print ""; else printf "%.2f\n", (acquired > ended) ? acquired - ended : 0}'
}
# check_leaders WHAT SECONDS
check_leaders() {
  local component
  for component in "${LEADERS[@]}"; do
    note "$1: $component: without a leader for $(leaderless "$component") s"
    check "$1: $component without a leader for at most $2 s" at_most "$2" "$(leaderless "$component")"
  done
}

# For a hand-over that restarts the API server: shorter_gap_than SECONDS: no longer time without an answer on new connections.
shorter_gap_than() { at_most "$1" "$(load_figure .kinds.fresh.longest_gap.seconds)"; }
# first_success_after UNIX_TIME: when the first answered request after it began.
first_success_after() { awk -v since="$1" '$4 == "ok" && $1 > since {print $1; exit}' "$LOAD_LOG"; }
