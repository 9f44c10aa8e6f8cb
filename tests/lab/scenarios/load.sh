# the load on a node that is left alone: it notices nothing, and that it notices a server's end (by hand)
# shellcheck shell=bash

# What 0 failed requests mean elsewhere rests on this.
load_start
sleep 60
load_stop 'a node that is left alone'
check_unharmed 'a node that is left alone'
check_endpoints_held 'a node that is left alone' 0
expect_eq 'no lease changed hands' 0 "$(load_figure '[.leaders[].changes | length] | add')"

load_start
leaders_watched
pod_processes '' kube-apiserver | xargs kill -KILL
wait_until 'the API is back' 120 api_answers
pod_processes '' kube-scheduler | xargs kill -KILL
sleep 25 # a lease is waited for 15 s, and a container that ended started after 10
load_stop 'API server and scheduler killed'
for kind in fresh readyz get list create endpoints; do
  check "it noticed at its requests of kind $kind" at_least 1 "$(load_figure ".kinds[\"$kind\"].failed // 0")"
done
check 'it noticed how long nothing was answered' at_least 1 "$(load_figure .longest_gap.seconds)"
check 'it noticed that the scheduler led anew' at_least 1 "$(load_figure '.leaders["kube-scheduler"].changes | length')"
