"""`bbs fleet adopt`: a restored, copied or moved database is the fleet again that the original was;
and what the other actions say of which fleet this is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime

from bbs.config import Configuration
from bbs.rules import fleets, membership
from bbs.rules.fleets import Left
from bbs.scaling import providers
from bbs.scaling.process_identity import is_certainly_dead


class NotAdopted(Exception):
    """Why nothing is adopted, in a line."""


def make_sure(sure: bool) -> None:
    """Say whose instances would be taken over, and unless it is `sure` already, have whoever is at
    the terminal type that fleet's id.

    :raises NotAdopted: there is nothing to adopt, or the answer is no.
    """
    left = fleets.waiting_for_adopt()
    if left is None:
        raise NotAdopted(nothing())
    print(
        f"This database is a copy of fleet {_named(left)}. Adopted, it is fleet {left.id} again:"
        " instances that this fleet has launched count, and those without a server here are ended."
        " Where the original goes on, these are its servers: see first that no login server of the"
        " original runs, or will.",
        file=sys.stderr,
    )
    if sure:
        return
    if not sys.stdin.isatty():
        raise NotAdopted("no terminal to ask at: --yes adopts without asking")
    print(f"Type {left.id} to adopt it: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != left.id:
        raise NotAdopted("not the same: nothing is adopted")


def nothing() -> str:
    """Why there is nothing to adopt."""
    id = fleets.fleet_id()
    if not id:
        return "there is nothing to adopt: no login server has started on this database yet"
    return f"there is nothing to adopt: this is fleet {id}, and no copy of another's database"


def after(adopted: str, before: str) -> Iterator[str]:
    """What else is to be known, and done, by whoever has `adopted` a fleet, where it was `before`
    another."""
    if adopted == before:
        return  # Nobody has started on this copy, so nobody has launched anything.
    count = fleets.count_of(before)
    if count:
        yield f"{count} app servers launched as fleet {before} are this fleet's still"
    if not all(is_certainly_dead(sign.identity) for sign in membership.signs().values()):
        yield (
            f"login servers that run go on as fleet {before} until they are started again: start"
            " them again now"
        )


def standing(config: Configuration) -> str:
    """Which fleet this is, and what it may adopt, where app servers outlive login servers and so it
    matters; else nothing."""
    id = fleets.fleet_id()
    if not id or not providers.named(config.fleet.provider)[1].outlives:
        return ""
    left = fleets.waiting_for_adopt()
    if left is None:
        return f"fleet {id}"
    own = "another fleet with the next start" if left.at is None else f"fleet {id}"
    return f"{own}; its database is a copy of fleet {_named(left)}, which waits for fleet adopt"


def _named(left: Left) -> str:
    if left.at is None:
        return f"{left.id}'s"
    at = datetime.fromtimestamp(left.at).astimezone().isoformat(timespec="seconds")
    return f"{left.id}'s, as was noticed {at}"
