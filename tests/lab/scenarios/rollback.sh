# a rollback of a finished pivot, under load: the node and the cluster as they were before it
# shellcheck shell=bash

remember_static
# Started on a terminal that goes away half-way, as when a connection drops: the run must not notice.
need fulcrum_loses_terminal share-port pivot --yes
need wait_until 'the process that lost its terminal ends the run' 180 one_process_ended_it pivot completed
check_pivoted
load_start
need fulcrum_ends 0 rollback --yes
check_static
check 'a Deployment made now runs' deployment_runs after-rollback
load_stop 'rollback'
step_times

fulcrum_ends 0 rollback --yes
check_static
