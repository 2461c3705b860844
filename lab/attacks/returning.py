"""Somebody who comes back: deletes an account, registers its name again, and invites.

    python -m lab.attacks.returning   # jobs on standard input, results on standard output

A job is `{"login": PORT, "app": PORT, "token": T, "seconds": S, "blocked": false}`. `token` is that
of whom it invites, who listens meanwhile, and who blocks its first account if it is `blocked`. The
result has how often it came back, invited, and was told of.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from lab.attacks.attacker import NICENESS
from lab.attacks.filling import ATTACKER, OLD, PASSWORD, VICTIM
from lab.attacks.honest import Wire
from lab.attacks.tools import answer_jobs
from lab.attacks.values import RETURNING, Attack, Outcome

NAME = "phoenix"

POST = OLD + 1
"""A post of `author`, a friend of `mallory` and `victim`."""

EARS = "127.97.0.1"

SOMEWHERE = "127.96.{}.1"
"""Where it comes from, each time somewhere else: addresses have rates of their own."""


async def attack(job: dict[str, Any]) -> dict[str, object]:
    """Come back until the time is up."""
    over = time.monotonic() + job["seconds"]
    found: Counter[str] = Counter(answered=0, invited=0, told=0)
    ears = await Wire.to(job["app"], EARS)
    await ears.ask("events")
    await ears.ask(f"listen {job['token']}")
    hearing = asyncio.ensure_future(_hear(ears, found))
    for number in count():
        if time.monotonic() > over:
            break
        address = SOMEWHERE.format(number % 250)
        login = await Wire.to(job["login"], address)
        with suppress(ConnectionError):
            await login.ask(f"register {NAME} {PASSWORD}")
        account = await login.ask(f"login {NAME} {PASSWORD}")
        app = await Wire.to(account["app_server"]["port"], address)
        with suppress(ConnectionError):
            await app.ask(f"invite {account['token']} {VICTIM}")
            found["invited"] += 1
        if job["blocked"] and not number:
            hand = await Wire.to(job["app"], EARS)
            await hand.ask(f"block {job['token']} {NAME}")
            hand.close()
        await login.ask(f"delete {account['token']}")
        found["answered"] += 1
        for each in (login, app):
            each.close()
    hearing.cancel()
    ears.close()
    return {"floods": [{**found}]}


async def _hear(ears: Wire, found: Counter[str]) -> None:
    while event := await ears.read():
        found["told"] += event.get("event") == "invite" and event["from"] == NAME


def _most(what: str, words: str) -> Callable[[Outcome], Sequence[str]]:
    """It came back, and did so once at the most."""

    def shows(outcome: Outcome) -> Sequence[str]:
        (found,) = outcome.floods
        if found["answered"] < 2:
            return [f"it came {found['answered']} times"]
        return [f"{words} {found[what]} times in {found['answered']}"] if found[what] > 1 else []

    return shows


def _hears_nothing(outcome: Outcome) -> Sequence[str]:
    """Who has blocked the writer of replies, the second flood, is told of none."""
    listener, writer = outcome.floods
    wrote = writer["answered"] - sum(writer["codes"].values())
    if not wrote:
        return ["nobody replied"]
    told = listener["answered"]
    return [f"who had blocked the writer was told {told} times of {wrote}"] if told else []


COMEBACKS: tuple[Attack, ...] = (
    Attack(
        "returning",
        "somebody deletes an account, registers its name again and invites another, in a loop",
        ({"blocked": False},),
        ("told-once",),
        users=(VICTIM,),
        dialect=RETURNING,
        shows=_most("told", "the victim was told"),
    ),
    Attack(
        "returning-blocked",
        "the same, whom the other has blocked the first time",
        ({"blocked": True},),
        ("former-blocks",),
        users=(VICTIM,),
        dialect=RETURNING,
        shows=_most("invited", "somebody who was blocked invited"),
    ),
    Attack(
        "blocked-replies",
        "somebody replies in a common friend's thread, while who blocked them listens",
        (
            {
                "port": "app",
                "connections": 1,
                "opening": f"reply {{token}} {POST} hello\nblock {{token}} {ATTACKER}\n"
                "events\nlisten {token}\n",
                "mark": '"event": "reply"',
            },
            {
                "port": "app",
                "connections": 1,
                "user": 1,
                "payload": f"reply {{token}} {POST} number {{n}}\n",
                "in_turn": True,
                "pause": 0.01,
            },
        ),
        ("unseen-replies",),
        users=(VICTIM, ATTACKER),
        posts=True,
        shows=_hears_nothing,
    ),
)


if __name__ == "__main__":
    os.nice(NICENESS)
    answer_jobs(attack)
