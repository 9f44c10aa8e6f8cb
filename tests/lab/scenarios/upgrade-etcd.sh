# `fulcrum upgrade etcd` to the etcd of the next release under load: dry run, there, killed, and back if it may (by hand)
# shellcheck shell=bash

next=$LAB_NEXT_VERSION
to=(--kubeadm "/opt/$next/kubeadm")
etcd_image() { grep -oP '^\s*image: \K\S+' "$DISK/etc/kubernetes/manifests/etcd.yaml"; }
# etcd_serves: the version of the etcd that serves, as it says itself, asked from outside of the node.
etcd_serves() {
  local pki=$DISK/etc/kubernetes/pki/etcd
  curl -fsS --max-time 3 --cacert "$pki/ca.crt" --cert "$pki/healthcheck-client.crt" --key "$pki/healthcheck-client.key" \
    "https://$NODE_IP:2379/version" | jq -er .etcdserver
}
# version_of_tag IMAGE: 3.6.8 of registry.k8s.io/etcd:3.6.8-0 or of etcd:v3.6.8.
version_of_tag() { sed -E 's/^.*:v?([0-9]+\.[0-9]+\.[0-9]+)(-[0-9]+)?$/\1/' <<<"$1"; }
# serves_its_tag: what serves is what the manifest says.
serves_its_tag() {
  local served
  served=$(etcd_serves) || { echo "$served"; return 1; }
  [ "$served" = "$(version_of_tag "$(etcd_image)")" ] || { echo "etcd $served serves, the manifest has $(etcd_image)"; return 1; }
}
snapshot_of_last() { history_of '[.runs | map(select(.kind == "upgrade-etcd")) | last | .attempts[].output | .snapshot? // empty] | last'; }

# etcd_goes_there: the run itself, with the requests that failed meanwhile.
etcd_goes_there() {
  load_start
  need fulcrum_ends 0 upgrade etcd "${to[@]}" --yes
  sleep 15 # connections that were made to the old one are missed by then
  load_stop 'another etcd'
  check 'a snapshot is there, for root only' test "$(stat -c %a "$DISK$(snapshot_of_last)")" = 600
}

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
need wait_until 'the pod is available' 60 available
need check "the images and the kubeadm of $next are on the node" bring "$next"
before=$(etcd_image)
need check 'the etcd that serves is the one of the manifest' serves_its_tag
# The kubelet lists it within a minute.
need wait_until 'the dry run takes the image' 120 node_exec fulcrum upgrade etcd "${to[@]}" --dry-run --state-dir "$STATE_DIR"
fulcrum_ends 0 upgrade etcd "${to[@]}" --dry-run
expect_eq 'a dry run changes nothing' "$before" "$(etcd_image)"
check 'and the same etcd serves' serves_its_tag
etcd_goes_there
after=$(etcd_image)
note "$before, then $after"
expect_eq 'the image is the one that kubeadm names' \
  "$(node_exec "/opt/$next/kubeadm" config images list --kubernetes-version "$next" | grep /etcd:)" "$after"
check 'the etcd that serves says the new version' serves_its_tag
fulcrum_ends 0 upgrade etcd "${to[@]}" --yes
check 'said again, it has nothing to do' grep -F 'nothing to do' "$ERR"
[ "$(cut -d: -f2 <<<"$before" | cut -d. -f2)" = "$(cut -d: -f2 <<<"$after" | cut -d. -f2)" ] || return 0

# Within a minor release: back, and there by the guard after a kill.
need fulcrum_ends 0 rollback --yes "$(history_of '.runs | map(select(.kind == "upgrade-etcd")) | last | .run')"
expect_eq 'the image from before' "$before" "$(etcd_image)"
check 'the etcd that serves says the version from before' serves_its_tag
fulcrum_killed_at step-started change-etcd upgrade etcd "${to[@]}" --yes
need wait_until 'the guard has brought it to its end' 300 last_run_is upgrade-etcd completed
expect_eq 'the new image' "$after" "$(etcd_image)"
check 'the etcd that serves says the new version again' serves_its_tag
