# SIGKILL at every step boundary of a pivot and of its rollback, each taken up again: no request is lost (by hand)
# shellcheck shell=bash

remember_static
planned=$(plan_steps)

load_start
need fulcrum_killed_everywhere pivot resume
check_pivoted
expect_eq 'the run is completed' completed "$(history_of '.runs[-1].outcome')"
check 'every step of the plan was killed at a boundary' all_covered "$planned"
load_stop 'pivot, killed everywhere'
check_unharmed 'killed pivot'

load_start
need fulcrum_killed_everywhere rollback rollback
expect_eq 'the run is rolled back' rolled-back "$(history_of '.runs[-1].outcome')"
undone=$(history_of '.runs[-1].attempts[] | select(.direction == "undo") | .step')
check 'every undo was killed at a boundary' all_covered "$undone"
check_static
load_stop 'rollback, killed everywhere'
check_unharmed 'killed rollback'
check 'a Deployment made now runs' deployment_runs after-kills
