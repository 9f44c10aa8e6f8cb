# three nodes: the lists that the rehearsal is tested by, of one node and of several, seen from the second one (by hand)
# shellcheck shell=bash

# shellcheck source=../behave.sh
. "$HERE/behave.sh"

# own_kubeconfig: as admin.conf, at this node's own API server instead of the balancer: the behaviours take that server away,
# and start another one beside it.
own_kubeconfig() {
  sed -E "s|^( *server:).*|\1 https://$NODE_IP:6443|" "$DISK/etc/kubernetes/admin.conf" >"$DISK/etc/kubernetes/own.conf"
  chmod 600 "$DISK/etc/kubernetes/own.conf"
  node_exec kubectl --kubeconfig /etc/kubernetes/own.conf get --raw /readyz
}
same_manifests() {
  expect_same "$NODE: the manifests directory is byte for byte as before" "$(cat "$LOGS/$NODE.manifests")" "$(manifests)"
}

on_each_node nodes_remember
node_is 2 # the first one's place is nothing special
remember_static
need check 'its own API server takes the kubeconfig' own_kubeconfig
behave /etc/kubernetes/own.conf
# Where no other node was found, those of several would be left out.
expect_same 'each of both lists was looked at' "$(node_exec behaviours --list | sort)" "$(behaved | sort)"
refresh_kubelet # its watch of the API backs off while the API server is away
check_static
node_is 1
need wait_until 'every server is ready' 120 on_each_node says_ready
on_each_node same_manifests
wait_until 'node and mirror pods of each node are Ready' 240 on_each_node node_ready
expect_eq 'no pod, ConfigMap or Lease of it is left' '' "$(behaviours_left)"
expect_same 'no label and no lease is left' "$(cat "$LOGS/traces")" "$(nodes_traces)"
check 'a Deployment made now runs' deployment_runs after-behaviours
