#!/bin/bash
# Forgets what makes this machine itself, before its disk becomes an image: each machine that boots
# from it is another one, and runs its own user data.
set -euo pipefail
rm -rf /run/bbs-image
cloud-init clean --logs
truncate --size=0 /etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
apt-get -q clean
sync
