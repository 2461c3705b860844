#!/bin/bash
# Removes the identity of this machine before its disk becomes an image. Each machine that boots from
# the image gets an identity of its own and runs its own user data.
set -euo pipefail
rm -rf /run/bbs-image
cloud-init clean --logs
truncate --size=0 /etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
apt-get -q clean
sync
