"""Controls the fleet by the rules of the older version that this Python finds, beside a test.

    python -P older_controller.py URL ID

The tables are made unless they are there, and the first line says where the code is. Then each
line that comes is a rule and its arguments, in JSON (`["keep", "a server's id"]`): one of `main`'s,
or of `bbs.rules.fleet_transitions` in the name of this one. The answer is what came of it:
`{"result": …}`, or `{"error": …}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure

import bbs
from bbs.board import board
from bbs.core import values
from bbs.rules import fleet_admin, fleet_transitions, membership, page_history
from bbs.storage import migrations
from bbs.storage.database import Database
from bbs.testing.threads import Inline


def main(url: str, id: str) -> None:
    """Do what the test says, until it says no more."""
    me = membership.Member(id, "an older version's")
    database = Database(url, Inline(), Clock())
    database.peewee.connect()
    migrations.upgrade(database.peewee, board.schema)

    def observe() -> str:
        """Look at the fleet, and control it if nobody does; says who does."""
        holder: str = membership.observe(me, values.Tally()).lease.holder
        return holder

    def seize() -> bool:
        """Take the lease from whoever has it."""
        lease = membership.seen_lease(membership.FLEET_LEASE)
        return lease is not None and bool(membership.take_lease(me, lease))

    def beats() -> dict[str, int]:
        """The heartbeats of each app server and other login server, as the leader sees them."""
        seen = membership.observe(me, values.Tally())
        return {**seen.beats, **{peer.id: peer.beats for peer in seen.peers}}

    def read() -> list[list[str]]:
        """The kinds of the events of the page, and the servers that they are about."""
        news = [each.event for each in page_history.news_behind(0) if each.event]
        return [[event.kind, event.server] for event in news]

    rules: dict[str, Callable[..., Any]] = {
        "observe": observe,
        "seize": seize,
        "report": membership.report,
        "beat": membership.beat,
        "beats": beats,
        "resign": lambda: membership.resign(me),
        "warn": membership.warn,
        "ask_drain": fleet_admin.ask_drain,
        "read": read,
    }
    answer(bbs.__file__)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        rule = rules.get(name) or partial(getattr(fleet_transitions, name), me)
        database.run(rule, *arguments).addCallbacks(answer, fail)


def answer(result: object) -> None:
    """Tell the test what came of it."""
    print(json.dumps({"result": result}, default=repr), flush=True)


def fail(failure: Failure) -> None:
    """Tell the test what went wrong."""
    print(json.dumps({"error": repr(failure.value)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
