# A command for all nodes: the image of its pods, the command, and what it leaves. Sourced by session. In the scenarios
# that have it FULCRUM names the program, which must be static: it is alone in its image.
# shellcheck shell=bash

is_static() { LC_ALL=C ldd "$1" 2>&1 | grep -q 'statically linked\|not a dynamic executable'; }
# image_make: as packaging/build does, of the program that the nodes have.
image_make() { SOURCE_DATE_EPOCH=0 "$HERE/../../packaging/image" "$LAB_CACHE/fulcrum" fulcrum:lab "$LOGS/image.tar"; }
# image_load: onto this node, as an operator without a registry does.
image_load() {
  cp "$LOGS/image.tar" "$DISK/image.tar" && node_exec ctr -n k8s.io images import /image.tar && rm "$DISK/image.tar"
}
# all_nodes CODE COMMAND ARGS...: to its end.
all_nodes() { fulcrum_ends "$1" "$2" --all-nodes --yes --image "$ALL_NODES_IMAGE" "${@:3}"; }
# all_nodes_begin COMMAND: beside the scenario. What it says is in BEGUN.out and BEGUN.err, its exit code in BEGUN.code at its end.
all_nodes_begin() {
  next_call "$1"
  BEGUN=${OUT%.out}
  {
    local code=0
    node_exec fulcrum "$1" --all-nodes --yes --image "$ALL_NODES_IMAGE" -o json --state-dir "$STATE_DIR" >"$OUT" 2>"$ERR" || code=$?
    echo $code >"$BEGUN.code"
  } &
}
# at_work: the node whose turn has come.
at_work() { jq -r 'select(.state == "running") | .node' "$BEGUN.out" | tail -n 1 | grep .; }
# begun_has_ended: it is over.
begun_has_ended() { [ -s "$BEGUN.code" ] || { tail -n 2 "$BEGUN.err"; return 1; }; }
# said_in_unit MARK STEP SINCE: waits until the run that the command has begun on this node since that Unix time says so of the
# step, "done" or "undone", in the log of its unit: it has no other end of a pipe.
said_in_unit() {
  local lines line mark name
  exec {lines}< <(node_enter timeout "$RUN_DEADLINE" journalctl --follow --no-tail --output=cat --since="@$3" \
    --unit=fulcrum-all-nodes.service 2>/dev/null)
  while IFS= read -r -t "$RUN_DEADLINE" -u "$lines" line; do
    read -r mark name _ <<<"$line"
    if [ "$mark $name" = "$1 $2" ]; then exec {lines}<&-; return; fi
  done
  exec {lines}<&-
  return 1
}
no_command_pod() { local left; left=$(kubectl -n kube-system get pods -o name | grep fulcrum-all-nodes) || return 0; echo "$left"; return 1; }
