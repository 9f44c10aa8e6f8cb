# the loads on three nodes that are left alone: they notice nothing, and that one server's end is noticed there only (by hand)
# shellcheck shell=bash

# What 0 failed requests mean on several nodes rests on this.
loads_start
sleep 60
loads_stop 'three nodes that are left alone'
loads_unharmed 'three nodes that are left alone'

loads_start
on_node 2 pod_processes '' kube-apiserver | xargs kill -KILL
need wait_until 'the API is back on cp2' 120 on_node 2 says_ready
sleep 5
loads_stop 'the API server of cp2 killed'
noticed() {
  local failed
  failed=$(load_figure '[.kinds[].failed] | add')
  case $1 in
  *cp2) check "$1" at_least 1 "$failed" ;;
  *balancer) note "$1: $failed failed: on their way to cp2, or sent there before it was known to be gone" ;;
  *) expect_eq "$1" 0 "$failed" ;;
  esac
}
each_load noticed 'failed requests'
