"""What each user has asked for lately, over all connections, and when the next request's turn is.

A request of a user whom the server knows by the token is paid for before it is begun. Any other is
paid for by the address that it comes from, as the first with a token is too: whose that is shows
only when it is carried out. What is over waits, and meanwhile its connection is not read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.values import Rate
from bbs.limits.buckets import Buckets
from bbs.limits.connections import Networks, counted_as
from bbs.rules.auth import Costs

T = TypeVar("T")

COMMANDS_AT_ONCE = 1000
DELIVERIES_AT_ONCE = 5000
"""What a user may ask for at once who asked for little before (`docs/operators.md`)."""

KNOWN = 20_000
"""Tokens whose users are remembered; an app server has ten users."""

_log = Logger()


class CostLimits:
    """The accounts of all who ask a server.

    :param commands: what a user may ask for, and so an address that is not trusted.
    :param deliveries: the messages that a user may send, counted by readers.
    :param trusted: addresses that pay for nothing.
    """

    def __init__(
        self, commands: Rate, deliveries: Rate, trusted: Networks, clock: IReactorTime
    ) -> None:
        self._commands = Buckets(commands, clock, burst=COMMANDS_AT_ONCE)
        self._deliveries = Buckets(deliveries, clock, burst=DELIVERIES_AT_ONCE)
        self._trusted = trusted
        self._clock = clock
        self._users: OrderedDict[str, int] = OrderedDict()  # by token, the first known first
        self._turns: dict[Hashable, DeferredLock] = {}

    def begin(self, payer: Hashable, costs: Costs) -> float:
        """Take what is known beforehand of what a request costs `payer`, a user or an address;
        returns the seconds until it may be begun."""
        wait = self._commands.take(payer, 1.0 if callable(costs.commands) else costs.commands)
        if costs.deliveries and not callable(costs.deliveries):
            wait = max(wait, self._deliveries.take(payer, costs.deliveries))
        return wait

    def give_back(self, payer: Hashable, costs: Costs) -> None:
        """Undo that: nobody waits for the request any more."""
        self._commands.give_back(payer, 1.0 if callable(costs.commands) else costs.commands)
        if not callable(costs.deliveries):
            self._deliveries.give_back(payer, costs.deliveries)

    def payer(self, token: str | None, host: str) -> Hashable | None:
        """Who pays for a request with `token` from `host`; None for nobody."""
        user = self._users.get(token) if token else None
        if user is not None:
            return user
        return counted_as(host) if host and host not in self._trusted else None

    def trusts(self, host: str) -> bool:
        """Whether `host` is in one of the networks that are trusted."""
        return host in self._trusted

    def carried_out(self, token: str, user: int, costs: Costs, result: object) -> None:
        """A request of `user` was carried out: take the rest of what it costs."""
        if token not in self._users:
            self.begin(user, costs)
            if len(self._users) >= KNOWN:
                self._users.popitem(last=False)
            self._users[token] = user
        if callable(costs.commands):
            self._commands.take(user, costs.commands(result) - 1)
        if callable(costs.deliveries):
            self._deliveries.take(user, costs.deliveries(result))

    async def in_turn(
        self, payer: Hashable, work: Callable[[], Coroutine[Deferred[Any], Any, T]]
    ) -> T:
        """Do `work`, whose cost is not known before, when all that `payer` did before is done and
        paid for.

        What has begun goes on to its end though nobody waits for it any more, and has its turn as
        long: else whoever hangs up would pay nothing.
        """
        turn = self._turns.setdefault(payer, DeferredLock())
        with tracing.span("turn"):
            await turn.acquire()
            try:
                wait = max(self._commands.wait(payer, 0), self._deliveries.wait(payer, 0))
                if wait:
                    await self.pause(wait)
            except BaseException:
                self._give_back_turn(payer, turn)
                raise
        heard: Deferred[T] = Deferred()
        Deferred.fromCoroutine(work()).addBoth(self._done, payer, turn, heard)
        return await heard

    def _done(
        self, result: T | Failure, payer: Hashable, turn: DeferredLock, heard: Deferred[T]
    ) -> None:
        self._give_back_turn(payer, turn)
        if not heard.called:
            heard.callback(result)
        elif isinstance(result, Failure):
            _log.failure("a request of somebody who is gone failed", failure=result)

    def _give_back_turn(self, payer: Hashable, turn: DeferredLock) -> None:
        turn.release()
        if not turn.locked:
            self._turns.pop(payer, None)

    def pause(self, seconds: float) -> Deferred[None]:
        """Fires when so many seconds are over."""
        return deferLater(self._clock, seconds, lambda: None)
