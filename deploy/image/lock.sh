#!/bin/bash
# Makes requirements.lock anew: what bbs needs, with all that its own extras need, for every Python
# from 3.11 on, each version with the hashes of its files. Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")"
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
    --custom-compile-command deploy/image/lock.sh \
    --extra tls --extra fast-mysql --extra tracing \
    --output-file requirements.lock ../../setup.cfg
