"""What an app server on EC2 does beside serving: it asks its own instance where people reach it,
and whether EC2 will take it away, and tells the fleet.

So it becomes ready where no list of instances can be had, and is drained before it is taken away.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from twisted.application.service import Service as TwistedService
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.errors import Unavailable
from bbs.rules import members
from bbs.scaling.metadata import Metadata, MetadataUnavailable
from bbs.storage.database import Database

PATIENCE = 2.0
"""Seconds for which a server that starts waits for its address; it reports without, then, and the
provider's list may know it sooner. The metadata answer within milliseconds."""

AGAIN = 2.0
"""Seconds between questions for an address that is not known yet."""

POLL = 5.0
"""Seconds between looks for a notice, as AWS advises:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""

_log = Logger()


class Machine(TwistedService):
    """This app server's instance.

    :param wanted: the kind of address at which people reach it: `public`, `private` or `dns`.
    """

    def __init__(self, metadata: Metadata, wanted: str, reactor: Any) -> None:
        self._metadata = metadata
        self._wanted = wanted
        self._reactor = reactor
        self._host: str | None = None
        self._decided: Deferred[None] = Deferred()
        self._tasks: list[Deferred[None]] = []

    # Service

    def startService(self) -> None:
        TwistedService.startService(self)
        self._patience = self._reactor.callLater(PATIENCE, self._decide)
        self._begin(self._find())

    def stopService(self) -> Deferred[Any]:
        """Fires when nothing is asked any more."""
        TwistedService.stopService(self)
        self._decide()
        for task in self._tasks:
            task.cancel()
        return DeferredList(self._tasks)

    # For the server

    async def host(self) -> str | None:
        """Where people reach this machine; None where it is not known soon."""
        await self._decided
        return self._host

    def joined(self, database: Database, server: str, port: int, told: str | None) -> None:
        """This app server is a member of the fleet, to which it has `told` its address, if that was
        known: tell what comes to be known from now on."""
        if told is None:
            self._begin(self._tell_host(database, server, port))
        self._begin(self._watch(database, server))

    # What goes on

    def _begin(self, task: Coroutine[Any, Any, None]) -> None:
        def ended(failure: Failure) -> None:
            if not failure.check(CancelledError):
                _log.failure("asking the instance's metadata went wrong", failure=failure)

        self._tasks.append(Deferred.fromCoroutine(task).addErrback(ended))

    def _decide(self) -> None:
        if self._patience.active():
            self._patience.cancel()
        if not self._decided.called:
            self._decided.callback(None)

    async def _find(self) -> None:
        trouble = ""
        while self.running:
            try:
                self._host = await self._metadata.address(self._wanted)
            except MetadataUnavailable as error:
                said = str(error)
            else:
                self._decide()
                if self._host is not None:
                    return
                said = "it has none"
            if said != trouble:
                trouble = said
                _log.warn(
                    "this instance's address (ec2.address: {wanted}) is not known: {trouble}",
                    wanted=self._wanted,
                    trouble=trouble,
                )
            await self._pause(AGAIN)

    async def _tell_host(self, database: Database, server: str, port: int) -> None:
        while self.running:
            if self._host is not None:
                with suppress(Unavailable):
                    # Of one that is ready by now the fleet has learned it elsewhere.
                    await database.run(members.report, server, port, self._host)
                    return
            await self._pause(AGAIN)

    async def _watch(self, database: Database, server: str) -> None:
        """Look for notices; one that the database could not be told of is told again."""
        is_spot, why, told = False, "", ""
        while self.running:
            try:
                is_spot = is_spot or await self._metadata.is_spot()
                if not is_spot:
                    return
                notice = await self._metadata.notice()
            except MetadataUnavailable:
                notice = ""
            if notice and notice != why:
                why = notice
                _log.warn("EC2 takes this instance away: {why}", why=why)
            if why != told:
                with suppress(Unavailable):
                    await database.run(members.warn, server, why)
                    told = why
            await self._pause(POLL)

    async def _pause(self, seconds: float) -> None:
        if self.running:
            await deferLater(self._reactor, seconds)
