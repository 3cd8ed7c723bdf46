# A machine of its own for a systemd: process 1 of namespaces, with a root folder that lies over the
# system's and keeps what is written for itself. Arguments: a folder that is its disk, empty when it is
# first booted; folders to show inside.
#
# Nothing of the system can be changed from inside: its root is the overlay's lower layer, /dev, /run,
# /tmp and /var/lib/containerd are its own, and /proc/sys and /sys can't be written to.
set -euo pipefail
folder=$1
shift
new=$folder/root
mount --make-rprivate /
new_disk=$([[ -e $folder/upper ]] || echo yes)
mkdir -p "$folder/upper" "$folder/work" "$folder/containerd" "$new"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$new"
for shown in "$@"; do
  mkdir -p "$new$shown"
  mount --rbind "$shown" "$new$shown"
  mount -o remount,bind,ro "$new$shown"
done
mkdir -p "$new/var/lib/containerd"
mount --bind "$folder/containerd" "$new/var/lib/containerd"
for path in /run /dev; do
  mount -t tmpfs -o mode=755 none "$new$path"
done
while read -r name major minor; do
  mknod -m 666 "$new/dev/$name" c "$major" "$minor"
done <<<'null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0'
mkdir "$new/dev/pts" "$new/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 none "$new/dev/pts"
ln -s pts/ptmx "$new/dev/ptmx"
ln -s /proc/self/fd "$new/dev/fd"
for path in /dev/shm /tmp /var/tmp; do
  # A folder that is shown may lie below /tmp.
  [[ " $* " == *" $path/"* ]] || mount -t tmpfs -o mode=1777 none "$new$path"
done
mount -t proc proc "$new/proc"
mount --bind "$new/proc/sys" "$new/proc/sys"
mount -o remount,bind,ro "$new/proc/sys"
# What is in this folder belongs to the machine's own network.
mount --bind "$new/proc/sys/net" "$new/proc/sys/net"
mount -o remount,bind,rw "$new/proc/sys/net"
mount -t sysfs -o ro sysfs "$new/sys"
mount -t tmpfs -o mode=755 none "$new/sys/fs/cgroup"
for group in /sys/fs/cgroup/*/; do
  name=$(basename "$group")
  [[ -e $group/tasks ]] || continue
  mkdir "$new/sys/fs/cgroup/$name"
  mount -t cgroup -o "$([[ $name == systemd ]] && echo none,name=systemd || echo "$name")" \
    cgroup "$new/sys/fs/cgroup/$name"
done
cd "$new"
# What the system starts at boot isn't started here, nor what would set up the machine's kernel.
units=etc/systemd/system
[[ -z $new_disk ]] || rm -rf "$units"/*.wants "$units"/*.requires
for unit in systemd-{sysctl,modules-load,udevd,udev-trigger,random-seed,update-utmp}.service \
  systemd-{journal-flush,remount-fs,binfmt,tmpfiles-setup,tmpfiles-setup-dev}.service \
  systemd-{tmpfiles-clean,machine-id-commit,firstboot,sysusers,hwdb-update,pstore}.service \
  systemd-udevd-{kernel,control}.socket dev-hugepages.mount dev-mqueue.mount \
  sys-kernel-{debug,tracing,config}.mount sys-fs-fuse-connections.mount \
  proc-sys-fs-binfmt_misc.automount; do
  ln -sf /dev/null "$units/$unit"
done
: >etc/fstab
ip link set lo up
mkdir -p old
pivot_root . old
umount -l /old
# As systemd has it where it is the first to run: a container may see what is mounted later.
mount --make-rshared /
exec setpriv --bounding-set -sys_time,-sys_module,-sys_boot,-mac_admin,-mac_override \
  env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=multi-user.target --log-target=console --show-status=false </dev/null
