# a pivot and its way back as an operator sees them, on terminals of 80 and of 120 columns: nothing is cut, nothing wraps (by hand)
# shellcheck shell=bash

# Each is kept in the scenario's logs: COLUMNS-NAME.screen as it stood at the end, COLUMNS-NAME.raw as it was written.

# on_screen COLUMNS NAME CODE COMMAND...: on a terminal of its own, to its end. A person says yes to each question.
on_screen() {
  local columns=$1 screen=$LOGS/$1-$2 expected=$3
  shift 3
  node_exec tmux new-session -d -x "$columns" -y 50 sh -c "sleep 1; $*; echo \"[ended with \$?]\"; exec sleep 600"
  node_exec tmux pipe-pane 'cat >/screen.raw'
  wait_until "$columns columns: \`$*\` ends with $expected" "$RUN_DEADLINE" screen_shows "[ended with $expected]"
  node_exec tmux capture-pane -p -S - >"$screen.screen"
  node_exec tmux kill-server
  cp "$DISK/screen.raw" "$screen.raw"
  check "$columns columns: \`$*\`: no line is longer than the screen" fits "$columns" "$screen.raw"
}
screen_shows() {
  if [ "$(node_exec tmux capture-pane -p | grep -v '^$' | tail -n 1 | grep -c 'y/N\] *$')" = 1 ]; then node_exec tmux send-keys y Enter; fi
  grep -F -- "$1" <<<"$(node_exec tmux capture-pane -p -S -)" || { node_exec tmux capture-pane -p | tail -n 3; return 1; }
}
# fits COLUMNS FILE: of what was written to the terminal, no line is wider, whatever moved the cursor in it.
fits() {
  sed -E 's/\x1b\[[0-9;?]*[A-Za-z]//g' "$2" | tr '\r' '\n' | { ! LC_ALL=C.UTF-8 grep -E ".{$(($1 + 1)),}"; }
}

remember_static
for columns in 80 120; do
  on_screen $columns preflight 0 fulcrum preflight
  on_screen $columns plan 9 fulcrum plan
  on_screen $columns plan-diff 9 fulcrum plan --diff
  on_screen $columns pivot 0 fulcrum pivot
  check_pivoted
  on_screen $columns status 0 fulcrum status
  on_screen $columns status-cluster 0 fulcrum status --cluster
  on_screen $columns doctor 0 fulcrum doctor
  on_screen $columns certs 0 fulcrum certs check
  on_screen $columns edit 0 fulcrum edit kube-scheduler --set v=3 --yes
  on_screen $columns history 0 fulcrum history
  on_screen $columns history-last 0 fulcrum history last --long
  on_screen $columns rollback 0 fulcrum rollback --yes
  wait_until 'node and mirror pods are Ready' 240 static_steady
done
