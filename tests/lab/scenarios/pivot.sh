# a pivot with --handover restart under load: what it leaves, what it cost, and that a second one has nothing to do
# shellcheck shell=bash

remember_static
load_start_small
need fulcrum_ends 0 pivot --yes --handover restart
check_pivoted
check 'a Deployment made now runs' deployment_runs after-pivot
load_stop 'pivot'
check 'the outage is shorter than kubeadm 1.20.2 had (24.6 s)' shorter_gap_than 24.6
step_times

fulcrum_ends 0 pivot --yes
check 'the second pivot says that there is nothing to do' grep -qi 'nothing to do' "$OUT" "$ERR"
check_pivoted
