# A terminal that goes away while fulcrum runs on it. Sourced by lib.sh.
# shellcheck shell=bash

# fulcrum_loses_terminal WORD COMMAND ARGS...: starts it in the node on a terminal of its own, a real one with a TERM, and takes
# the terminal away as soon as WORD can be read on it, as a connection that drops would. There is no exit code then: what
# becomes of the run is asked of the journal.
fulcrum_loses_terminal() {
  local word=$1
  shift
  node_exec tmux new-session -d -x 120 -y 40 fulcrum "$@" --state-dir "$STATE_DIR"
  need wait_until "\`fulcrum $*\` is at $word, on a terminal" 60 terminal_shows "$word"
  node_exec tmux kill-server
}
# Also what has scrolled away: at -vv that is quick.
terminal_shows() { grep -F -- "$1" <<<"$(node_exec tmux capture-pane -p -S -)" || { echo "there is no $1 on the terminal"; return 1; }; }
# one_process_ended_it KIND OUTCOME [DIRECTION]: the last run of the kind has ended that way, and all that it did in that direction,
# run if none is said, was done by one process: neither a second call nor the guard took it up.
one_process_ended_it() {
  journal_says ".runs | map(select(.kind == \"$1\")) | last | select(.outcome == \"$2\")" >/dev/null || return
  journal_says ".runs | map(select(.kind == \"$1\")) | last | [.attempts[] | select(.direction == \"${3:-run}\") | .pid] | unique |
    if length == 1 then true else error(\"\\(length) processes\") end"
}
