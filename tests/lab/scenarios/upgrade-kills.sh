# SIGKILL at every step boundary of an upgrade, and of its way back, each taken up again: no request is lost (by hand)
# shellcheck shell=bash

next=$LAB_NEXT_VERSION
need fulcrum_ends 0 pivot --yes
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"

# An upgrade whose command has died is taken up by the guard within seconds, as `upgrade` shows. It would have the journal while
# `fulcrum resume` asks for it. A run needs no guard.
need check 'the guard is stopped' node_exec systemctl stop "$GUARD_UNIT"
guard_rests() { ! guard_pid; }
need check 'and rests' guard_rests
load_start
need fulcrum_killed_everywhere "upgrade apply --kubeadm /opt/$next/kubeadm" resume
attempted() { history_of "[.runs[] | select(.kind == \"upgrade\")] | last | .attempts[] | select(.direction == \"$1\") | .step"; }
outcome() { history_of '[.runs[] | select(.kind == "upgrade")] | last | .outcome'; }
expect_eq 'the run is completed' completed "$(outcome)"
check 'every step was killed at a boundary' all_covered "$(attempted run)"
need wait_until "only pods of $next are left" 120 only_release_pods "$next"
sleep 15 # connections that were made to the old one are missed by then
load_stop 'an upgrade, killed everywhere'
check_unharmed 'killed upgrade'

load_start
need fulcrum_killed_everywhere 'upgrade rollback' resume
expect_eq 'the run is rolled back' rolled-back "$(outcome)"
check 'every undo was killed at a boundary' all_covered "$(attempted undo)"
need wait_until "only pods of $LAB_VERSION are left" 120 only_release_pods "$LAB_VERSION"
sleep 15
load_stop 'its way back, killed everywhere'
check_unharmed 'killed way back'

need check 'the guard is started again' node_exec systemctl start "$GUARD_UNIT" # which waits until it says that it is ready
wait_until 'it runs' 10 guard_pid
check 'it leaves the upgrade as it is' last_of upgrade rolled-back
