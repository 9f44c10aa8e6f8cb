# SIGKILL at random instants of a pivot and of its rollback, each taken up again: no request is lost (by hand)
# shellcheck shell=bash

kills_from_seed
remember_static
load_start
need fulcrum_killed_anywhere pivot resume 40
expect_eq 'the run is completed' completed "$(history_of '.runs[-1].outcome')"
check_pivoted
load_stop 'pivot, killed anywhere'
check_unharmed 'killed pivot'

load_start
need fulcrum_killed_anywhere rollback rollback 40
expect_eq 'the run is rolled back' rolled-back "$(history_of '.runs[-1].outcome')"
check_static
load_stop 'rollback, killed anywhere'
check_unharmed 'killed rollback'
