# SIGKILL for fulcrum at chosen moments of a run. Sourced by lib.sh.
# shellcheck shell=bash

# fulcrum_until LINE_IS COMMAND ARGS...: starts it in the node with -o json and sends it SIGKILL as soon as it prints a
# line for which `LINE_IS LINE` ends with 0. Sets HIT, CODE, OUT and ERR, and LAST_LINE.
fulcrum_until() {
  local line_is=$1 lines launcher pid='' line=''
  shift
  next_call "$1"
  HIT=''
  exec {lines}< <(node_enter fulcrum "$@" -o json --state-dir "$STATE_DIR" 2>"$ERR")
  launcher=$!
  while [ -z "$HIT" ] && IFS= read -r -t "$RUN_DEADLINE" -u "$lines" line; do
    [ -n "$pid" ] || pid=$(pgrep -P "$launcher") || true # nsenter's child, the program, by its pid out here, if it lives
    echo "$line" >>"$OUT"
    if "$line_is" "$line"; then kill -KILL "$pid" 2>/dev/null || true; HIT=$(wc -l <"$OUT"); fi
  done
  # A run that says nothing for so long hangs, and one that has ended cannot be killed.
  [ -n "$HIT" ] || kill -KILL "${pid:-$launcher}" 2>/dev/null || true
  cat <&"$lines" >>"$OUT" # what it managed to say before it died
  exec {lines}<&-
  CODE=0
  wait "$launcher" || CODE=$?
  LAST_LINE=$(tail -n 1 "$OUT")
}

# fulcrum_killed_at EVENT STEP COMMAND ARGS...: kills it at that event of that step; EVENT may name several,
# 'step-done|probed'. Fails if it was too late: the event never came, or the run had finished by then.
fulcrum_killed_at() {
  want "$1" "$2"
  shift 2
  fulcrum_until is_wanted "$@"
  case $HIT:$CODE:$LAST_LINE in
  *'"event":"finished"'*) fail "SIGKILL at $WANTED_EVENT $WANTED_STEP" "the run had finished before it: $LAST_LINE" ;;
  [0-9]*:137:*) pass "\`fulcrum $1\` killed at $WANTED_EVENT $WANTED_STEP" ;;
  *) fail "SIGKILL at $WANTED_EVENT $WANTED_STEP" \
    "no such event; exit code $CODE, last: $LAST_LINE, stderr: $(tail -n 4 "$ERR")" ;;
  esac
}
# want EVENT STEP: what is_wanted looks for in a line. EVENT may name several.
want() { WANTED_EVENT=$1 WANTED_STEP=$2; }
is_wanted() { [[ $1 =~ \"event\":\"($WANTED_EVENT)\" && $1 == *"\"step\":\"$WANTED_STEP\""* ]]; }

