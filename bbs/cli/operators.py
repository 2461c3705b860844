"""What commands of operators share: who acts, and the line in the security log."""

from __future__ import annotations

import getpass
import os
import sys
import time

from bbs.config import Configuration
from bbs.daemons import security_log
from bbs.rules.fleet_admin import By


def by_whom(command: str) -> By:
    """Whoever runs this `command` now: an account of this machine, which need not have a name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return By(user, command, time.time())


def tell(config: Configuration, data: str | None, by: By, what: str, name: str) -> None:
    """Add to the security log, where the service has one on this machine, that `by` did `what` to
    `name`. `data` is the folder of a `NAME up`, if one was given."""
    path = config.log.security
    if not path and data is not None:
        path = os.path.join(data, security_log.IN_DATA)
    if not path or not os.path.exists(path):
        return
    deed = security_log.Event(at=by.now, what=what, outcome="done", name=name, by=by.operator)
    try:
        security_log.append(path, deed)
    except OSError as error:
        print(f"{by.address}: cannot write to {path}: {error.strerror}", file=sys.stderr)
