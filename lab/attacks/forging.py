"""Somebody with the broker's credential, who forges hints and sends others' hints again.

Two people have their places on two app servers. One of them listens and said `events`; the other
one invites them, and then writes to them. Whatever passes the topic of their app server at the
broker, the attacker sends again and again, and beside that come hints of the attacker's own: the
nearest to an invitation or a message that one without the database's key can make. What the
listener is sent is the sentinel: each event once, in its order, and nothing that nobody said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from lab.attacks.filling import ATTACKER, ATTACKERS, PASSWORD
from lab.attacks.honest import Wire
from lab.attacks.values import Attack, Outcome

FORGING = "forging"

REPEATS = 20
"""How often each hint of others is sent again in a round."""

ROUND = 0.05
"""Seconds from one round to the next."""

AT_ONCE = 10
"""People who log in at once, until two are on different servers."""

PATIENCE = 20.0

LIE = "<<<author->mallory: send me your password>>>"


class Person(NamedTuple):
    """Somebody who is logged in from `address`, and the port of their app server."""

    name: str
    address: str
    token: str
    port: int


class Broker:
    """A connection to the broker with the credential of an app server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int, credential: Sequence[str]) -> Broker:
        broker = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))
        login, passcode = credential
        broker._write("CONNECT", {"accept-version": "1.1", "login": login, "passcode": passcode})
        async with asyncio.timeout(PATIENCE):
            await broker._reader.readuntil(b"\0")
        return broker

    async def subscribe(self, topic: str) -> None:
        self._write("SUBSCRIBE", {"id": "1", "destination": topic, "receipt": "there"})
        async with asyncio.timeout(PATIENCE):
            await self._reader.readuntil(b"\0")

    async def bodies(self) -> Any:
        """The bodies of all messages; hints have no NUL in them."""
        while True:
            frame = await self._reader.readuntil(b"\0")
            if frame.lstrip(b"\n").startswith(b"MESSAGE"):
                yield frame.partition(b"\n\n")[2].removesuffix(b"\0")

    async def publish(self, topic: str, *bodies: bytes) -> None:
        for body in bodies:
            self._write("SEND", {"destination": topic, "content-length": f"{len(body)}"}, body)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    def close(self) -> None:
        self._writer.transport.abort()

    def _write(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        head = "".join(f"{name}:{value}\n" for name, value in headers.items())
        self._writer.write(f"{command}\n{head}\n".encode() + body + b"\0")


def find_topic(database: str, name: str) -> tuple[str, str]:
    """The topic on which the app server of the user `name` hears hints, which a hostile broker
    learns from subscriptions, and the user's channel, which it learns from hints."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "SELECT place.server_id, user.channel FROM user JOIN place ON place.user_id = user.id"
            " WHERE user.name = ?",
            [name],
        )
        [(server, channel)] = found
    return f"/topic/bbs.server.{server}", channel


def forged(topic: str, channel: str, number: int) -> Iterator[bytes]:
    """Hints of the attacker's own, of each kind that has an effect."""
    notice = {"event": "notice", "text": LIE}
    message = {"event": "message", "from": "author", "to": "mallory", "message": LIE}
    moved = {"event": "moved", "app_server": {"host": "127.6.6.6", "port": 666}}
    seal = {
        "_to": [channel],
        "_on": topic,
        "_but": f"{number:016x}.{number}.{time.time():.0f}",
        "_proof": "0" * 64,
    }
    for event in (notice, message, {**message, "id": "x"}, {**notice, "status": 0}):
        yield _encode({**event, "_to": [channel]})
        yield _encode({**event, **seal})
        yield _encode({"event": "notice", "id": 0, "_asked": event, **seal})
    yield _encode({**message, "id": number, "_after": {"1": number - 1}, **seal})
    for own in (moved, {"event": "logout"}, {"event": "waiting", "position": 1, "seconds": 9}):
        yield _encode({**own, **seal})
        yield _encode({"event": "notice", "id": 0, "_asked": own, **seal})


def _encode(hint: Mapping[str, object]) -> bytes:
    return json.dumps(hint).encode()


class Forger:
    """A job: what it sent, and what came of it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self.found: Counter[str] = Counter()
        self.words: list[str] = []
        self._taken: list[bytes] = []
        """Hints of others."""
        self._told: Counter[str] = Counter()
        """What the listener was told, by its text."""

    async def run(self) -> None:
        job, found = self._job, self.found
        victim, friend = await self._find_people()
        topic, channel = find_topic(job["database"], victim.name)
        broker, ear = [await Broker.to(job["broker"], job["credential"]) for _ in range(2)]
        await ear.subscribe(topic)
        ears = await Wire.to(victim.port, victim.address)
        await ears.ask("events")
        await ears.ask(f"listen {victim.token}")
        beside = [asyncio.ensure_future(each) for each in (self._take(ear), self._hear(ears))]
        hand, own = await Wire.to(friend.port), await Wire.to(victim.port, victim.address)
        await hand.ask(f"invite {friend.token} {victim.name}")
        await own.ask(f"accept-invite {victim.token} {friend.name}")
        over = time.monotonic() + job["seconds"]
        for number in count(1):
            if time.monotonic() > over:
                break
            await hand.ask(f"send {friend.token} {victim.name} number {number}")
            hints = [
                *forged(topic, channel, number),
                *(self._taken[-2:] + self._taken[:2]) * REPEATS,
            ]
            await broker.publish(topic, *hints)
            found["inputs"] += len(hints)
            await asyncio.sleep(ROUND)
        await asyncio.sleep(1.0)
        for task in beside:
            task.cancel()
        for each in (broker, ear, ears, hand, own):
            each.close()
        self._judge(number - 1)

    def _judge(self, sent: int) -> None:
        for text in (f"invite of {ATTACKER}", *(f"number {each}" for each in range(1, sent + 1))):
            came = self._told.pop(text, 0)
            self.found["sentinels"] += came > 0
            self.found["lost"] += not came
            self.found["replayed"] += max(0, came - 1)
        self.found["forged"] += sum(self._told.values())
        self.words += [f"{came}× {text}" for text, came in self._told.most_common(5)]

    async def _find_people(self) -> tuple[Person, Person]:
        """Two people on two app servers."""
        found: dict[int, Person] = {}
        for number in range(0, ATTACKERS, AT_ONCE):
            some = range(number, number + AT_ONCE)
            for person in await asyncio.gather(*map(self._log_in, some)):
                found.setdefault(person.port, person)
            if len(found) > 1:
                victim, friend, *_ = found.values()
                return victim, friend
        raise ConnectionError("all people are on one app server")

    async def _log_in(self, number: int) -> Person:
        name, address = f"{ATTACKER}{number}", f"127.98.0.{number + 1}"
        wire = await Wire.to(self._job["port"], address)
        reply = await wire.ask(f"login {name} {PASSWORD}")
        wire.close()
        return Person(name, address, reply["token"], reply["app_server"]["port"])

    async def _take(self, ear: Broker) -> None:
        async for body in ear.bodies():
            # What the attacker sent comes back too.
            is_own = LIE.encode() in body
            if not is_own and re.search(rb'"(invite|message)".*_proof', body):
                self._taken += [body] if body not in self._taken else []

    async def _hear(self, ears: Wire) -> None:
        while event := await ears.read():
            text = event.get("message") or event.get("text") or json.dumps(event)
            named = event.get("event") == "invite" and event["from"].startswith(ATTACKER)
            self._told[f"invite of {ATTACKER}" if named else text] += 1


async def forge(job: dict[str, Any]) -> dict[str, object]:
    """Do a job."""
    forger = Forger(job)
    await forger.run()
    return {"floods": [{**forger.found, "wrong": forger.words}]}


def _holds(outcome: Outcome) -> Sequence[str]:
    """Each event came once, and nothing that nobody said."""
    (found,) = outcome.floods
    said = [f"{found[each]}× {each}" for each in ("forged", "replayed", "lost") if found[each]]
    if said:
        said += found["wrong"][:3]
    if not found.get("inputs") or not found.get("sentinels"):
        said.append("nothing was tried")
    return said


FORGERIES: tuple[Attack, ...] = (
    Attack(
        "forged-hints",
        "the broker's credential: forged notices, and others' hints again and again",
        dialect=FORGING,
        limits=("sealed-hints",),
        # Together with the honest peers, who are 41, these people fill more than one server.
        options={"app.capacity": 50, "fleet.minimum": 2, "fleet.maximum": 2},
        # Meanwhile these people log in, ten at a time.
        lead=3.0,
        shows=_holds,
    ),
)
