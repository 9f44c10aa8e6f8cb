# a pivoted node comes back from power cuts by itself, and from DaemonSets that are deleted or bad (by hand)
# shellcheck shell=bash

# What a static node needs, in this very run.
remember_static
power_cuts 'static' static_steady
remember_static # etcd is another process after each power cut

need fulcrum_ends 0 pivot --yes
check_pivoted
power_cuts 'pivoted' self_hosted_again loaded
check 'the pivoted one answers within 1.1 x of the static one' \
  at_most "$(awk -v t="$(answered_after static)" 'BEGIN {print t * 1.1}')" "$(answered_after pivoted)"
check 'and has leaders no later' at_most "$(led_after static)" "$(led_after pivoted)"
remember_etcd
check_pivoted

# Twice in a row, the second while the guard is at work.
hand_overs_from_now
power_cut
need wait_until 'the API answers' 240 api_answers
sleep 5
power_cut
wait_until 'the API answers' 240 api_answers
wait_until 'self-hosted again after two power cuts' 420 self_hosted_again
remember_etcd
check_pivoted

# Killed, it comes back and goes on watching.
kill -KILL "$(guard_pid)"
wait_until 'the guard is started again' 10 guard_pid

# The DaemonSets are deleted.
kubectl -n kube-system delete daemonset --all --wait=false
wait_until 'the API is gone' 120 api_silent
began=$SECONDS
wait_until 'the API is back within patience and one start' 75 api_answers
note "back after $((SECONDS - began)) s of silence"
wait_until 'the journal says that static pods stand in' 240 last_run_is fall-back completed
# Of that run: status tells of the last one, which may be the next already.
check 'the journal says why' journal_says '.runs | any(.kind == "fall-back" and ((.why // "") | test("no answer")))'
wait_until 'static pods serve' 120 static_pods_serve
# A pod that has outlived the API server goes when that is back; a run of its own falls back for it.
wait_until 'the guard has done what it had to' 60 last_run_is fall-back completed
expect_eq 'status says static' static "$(status_of .state)"
wait_until 'an Event on the node says so' 60 event_said
need fulcrum_ends 0 rollback --yes
check_static
