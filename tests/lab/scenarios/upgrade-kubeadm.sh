# `kubeadm upgrade apply` of a static node to the next release, under the same load: what it costs; for comparison (by hand)
# shellcheck shell=bash

read -r next _ <<<"$LAB_NEXT_VERSIONS"
mkdir -p "$DISK/opt/$next"
ln "$LAB_CACHE/$next/images.tar" "$DISK/opt/$next/images.tar"
cp "$LAB_CACHE/$next/bin/hyperkube" "$DISK/opt/$next/kubeadm"
need check "the images of $next are on the node" node_exec ctr -n k8s.io images import "/opt/$next/images.tar"
load_start
began=$SECONDS
need check "kubeadm upgrades to $next" node_exec "/opt/$next/kubeadm" upgrade apply "$next" --yes --etcd-upgrade=false \
  --skip-phases=addon --ignore-preflight-errors=all
note "kubeadm took $((SECONDS - began)) s"
sleep 15
load_stop 'kubeadm upgrade apply'
