#!/usr/bin/env bash
# A machine of its own: its mounts, processes, network, host name and control groups end with it.
#
#   machine.sh FOLDER NAME
#
# It says "ready", and lives until its standard input ends, which the death of whoever started it
# does, too. What it has written is in FOLDER/disk, and removed with it. Machines can be started
# within machines.
set -euo pipefail
shopt -s nullglob
scripts=$(dirname "$0")

# Control groups: this machine's own are the root of what is seen in it.
own_groups() {
  local kind target options mounts
  mapfile -t mounts < <(awk '$3 ~ /^cgroup2?$/ && !seen[$2]++ { print $3, $2, $4 }' /proc/mounts)
  umount -R /sys/fs/cgroup
  mount -t tmpfs none /sys/fs/cgroup
  for line in "${mounts[@]}"; do
    read -r kind target options <<<"$line"
    mkdir -p "$target"
    if [[ $kind == cgroup2 ]]; then
      mount -t cgroup2 none "$target"
    else
      options=$(tr , '\n' <<<"$options" | grep -vxE 'rw|relatime|nosuid|nodev|noexec' | paste -sd ,)
      if [[ $options == name=* ]]; then options=none,$options; fi
      mount -t cgroup -o "$options" none "$target"
    fi
  done
}

inside() {
  disk=$1/disk
  mkdir "$disk"
  mount --make-rshared /
  mount -t tmpfs none /run
  for one in etc opt var; do
    mkdir "$disk/$one" "$disk/.$one"
    mount -t overlay -o "lowerdir=/$one,upperdir=$disk/$one,workdir=$disk/.$one" none "/$one"
  done
  # These two can't be on an overlay: one has overlays itself, the other is measured.
  for one in containerd kubelet; do
    mkdir -p "$disk/$one" "/var/lib/$one"
    mount --bind "$disk/$one" "/var/lib/$one"
    mount --make-rshared "/var/lib/$one"
  done
  own_groups
  bash "$scripts/kernel.sh" "$disk/sys"
  hostname "$2"
  ip link set lo up
  echo 1 >/proc/sys/net/ipv4/ip_forward
  echo ready
  # As process 1, bash reaps all processes that have lost their parents.
  while read -r _; do :; done
}

if [[ $1 == --inside ]]; then
  inside "${@:2}"
  exit
fi

folder=$1 name=$2 groups=()
for hierarchy in /sys/fs/cgroup/*/; do
  groups+=("${hierarchy}holdfast-$name-$BASHPID")
done

remove() {
  rm -rf "$folder/disk"
  # The last process of a group is gone a moment before the group may go.
  for _ in {1..200}; do
    local left=()
    for one in "${groups[@]}"; do
      if [[ -d $one ]]; then left+=("$one"); fi
    done
    if ((${#left[@]} == 0)); then return; fi
    find "${left[@]}" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
  done
  echo "control groups are left: ${left[*]}" >&2
}
trap remove EXIT

for group in "${groups[@]}"; do
  mkdir -p "$group"
  for file in cpuset.cpus cpuset.mems; do
    if [[ -e $group/$file ]]; then cat "$group/../$file" >"$group/$file"; fi
  done
done
(
  for group in "${groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
  exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net --uts \
    --ipc --cgroup bash "$0" --inside "$folder" "$name"
)
