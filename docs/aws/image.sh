#!/bin/bash
# User data of an instance that becomes an image: Debian 12 or 13 or Ubuntu 24.04, with bbs in
# /opt/bbs. docs/aws.md puts a line before this that sets WHEEL_URL. It powers off when it is done;
# one that does not says in its console output why.
set -euo pipefail
wheel=/tmp/$(basename "${WHEEL_URL%%\?*}")
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o DPkg::Lock::Timeout=300 update
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends \
    ca-certificates curl python3-venv

# The authorities that sign RDS's certificates, and nobody else's.
curl --fail --silent --show-error --retry 5 --output /etc/ssl/certs/rds.pem \
    https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem

curl --fail --silent --show-error --retry 5 --output "$wheel" "$WHEEL_URL"
python3 -m venv /opt/bbs
/opt/bbs/bin/pip install --quiet --disable-pip-version-check "${wheel}[tls]"
rm "$wheel"
# twistd keeps a list of its plugins beside them, where services may not write.
/opt/bbs/bin/twistd --help >/dev/null

# What makes this instance itself is none of the image's.
cloud-init clean --logs
truncate --size=0 /etc/machine-id
sync
systemctl poweroff
