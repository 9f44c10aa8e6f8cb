# SIGKILL at every share-port, create-daemonset and retire-static of a pivot, which is then resumed
# shellcheck shell=bash disable=SC2154

# Six pivots with two or three kills in each, instead of fourteen with one: a run that has been killed twice is the
# harder case, and this takes half the time. A resumed run is killed like a first one.
remember_static
round() { # EVENT COMPONENT
  local event=$1 component=$2 command=pivot step
  local steps=("create-daemonset/$component" "retire-static/$component")
  [ "$component" != kube-apiserver ] || steps=("share-port/$component" "${steps[@]}")
  for step in "${steps[@]}"; do
    need fulcrum_killed_at "$event" "$step" $command --yes
    command=resume
  done
  need fulcrum_ends 0 resume --yes -o json
  check 'the resumed run is completed' finished_as completed
  check_pivoted
  need fulcrum_ends 0 rollback --yes
  check_static
}
for event in step-started step-done; do
  for component in "${COMPONENTS[@]}"; do round $event "$component"; done
done
