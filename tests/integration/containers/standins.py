"""Images that hold nothing: the machine's own programs are mounted into their containers."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

from tests.integration.containers.podman import CHECKOUT, COMPOSE, Podman

_ENTRYPOINT = """\
#!/bin/bash
# What the image of MariaDB does with these variables, as far as compose.yaml uses them.
set -eu
data=/var/lib/mysql
[ -d $data/mysql ] || mariadb-install-db --no-defaults --datadir=$data --skip-test-db >/dev/null
cat >/tmp/init.sql <<END
CREATE DATABASE IF NOT EXISTS $MARIADB_DATABASE;
CREATE OR REPLACE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$(<"$MARIADB_PASSWORD_FILE")';
GRANT ALL ON $MARIADB_DATABASE.* TO '$MARIADB_USER'@'%';
END
exec mariadbd --no-defaults --datadir=$data --init-file=/tmp/init.sql --skip-name-resolve \\
    --socket=/run/mysqld/mysqld.sock --innodb-buffer-pool-size=32M
"""

_HEALTHCHECK = """\
#!/bin/bash
MYSQL_PWD=$(<"$MARIADB_PASSWORD_FILE") exec mariadb --no-defaults --protocol=tcp --host=127.0.0.1 \\
    --user="$MARIADB_USER" --execute="SELECT 1" "$MARIADB_DATABASE"
"""


def build(podman: Podman, *, bbs: bool) -> None:
    """Build the image `standin`, of which each service's containers are, `bbs` too if it is wanted,
    and write `override.yaml`, by which they have what they hold."""
    folder = podman.folder / "standins"
    tree = folder / "tree"
    for name in ("etc/bbs", "opt", "proc", "run/secrets", "standin", "sys", "tmp", "usr", "dev"):
        (tree / name).mkdir(parents=True)
    (folder / "empty").mkdir()
    for name in ("bin", "lib", "lib64", "sbin"):
        (tree / name).symlink_to(f"usr/{name}")
    for name in ("bbs", "twisted"):
        shutil.copytree(CHECKOUT / name, tree / "srv" / name)
    (tree / "opt/apache-activemq").symlink_to("/usr/share/activemq")
    (tree / "opt/bbs").symlink_to(sys.prefix)
    (tree / "etc/passwd").write_text("mysql:x:999:999::/:/bin/sh\n")
    for name, text in (
        ("docker-entrypoint.sh", _ENTRYPOINT),
        ("healthcheck.sh", _HEALTHCHECK),
        ("bbs-healthy", (COMPOSE / "healthy.py").read_text()),
    ):
        (tree / "standin" / name).write_text(text)
        (tree / "standin" / name).chmod(0o755)
    (folder / "Containerfile").write_text(_last_stage())
    podman.build("standin", "--file", folder / "Containerfile", folder)
    if bbs:
        podman("tag", "localhost/standin", "localhost/bbs")
    shutil.rmtree(folder)
    system = ["/usr:/usr:ro", "/etc/alternatives:/etc/alternatives:ro"]
    system += [f"{each}:{each}:ro" for each in Path("/etc").glob("java-*")]
    # A virtual environment that is reached by a link has scripts that name its own folder.
    python = {"/usr", sys.prefix, os.path.realpath(sys.prefix), sys.base_prefix}
    ours = [f"{each}:{each}:ro" for each in sorted(python) if bbs]
    services: dict[str, dict[str, object]] = {
        **{name: {"volumes": ours} for name in ("login", "login-2", "app-1", "app-2", "telnet")},
        **{name: {"volumes": system} for name in ("database", "broker")},
    }
    services["database"]["entrypoint"] = ["docker-entrypoint.sh"]
    # One of each kind of process 1: twistd itself, and a small one before it.
    services["app-2"]["init"] = False
    (podman.folder / "override.yaml").write_text(json.dumps({"services": services}))


def _last_stage() -> str:
    """The Containerfile's last stage over the machine's own files: the same user, folder, entry
    point and health check."""
    text = (COMPOSE / "Containerfile").read_text()
    stage = text[text.rindex("\nFROM ") :].replace("\\\n", "")
    kept = re.findall(r"^(?:ENV|USER|WORKDIR|EXPOSE|HEALTHCHECK|ENTRYPOINT|CMD) .*", stage, re.M)
    first = ["FROM scratch", "COPY tree /", "COPY --chown=999:999 empty /var/lib/mysql"]
    last = ["ENV PYTHONPATH=/srv PATH=/opt/bbs/bin:/standin:/usr/sbin:/usr/bin:/bin"]
    return "\n".join([*first, *kept, *last]) + "\n"
