# a terminal that goes away under a pivot and under a rollback, at each verbosity: the run goes on to its end (by hand)
# shellcheck shell=bash

remember_static
for verbosity in '' -v -vv; do
  need fulcrum_loses_terminal share-port pivot --yes ${verbosity:+$verbosity}
  need wait_until "pivot${verbosity:+ $verbosity}: the process that lost its terminal ends the run" 180 one_process_ended_it pivot completed
  check_pivoted
  need fulcrum_loses_terminal create-daemonset rollback --yes ${verbosity:+$verbosity}
  need wait_until "rollback${verbosity:+ $verbosity}: the process that lost its terminal ends the run" 180 one_process_ended_it pivot rolled-back undo
  check_static
done
