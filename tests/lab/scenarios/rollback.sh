# a rollback of a finished pivot, under load: the node and the cluster as they were before it
# shellcheck shell=bash disable=SC2154

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
load_start
need fulcrum_ends 0 rollback --yes
check_static
check 'a Deployment made now runs' deployment_runs after-rollback
load_stop 'API during the rollback'
step_times

fulcrum_ends 0 rollback --yes
check_static
