# a node without time is refused; a new API server that answers too slowly is taken back; each cut is asked for (by hand)
# shellcheck shell=bash

answer() { node_exec tmux send-keys -t 0 "$1" Enter; }
on_terminal() { node_exec tmux new-session -d -x 80 -y 40 sh -c "fulcrum $* --state-dir $STATE_DIR; echo \"ended with \$?\"; exec sleep 600"; }
# answered_until_the_end ANSWER: answers each question, and waits for the next one or the end. Prints how many there were.
answered_until_the_end() {
  local number=0 pane end=$((SECONDS + RUN_DEADLINE))
  while [ $SECONDS -lt $end ]; do
    pane=$(node_exec tmux capture-pane -p -S -)
    if grep -q 'ended with' <<<"$pane"; then break; fi
    if [ "$(grep -c '\[y/N\]' <<<"$pane")" -gt "$number" ]; then number=$((number + 1)); answer "$1"; fi
    sleep 0.2
  done
  echo "$number"
}
# busy NUMBER: so many tasks that only take time, at the lowest priority: what the node does goes on.
busy() { local number; for number in $(seq "$1"); do nice -n 19 yes >/dev/null & echo $! >>"$LOGS/busy"; done; }
rested() { xargs kill <"$LOGS/busy"; rm "$LOGS/busy"; }
overloaded() {
  local seen
  seen=$(node_exec fulcrum preflight -o json --state-dir "$STATE_DIR") || true # its exit code is that of a refusal, too
  jq -e '.checks[] | select(.check == "load" and .level == "refuse")' <<<"$seen"
}

remember_static

# 40 tasks a processor: what the check allows is 16, as an average over a minute.
busy $((40 * $(nproc)))
wait_until 'a node without time is seen' 240 overloaded
fulcrum_ends 3 pivot --yes
check 'it says what was seen' grep -q 'tasks run or wait for each processor' "$ERR"
rested
check_static

# No answer is as quick as that. The load of before is still in the average.
load_start
fulcrum_ends 4 pivot --yes --max-latency 1us --ignore-preflight-errors load
check 'it says how slow the answer was' grep -Eq 'ms' "$ERR"
check_static
load_stop 'an API server that answers too slowly'
check_unharmed 'an API server that answers too slowly'

load_start
on_terminal pivot --step-by-step --yes
cuts=$(answered_until_the_end y)
check "a yes to each of $cuts cuts" at_least 2 "$cuts"
check 'it ended with 0' terminal_shows 'ended with 0'
node_exec tmux kill-server
check_pivoted
load_stop 'a pivot, cut by cut'
check_unharmed 'a pivot, cut by cut'
need fulcrum_ends 0 rollback --yes
check_static

on_terminal pivot --step-by-step --yes
expect_eq 'a no ends the questions' 1 "$(answered_until_the_end n)"
check 'it ended paused' terminal_shows 'ended with 6'
node_exec tmux kill-server
check 'the API answers' api_answers
need fulcrum_ends 0 rollback --yes
check_static
