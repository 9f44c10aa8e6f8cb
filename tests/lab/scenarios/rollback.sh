# a rollback of a finished pivot, under load: the node and the cluster as they were before it
# shellcheck shell=bash

remember_static
# Started on a terminal that goes away half-way, as when a connection drops: the run must not notice.
fulcrum_through "$HERE/tools/on-a-terminal" share-port/
need fulcrum_ends 0 pivot --yes
fulcrum_through
check_pivoted
load_start
need fulcrum_ends 0 rollback --yes
check_static
check 'a Deployment made now runs' deployment_runs after-rollback
load_stop 'rollback'
step_times

fulcrum_ends 0 rollback --yes
check_static
