"""What is true of a database that was restored from a copy: the people in it are ours, and whatever
ran when the copy was made is another fleet's.

The servers of the original may go on, on another machine. So nothing of theirs is ours to end, or
to count (`bbs.rules.fleets`).
"""

from __future__ import annotations

from bbs.rules import fleets, operators
from bbs.rules.operators import By
from bbs.rules.secrets import HINTS
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
    """Forget the servers of before, and have the database, restored from `source`, be another
    fleet's for whoever starts on it.

    People stay logged in, without a place until their next command. What proves hints is made anew,
    so that no server of before is believed.
    """
    Place.update(server=None, away=True).execute()
    for model in (Waiter, LoginServer, Lease, Server, Notice):
        model.delete().execute()
    Secret.delete().where(Secret.name == HINTS).execute()
    fleets.leave_home()
    operators.record(by, RESTORE, detail=source[-250:])
