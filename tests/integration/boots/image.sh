#!/bin/bash
# Run by tests/integration/boots/__init__.py in a mount namespace of its own: makes the root of an image, which is
# this machine's with a layer above it, and runs a script in it, with this machine's network. Says
# "made" then, and ends with its standard input, which whoever started it holds.
set -euo pipefail
folder=$1
script=$2
# shellcheck source=tests/integration/boots/mounts.sh
. "$(dirname "$0")/mounts.sh"
mount --make-rprivate /
mount -t tmpfs -o size=3g,mode=755 tmpfs "$folder"
mkdir "$folder"/{above,work,root,machines}
root=$folder/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/above,workdir=$folder/work" overlay "$root"

# Nothing is there of what this machine would start, nor of a bbs that it may have.
for wants in "$root"/etc/systemd/system/*.wants; do
    [[ $wants == */cloud-init.target.wants ]] || rm -rf "$wants"
done
rm -rf "$root"/etc/systemd/system/bbs* "$root"/opt/bbs* "$root"/etc/bbs* "$root"/var/lib/bbs* "$root"/var/lib/cloud
: >"$root/etc/fstab"
# It may lead into /run, which is another there.
cp --remove-destination "$(readlink --canonicalize /etc/resolv.conf)" "$root/etc/resolv.conf"

mounted "$root"
mount --bind "$(dirname "$script")" "$root/mnt"
chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 \
    bash "/mnt/$(basename "$script")" </dev/null
umount --recursive --lazy "$root"
echo made
cat >/dev/null
