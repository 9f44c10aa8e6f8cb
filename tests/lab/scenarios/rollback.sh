# a rollback of a finished pivot, under load: the node and the cluster as they were before it
# shellcheck shell=bash disable=SC2154

remember_static
# Started on a terminal that goes away half-way, as when a connection drops: the run must not notice.
FULCRUM_AS=("$here/tools/on-a-terminal" share-port/)
need fulcrum_ends 0 pivot --yes
FULCRUM_AS=()
check_pivoted
load_start
need fulcrum_ends 0 rollback --yes
check_static
check 'a Deployment made now runs' deployment_runs after-rollback
load_stop 'rollback'
step_times

fulcrum_ends 0 rollback --yes
check_static
