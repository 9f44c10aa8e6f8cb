# Three control-plane nodes behind a balancer, or behind kube-vip. Sourced by session; the scenarios whose names begin with "nodes" have them.
# shellcheck shell=bash

# nodes_fresh: what is in front, kubeadm init on the first node, kubeadm join on the others, one after the other, and all of it
# Ready. About 90 s. What follows is then about the first one.
nodes_fresh() {
  local number front=$FABRIC_IP
  if [ -n "$VIP" ]; then front=$VIP; else balancer_start || return; fi
  node_is 1
  node_fresh "$front:6443" >"$LOGS/init.out" || return
  [ -z "$VIP" ] || vip_after_init || return
  for number in $(seq 2 "$NODES"); do node_is "$number"; node_join || return; done
  node_is 1
  within 120 on_each_node node_ready || { echo "the nodes are not ready after 120 s: $LAST_SEEN"; return 1; }
}

# on_each_node COMMAND...: with each of them as the node, in turn, as long as it ends with 0.
on_each_node() {
  local number code=0
  for number in $(seq "$NODES"); do
    node_is "$number"
    "$@" || { code=$?; break; }
  done
  node_is 1
  return $code
}
# on_node NUMBER COMMAND...: in a subshell.
on_node() { (node_is "$1"; "${@:2}"); }

node_join() {
  node_new || return
  join_config >"$DISK/etc/kubernetes/join.yaml"
  node_exec kubeadm join --config /etc/kubernetes/join.yaml --skip-phases=preflight --ignore-preflight-errors=all || return
  [ -z "$VIP" ] || vip_bring admin.conf || return
  within 120 node_ready || { echo "$NODE is not ready after 120 s: $LAST_SEEN"; return 1; }
}
# join_config: what `kubeadm init` has told the operator, on the first node.
join_config() {
  local said=$LOGS/init.out
  cat <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    token: $(grep -om1 -- '--token [a-z0-9.]*' "$said" | cut -d' ' -f2)
    apiServerEndpoint: "$API_ENDPOINT"
    caCertHashes: ["$(grep -om1 -- '--discovery-token-ca-cert-hash sha256:[0-9a-f]*' "$said" | cut -d' ' -f2)"]
nodeRegistration: {name: $NODE, criSocket: "unix:///run/containerd/containerd.sock"}
controlPlane:
  localAPIEndpoint: {advertiseAddress: $NODE_IP, bindPort: 6443}
  certificateKey: $(grep -om1 -- '--certificate-key [0-9a-f]*' "$said" | cut -d' ' -f2)
YAML
}

# --- the balancer ------------------------------------------------------------------------------------------------------

# balancer_start: haproxy outside of the nodes. It asks each server's health twice a second, and ends the connections to one
# that has gone, as balancers in front of control planes do.
balancer_start() {
  balancer_stop
  balancer_config >"$LAB_CACHE/haproxy.cfg"
  setpriv --pdeathsig KILL haproxy -db -f "$LAB_CACHE/haproxy.cfg" >"$LOGS/haproxy.log" 2>&1 9>&- &
  BALANCER_PID=$!
  disown "$BALANCER_PID"
}
balancer_stop() {
  [ -z "$BALANCER_PID" ] || kill -KILL "$BALANCER_PID" 2>/dev/null || true
  BALANCER_PID=''
  rm -f "$LAB_CACHE/haproxy.cfg"
}
balancer_config() {
  local number
  cat <<CFG
global
  maxconn 4000
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  timeout check 3s
frontend api
  bind $FABRIC_IP:6443
  default_backend servers
backend servers
  option httpchk GET /readyz
  http-check expect status 200
  default-server check check-ssl verify none inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
CFG
  for number in $(seq "$NODES"); do echo "  server cp$number $(address_of "$number"):6443"; done
}
# balancer_says NODE WORD: the last that it has said of that server is that it is UP, or DOWN.
balancer_says() { grep -oE "servers/$1 is [A-Z]+" "$LOGS/haproxy.log" | tail -n 1 | grep "$2\$"; }

# --- loads: one through the balancer, and one at each server ------------------------------------------------------------

