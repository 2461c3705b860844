"""Who uses the service while it is broken: those who write and those who read.

Each has a client of their own, as of two people's machines neither knows the other's connections.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import cycle

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from bbs.board import BBSClient
from bbs.client import Address, ClientError, Refused, Unreachable
from bbs.core.errors import Unavailable
from lab.faults.figures import Figures
from lab.faults.parts import pause
from lab.faults.streams import AtGateway, Ear, Logins, Reading, Stream, Writing
from lab.faults.world import World
from tests.integration.service import eventually, together

GROUP = "crowd"

PAIRS = 3
"""People who write to somebody, each to another."""

A_HOST = 50
"""Invitations of one person: more than a hundred under way are refused."""

PATIENCE = 90.0
"""Seconds until what was acknowledged must have been heard."""


async def surely(ask: Callable[[], Deferred[None]]) -> None:
    """Have it done before anything is broken, on however busy a machine."""
    deadline = reactor.seconds() + PATIENCE
    while True:
        try:
            return await ask()
        except Refused as refusal:
            if refusal.reply.code != Unavailable.code or reactor.seconds() > deadline:
                raise
            await pause(0.2)


class Registering(Stream):
    """Accounts that are made, with a number as their name."""

    kind = "register"

    def __init__(self, figures: Figures, client: BBSClient) -> None:
        super().__init__(figures, "registering", pause=0.25)
        self._client = client

    async def request(self, number: int) -> None:
        await self._client.register(f"guest-{number}", "guest")


class Inviting(Stream):
    """Invitations of those guests, by guests who log in for that."""

    kind = "invite"

    def __init__(self, figures: Figures, client: BBSClient, guests: Registering) -> None:
        super().__init__(figures, "inviting", pause=0.2)
        self._client = client
        self._guests = guests
        self._left: list[int] = []
        self._taken = 0
        self._host = ""
        self.invited: dict[int, tuple[str, str]] = {}
        """Who was invited by whom, by the number of the request."""

    async def request(self, number: int) -> None:
        if number % A_HOST == 1 or not self._host:
            await self._change_hosts()
        guest = await self._guest()
        self.invited[number] = self._host, guest
        await self._client.invite(self._host, guest)

    async def _guest(self) -> str:
        """The next who has registered."""

        def found() -> str:
            safe = self._guests.safe
            return f"guest-{list(safe)[self._taken]}" if self._taken < len(safe) else ""

        try:
            guest: str = await eventually(found, "somebody registers", PATIENCE)
        except AssertionError as problem:
            raise Unreachable(str(problem)) from problem
        self._taken += 1
        return guest

    async def _change_hosts(self) -> None:
        before, self._host = self._host, ""
        with suppress(ClientError):
            if before:
                await self._client.logout(before)
        host = await self._guest()
        await self._client.login(host, "guest")
        self._host = host


class People:
    """All of them."""

    def __init__(self, world: World) -> None:
        figures = world.figures
        self._figures = figures
        self._addresses = cycle(world.addresses)
        self.clients: list[BBSClient] = []
        self.posts = Writing(figures, self._client(), "post", "pat")
        crowd = Writing(figures, self._client(), "send-group", "gus", GROUP)
        pairs = [
            Writing(figures, self._client(), "send", f"ann{number}", f"bob{number}")
            for number in range(PAIRS)
        ]
        self.messages: list[Writing] = [crowd, *pairs]
        self.ears = [
            Ear(figures, "gus", [crowd]),
            *(Ear(figures, pair.target, [pair, crowd]) for pair in pairs),
        ]
        self.guests = Registering(figures, self._client())
        self.invitations = Inviting(figures, self._client(), self.guests)
        self._fan = self._client()
        self.streams: list[Stream] = [
            self.posts,
            *self.messages,
            self.guests,
            self.invitations,
            Reading(figures, self._fan, "fay", self.posts),
            Logins(figures, self._client(), "lou"),
            AtGateway(figures, world.gateway_port, "tom"),
        ]

    def _client(self) -> BBSClient:
        # The address of the one login server that this client knows.
        client = BBSClient(reactor, self._address())
        self.clients.append(client)
        return client

    def _address(self) -> Address:
        return next(self._addresses)

    async def begin(self) -> None:
        """Make accounts and friends, listen, and begin to write."""
        for user in ("pat", "fay", "gus", "lou", "tom"):
            await self._come(user)
        fay, pat = self._fan, self.posts.client
        await self._befriend((fay, "fay"), (pat, "pat"))
        gus = self.messages[0].client
        await surely(lambda: gus.login("gus", "gus"))
        await surely(lambda: gus.create_group("gus", GROUP))
        await gus.listen("gus", self.ears[0].hear)
        for pair, ear in zip(self.messages[1:], self.ears[1:], strict=True):
            client = self._client()
            await self._come(pair.user)
            await self._come(ear.user)
            await self._befriend((pair.client, pair.user), (client, ear.user))
            await surely(partial(client.join_group, ear.user, GROUP))
            await client.listen(ear.user, ear.hear)
        for stream in self.streams:
            stream.begin()

    async def _come(self, user: str) -> None:
        await surely(lambda: self.clients[0].register(user, user))

    async def _befriend(self, *both: tuple[BBSClient, str]) -> None:
        for client, user in both:
            await surely(partial(client.login, user, user))
        (one, first), (other, second) = both
        await surely(lambda: one.invite(first, second))
        await surely(lambda: other.accept_invite(second, first))

    async def stop(self) -> None:
        """Write no more, and wait until all is heard that was acknowledged."""
        await together(stream.stop() for stream in self.streams)
        try:
            await eventually(
                lambda: all(ear.has_all() for ear in self.ears), "all is heard", PATIENCE
            )
        except AssertionError as problem:
            self._figures.complain(str(problem))

    async def leave(self) -> None:
        await gatherResults([client.close() for client in self.clients])
