#!/bin/bash
# Makes this instance an app server of the fleet "${fleet}".
#
# For images of Debian and Ubuntu. An image with bbs in /opt/bbs or in the PATH starts at once; on
# another one, Python 3.11 or later and what ec2.package names are installed first. The instance
# lives as long as its app server: it powers off when that ends, or when it cannot boot.
set -euo pipefail

# Should this script hang, too. Taken back at its end.
shutdown -P +15 || true

ended() {
    status=$?
    if [ "$status" -ne 0 ]; then
        echo "bbs: cannot boot, status $status; this instance powers off" >&2
        sync
        systemctl poweroff
    fi
}
trap ended EXIT

server_id='${server_id}' batch='${batch}'
if [ -n "$batch" ]; then
    # One of many that were launched at once: its id follows from its number.
    number=$(python3 - <<'END'
import os, time, urllib.request
service = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
def ask(method, path, header, value):
    request = urllib.request.Request(service.rstrip("/") + path, None, {header: value}, method=method)
    return urllib.request.urlopen(request, timeout=5).read().decode()
for left in reversed(range(30)):
    try:
        token = ask("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
        path = "/latest/meta-data/ami-launch-index"
        print(int(ask("GET", path, "X-aws-ec2-metadata-token", token)))
        break
    except (OSError, ValueError):
        if not left:
            raise
        time.sleep(1)
END
    )
    server_id=$(printf '%s:%s' "$batch" "$number" | sha256sum | cut -c 1-32)
fi

# Its configuration, for a user of its own alone.
if ! id bbs >/dev/null 2>&1; then
    useradd --system --user-group --home-dir /var/lib/bbs --shell /usr/sbin/nologin bbs
fi
install -d -m 0750 -o root -g bbs /etc/bbs
install -m 0600 -o bbs -g bbs /dev/null /etc/bbs/app.toml
base64 --decode >/etc/bbs/app.toml <<'END'
${config_base64}
END

# bbs itself.
twistd=/opt/bbs/bin/twistd
if [ ! -x "$twistd" ] && command -v bbs >/dev/null; then
    twistd=$(dirname "$(readlink -f "$(command -v bbs)")")/twistd
fi
if [ ! -x "$twistd" ]; then
    twistd=/opt/bbs/bin/twistd
    export DEBIAN_FRONTEND=noninteractive
    if ! python3 -c 'import ensurepip, tomllib' 2>/dev/null; then
        apt-get -q -o DPkg::Lock::Timeout=300 update
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends python3-venv
    fi
    mapfile -t package < <(python3 - <<'END'
import shlex, tomllib
with open("/etc/bbs/app.toml", "rb") as file:
    print(*shlex.split(tomllib.load(file)["ec2"]["package"]), sep="\n")
END
    )
    if [ -z "$${package[*]}" ]; then
        echo "bbs: this image has no bbs, and ec2.package does not say what to install" >&2
        exit 1
    fi
    python3 -m venv /opt/bbs
    /opt/bbs/bin/pip install --quiet --disable-pip-version-check "$${package[@]}"
    # twistd keeps a list of its plugins beside them, where the service may not write.
    "$twistd" --help >/dev/null
fi

# Its log goes to CloudWatch Logs, where a group is named and the image has what ships it: this
# instance's ends with it.
log_group='${log_group}'
if [ -n "$log_group" ]; then
    cat >/etc/bbs/logs.env <<END
AWS_REGION=${region}
BBS_LOG_GROUP=$log_group
BBS_LOG_STREAM=$server_id
END
    systemctl start --no-block bbs-logs.service || true
fi

cat >/etc/systemd/system/${service}-app.service <<END
[Unit]
Description=${service} app server $server_id
Wants=network-online.target
After=network-online.target bbs-logs.service
# Whichever way it ends, the instance ends with it.
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=exec
User=bbs
Group=bbs
# Of which trace this launch is part, if it is of one.
Environment=TRACEPARENT=${traceparent}
ExecStart=$twistd --nodaemon --pidfile= ${service}-app --config=/etc/bbs/app.toml --server-id=$server_id
NotifyAccess=main
Environment=PYTHONFAULTHANDLER=1
SyslogIdentifier=${service}-app
StateDirectory=bbs
WorkingDirectory=/var/lib/bbs
TimeoutStopSec=30
UMask=0077
CapabilityBoundingSet=
DevicePolicy=closed
KeyringMode=private
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
# After a reboot too, and where the instance was stopped and is started again: this script runs once.
# A server that the fleet has given up meanwhile ends, and the instance.
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable ${service}-app.service
systemctl start --no-block ${service}-app.service
shutdown -c || true
