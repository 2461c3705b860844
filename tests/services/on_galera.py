"""Run a command with a node of a Galera as the tests' MariaDB.

python -m tests.services.on_galera COMMAND …
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.paths import CHECKOUT
from tests.services import running_galera


def main(command: list[str]) -> int:
    with running_galera() as galera:
        environment = {**os.environ, "BBS_TEST_MYSQL_URL": galera.nodes[0].url}
        return subprocess.run(command, env=environment, cwd=CHECKOUT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
