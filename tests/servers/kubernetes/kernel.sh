#!/usr/bin/env bash
# What a kubelet wants the kernel to be set to: it finds it so in the machine where this runs, and
# changes nothing of the host.
#
#   kernel.sh FOLDER
#
# FOLDER is made, and has to last as long as the machine.
set -euo pipefail
folder=$1
mkdir "$folder"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  name=${setting%=*} value=${setting#*=}
  printf %s "$value" >"$folder/${name//\//.}"
  mount --bind "$folder/${name//\//.}" "/proc/sys/$name"
done
