#!/bin/bash
# Installs bbs in /opt/bbs, with its units and its user, on Debian 12 or 13 or Ubuntu 24.04. It starts
# no service. cloud-init.yaml and bbs.pkr.hcl run it to make an image.
#
# Environment variables:
#   BBS_WHEEL         the wheel of bbs: a file beside this script, a path, or an https URL
#   BBS_WHEEL_SHA256  its SHA-256, in hexadecimal digits
#   BBS_BROKER        "yes": ActiveMQ too, for a login server with a broker on the same machine
#   BBS_PROXY         "yes": HAProxy too, the way to app servers by TLS
#   BBS_FLUENT_BIT    a version of Fluent Bit, which ships the journal to CloudWatch Logs
#   BBS_RDS           the authorities that sign RDS's certificates, a path or an https URL; "" for
#                     none (default: AWS's own address)
#
# Run again with the same files, it changes nothing. With another wheel or lock it installs a second
# folder and then switches over. If it fails it says why and leaves the present version in place.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "$0")" && pwd)
versions=/opt/bbs-versions
units=/usr/local/lib/systemd/system
RDS=https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
FLUENT_KEY=https://packages.fluentbit.io/fluentbit.key
FLUENT_FINGERPRINT=C3C0A28534B9293EAF51FABD9F9DDC083888C1CD
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
umask 022

fail() {
    echo "bbs: cannot install: $*" >&2
    trap - ERR
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND: status $?"' ERR

# packages PACKAGE...: installs those that are missing.
packages() {
    local package status missing=()
    for package; do
        status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) || true
        [ "$status" = installed ] || missing+=("$package")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        apt-get -q -o DPkg::Lock::Timeout=300 update
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
    fi
}

# brought PLACE FILE: copies a path, an https URL, or a file beside this script to FILE. A URL may be a
# secret while it is valid, so it is not on a command line.
brought() {
    case $1 in
    https://*)
        curl --config - --fail --silent --show-error --location --proto '=https' --retry 5 \
            --output "$2" <<<"url = \"$1\""
        ;;
    /*) cp "$1" "$2" ;;
    *) cp "$here/$1" "$2" ;;
    esac
}

[ "$(id -u)" = 0 ] || fail "this takes root"
[ -n "${BBS_WHEEL:-}" ] || fail "BBS_WHEEL does not say where the wheel is"
[[ ${BBS_WHEEL_SHA256:-} =~ ^[0-9a-f]{64}$ ]] ||
    fail "BBS_WHEEL_SHA256 has to be 64 hexadecimal digits"
name=${BBS_WHEEL%%\?*}
name=${name##*/}
[[ $name =~ ^txbbs-[0-9][^-/]*-py3-none-any\.whl$ ]] || fail "'$name' is not a wheel of txbbs"

packages ca-certificates curl python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$(python3 --version) is older than 3.11"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# bbs, with exactly the versions in the lock.
brought "$BBS_WHEEL" "$scratch/$name" || fail "the wheel $name cannot be had"
echo "$BBS_WHEEL_SHA256  $scratch/$name" | sha256sum --check --quiet >&2 ||
    fail "$name is not the file with the SHA-256 $BBS_WHEEL_SHA256"
key=$({ cat "$here/requirements.lock" && python3 --version && echo "$BBS_WHEEL_SHA256"; } |
    sha256sum | cut -c1-12)
target=$versions/$(cut -d- -f2 <<<"$name")-$key
[ ! -e /opt/bbs ] || [ -L /opt/bbs ] ||
    fail "/opt/bbs is a folder, which this has not made: move it away"
if [ ! -e "$target/complete" ]; then
    python3 -m venv --clear "$target"
    "$target/bin/pip" install --quiet --only-binary :all: --require-hashes \
        --requirement "$here/requirements.lock"
    echo "$scratch/$name --hash=sha256:$BBS_WHEEL_SHA256" >"$scratch/requirements"
    "$target/bin/pip" install --quiet --no-deps --no-index --require-hashes \
        --requirement "$scratch/requirements"
    "$target/bin/pip" check >"$scratch/check" || fail "$(cat "$scratch/check")"
    # twistd caches its list of plugins beside them, where services may not write.
    "$target/bin/twistd" --help >/dev/null
    touch "$target/complete"
