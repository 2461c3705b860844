#!/bin/bash
# Run by tests/integration/boots/__init__.py in the mount namespace of an image: boots a machine from it, which has
# a layer of its own, namespaces of its own, and no network but loopback. SEED is a folder of files for
# its root. It ends with its standard input, or when the machine powers off; what init.sh prints is the
# process that systemd is.
set -euo pipefail
image=$1
name=$2
seed=$3
here=$image/machines/$name
groups=$here/groups
root=$here/root
mkdir -p "$here"/{above,work,root,groups}
mount --make-rprivate /
mount -t overlay -o "lowerdir=$image/above:/,upperdir=$here/above,workdir=$here/work" overlay "$root"
cp --recursive --no-preserve=ownership "$seed/." "$root"

# Its processes are a group of their own, so that its systemd sees no other.
mount -t cgroup2 cgroup2 "$groups"
mkdir "$groups/bbs-boots-$name"
exec 3<&0
(
    echo "$BASHPID" >"$groups/bbs-boots-$name/cgroup.procs"
    exec unshare --mount --pid --fork --kill-child=KILL --net --uts --ipc --cgroup \
        bash "$(dirname "$0")/init.sh" "$root" "$name"
) &
machine=$!
{
    cat >/dev/null
    kill -KILL "$machine"
} <&3 &
watching=$!
wait "$machine" 2>/dev/null || true
kill "$watching" 2>/dev/null || true
for _ in {1..100}; do
    find "$groups/bbs-boots-$name" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done
