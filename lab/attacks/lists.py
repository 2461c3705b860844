"""Floods of commands whose answers are long, or take long to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.attacks.filling import ATTACKER
from lab.attacks.values import MEBIBYTE, Attack, Outcome

UNITS, A_SECOND, PRICED = 1000, 200, 2**14
"""Commands that a user may ask for at once, and then each second; bytes of a reply for each."""

SLACK = 4 * MEBIBYTE
"""Bytes that were under way."""


def _most_received(outcome: Outcome) -> Sequence[str]:
    """No more bytes came than are paid."""
    received = sum(each["received"] for each in outcome.floods)
    allowed = (UNITS + A_SECOND * outcome.seconds) * PRICED + SLACK
    return [f"{received / outcome.seconds / 1e6:.0f} MB came a second"] * (received > allowed)


def _most_answered(price: int) -> Callable[[Outcome], Sequence[str]]:
    """No more were answered than are paid, if each costs this at least."""

    def shows(outcome: Outcome) -> Sequence[str]:
        allowed = (UNITS + A_SECOND * outcome.seconds) / price + 20
        over = outcome.answered > allowed
        return [f"{outcome.answered} were answered, not {allowed:.0f} at most"] * over

    return shows


def _flood(name: str, connections: int = 20) -> dict[str, object]:
    return {"port": "app", "connections": connections, "payload": f"{name} {{token}}\n"}


LISTS: tuple[Attack, ...] = (
    Attack(
        "lists",
        "list-friend of 1,000 long names, read, pipelined on 20 connections",
        (_flood("list-friend"),),
        ("prices", "commands"),
        users=(ATTACKER,),
        riches=True,
        shows=_most_received,
    ),
    Attack(
        "news",
        "new of 1,000 friends and 1,000 groups, read, pipelined on 20 connections",
        (_flood("new"),),
        ("prices", "counts"),
        users=(ATTACKER,),
        riches=True,
        shows=_most_answered(50),
    ),
    Attack(
        "replays",
        "16 listeners of one user, each of whom wants 18 MB again from another id on",
        (
            {
                "port": "app",
                "connections": 16,
                "payload": "listen {token} {n}\n",
                "times": 1,
                "reopens": False,
            },
        ),
        ("fetches", "prices"),
        users=(ATTACKER,),
        riches=True,
        shows=_most_received,
    ),
)
