# SIGKILL at random instants of a pivot and of its rollback, each taken up again: no request is lost (by hand)
# shellcheck shell=bash

# Between two system calls of a step, where no event marks the place. FULCRUM_LAB_SEED repeats a schedule, as far as time can.
seed=${FULCRUM_LAB_SEED:-$(date +%s)}
RANDOM=$seed
note "seed $seed"

# killed_anywhere FIRST NEXT LONGEST: killed after up to so many tenths of a second, and taken up again, until it is through.
killed_anywhere() {
  local command=$1 kills=0 began=$SECONDS
  while [ $kills -lt 200 ]; do
    next_call "$command"
    CODE=0
    node_exec timeout --signal=KILL "$((RANDOM % $3 / 10)).$((RANDOM % 10))1" \
      fulcrum "$command" --yes -o json --state-dir "$STATE_DIR" >"$OUT" 2>"$ERR" || CODE=$?
    [ $CODE = 137 ] || break
    kills=$((kills + 1))
    [ "$(history_of '.runs | length')" = 0 ] || command=$2
  done
  expect_eq "\`fulcrum $1\`, killed $kills times: exit code ($((SECONDS - began)) s)" 0 "$CODE"
}

remember_static
load_start
need killed_anywhere pivot resume 40
expect_eq 'the run is completed' completed "$(history_of '.runs[-1].outcome')"
check_pivoted
load_stop 'pivot, killed anywhere'
check_unharmed 'killed pivot'

load_start
need killed_anywhere rollback rollback 40
expect_eq 'the run is rolled back' rolled-back "$(history_of '.runs[-1].outcome')"
check_static
load_stop 'rollback, killed anywhere'
check_unharmed 'killed rollback'
