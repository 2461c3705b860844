"""What each request costs its user or address, and whose turn is next.

If the server already knows the token's user, the user pays before the request begins. Otherwise the
address pays, also for the first request with a token: its user shows only when the request is
carried out. A request over the limit waits, and its connection is not read meanwhile. A reply that
is longer than was paid for costs more, whatever it is: a list, a help, or a refusal that repeats a
long word.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.addresses import counted_as
from bbs.core.values import Rate
from bbs.limits.connections import Networks
from bbs.limits.rate_limits import Buckets
from bbs.protocols.line import Reply
from bbs.rules.auth import Costs

Payer = Hashable | None  # None for nobody
UserPayer = int | tuple[int, int]
"""Who pays for a user: the id, where the user has a place; else a pair with `ELSEWHERE`."""
Deposit = tuple[UserPayer, float]
"""Who paid before a request began, and how many commands: the most that it can cost."""

COMMANDS_AT_ONCE = 1000
DELIVERIES_AT_ONCE = 5000
"""The bursts of a user who asked for little before (`docs/protocol.md`)."""

ELSEWHERE = 40
"""A server on which a user has no place gives the user 1/40 of the rate, and 1/20 of the burst:
servers do not know what others were asked, and each refers such a user with one statement. At the
default maximum of 20 app servers and two login servers, that adds up to 1.5 times the rate for one
user, and to 5 requests a second on each other server where the rate is 200."""

KNOWN_TOKENS = 20_000  # tokens whose users are remembered; an app server has ten users

_log = Logger()


class CostLimits:
    """Counts the recent requests of each user or address, over all connections, and finds the turn
    of the next request.

    A user without a place on this server has an `ELSEWHERE`th of the rate here.

    :param commands: the rate of commands of a user, or of an address that is not trusted.
    :param deliveries: the rate of a user's messages, counted by readers.
    :param trusted: addresses that do not pay.
    """

    def __init__(
        self, commands: Rate, deliveries: Rate, trusted: Networks, clock: IReactorTime
    ) -> None:
        self._commands = Buckets(commands, clock, burst=COMMANDS_AT_ONCE)
        slowly = Rate(commands.count, commands.period * ELSEWHERE)
        self._elsewhere = Buckets(slowly, clock, burst=2 * COMMANDS_AT_ONCE / ELSEWHERE)
        self._deliveries = Buckets(deliveries, clock, burst=DELIVERIES_AT_ONCE)
        self.trusted = trusted
        self._clock = clock
        self._users: OrderedDict[str, UserPayer] = OrderedDict()
        """Who pays for a token, the longest known first."""
        self._turns: dict[Hashable, deque[Deferred[None]]] = {}
        """Those whose work of unknown cost is being done, with the turns of what waits for it."""

    def charge(self, token: str | None, host: str, costs: Costs) -> tuple[Payer, float]:
        """Take the cost of a request with `token` from `host`, as far as it is known beforehand.
        Return who pays, and the seconds until the request may begin."""
        payer = self._payer(token, host)
        return payer, 0.0 if payer is None else self._take(payer, costs)

    def owe(self, token: str | None, host: str, commands: float) -> None:
        """Take so many commands more for a request with `token` from `host`, which was answered, as
        its reply is long."""
        payer = self._payer(token, host)
        if payer is not None and commands > 0.0:
            self._commands_of(payer).take(payer, commands)

    def charge_user(self, user: int, commands: float) -> float:
        """Take so many commands of `user`; returns the seconds until they are paid."""
        if commands > 0.0:
            self._commands.take(user, commands)
        return self._commands.wait(user, 0.0)

    def forget(self, user: int) -> None:
        """Forget a user whose account is gone: their tokens are unknown from then on. A client that
        lost the reply to `delete` then hears at once that its session has ended."""
        gone = (user, (ELSEWHERE, user))
        for token in [token for token, payer in self._users.items() if payer in gone]:
            del self._users[token]

    def _payer(self, token: str | None, host: str) -> Payer:
        payer: Payer = self._users.get(token) if token else None
        if payer is None and host and host not in self.trusted:
            return counted_as(host)
        return payer

    def _commands_of(self, payer: Hashable) -> Buckets:
        return self._elsewhere if isinstance(payer, tuple) else self._commands

    def _take(self, payer: Hashable, costs: Costs) -> float:
        wait = self._commands_of(payer).take(payer, costs.known_commands)
        if costs.known_deliveries:
            wait = max(wait, self._deliveries.take(payer, costs.known_deliveries))
        return wait

    def give_back(self, payer: Hashable, costs: Costs) -> None:
        self._commands_of(payer).give_back(payer, costs.known_commands)
        if costs.known_deliveries:
            self._deliveries.give_back(payer, costs.known_deliveries)

    def deposit(self, token: str | None, costs: Costs) -> Deposit | None:
        """Take the most that a request with `token` can cost. None if its user does not have that
        now, or has work that waits for its turn."""
        payer = self._users.get(token) if token else None
        if payer is None or payer in self._turns:
            return None
        buckets, most = self._commands_of(payer), costs.most_commands
        if buckets.wait(payer, most):
            return None
        buckets.take(payer, most)
        return payer, most

    def refund(self, deposit: Deposit) -> None:
        """Give all but one command of a deposit back, as its request was not carried out."""
        payer, paid = deposit
        self._commands_of(payer).give_back(payer, paid - 1.0)

    def carried_out(
        self,
        token: str,
        user: UserPayer,
        costs: Costs,
        result: object,
        deposit: Deposit | None = None,
    ) -> float:
        """Take the rest of the cost of a request of `user`, which was carried out, or give back
        what is left of its `deposit`; returns all of the cost, in commands."""
        if self._users.get(token) != user:
            if deposit is not None:
                self.refund(deposit)
                deposit = None
            self._take(user, costs)
            if token not in self._users and len(self._users) >= KNOWN_TOKENS:
                self._users.popitem(last=False)
            self._users[token] = user
        if callable(costs.deliveries):
            self._deliveries.take(user, costs.deliveries(result))
        paid = costs.known_commands if deposit is None else deposit[1]
        price = costs.commands(result) if callable(costs.commands) else costs.commands
        self._settle(user, price - paid)
        return price

    def _settle(self, user: UserPayer, rest: float) -> None:
        """Take the rest of a price in commands; or give back what was taken before, if that was too
        much."""
        if rest > 0.0:
            self._commands_of(user).take(user, rest)
        elif rest < 0.0:
            self._commands_of(user).give_back(user, -rest)

    def in_turn(self, payer: Hashable, work: Callable[[], Any]) -> Deferred[Reply]:
        """Do `work`, whose cost is not known beforehand, when all earlier work of `payer` is done
        and paid for. Nearly always that is now.

        Work that has begun goes on to its end even if its peer is gone, and keeps its turn until
        then: otherwise a peer that hangs up would not pay.
        """
        if payer in self._turns or self._debt(payer):
            return Deferred.fromCoroutine(self._wait_turn(payer, work))
        self._turns[payer] = deque()
        return self._begin(payer, work)

    async def _wait_turn(self, payer: Hashable, work: Callable[[], Any]) -> Reply:
        with tracing.span("turn"):
            if payer in self._turns:
                turn: Deferred[None] = Deferred(self._turns[payer].remove)  # If it is cancelled.
                self._turns[payer].append(turn)
                await turn
            else:
                self._turns[payer] = deque()
            try:
                debt = self._debt(payer)
                if debt:
                    await self.pause(debt)
            except BaseException:
                self._end_turn(payer)
                raise
        return await self._begin(payer, work)

    def _begin(self, payer: Hashable, work: Callable[[], Any]) -> Deferred[Reply]:
        """Begin `work`, whose turn it is; what a peer cancels is only that it hears of the end."""
        heard: Deferred[Reply] = Deferred()
        maybeDeferred(work).addBoth(self._ended, payer, heard)
        return heard

    def _ended(self, result: Reply | Failure, payer: Hashable, heard: Deferred[Reply]) -> None:
        self._end_turn(payer)
        if not heard.called:
            heard.callback(result)
        elif isinstance(result, Failure):
            _log.failure("a request of a peer that is gone failed", failure=result)

    def _end_turn(self, payer: Hashable) -> None:
        waiting = self._turns[payer]
        if waiting:
            waiting.popleft().callback(None)
        else:
            del self._turns[payer]

    def _debt(self, payer: Hashable) -> float:
        """Seconds until `payer` can pay what is done already."""
        return max(self._commands_of(payer).wait(payer, 0.0), self._deliveries.wait(payer, 0.0))

    def pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._clock, seconds, lambda: None)
