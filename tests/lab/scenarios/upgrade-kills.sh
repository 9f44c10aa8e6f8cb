# SIGKILL at every step boundary of an upgrade, and of its way back, each taken up again: no request is lost (by hand)
# shellcheck shell=bash

next=$LAB_NEXT_VERSION
need fulcrum_ends 0 pivot --yes
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"

load_start
need fulcrum_killed_everywhere "upgrade apply --kubeadm /opt/$next/kubeadm" resume
attempted() { history_of "[.runs[] | select(.kind == \"upgrade\")] | last | .attempts[] | select(.direction == \"$1\") | .step"; }
expect_eq 'the run is completed' completed "$(history_of '[.runs[] | select(.kind == "upgrade")] | last | .outcome')"
check 'every step was killed at a boundary' all_covered "$(attempted run)"
need wait_until "only pods of $next are left" 120 only_release_pods "$next"
sleep 15 # connections that were made to the old one are missed by then
load_stop 'an upgrade, killed everywhere'
check_unharmed 'killed upgrade'

load_start
need fulcrum_killed_everywhere 'upgrade rollback' resume
check 'every undo was killed at a boundary' all_covered "$(attempted undo)"
need wait_until "only pods of $LAB_VERSION are left" 120 only_release_pods "$LAB_VERSION"
sleep 15
load_stop 'its way back, killed everywhere'
check_unharmed 'killed way back'
