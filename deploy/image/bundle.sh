#!/bin/bash
# bundle.sh WHEEL [FILE]: makes an archive of everything that install.sh needs, and prints its SHA-256
# for cloud-init.yaml or bbs.pkr.hcl. The same wheel and checkout give the same archive.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ "$#" -ge 1 ] || { echo "usage: $0 WHEEL [FILE]" >&2; exit 2; }
wheel=$1
file=${2:-bbs-image.tar.gz}
[ -f "$wheel" ] || { echo "$0: there is no $wheel" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$here"/{install.sh,forget.sh,requirements.lock,fluent-bit.yaml,haproxy.cfg} "$wheel" "$scratch"
cp -r "$here/../systemd" "$scratch/systemd"
mkdir "$scratch/stack"
cp "$here"/stack/{*.py,login-server,database-users,logs} "$scratch/stack"
{
    echo "BBS_WHEEL=$(basename "$wheel")"
    echo "BBS_WHEEL_SHA256=$(sha256sum "$wheel" | cut -d' ' -f1)"
} >"$scratch/wheel.env"
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --directory "$scratch" . | gzip --no-name >"$file"
sha256sum "$file" | cut -d' ' -f1
