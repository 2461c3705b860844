"""What is true of a database that was restored from a copy: the people in it are ours, and whatever
ran when the copy was made is another fleet's.

The servers of the original may go on, on another machine. So nothing of theirs is ours to end, or
to count, though a cloud's list shows it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

from bbs.rules import operators
from bbs.rules.operators import By
from bbs.rules.secrets import HINTS, RESTORED
from bbs.storage.database import read_only, rows
from bbs.storage.models import (
    Lease,
    LoginServer,
    Notice,
    Place,
    Secret,
    Server,
    Waiter,
)

RESTORE = "restore"
"""The action, as `Action` has it."""


def make_ours(by: By, source: str) -> None:
    """Forget the fleet of before, and mark the database as one that was restored from `source`.

    People stay logged in, without a place until their next command. What proves hints is made anew,
    so that no server of before is believed.
    """
    Place.update(server=None, away=True).execute()
    for model in (Waiter, LoginServer, Lease, Server, Notice):
        model.delete().execute()
    Secret.delete().where(Secret.name.in_((HINTS, RESTORED))).execute()
    Secret.insert(name=RESTORED, value=secrets.token_hex(16)).execute()
    operators.record(by, RESTORE, detail=source[-250:])


@read_only
def ours(launches: Collection[str]) -> frozenset[str]:
    """Those of `launches` that may be this fleet's to end: all, unless the database was restored,
    and then those that it has launched since."""
    if not Secret.select().where(Secret.name == RESTORED).exists():
        return frozenset(launches)
    found = rows(Server.select(Server.id).where(Server.id.in_([*launches])))
    return frozenset(id for (id,) in found)
