#!/bin/bash
# Run by machine.sh as the first process of a machine: mounts what systemd expects of whoever starts
# it in a container (https://systemd.io/CONTAINER_INTERFACE), and becomes systemd.
set -euo pipefail
root=$1
# shellcheck source=tests/integration/boots/mounts.sh
. "$(dirname "$0")/mounts.sh"
# The number that it has outside: this is still the outer /proc.
read -r number _ </proc/self/stat
hostname "$2"
ip link set lo up
mounted "$root"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
: >"$root/etc/machine-id"
mkdir "$root/.before"
cd "$root"
pivot_root . .before
umount --lazy /.before
# What a helper of systemd's mounts, as credentials, is to be seen by all.
mount --make-rshared /
echo "$number"
exec env -i container=bbs-boots PATH=/usr/sbin:/usr/bin \
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal \
    </dev/null >/dev/null 2>&1
