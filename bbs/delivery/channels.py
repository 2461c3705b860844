"""Who hears which channels of the bus at one app server, and whether channels have topics.

A channel is subscribed to once, as long as one user or several hear it. A user who begins to listen
hears the channels of the mailbox, and commands change them from then on. A change that another
server makes comes as a hint, which may be lost. Therefore the server also compares the channels of
a few users at a time with the database.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.core.values import version_order
from bbs.delivery.bus import Bus, Hearing
from bbs.protocols.line import IConnection
from bbs.rules import membership
from bbs.storage.database import Database

CHECKED_AT_ONCE = 16
"""Users whose channels one query finds, and who are compared with each look at the database: each
may have a thousand channels."""

HEARD_AT_ONCE = 50
"""Channels that one turn of the reactor subscribes to: each takes a tenth of a millisecond, and a
user may be in a thousand groups."""

FIRST_TOLD_BY_SERVERS = "0.4.0"  # The first version of bbs whose app servers have topics.

VERSIONS_INTERVAL, OLDER_INTERVAL = 30.0, 10.0
"""Seconds between looks at the versions of the servers, and while there are older ones."""

SECONDS_EACH = 0.05
"""Seconds by which each app server makes the first of these longer, as the look reads the rows of
all: beyond 600 servers all their looks together are 20 a second."""

# As the functions of these names in the bus, but with the users who hear the channel first.
OnHint = Callable[[Collection[int], Mapping[str, Any], Mapping[str, int], bool], None]
OnAsked = Callable[[Collection[int], Mapping[str, Any], IConnection | None], None]

ChannelsOf = Callable[[Sequence[int]], Mapping[int, Sequence[str]]]  # As `Feed.channels`.

_log = Logger()


class ChannelSubscriptions:
    """Subscribes to each channel once, as long as one user or several hear it."""

    def __init__(self, bus: Bus, on_hint: OnHint, on_asked: OnAsked) -> None:
        self._bus = bus
        self._on_hint = on_hint
        self._on_asked = on_asked
        self._subscriptions: dict[str, Hearing] = {}
        self._hearers: dict[str, set[int]] = {}
        self._heard_by: dict[int, set[str]] = {}

    def hear(self, channel: str, user: int) -> Hearing:
        """Subscribe `user` to `channel`."""
        # First, as it raises for a malformed channel.
        if channel not in self._subscriptions:
            self._subscriptions[channel] = self._bus.hear(
                channel,
                lambda *hint: self._on_hint(self._hearers.get(channel, ()), *hint),
                lambda event, but: self._on_asked(self._hearers.get(channel, ()), event, but),
            )
        self._hearers.setdefault(channel, set()).add(user)
        self._heard_by.setdefault(user, set()).add(channel)
        return self._subscriptions[channel]

    def heard_by(self, user: int) -> frozenset[str]:
        """The channels that `user` hears."""
        return frozenset(self._heard_by.get(user, ()))

    def leave(self, user: int) -> None:
        """End all subscriptions of `user`."""
        for channel in self._heard_by.pop(user, ()):
            self._remove(channel, user)

    def leave_one(self, user: int, channel: str) -> None:
        """End the subscription of `user` to `channel`."""
        heard = self._heard_by.get(user, set())
        if channel in heard:
            heard.remove(channel)
            self._remove(channel, user)

    def _remove(self, channel: str, user: int) -> None:
        hearers = self._hearers[channel]
        hearers.discard(user)
        if not hearers:
            del self._hearers[channel]
            self._bus.leave(self._subscriptions.pop(channel))


class ChannelCheck:
    """Compares what users hear with the database: `channels_of`, if the service has that, finds
    their channels."""

    def __init__(
        self, database: Database, channels: ChannelSubscriptions, channels_of: ChannelsOf | None
    ) -> None:
        self._database = database
        self._channels = channels
        self._channels_of = channels_of
        self._unsure: dict[int, None] = {}  # Users to compare soon.
        self._round: list[int] = []  # Users whose turn is to come.
        self._checking = False

    def go_on(self, users: Iterable[int]) -> None:
        """Compare the next few of `users`, each in turn."""
        if self._channels_of is not None:
            self._round = self._round or [*users]
            some, self._round = self._round[:CHECKED_AT_ONCE], self._round[CHECKED_AT_ONCE:]
            self.begin(some)

    def begin(self, users: Iterable[int]) -> None:
        """Compare `users` soon. One query is under way at a time, however many ask for it."""
        if self._channels_of is not None:
            self._unsure |= dict.fromkeys(users)
            if self._unsure and not self._checking:
                self._checking = True
                Deferred.fromCoroutine(self._check(self._channels_of)).addErrback(
                    lambda failure: _log.failure("channels were not compared", failure=failure)
                )

    async def _check(self, channels_of: ChannelsOf) -> None:
        try:
            while self._unsure:
                some = [*islice(self._unsure, CHECKED_AT_ONCE)]
                for user in some:
                    del self._unsure[user]
                before = {user: self._channels.heard_by(user) for user in some}
                found = await self._database.run(channels_of, some)
                for user, heard in before.items():
                    if self._channels.heard_by(user):  # Still.
                        self._set(user, heard, found.get(user, ()))
        except Unavailable:
            pass  # The next look at the database goes on.
        finally:
            self._checking = False

    def _set(self, user: int, heard: Collection[str], channels: Collection[str]) -> None:
        """Change the channels of `user` from `heard` to `channels`. Commands may have changed
        others since then, which stay."""
        # The user's own channel has no kind.
        for channel in {each for each in heard if "." in each}.difference(channels):
            self._channels.leave_one(user, channel)
        for channel in {*channels}.difference(heard):
            self._channels.hear(channel, user)


class TopicCheck(Service):
    """Looks whether servers run that hear only topics of channels, up to version 0.3.0, and has the
    `bus` tell and hear these as long as there are some.

    Another server may have looked before the last of them stopped, and so tell topics of channels
    a while longer: they are heard until a second look finds none.
    """

    def __init__(self, database: Database, bus: Bus, reactor: IReactorTime) -> None:
        self._database = database
        self._bus = bus
        self._reactor = reactor
        self._next: Any = None
        self._looking: Deferred[None] | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._bus.tells_topics = False  # Unless the first look, which begins now, finds some.
        self._look()

    def stopService(self) -> Deferred[None] | None:
        """Fires when no look is under way."""
        Service.stopService(self)
        if self._next is not None:
            self._next.cancel()
        return self._looking

    def _look(self) -> None:
        self._next = None
        self._looking = Deferred.fromCoroutine(self._find_older()).addErrback(
            lambda failure: _log.failure("versions were not compared", failure=failure)
        )
        self._looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _find_older(self) -> None:
        pause = OLDER_INTERVAL
        try:
            versions = await self._database.run(membership.versions)
        except Unavailable:
            pass
        else:
            first, _ = version_order(FIRST_TOLD_BY_SERVERS)
            older = any(version_order(each)[0] < first for each in versions)
            self._bus.hears_topics = older or self._bus.tells_topics
            self._bus.tells_topics = older
            if not older:
                pause = VERSIONS_INTERVAL + SECONDS_EACH * sum(versions.values())
            await self._adjust()
        if self.running:
            self._next = self._reactor.callLater(pause, self._look)

    async def _adjust(self) -> None:
        for number, hearing in enumerate(self._bus.hearings, 1):
            self._bus.adjust(hearing)
            if number % HEARD_AT_ONCE == 0:
                await deferLater(self._reactor, 0)