fi
ln --symbolic --force --no-dereference "$target" /opt/bbs.new
mv --no-target-directory /opt/bbs.new /opt/bbs

# User, folders and units. User data starts them, or you do.
install -D -m 0644 -t /usr/lib/sysusers.d "$here"/systemd/sysusers.d/bbs.conf
install -D -m 0644 -t /usr/lib/tmpfiles.d "$here"/systemd/tmpfiles.d/bbs.conf
systemd-sysusers /usr/lib/sysusers.d/bbs.conf
systemd-tmpfiles --create /usr/lib/tmpfiles.d/bbs.conf
install -D -m 0644 -t "$units" "$here"/systemd/bbs*.{service,socket,target,timer}
install -D -m 0644 -t "$units/bbs-.service.d" "$here"/systemd/bbs-.service.d/*.conf
# What login servers of the stack of deploy/cloudformation run at their boot.
install -D -m 0644 -t /usr/local/lib/bbs-stack "$here"/stack/*.py \
    "$here"/systemd/examples/{no-metadata,certificate-login,certificate-telnet}.conf
install -m 0755 -t /usr/local/lib/bbs-stack "$here"/stack/{login-server,database-users,logs}

# The authorities that sign only RDS's certificates.
if [ -n "${BBS_RDS-$RDS}" ]; then
    brought "${BBS_RDS-$RDS}" "$scratch/rds.pem" || fail "RDS's authorities cannot be had"
    grep --quiet 'BEGIN CERTIFICATE' "$scratch/rds.pem" || fail "RDS's authorities are no certificates"
    install -m 0644 "$scratch/rds.pem" /etc/ssl/certs/rds.pem
fi

# A broker on the login server's machine. The service of Debian's package is not used.
if [ "${BBS_BROKER:-}" = yes ]; then
    packages activemq
    systemctl disable --quiet activemq.service 2>/dev/null || true
fi

# The way to app servers by TLS, on a login server with /etc/bbs/proxy.env. The service of Debian's
# package is not used; one that was there before stays.
if [ "${BBS_PROXY:-}" = yes ]; then
    if [ ! -x /usr/sbin/haproxy ]; then
        packages haproxy
        systemctl disable --quiet --now haproxy.service 2>/dev/null || true
    fi
    install -D -m 0644 -t /etc/bbs-proxy "$here/haproxy.cfg"
    systemctl enable --quiet bbs-proxy.service
fi

# Ships the journal to the CloudWatch Logs group that /etc/bbs/logs.env names.
if [ -n "${BBS_FLUENT_BIT:-}" ]; then
    packages gpg
    curl --fail --silent --show-error --location --proto '=https' --retry 5 "$FLUENT_KEY" |
        gpg --dearmor --yes --output "$scratch/fluent-bit.gpg"
    gpg --show-keys --with-colons "$scratch/fluent-bit.gpg" >"$scratch/keys"
    grep --quiet "^fpr:.*:$FLUENT_FINGERPRINT:" "$scratch/keys" || fail "that is not Fluent Bit's key"
    install -m 0644 "$scratch/fluent-bit.gpg" /usr/share/keyrings/fluent-bit.gpg
    (
        # shellcheck source=/dev/null
        . /etc/os-release
        source="https://packages.fluentbit.io/$ID/$VERSION_CODENAME $VERSION_CODENAME main"
        echo "deb [signed-by=/usr/share/keyrings/fluent-bit.gpg] $source"
    ) >/etc/apt/sources.list.d/fluent-bit.list
    apt-get -q -o DPkg::Lock::Timeout=300 update
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends --allow-downgrades \
        "fluent-bit=$BBS_FLUENT_BIT"
    systemctl disable --quiet fluent-bit.service 2>/dev/null || true
    install -D -m 0644 -t /etc/bbs-logs "$here/fluent-bit.yaml"
    systemctl enable --quiet bbs-logs.service
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
echo "bbs: installed in $target"