# fulcrum_killed_everywhere FIRST NEXT: `fulcrum FIRST` is killed at its first event of a step, `fulcrum NEXT` takes the run
# up and is killed at the first event at which none has been killed yet, and so on, until one gets through to the end.
# So each beginning, each end and each look at a step is a boundary once. FIRST and NEXT may have options.
# COVERED_STEPS has the steps of the lines that were printed from a kill on: steps that run side by side share commits, and a
# kill at the boundary of one is a kill at that of the others. The last steps take less time than a kill: what came after the
# last one, that was too late, is said, and counts; and a step of which no line came at all was done as a kill came.
fulcrum_killed_everywhere() {
  local command=$1 next=$2 kills=0 began=$SECONDS
  BOUNDARIES='' COVERED_STEPS='' PRINTED_STEPS='' ASKED_AFTER=''
  while :; do
    # shellcheck disable=SC2086 # a command and its options
    fulcrum_until is_new_boundary $command --yes
    PRINTED_STEPS+=$(steps_from 1)$'\n'
    if [ "$CODE" = 0 ]; then # finished; or it had been when the last kill came, and there was nothing left to do
      if [ -n "$HIT" ]; then
        note "too late: the kill at $(steps_from "$HIT" | sort -u | paste -sd ' ')"
        COVERED_STEPS+=$(steps_from "$HIT")$'\n'
      fi
      break
    fi
    if asks_for_a_person $kills; then
      command=$next
      continue
    fi
    if [ -z "$HIT" ] || [ "$CODE" != 137 ]; then
      fail "\`fulcrum $command\` after $kills kills" "exit code $CODE, last: $LAST_LINE, stderr: $(tail -n 4 "$ERR")"
      return
    fi
    kills=$((kills + 1))
    COVERED_STEPS+=$(steps_from "$HIT")$'\n'
    command=$next
  done
  pass "\`fulcrum $1\` killed at $kills boundaries, \`fulcrum $2\` took it to the end ($((SECONDS - began)) s)"
}
# asks_for_a_person KILLS: a step that goes on beside others is in flight at each kill; after five, the run waits for a person,
# who says the command again. Not twice after so many kills: then it does not go on.
asks_for_a_person() {
  [[ $CODE = 5 && $1 != "$ASKED_AFTER" && $LAST_LINE == *'times in a row with this in flight'* ]] || return
  note "after $1 kills: $(jq -r .reason <<<"$LAST_LINE")"
  ASKED_AFTER=$1
}
# all_covered STEPS: a kill came at a boundary of each.
all_covered() {
  local missed silent
  missed=$(comm -23 <(sort -u <<<"$1") <(sort -u <<<"$COVERED_STEPS"))
  silent=$(comm -23 <(echo "$missed") <(sort -u <<<"$PRINTED_STEPS"))
  # As many as share a commit.
  if [ "$silent" = "$missed" ] && [ "$(wc -w <<<"$silent")" -le 3 ]; then return 0; fi
  echo "$missed"
  return 1
}
# steps_from LINE: those of the last call's lines, from that one on.
steps_from() { tail -n "+$1" "$OUT" | sed -n 's/.*"step":"\([^"]*\)".*/\1/p'; }
is_new_boundary() {
  local boundary
  [[ $1 =~ \"event\":\"(step-started|step-done|undo-started|undo-done|probed)\" ]] || return
  boundary=${BASH_REMATCH[1]}
  [[ $1 =~ \"step\":\"([^\"]+)\" ]] || return
  boundary+=" ${BASH_REMATCH[1]}"
  [[ $BOUNDARIES != *"[$boundary]"* ]] || return
  BOUNDARIES+="[$boundary]"
}

# kills_from_seed: FULCRUM_LAB_SEED repeats a schedule of fulcrum_killed_anywhere, as far as time can.
kills_from_seed() {
  local seed=${FULCRUM_LAB_SEED:-$(date +%s)}
  RANDOM=$seed
  note "seed $seed"
}
# fulcrum_killed_anywhere FIRST NEXT LONGEST: `fulcrum FIRST` is killed after up to so many tenths of a second, `fulcrum NEXT`
# takes the run up, and so on, until one gets through: between two system calls of a step, where no event marks the place.
fulcrum_killed_anywhere() {
  local command=$1 kills=0 began=$SECONDS
  ASKED_AFTER=''
  while [ $kills -lt 200 ]; do
    next_call "$command"
    CODE=0
    # shellcheck disable=SC2086 # a command and its options
    node_exec timeout --signal=KILL "$((RANDOM % $3 / 10)).$((RANDOM % 10))1" \
      fulcrum $command --yes -o json --state-dir "$STATE_DIR" >"$OUT" 2>"$ERR" || CODE=$?
    LAST_LINE=$(tail -n 1 "$OUT")
    if asks_for_a_person $kills; then
      command=$2
      continue
    fi
    [ $CODE = 137 ] || break
    kills=$((kills + 1))
    [ "$(history_of '.runs | length')" = 0 ] || command=$2
  done
  expect_eq "\`fulcrum $1\`, killed $kills times: exit code ($((SECONDS - began)) s)" 0 "$CODE"
}
