# pivots and exact rollbacks under load: no request is lost, no watch event missed, and how long it takes
# shellcheck shell=bash

# FULCRUM_LAB_ROUNDS of them, each there and back. The load of each way is a new one, with figures of its own.
remember_static
rounds=${FULCRUM_LAB_ROUNDS:-1}
for round in $(seq "$rounds"); do
  load_start
  leaders_watched
  need fulcrum_ends 0 pivot --yes
  check_pivoted
  load_stop "pivot $round of $rounds"
  check_unharmed pivot
  check_endpoints_held pivot "$(or_p99 100)"
  check_leaders pivot 3
  check 'switched within 25 s' at_most 25 "$(step_ended switch)"
  check 'done within 55 s' at_most 55 "$(step_ended run)"
  note "pivot $round of $rounds: switched after $(step_ended switch) s, done after $(step_ended run) s"

  load_start
  leaders_watched
  need fulcrum_ends 0 rollback --yes
  check_static
  load_stop "rollback $round of $rounds"
  check_unharmed rollback
  for component in "${LEADERS[@]}"; do
    note "rollback: $component: without a leader for $(leaderless "$component") s" # the port has to be free first
  done
  note "rollback $round of $rounds: done after $(step_ended undo) s"
  step_times
done
