# pivot --handover bridge and the exact way back, under load: no request is lost (by hand)
# shellcheck shell=bash

remember_static
load_start
need fulcrum_ends 0 pivot --yes --handover bridge
check_pivoted
load_stop 'pivot over a bridge'
check_unharmed 'pivot over a bridge'
step_times

load_start
need fulcrum_ends 0 rollback --yes
check_static
load_stop 'rollback'
check_unharmed rollback
