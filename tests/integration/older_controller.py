"""Whoever keeps the fleet by the rules of the older version that this Python finds, beside a test.

    python -P older_controller.py URL ID

The tables are made unless they are there, and the first line says where the code is. Then each
line that comes is a rule and its arguments, in JSON (`["keep", "a server's id"]`): one of `main`'s,
or of `bbs.rules.keeping` in the name of this one. The answer is what came of it: `{"result": …}`,
or `{"error": …}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure

import bbs
from bbs.board import board
from bbs.storage import migrations
from bbs.storage.database import Database

# By the names of 0.3.0; a type checker sees today's.
keeping: Any = import_module("bbs.rules.keeping")
members: Any = import_module("bbs.rules.members")
operators: Any = import_module("bbs.rules.operators")
overview: Any = import_module("bbs.rules.overview")
remembered: Any = import_module("bbs.rules.remembered")
narrate: Any = import_module("bbs.web.narrate")
values: Any = import_module("bbs.values")
workers: Any = import_module("bbs.workers")


def main(url: str, id: str) -> None:
    """Do what the test says, until it says no more."""
    me = members.Member(id, "an older version's")
    database = Database(url, workers.Inline(), Clock())
    database.peewee.connect()
    migrations.upgrade(database.peewee, board.schema)

    def observe() -> str:
        """Look at the fleet, and keep it if nobody does; says who does."""
        holder: str = members.observe(me, values.Tally()).lease.holder
        return holder

    def seize() -> bool:
        """Take the lease from whoever has it."""
        lease = members.seen_lease(members.KEEPER)
        return lease is not None and bool(members.seize(me, lease))

    def beats() -> dict[str, int]:
        """How often each app server and each other login server has beaten, as the keeper sees."""
        seen = members.observe(me, values.Tally())
        return {**seen.beats, **{peer.id: peer.beats for peer in seen.peers}}

    def look() -> None:
        """Look at the service as the page does."""
        seen.append(
            narrate.Scene(overview=overview.overview(1.0, False), database=True, broker=True)
        )

    def tell() -> list[str]:
        """Write down what has happened since the last look, as the page that narrates; says it."""
        before = seen[-1]
        look()
        assert remembered.narrate(me.id, None)
        texts = [told.text for told in narrate.narrate(before, seen[-1], ())]
        first = max((each.id for each in remembered.news_behind(0)), default=0) + 1
        news = [remembered.Sentence(id, 1.0, text) for id, text in enumerate(texts, first)]
        assert remembered.write_news(me.id, news)
        return texts

    def read() -> list[str]:
        """The news, as the page has them that does not narrate."""
        return [each.text for each in remembered.news_behind(0)]

    seen: list[Any] = []
    rules: dict[str, Callable[..., Any]] = {
        "observe": observe,
        "seize": seize,
        "report": members.report,
        "beat": members.beat,
        "beats": beats,
        "resign": lambda: members.resign(me),
        "warn": members.warn,
        "ask_drain": operators.ask_drain,
        "look": look,
        "tell": tell,
        "read": read,
    }
    answer(bbs.__file__)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        rule = rules.get(name) or partial(getattr(keeping, name), me)
        database.run(rule, *arguments).addCallbacks(answer, fail)


def answer(result: object) -> None:
    """Tell the test what came of it."""
    print(json.dumps({"result": result}, default=repr), flush=True)


def fail(failure: Failure) -> None:
    """Tell the test what went wrong."""
    print(json.dumps({"error": repr(failure.value)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
