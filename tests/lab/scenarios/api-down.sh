# a rollback while no API server answers: the files first, then the cluster
# shellcheck shell=bash

remember_static
load_start_small
need fulcrum_killed_at step-done retire-static/kube-apiserver pivot --yes

# The only API server left is the DaemonSet's. Whatever of it starts is killed, so that only the static pod can serve.
doomed=$(kubectl -n kube-system get pod -l k8s-app=self-hosted-kube-apiserver -o jsonpath='{.items[0].metadata.uid}')
keep_dead() { while :; do pod_processes "$1" kube-apiserver | xargs -r kill -KILL 2>/dev/null || true; sleep 0.05; done; }
keep_dead "$doomed" &
killer=$!
need wait_until 'no API server answers' 60 api_silent
sleep 2 # longer than an answer takes: none that was under way at the kill can count below
down_since=$(date +%s.%N)

# When the manifests are seen on the disk, against when the API first answers: the load knows. That they are the exact
# bytes again is asked at the end; an API server may first have to come back in another way.
restored() { local component; for component in "${COMPONENTS[@]}"; do [ -e "$MANIFESTS/$component.yaml" ] || return; done; }
when_restored() { until restored; do sleep 0.02; done; date +%s.%N; }
when_restored >"$LOGS/restored-at" &
watcher=$!
need fulcrum_ends 0 rollback --yes -o json
check 'the run is rolled back' finished_as rolled-back
kill $killer $watcher 2>/dev/null || true
check 'the manifests were back on the disk while the API was down' \
  earlier "$(cat "$LOGS/restored-at")" "$(first_success_after "$down_since")"
refresh_kubelet
check_static
check 'a Deployment made now runs' deployment_runs after-api-down
load_stop 'API through all of it'
