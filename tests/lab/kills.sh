# SIGKILL for fulcrum at chosen moments of a run. Sourced by lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with lib.sh and the scenarios

# fulcrum_until LINE_IS COMMAND ARGS...: starts it in the node with -o json and sends it SIGKILL as soon as it prints a
# line for which `LINE_IS LINE` ends with 0. Sets hit (the number of that line, if it came), code, out and err, and last_line.
fulcrum_until() {
  local line_is=$1 lines launcher pid='' line=''
  shift
  next_call "$1"
  hit=''
  exec {lines}< <(exec nsenter -t "$(node_pid)" -m -u -n -p -- "${NODE_ENV[@]}" \
    fulcrum "$@" -o json --state-dir "$STATE_DIR" 2>"$err")
  launcher=$!
  while [ -z "$hit" ] && IFS= read -r -t "$RUN_DEADLINE" -u "$lines" line; do
    [ -n "$pid" ] || pid=$(pgrep -P "$launcher") || true # nsenter's child, the program, by its pid out here, if it lives
    echo "$line" >>"$out"
    if "$line_is" "$line"; then kill -KILL "$pid" 2>/dev/null || true; hit=$(wc -l <"$out"); fi
  done
  # A run that says nothing for so long hangs, and one that has ended cannot be killed.
  [ -n "$hit" ] || kill -KILL "${pid:-$launcher}" 2>/dev/null || true
  cat <&"$lines" >>"$out" # what it managed to say before it died
  exec {lines}<&-
  code=0
  wait "$launcher" || code=$?
  last_line=$(tail -n 1 "$out")
}

# fulcrum_killed_at EVENT STEP COMMAND ARGS...: kills it at that event of that step; EVENT may name several,
# 'step-done|probed'. Fails if it was too late: the event never came, or the run had finished by then.
fulcrum_killed_at() {
  local wanted_event=$1 wanted_step=$2
  shift 2
  fulcrum_until is_wanted "$@"
  case $hit:$code:$last_line in
  *'"event":"finished"'*) fail "SIGKILL at $wanted_event $wanted_step" "the run had finished before it: $last_line" ;;
  [0-9]*:137:*) pass "\`fulcrum $1\` killed at $wanted_event $wanted_step" ;;
  *) fail "SIGKILL at $wanted_event $wanted_step" \
    "no such event; exit code $code, last: $last_line, stderr: $(tail -n 4 "$err")" ;;
  esac
}
is_wanted() { [[ $1 =~ \"event\":\"($wanted_event)\" && $1 == *"\"step\":\"$wanted_step\""* ]]; }

# fulcrum_killed_everywhere FIRST NEXT: `fulcrum FIRST` is killed at its first event of a step, `fulcrum NEXT` takes the run
# up and is killed at the first event at which none has been killed yet, and so on, until one gets through to the end.
# So each beginning, each end and each look at a step is a boundary once. FIRST and NEXT may have options.
# covered_steps has the steps of the lines that were printed from a kill on: steps that run side by side share commits, and a
# kill at the boundary of one is a kill at that of the others. The last steps take less time than a kill: what came after the
# last one, that was too late, is said, and counts; and a step of which no line came at all was done as a kill came.
declare -A boundaries
fulcrum_killed_everywhere() {
  local command=$1 next=$2 kills=0 began=$SECONDS
  boundaries=() covered_steps='' printed_steps=''
  while :; do
    # shellcheck disable=SC2086 # a command and its options
    fulcrum_until is_new_boundary $command --yes
    printed_steps+=$(steps_from 1)$'\n'
    if [ $code = 0 ]; then # finished; or it had been when the last kill came, and there was nothing left to do
      if [ -n "$hit" ]; then
        note "too late: the kill at $(steps_from "$hit" | sort -u | paste -sd ' ')"
        covered_steps+=$(steps_from "$hit")$'\n'
      fi
      break
    fi
    if [ -z "$hit" ] || [ $code != 137 ]; then
      fail "\`fulcrum $command\` after $kills kills" "exit code $code, last: $last_line, stderr: $(tail -n 4 "$err")"
      return
    fi
    kills=$((kills + 1))
    covered_steps+=$(steps_from "$hit")$'\n'
    command=$next
  done
  pass "\`fulcrum $1\` killed at $kills boundaries, \`fulcrum $2\` took it to the end ($((SECONDS - began)) s)"
}
# all_covered STEPS: a kill came at a boundary of each.
all_covered() {
  local missed silent
  missed=$(comm -23 <(sort -u <<<"$1") <(sort -u <<<"$covered_steps"))
  silent=$(comm -23 <(echo "$missed") <(sort -u <<<"$printed_steps"))
  # As many as share a commit.
  if [ "$silent" = "$missed" ] && [ "$(wc -w <<<"$silent")" -le 3 ]; then return 0; fi
  echo "$missed"
  return 1
}
# steps_from LINE: those of the last call's lines, from that one on.
steps_from() { tail -n "+$1" "$out" | sed -n 's/.*"step":"\([^"]*\)".*/\1/p'; }
is_new_boundary() {
  local event
  [[ $1 =~ \"event\":\"(step-started|step-done|undo-started|undo-done|probed)\" ]] || return
  event=${BASH_REMATCH[1]}
  [[ $1 =~ \"step\":\"([^\"]+)\" ]] || return
  [ -z "${boundaries[$event ${BASH_REMATCH[1]}]:-}" ] || return
  boundaries[$event ${BASH_REMATCH[1]}]=yes
}
