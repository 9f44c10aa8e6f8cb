# three nodes behind kube-vip: pivots, a roll-out and rollbacks under load; what clients and kube-vip itself see, in each way (by hand)
# shellcheck shell=bash

# FULCRUM_LAB_VIP names the ways, in their order; each is there and back:
#   auto    kube-vip as it is installed, asking its API server over loopback; what fulcrum does by itself, and the exact way back
#   keep    the same, and rollback --keep-port-sharing
#   own     kube-vip with `kubernetes` mapped to the node's own address; what fulcrum does by itself, and the exact way back
#   bridge  kube-vip as it is installed; --handover bridge
read -ra ways <<<"${FULCRUM_LAB_VIP:-auto keep own bridge}"

# must CHECK...: as need. What kube-vip saw is told before the end.
must() {
  "$@"
  [ -z "$FAILED" ] || vip_tell "$way: until that failed"
  need :
}
# all_steady WAY: kube-vip runs on each node as in that way, and one node has the address.
all_steady() {
  local address=127.0.0.1
  [ "$1" != own ] || address=own
  on_each_node vip_runs "$address" && vip_steady "$address"
}
# planned HANDOVER: this node can be pivoted, and by itself fulcrum would do it so.
planned() {
  local out ended=0
  out=$(node_exec fulcrum plan -o json --state-dir "$STATE_DIR" 2>"$LOGS/planned.err") || ended=$?
  [[ $ended = 9 && $(jq -r .handover <<<"$out") = "$1" ]] || { echo "exit code $ended: $(tail -n 3 "$LOGS/planned.err")"; return 1; }
}
# standby_follows FLAG: what would come back on this node after a power cut has the flag, and the guard is done with it.
standby_follows() {
  grep -rqs -- "$1" "$DISK$STATE_DIR/standby" || { echo "$NODE: the standby is without $1"; return 1; }
  last_kind_is renew-standby
}

# unharmed WHAT: at a node nothing fails, whatever the way. In front of them the address may move with a bridge, there or back, beside
# a kube-vip that asks over loopback: told.
unharmed() {
  if [[ $way = own || $way = keep || $1 != *', at vip' || ($way = auto && $1 != *rollbacks*) ]]; then check_unharmed "$1"; return; fi
  note "$1: failed requests: $(failed_requests); missed watch events: $(load_figure .watch.missed)"
}
part_ends() { loads_stop "$way: $1"; each_load unharmed "$way: $1"; }

# run_here COMMAND ARGS...: on this node. What kube-vip saw meanwhile is told.
run_here() {
  local began=$SECONDS
  vip_mark
  must fulcrum_ends 0 "$1" --yes "${@:2}"
  note "$way: $NODE: $1 ended after $((SECONDS - began)) s"
  vip_tell "$way: $1 of $NODE"
}
pivots() {
  local number
  loads_start
  for number in $(seq "$NODES"); do
    node_is "$number"
    run_here pivot "${options[@]}"
    must wait_until "$way: $number of $NODES nodes are self-hosted" 120 nodes_self_hosted "$number"
  done
  node_is 1
  part_ends 'the pivots'
  on_each_node check "$way: of the static pods etcd and kube-vip are left, as they were" nodes_manifests_are_gone
}
roll_out() {
  must wait_until "$way: the pods are available" 180 available "$NODES"
  loads_start
  vip_mark
  must check "$way: a changed flag is rolled out" add_flag --event-ttl=2h0m0s
  must wait_until "$way: only pods with the flag are left, on each node" 300 only_pods_run --event-ttl=2h0m0s "$NODES"
  sleep 15 # connections that were made to those before are missed by then
  vip_tell "$way: roll-out of a changed flag"
  part_ends 'the roll-out'
  wait_until "$way: the standby of each node follows" 300 on_each_node standby_follows --event-ttl=2h0m0s
}
rollbacks() {
  local number
  loads_start
  for number in $(seq "$NODES"); do
    node_is "$number"
    run_here rollback "${back[@]}"
    [ -n "${back[*]}" ] ||
      expect_same "$way: $NODE: the manifests directory is byte for byte as before" "$(cat "$LOGS/$NODE.manifests")" "$(manifests)"
    must wait_until "$way: $((NODES - number)) of $NODES nodes are self-hosted" 120 nodes_self_hosted "$((NODES - number))"
  done
  node_is 1
  part_ends 'the rollbacks'
  expect_eq "$way: no DaemonSet is left" '' "$(daemonsets)"
  expect_same "$way: no label and no lease is left" "$(cat "$LOGS/traces")" "$(nodes_traces)"
}
there_and_back() {
  pivots
  roll_out
  rollbacks
}

vip_logs_kept >/dev/null 2>&1 9>&- &
vip_mark
for way in "${ways[@]}"; do
  options=() back=() asks=vip_asks_loopback
  case $way in
  auto) ;;
  keep) back=(--keep-port-sharing) ;;
  own) asks=vip_asks_own ;;
  bridge) options=(--handover bridge) ;;
  *) must fail 'FULCRUM_LAB_VIP' "no such way: $way" ;;
  esac
  on_each_node "$asks"
  must wait_until "$way: kube-vip runs on each node, and one has $VIP" 180 all_steady "$way"
  on_each_node nodes_remember
  # Asked again while mirror pods are new.
  must wait_until "$way: by itself each node would take steer" 240 on_each_node planned steer
  fulcrum plan "${options[@]}"
  note "$way: $(grep -hm 1 -i 'hand-\?over' "$OUT" "$ERR" | cut -c -250)"
  if [ "$CODE" = 3 ]; then
    note "$way: it is refused, and not tried"
    continue
  fi
  there_and_back
done
