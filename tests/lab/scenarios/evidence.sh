# a pivot, a roll-out, a power cut and a rollback, told by the journal, and an export that is verified outside of the node (by hand)
# shellcheck shell=bash

remember_static
need fulcrum_ends 0 pivot --yes
check_pivoted
node_exec sh -c 'fulcrum history checkpoint >/root/checkpoint'
need wait_until 'the pod is available' 60 available
need check 'a changed flag is rolled out' add_flag --event-ttl=2h0m0s
need wait_until 'only the new pod is left, and is Ready' 180 only_pod_runs --event-ttl=2h0m0s
hand_overs_from_now
power_cut
need wait_until 'self-hosted again after a power cut, without help' 420 self_hosted_again
fulcrum_ends 0 history --verify --checkpoint /root/checkpoint
remember_etcd
need fulcrum_ends 0 rollback --yes
check_static

fulcrum_ends 0 history
story=$(cat "$OUT")
for said in pivot hand-over rolled-back; do check "the story tells of: $said" grep -qi "$said" <<<"$story"; done
check 'and is 80 columns wide' awk 'length > 80 {print; bad = 1} END {exit bad}' <<<"$story"
fulcrum_ends 0 history -o json
check 'who acted is in every run: uid 0 by a person, the guard with its reason' jq -e '.runs | length >= 2 and
  any(.kind == "hand-over" and (.why // "" | length > 0))' "$OUT"
fulcrum_ends 0 history last --diff
check 'the difference names a manifest and a DaemonSet' grep -q 'kube-apiserver' "$OUT"
# The cluster's ConfigMap and the checkpoint of before are looked at: nothing is left unchecked, or only with its reason.
fulcrum_ends 0 history --verify --checkpoint /root/checkpoint
check 'nothing is wrong' awk '/^wrong/ {bad = 1} END {exit bad}' "$OUT"
fulcrum_ends 0 history --html /root/page.html
check 'the page is below 200 kB' test "$(stat -c %s "$DISK/root/page.html")" -lt 204800
fulcrum_ends 0 history export /root/export

# Outside of the node there is no fulcrum.
cp -r "$DISK/root/export" "$LOGS/export"
cp "$DISK/root/checkpoint" "$LOGS/checkpoint"
said=$(cd "$LOGS/export" && env -i PATH=/usr/bin:/bin sh verify.sh 2>&1) && code=0 || code=$?
expect_eq 'the export verifies by its own script; nothing from elsewhere was given' 11 "$code"
note "$(tail -n 1 <<<"$said")"
sed -i '0,/kube-scheduler/s//kube-schedulex/' "$LOGS/export/entries.jsonl"
(cd "$LOGS/export" && env -i PATH=/usr/bin:/bin sh verify.sh >/dev/null 2>&1) && code=0 || code=$?
check 'and no longer when a letter is changed' test "$code" != 0 -a "$code" != 11
