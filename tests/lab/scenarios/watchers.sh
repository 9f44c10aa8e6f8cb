# 1,000 clients that watch, each on a connection of its own: a pivot and its way back beside a plain restart of the API server (by hand)
# shellcheck shell=bash

# FULCRUM_LAB_WATCHERS of them. What happens to them is in watchers-NAME.log, .json and .err of the scenario's logs.
clients=${FULCRUM_LAB_WATCHERS:-1000}

# watched NAME COMMAND...: does it while they watch, and notes what it was to them. COMMAND makes its own checks.
watched() {
  local name=$1 files=$LOGS/watchers-$1 pid
  "$RELEASE_DIR/watchers" --kubeconfig "$KUBECONFIG" --clients "$clients" --log "$files.log" >"$files.json" 2>"$files.err" &
  pid=$!
  need wait_until "$name: each of $clients clients watches" 300 all_watch "$pid" "$files"
  within 60 machine_rests || true
  note "$name: $clients clients that watch leave $(idle_percent 3) % of the machine idle"
  "${@:2}"
  wait_until "$name: each client watches again" 180 all_watch "$pid" "$files"
  sleep 15 # connections that were made to the old server are missed by then
  kill -TERM "$pid" 2>/dev/null || true
  # They have 90 s to catch up; then the figures come, whatever is missing.
  if wait "$pid"; then words "$name" | while IFS= read -r line; do note "$line"; done
  else fail "$name: the clients ran to their end" "$(tail -n 3 "$files.err")"; fi
}
# all_watch PID FILES: the last that began or ended a watch left none without.
all_watch() {
  local line
  kill -0 "$1" 2>/dev/null || { echo "the clients have ended: $(tail -n 3 "$2.err")"; return 1; }
  line=$(grep -E ' (began|ended) ' "$2.log" | tail -n 1) || true
  [[ "$line " == *" $clients/$clients "* ]] || { echo "last: ${line:-no watch has begun}"; return 1; }
}
# figure NAME FILTER
figure() { jq -r "$2" "$LOGS/watchers-$1.json"; }
words() {
  jq -r --arg what "$1" --arg average "$(cut -d' ' -f1 /proc/loadavg)" '
    def tenths: . * 10 | round / 10;
    def counts: to_entries | sort_by(-.value) | .[:5] | map("\(.value) x \(.key)") | join(", ") | if . == "" then "none" else . end;
    def times: "\(.times) times, p50 \(.p50_ms) ms, p99 \(.p99_ms) ms, longest \(.longest_ms) ms";
    "\($what): \(.clients) clients, \(.beats) changes in \(.seconds | tenths) s; \(.connections) connections, \(
      .watches) watches, of which ended: \(.ends | counts);",
    "  without a watch: \(.without_watch | times);",
    "  a change was seen after its acknowledgement: \(.late | times);",
    "  tried again by client-go: \(.failures | counts); lists anew: \(.lists_anew_after | counts); expired: \(.expired);",
    "  not hidden by client-go: \(.errors | counts); changes that a client did not see: \(.skipped); writes that failed: \(.failed_writes | counts);",
    "  the clients took \(.cpu_seconds | tenths) s of CPU, and the machine had a load average of \($average); caught up after \(.catching_up_seconds | tenths) s",
    (.left_at_the_end // [] | .[] | "  left: \(.)")' "$LOGS/watchers-$1.json"
}
# counts NAME FIELD: 0, or each with its number.
counts() { figure "$1" ".$2 | to_entries | if . == [] then 0 else map(\"\(.value) x \(.key)\") | join(\", \") end"; }
# check_back NAME: what must hold of any restart, too: else the figures say nothing.
check_back() {
  check "$1: each client's watch ended" at_least "$clients" "$(figure "$1" .ended)"
  expect_eq "$1: clients without a watch in the end" 0 "$(figure "$1" .no_watch_at_the_end)"
  expect_eq "$1: clients that have not seen the last change" 0 "$(figure "$1" .behind_at_the_end)"
}
# check_hidden NAME: nothing of it came through client-go.
check_hidden() {
  check_back "$1"
  expect_eq "$1: errors that client-go did not hide" 0 "$(counts "$1" errors)"
  expect_eq "$1: watches that could not go on from the last version" 0 "$(figure "$1" .expired)"
  expect_eq "$1: lists anew" 0 "$(counts "$1" lists_anew_after)"
  expect_eq "$1: changes that a client did not see, or saw after a later one" 0 "$(figure "$1" '.skipped + .back')"
}
# check_beside NAME: not worse than a restart. How late changes are seen is not compared: in a restart none can be made.
check_beside() {
  check "$1: no client is longer without a watch than by a restart" \
    at_most "$(figure restart .without_watch.longest_ms)" "$(figure "$1" .without_watch.longest_ms)"
}

pivots() { fulcrum_ends 0 pivot --yes; check_pivoted; }
rolls_back() { fulcrum_ends 0 rollback --yes; check_static; }
# restarts: as an operator does who changes a flag. The manifest's text is another one, so the kubelet makes another pod.
restarts() {
  local before edited=$DISK/etc/kubernetes/edited.yaml
  before=$(pod_processes '' kube-apiserver)
  sed 's/^  annotations:$/&\n    lab.fulcrum.dev\/restarted: "yes"/' "$MANIFESTS/kube-apiserver.yaml" >"$edited"
  check 'the manifest is another one' grep -q lab.fulcrum.dev/restarted "$edited"
  mv "$edited" "$MANIFESTS/kube-apiserver.yaml"
  wait_until 'another static API server answers' 180 another_server "$before"
}
# another_server PID: not that one any more, and it answers.
another_server() {
  local now
  now=$(pod_processes '' kube-apiserver)
  if [ -z "$now" ] || [ "$now" = "$1" ]; then echo "kube-apiserver was $1, and is ${now:-not there}"; return 1; fi
  api_answers
}

remember_static
watched pivot pivots
need expect_eq 'the pivot is done' 0 "$CODE"
watched rollback rolls_back
need expect_eq 'the way back is done' 0 "$CODE"
watched restart restarts
check_back restart
for name in pivot rollback; do check_hidden "$name"; check_beside "$name"; done
for name in pivot rollback restart; do
  note "$name: longest without a watch $(figure "$name" .without_watch.longest_ms) ms; latest sight of a change $(figure "$name" .late.longest_ms) ms"
done
