#!/bin/bash
# Makes requirements.lock anew: the dependencies of bbs and its extras for Python 3.11 and later, each
# version with the hashes of its files. Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")"
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
    --custom-compile-command deploy/image/lock.sh \
    --extra tls --extra fast-mysql --extra tracing \
    --output-file requirements.lock ../../setup.cfg
