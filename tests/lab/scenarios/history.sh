# the journal: every attempt with its circumstances, and that a changed byte is noticed
# shellcheck shell=bash

remember_static
need fulcrum_killed_at step-started share-port/kube-scheduler pivot --yes
need fulcrum_ends 0 resume --yes
need fulcrum_ends 0 history -o json
journal=$OUT
holds() { jq -e "$1" "$journal"; }
check 'one run, a pivot, completed' holds '.runs | length == 1 and .[0].kind == "pivot" and .[0].outcome == "completed"'
check 'every attempt has step, direction, number, start, outcome, boot id and pid' holds '.runs[].attempts | length > 0 and all(
  (.step | length > 0) and (.direction == "run" or .direction == "undo") and .attempt >= 1 and (.started | test("^20..-..-..T"))
  and (.outcome | length > 0) and (.boot_id | test("^[0-9a-f-]{32,36}$")) and .pid > 0)'
boot=$(node_exec cat /proc/sys/kernel/random/boot_id | tr -d -)
check 'the boot id is this boot' holds ".runs[].attempts | all((.boot_id | gsub(\"-\"; \"\")) == \"$boot\")"
check 'every attempt that ended says when' holds '.runs[].attempts | all(.ended != null or .outcome == "interrupted")'
check 'the attempt that the kill cut short is there' holds \
  '.runs[].attempts | any(.step == "share-port/kube-scheduler" and .outcome == "interrupted")'
check 'attempts by both processes are there' holds '[.runs[].attempts[].pid] | unique | length >= 2'
# Done, or cut short by the kill and then found done.
done_once() { holds ".runs[].attempts | any(.step == \"$1\" and .direction == \"run\" and
  (.outcome == \"done\" or ((.detail // \"\") | startswith(\"probed: done\"))))"; }
for step in preflight lock archive label-node verify record-head \
  {share-port,create-daemonset,await-ready,retire-static}/{kube-apiserver,kube-controller-manager,kube-scheduler}; do
  check "$step is done" done_once "$step"
done
fulcrum_ends 0 history
step_times
fulcrum_ends 0 history --verify
check 'the ConfigMap of the cluster was looked at' grep -q '^  .*ConfigMap' "$OUT"
node_exec sh -c 'fulcrum history checkpoint >/root/checkpoint'
fulcrum_ends 0 history --verify --checkpoint /root/checkpoint

# On a copy: one letter of an entry's text, in each file that has that text.
node_exec cp -a /var/lib/fulcrum /var/lib/fulcrum-damaged
need check 'an entry names that step' node_exec grep -rq create-daemonset/kube-scheduler /var/lib/fulcrum-damaged/log
node_exec sh -c 'LC_ALL=C sed -i "s|\"step\":\"create-daemonset/kube-scheduler|\"step\":\"create-daemonset/kube-schedulex|g" /var/lib/fulcrum-damaged/log/*'
state_dir_is /var/lib/fulcrum-damaged
fulcrum_ends 8 history --verify
check 'it names the entry by its number' grep -hE 'entry [0-9]+' "$OUT" "$ERR"
state_dir_is /var/lib/fulcrum
fulcrum_ends 0 history --verify --checkpoint /root/checkpoint
