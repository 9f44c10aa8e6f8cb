# the power is cut at step boundaries of a pivot and of a rollback; the guard ends what was begun (by hand)
# shellcheck shell=bash

remember_static
for step in label-node share-port/kube-apiserver create-daemonset/kube-apiserver await-ready/kube-apiserver switch \
  retire-static/kube-scheduler retire-static/kube-apiserver verify; do
  need cut_at "$step" pivot --yes
  wait_until "$step: the pivot is completed by the guard" 420 last_of pivot completed
  remember_etcd
  check_pivoted
  need fulcrum_ends 0 rollback --yes
  check_static
done
for step in retire-static/kube-apiserver verify; do
  need cut_at "$step" pivot --yes --on-reboot rollback
  wait_until "$step: the pivot is rolled back by the guard" 420 last_of pivot rolled-back
  remember_etcd
  check_static
done
for step in prepare-rollback/vacate-port/kube-apiserver prepare-rollback/restore-static/kube-apiserver create-daemonset/kube-scheduler; do
  need fulcrum_ends 0 pivot --yes
  need cut_at "$step" rollback --yes
  wait_until "$step: the rollback is brought to its end by the guard" 420 last_of pivot rolled-back
  remember_etcd
  check_static
done

# Before the guard is armed nothing has been changed, and whoever is at it goes on.
need cut_at arm-guard pivot --yes
wait_until 'the API answers after a cut while the guard was installed' 240 api_answers
wait_until 'node and mirror pods are Ready' 240 node_ready
need fulcrum_ends 0 resume --yes
remember_etcd
check_pivoted
