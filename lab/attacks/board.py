"""Attacks on what the board stores, and on the people whom it tells of invitations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.attacks.filling import ATTACKER, VICTIM
from lab.attacks.values import Attack, Outcome

LONG = 65_000
"""Bytes of a text that still fits into a line."""

DELIVERIES, A_SECOND, UNIT = 5000, 500, 1024
"""What a user may write at once, and then each second; a text counts once more for each unit."""

QUOTA = 2**21
"""Bytes that a user may have stored, where that is attacked."""

NO_ROOM = 10**15
"""Bytes that no disk has free."""


def _most_bytes(outcome: Outcome) -> Sequence[str]:
    """No more bytes were stored than the user's deliveries pay for."""
    _, *writers = outcome.floods
    taken = sum(each["answered"] - sum(each["codes"].values()) for each in writers)
    allowed = (DELIVERIES + A_SECOND * outcome.seconds) * UNIT + 10 * LONG
    stored = taken * LONG
    if stored <= allowed:
        return []
    return [f"{stored / outcome.seconds / 1e6:.1f} MB a second were stored"]


def _most_kept(outcome: Outcome) -> Sequence[str]:
    """No more texts were stored than the quota has room for."""
    (texts,) = outcome.floods
    kept = (texts["answered"] - sum(texts["codes"].values()) - 1) * LONG
    return [f"{kept / 1e6:.1f} MB were kept"] if kept > QUOTA else []


def _nothing_stored(outcome: Outcome) -> Sequence[str]:
    """Nothing of the first flood was stored, and the second was answered."""
    texts, reads = outcome.floods
    taken = texts["answered"] - texts["codes"].get("disk-full", 0)
    found = [f"{taken} texts were stored"] if taken else []
    if reads["codes"] or not reads["answered"]:
        found.append(f"of {reads['answered']} reads these were refused: {reads['codes']}")
    return found


def _most_events(most: int) -> Callable[[Outcome], Sequence[str]]:
    """The victim, who is the first flood, was told no more than `most` times."""

    def shows(outcome: Outcome) -> Sequence[str]:
        told = outcome.floods[0]["answered"]
        return [f"the victim was told {told} times, not {most} at most"] if told > most else []

    return shows


BOARD: tuple[Attack, ...] = (
    Attack(
        "long-texts",
        "one user writes texts of 65 kB to their own group on 4 connections, and posts some",
        (
            {"port": "app", "connections": 1, "opening": "listen {token}\n"},
            {
                "port": "app",
                "connections": 4,
                "opening": "create-group {token} own\n",
                "payload": f"send-group {{token}} own {'x' * LONG}\n",
            },
            {"port": "app", "connections": 1, "payload": f"post {{token}} {'x' * LONG}\n"},
        ),
        ("long-texts",),
        users=(ATTACKER,),
        shows=_most_bytes,
    ),
    Attack(
        "hoarding",
        "one user writes texts of 65 kB to their own group, which nobody receives",
        (
            {
                "port": "app",
                "connections": 1,
                "opening": "create-group {token} own\n",
                "payload": f"send-group {{token}} own {'x' * LONG}\n",
            },
        ),
        ("stored", "long-texts"),
        users=(ATTACKER,),
        options={"limits.stored": QUOTA},
        shows=_most_kept,
    ),
    Attack(
        "full-disk",
        "one user posts on 5 connections while the disk is nearly full, and reads",
        (
            {"port": "app", "connections": 5, "payload": "post {token} number {n}\n"},
            {"port": "app", "connections": 1, "payload": "list-friend {token}\n"},
        ),
        ("free-disk",),
        users=(ATTACKER,),
        options={"limits.free_disk": NO_ROOM},
        lead=1.0,
        shows=_nothing_stored,
    ),
    Attack(
        "invitations",
        "one user invites, blocks and unblocks another in a loop",
        (
            {
                "port": "app",
                "connections": 1,
                "user": 1,
                "opening": "listen {token}\nevents\n",
                "mark": '"event": "invite"',
            },
            {
                "port": "app",
                "connections": 1,
                "payload": f"invite {{token}} {VICTIM}\nblock {{token}} {VICTIM}\n"
                f"unblock {{token}} {VICTIM}\n",
            },
        ),
        ("told-once", "invitations"),
        users=(ATTACKER, VICTIM),
        shows=_most_events(1),
    ),
)
