"""People who talk in pairs all the time, and count what they hear."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from bbs.board import BBSClient
from bbs.client import ChatMessage, ClientError, Lost
from bbs.core.addresses import Address
from tests.integration.service import run

LOCATE_EVERY = 5
"""One message of so many is followed by a question to the login server."""


@dataclass
class Counts:
    """What came of it, in numbers and seconds."""

    sent: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    unsure: int = 0
    """Sent, and the answer was lost: they may arrive, once."""
    refused: Counter[str] = field(default_factory=Counter)
    logged_out: int = 0
    silence: tuple[float, float] = (0.0, 0.0)
    """The longest that a message was on its way, from when its sender typed it until its reader
    read it; and when that was, by the reactor's clock."""
    answer: tuple[float, float] = (0.0, 0.0)
    """The longest that somebody waited for what the login server answers, and when."""
    lacking: list[str] = field(default_factory=list)

    @property
    def noticed(self) -> int:
        """What nobody may notice of it, however busy the machine is."""
        return self.lost + self.doubled + self.disordered + self.logged_out

    @property
    def well(self) -> bool:
        return not (self.noticed or self.refused)


class Person:
    """Somebody who listens, and sends the friend a number every `interval` seconds."""

    def __init__(self, name: str, login: Address, interval: float) -> None:
        self.name = name
        self.client = BBSClient(reactor, login)
        self.client.on_logged_out(self._logged_out)
        self.interval = interval
        self.friend: Person
        self.sent: list[int] = []
        self.unsure: list[int] = []
        self.heard: list[int] = []
        self.refused: Counter[str] = Counter()
        self.logged_out = 0
        self.silence = self.answer = (0.0, 0.0)
        self.typed: dict[int, float] = {}
        self._talks = True
        self._talking: Deferred[None] | None = None

    async def come(self) -> None:
        await self.client.register(self.name, "password")
        await self.client.login(self.name, "password")
        await self.client.listen(self.name, self._hears)

    def talk(self) -> None:
        self._talking = run(self._talk())

    async def hush(self) -> None:
        """Send no more, and wait for the answer to the last."""
        self._talks = False
        if self._talking is not None:
            await self._talking

    async def _talk(self) -> None:
        number = 0
        await deferLater(reactor, random.uniform(0, self.interval))
        while self._talks:
            number += 1
            began = self.typed[number] = reactor.seconds()
            try:
                await self.client.send(self.name, self.friend.name, str(number))
            except Lost:
                self.unsure.append(number)
            except ClientError as problem:
                self.refused[str(problem)] += 1
            else:
                self.sent.append(number)
            if number % LOCATE_EVERY == 0:
                await self._ask_where()
            await deferLater(reactor, max(0.0, began + self.interval - reactor.seconds()))

    async def _ask_where(self) -> None:
        began = reactor.seconds()
        try:
            await self.client.locate(self.name)
        except ClientError as problem:
            self.refused[f"locate: {problem}"] += 1
        self.answer = max(self.answer, (reactor.seconds() - began, reactor.seconds()))

    def _hears(self, name: str, message: ChatMessage) -> None:
        number = int(message.text)
        self.heard.append(number)
        silent = reactor.seconds() - self.friend.typed[number]
        self.silence = max(self.silence, (silent, reactor.seconds()))

    def _logged_out(self, name: str) -> None:
        self.logged_out += 1


def befriended(people: list[Person]) -> Iterable[Any]:
    """Has them be friends, in pairs."""

    async def befriend(one: Person, other: Person) -> None:
        one.friend, other.friend = other, one
        await one.client.invite(one.name, other.name)
        await other.client.accept_invite(other.name, one.name)

    return (befriend(one, other) for one, other in zip(people[::2], people[1::2], strict=True))


def counted(people: list[Person]) -> Counts:
    """What came of it all, once everybody is silent."""
    found = Counts()
    for person in people:
        sender = person.friend
        heard = Counter(person.heard)
        lacking = [number for number in sender.sent if number not in heard]
        found.sent += len(sender.sent)
        found.unsure += len(sender.unsure)
        found.lost += len(lacking)
        found.doubled += sum(times - 1 for times in heard.values())
        found.disordered += person.heard != sorted(person.heard)
        found.refused += person.refused
        found.logged_out += person.logged_out
        found.silence = max(found.silence, person.silence)
        found.answer = max(found.answer, person.answer)
        if lacking:
            found.lacking.append(f"{sender.name} to {person.name}: {lacking[:5]}")
    return found


def all_heard(people: list[Person]) -> bool:
    """Whether everything that was answered has arrived."""
    return all({*person.friend.sent} <= {*person.heard} for person in people)
