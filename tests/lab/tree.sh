# Copies of a node's root file system. Sourced by node.sh and root/release.
# shellcheck shell=bash

# tree_copy FROM TO: a root file system. What is never written in place is linked, not copied, which takes a second instead of ten
# and no room: /usr, and of containerd the contents of its images and their unpacked layers.
tree_copy() {
  local from=$1 to=$2 containerd=var/lib/containerd
  local linked=("$containerd/io.containerd.content.v1.content" "$containerd/io.containerd.snapshotter.v1.overlayfs/snapshots")
  local path
  mkdir "$to"
  tar -C "$from" -cf - --one-file-system --exclude=./usr --exclude='./dev/*' "${linked[@]/#/--exclude=./}" . | tar -C "$to" -xf -
  cp -al "$from/usr" "$to/"
  for path in "${linked[@]}"; do
    if [ -d "$from/$path" ]; then cp -al "$from/$path" "$to/$path"; fi
  done
}