# loads_start: as load_start, one more than there are nodes, at LOAD_RATE each.
loads_start() {
  local number front=balancer
  [ -z "$VIP" ] || front=vip
  [ -n "$LOAD_RATE" ] || loads_rate
  # Each looks for one address in `kubernetes`: that in front of the nodes is in no object.
  load_begin "$((LOAD_RATE * 21 / 20))" --endpoint "$(address_of 1)"
  LOADS=("$front $LOAD_PID $LOAD_LOG")
  for number in $(seq "$NODES"); do
    load_begin "$((LOAD_RATE * 21 / 20))" --server "https://$(address_of "$number"):6443"
    LOADS+=("cp$number $LOAD_PID $LOAD_LOG")
  done
}
# loads_rate: finds the rate of each: the highest that leaves a fifth of the machine idle before anything happens.
loads_rate() {
  local idle
  within 60 machine_rests || true
  for LOAD_RATE in 75 50 25 10; do
    loads_start
    sleep 2 # until their connections are made
    idle=$(idle_percent 4)
    loads_end
    each_load wait_for_load ''
    note "$((NODES + 1)) x $LOAD_RATE requests/s leave $idle % of the machine idle"
    [ "$idle" -lt 20 ] || return 0
  done
}
# each_load COMMAND ARGS...: for each, with its name after the first argument. LOAD_PID, LOAD_LOG, LOAD_SUMMARY are its own.
each_load() {
  local load name
  for load in "${LOADS[@]}"; do
    read -r name LOAD_PID LOAD_LOG <<<"$load"
    LOAD_SUMMARY=${LOAD_LOG%.log}.json
    "$1" "$2, at $name" "${@:3}"
  done
}
wait_for_load() { wait "$LOAD_PID" || true; }
loads_stop() { loads_end && each_load load_stop "$1"; }
# All end at once: the last one would otherwise be alone with the machine.
loads_end() {
  local load pid
  for load in "${LOADS[@]}"; do
    read -r _ pid _ <<<"$load"
    kill -TERM "$pid" 2>/dev/null || true
  done
}
loads_unharmed() { each_load check_unharmed "$1"; }
# loads_unharmed_but NODE WHAT: of a node that lost its power. Who was at it, or on the way to it, has lost that request.
loads_unharmed_but() { each_load unharmed_but "$2" "$1"; }
# unharmed_but WHAT NODE
unharmed_but() {
  case $1 in
  *"at $2") note "$1: $(load_figure '[.kinds[].failed] | add') failed, where the power was cut" ;;
  *balancer)
    note "$1: $(failed_requests)"
    check "$1: only requests in flight as the power went have failed" failed_in_flight
    expect_eq "$1: missed watch events" 0 "$(load_figure .watch.missed)"
    ;;
  *) check_unharmed "$1" ;;
  esac
}
# failed_in_flight: each was under way at CUT_AT, or began while the balancer had yet to notice: it asks twice, within 1 s each,
# and what it has sent to the dead node by then ends within the second second.
failed_in_flight() {
  awk -v cut="$CUT_AT" '$4 != "ok" && ($1 + $3 / 1000 < cut - 0.1 || $1 > cut + 10) {print; bad = 1} END {exit bad}' "$LOAD_LOG"
}

# --- what the nodes look like ------------------------------------------------------------------------------------------

# nodes_remember: how this node looks before anything is done, in the scenario's logs.
nodes_remember() {
  manifests >"$LOGS/$NODE.manifests"
  etcd_identity >"$LOGS/$NODE.etcd"
  nodes_traces >"$LOGS/traces"
}
manifests_as_before() {
  expect_same "$NODE: the manifests directory is byte for byte as before" "$(cat "$LOGS/$NODE.manifests")" "$(manifests)"
}
# nodes_traces: as traces, of every node.
nodes_traces() { on_each_node traces | sort; }
# nodes_self_hosted COUNT [NODES]: so many nodes have pods of the DaemonSets, all of them Ready, and the others of the NODES
# that are in the cluster, all of them if it is not said, have static pods.
nodes_self_hosted() {
  local component counts expected nodes=${2:-$NODES}
  for component in "${COMPONENTS[@]}"; do
    expected=$1/$1
    [ "$1" != 0 ] || expected=''
    counts=$(kubectl -n kube-system get daemonset "self-hosted-$component" --ignore-not-found \
      -o jsonpath='{.status.desiredNumberScheduled}/{.status.numberReady}') || return
    [ "$counts" = "$expected" ] || { echo "self-hosted-$component: desired/ready $counts"; return 1; }
  done
  # Those that stay on each node, and three on each that is static.
  [ "$(mirror_pods | wc -w)" = $((nodes * ${#STAYING[@]} + 3 * (nodes - $1))) ] || { echo "mirror pods: $(mirror_pods)"; return 1; }
}
# rows JQ: what each node is, as the cluster tells it.
rows() { node_exec fulcrum status --cluster -o json | jq -r "$1"; }
# each_is WORDS: what they are, in the order of their names.
each_is() { local seen; seen=$(rows '[.nodes[].is] | join(" ")'); [ "$seen" = "$1" ] || { echo "$seen"; return 1; }; }
api_uids() { api_pods .metadata.uid | sort; }
# hosted_uids: of the pods of all three DaemonSets.
hosted_uids() {
  kubectl -n kube-system get pods -l k8s-app -o json |
    jq -r '.items[].metadata | select(.labels["k8s-app"] | startswith("self-hosted-")) | "\(.name) \(.uid)"' | sort
}
# as_it_is: what a pivot of this node changes.
as_it_is() { manifests; history_of '.runs | length'; hosted_uids; nodes_traces; }
# reasons: the checks for which the last call was refused.
reasons() { sed -nE 's/^fulcrum: ([a-z-]+): .*\(docs\/checks\.md#\1\)$/\1/p' "$ERR" | sort | paste -sd ' '; }
# reason_says CHECK TEXT
reason_says() { grep "^fulcrum: $1: " "$ERR" | grep -F -- "$2" || { tail -n 4 "$ERR"; return 1; }; }
# pivot_each_node: one after the other.
pivot_each_node() {
  local number began
  for number in $(seq "$NODES"); do
    node_is "$number"
    began=$SECONDS
    need fulcrum_ends 0 pivot --yes
    note "$NODE: pivoted after $((SECONDS - began)) s"
    need wait_until "$number of $NODES nodes are self-hosted" 60 nodes_self_hosted "$number"
  done
  node_is 1
}
nodes_manifests_are_gone() {
  local left
  left=$(find "$MANIFESTS" -mindepth 1 -not -name '.fulcrum-spare-*' -printf '%P\n' | sort)
  [ "$left" = "$(printf '%s.yaml\n' "${STAYING[@]}")" ] || { echo "manifests: $left"; return 1; }
  diff "$LOGS/$NODE.etcd" <(etcd_identity)
}
