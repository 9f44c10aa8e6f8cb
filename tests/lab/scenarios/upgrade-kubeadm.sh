# `kubeadm upgrade apply` of a static node to the next release, under the same load: what it costs; for comparison (by hand)
# shellcheck shell=bash

next=$LAB_NEXT_VERSION
need check "the images and the kubeadm of $next are on the node" bring "$next"
load_start
began=$SECONDS
need check "kubeadm upgrades to $next" node_exec "/opt/$next/kubeadm" upgrade apply "$next" --yes --etcd-upgrade=false \
  --skip-phases=addon --ignore-preflight-errors=all
note "kubeadm took $((SECONDS - began)) s"
sleep 15
load_stop 'kubeadm upgrade apply'
