"""From a line to a reply: the checks that every request goes through, in their order.

`docs/protocol.md`, section 3: command known, token live, number of arguments, served here, the
command's own rules. Everything from the token on happens in one transaction, one hop to a thread
of the database. Nothing here knows a command by name.

Requests cost something, too. A request of a user whom the server knows by the token is paid for
before it is begun. Any other is paid for by the address that it comes from, as is the first with a
token: the token's user shows only when the request is carried out. A request over the limit waits,
and meanwhile its connection is not read.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Generator, Hashable, Mapping
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.commands.accounts import locate
from bbs.commands.context import (
    AppServerParts,
    Ask,
    AskLoginServer,
    Moved,
    ServerContext,
    failure,
    success,
)
from bbs.core import audit, tracing
from bbs.core.errors import Refusal
from bbs.core.values import Rate, Trouble
from bbs.limits.buckets import Buckets
from bbs.limits.connections import Networks, counted_as
from bbs.protocols.commands import Command, Request, Role, WrongUsage
from bbs.protocols.line import IConnection, IRequestHandler, Reply
from bbs.rules import accounts, placement
from bbs.rules.auth import ONE_COMMAND, Caller, Costs, asked_by, costs_of, identify, touch
from bbs.rules.presence import renew
from bbs.storage.database import marked_as

T = TypeVar("T")


COMMANDS_AT_ONCE = 1000
DELIVERIES_AT_ONCE = 5000
"""Requests at once of a user who asked for little before (`docs/operators.md`)."""

KNOWN = 20_000
"""Tokens whose users are remembered; an app server has ten users."""

FAULTS = ("internal-error", "unavailable")
"""Codes of replies where the service is at fault, and not the request."""

_log = Logger()

_TOKEN = re.compile(f"[0-9a-f]{{{2 * accounts.TOKEN_BYTES}}}")


class _Outcome(NamedTuple):
    """The outcome of a command's transaction; `result` is the rule's, if it was `served`."""

    caller: Caller
    served: bool
    result: object = None


@implementer(IRequestHandler)
class Dispatcher:
    """Answers the requests of a server's connections."""

    def __init__(self, home: ServerContext) -> None:
        self._home = home
        self._guards = {command.name: self._guard(command) for command in home.table}
        self._costs = {command.name: costs_of(command.rule) for command in home.table}

    # IRequestHandler

    def handle(self, line: str, connection: IConnection) -> Reply | Deferred[Reply]:
        try:
            request = self._home.table.parse(line)
        except Refusal as error:
            return self.refuse(error, connection)
        costs = self._costs[request.command.name]
        if tracing.is_on() or self._home.timing.requests is not None:
            return self._watched(request, costs, connection)
        return self._paid(request, request.token, costs, connection)

    def _watched(self, request: Request, costs: Costs, connection: IConnection) -> Deferred[Reply]:
        """Answer a request, measured, and as a part of a trace: of the peer's, if it named one,
        else of a new one."""
        name, began = request.command.name, self._home.timing.seconds()
        paid: Callable[..., Any] = self._paid
        span = None
        if name != "traceparent":  # That is about the next one.
            span = tracing.begin(name, self._home.traces.take(connection), root=True)
        answer: Deferred[Reply]
        with tracing.within(span):
            answer = maybeDeferred(paid, request, request.token, costs, connection)
        if span is not None:
            answer.addCallbacks(_end_span, _end_in_vain, (span,), {}, (span,))
        return answer.addCallback(self._measured, name, began, span)

    def _measured(self, reply: Reply, name: str, began: float, span: tracing.ISpan | None) -> Reply:
        timing = self._home.timing
        if timing.requests is not None:
            with tracing.within(span):
                timing.requests(name, timing.seconds() - began)
        return reply

    def refuse(self, error: Refusal, connection: IConnection) -> Reply | Deferred[Reply]:
        return self._paid(error, None, ONE_COMMAND, connection)

    def is_whole(self, line: str) -> bool:
        return self._home.table.is_whole(line, _TOKEN.fullmatch)

    def connection_lost(self, connection: IConnection) -> None:
        self._home.watchers.discard(connection)
        self._home.traces.forget(connection)
        if isinstance(self._home.parts, AppServerParts):
            self._home.parts.listeners.connection_lost(connection)

    # Requests, and malformed ones, which cost as much

    def _paid(
        self,
        request: Request | Refusal,
        token: str | None,
        costs: Costs,
        connection: IConnection,
    ) -> Reply | Deferred[Reply]:
        payer, wait = self._home.charges.charge(token, connection.peer_host, costs)
        if not wait and costs.known:
            return self._carry_out(request, connection)
        return begin(self._in_turn(request, connection, costs, payer, wait))

    async def _in_turn(
        self,
        request: Request | Refusal,
        connection: IConnection,
        costs: Costs,
        payer: Hashable | None,
        wait: float,
    ) -> Reply:
        """Carry out a request `wait` seconds later; if its cost is not known beforehand, behind
        all such requests of `payer`."""
        charges = self._home.charges
        if wait and payer is not None:
            audit.record("work", "delayed", address=connection.peer_host)
            try:
                with tracing.span("turn"):
                    await charges.pause(wait)
            except CancelledError:
                charges.give_back(payer, costs)
                raise

        async def work() -> Reply:
            answer = self._carry_out(request, connection)
            return await answer if isinstance(answer, Deferred) else answer

        if costs.known or isinstance(request, Refusal):
            return await work()
        return await charges.in_turn(request.token if payer is None else payer, work)

    def _carry_out(
        self, request: Request | Refusal, connection: IConnection
    ) -> Reply | Deferred[Reply]:
        if isinstance(request, Refusal):
            return failure(request, connection, self._home.tally)
        command, now = request.command, self._home.wall()
        if not command.takes_user:
            ask = Ask(self._home, command, connection, now)
            return begin(self._for_anybody(request, ask))
        outcome = self._home.database.run(self._guards[command.name], request, now)
        answer: Deferred[Any] = outcome.addCallback(self._outcome, request, connection)
        return answer.addErrback(self._refused, connection)

    # Requests that take no token

    async def _for_anybody(self, request: Request, ask: Ask) -> Reply:
        command = request.command
        try:
            if request.usage_error:
                raise WrongUsage(command.usage)
            if not command.served_by(self._home.role):
                raise AskLoginServer()
            assert command.handler is not None  # The table has a rule or a handler of each.
            return _reply(command, await command.handler(ask, *request.arguments))
        except Refusal as error:
            return failure(error, ask.connection, self._home.tally)
        except Exception as error:
            self._count_bug(error)
            raise

    # Those that do

    def _guard(self, command: Command) -> Callable[[Request, float], _Outcome]:
        """Make the whole of a command's transaction."""
        home, rule = self._home, command.rule
        sessions, served = home.sessions, command.served_by(home.role)
        app = home.parts if isinstance(home.parts, AppServerParts) else None
        place = app if served and command.role is Role.APP else None
        note = None
        if app is not None:
            note = app.presence.note_by_itself if command.by_itself else app.presence.note
        question = asked_by(rule) if served else None
        length = question.length if question else 0

        def guard(request: Request, now: float) -> _Outcome:
            if question is None or request.usage_error:
                caller = identify(request.token, sessions, now)
            else:
                first = request.arguments[:length]
                caller = identify(request.token, sessions, now, question, first)
            if note is not None:
                note(caller.id)
            if request.usage_error:
                raise WrongUsage(command.usage)
            if not served or (place and (not caller.server or caller.server != place.server_id)):
                return _Outcome(caller, False)
            return _Outcome(caller, True, rule(caller, *request.arguments) if rule else None)

        return marked_as(rule, guard)

    def _outcome(
        self, outcome: _Outcome, request: Request, connection: IConnection
    ) -> Reply | Deferred[Reply]:
        caller, command = outcome.caller, request.command
        # An app server gives those who are away a place, for the sake of its own commands.
        is_away = caller.away and not outcome.served
        if is_away and self._home.role is command.role is Role.APP:
            return begin(self._come_back(caller, request, connection))
        costs = self._costs[command.name] if outcome.served else ONE_COMMAND
        self._home.charges.carried_out(request.token or "", caller.id, costs, outcome.result)
        if caller.touch:
            self._touch(caller, command)
        if outcome.served and command.handler is None:
            return _reply(command, outcome.result)
        ask = Ask(self._home, command, connection, caller.now, caller)
        return begin(self._for_user(ask, request, outcome))

    async def _for_user(self, ask: Ask, request: Request, outcome: _Outcome) -> Reply:
        command = request.command
        if not outcome.served:
            raise await self._redirect(ask)
        arguments = (outcome.result,) if command.rule else request.arguments
        assert command.handler is not None  # A rule's result alone was a reply already.
        return _reply(command, await command.handler(ask, *arguments))

    async def _come_back(self, caller: Caller, request: Request, connection: IConnection) -> Reply:
        """Give the caller, who was away, a place, and carry out the request as if there had always
        been one. That takes transactions of its own, so nobody else pays for it."""
        database, here = self._home.database, self._home.app.server_id
        try:
            seat = await database.run(placement.come_back, caller.id, here)
            if seat is None:
                raise AskLoginServer()
            if seat.server != here:
                raise Moved(seat.address)
            outcome = await database.run(self._guards[request.command.name], request, caller.now)
        except Refusal:
            self._home.charges.carried_out(request.token or "", caller.id, ONE_COMMAND, None)
            raise
        reply = self._outcome(outcome, request, connection)
        return await reply if isinstance(reply, Deferred) else reply

    async def _redirect(self, ask: Ask) -> Refusal:
        """Find out where to send a user's request that is not served here. A login server finds a
        place for a user without one, to whom an app server refers its users and its commands."""
        if self._home.role is Role.LOGIN:
            return Moved((await locate(ask)).address)
        user = ask.user
        if ask.command.role is Role.LOGIN or user.server is None:
            return AskLoginServer()
        seats = await self._home.database.run(placement.whereabouts, [user.id])
        seat = seats.get(user.id)
        return Moved(seat.address) if seat else AskLoginServer()

    def _refused(self, error: Failure, connection: IConnection) -> Any:
        if isinstance(error.value, Refusal):
            return failure(error.value, connection, self._home.tally)
        self._count_bug(error.value)
        return error

    def _count_bug(self, error: BaseException | None) -> None:
        """Count an error, which the connection logs; that a peer has gone is none."""
        if not isinstance(error, CancelledError):
            self._home.tally.note(Trouble.INTERNAL)

    def _touch(self, caller: Caller, command: Command) -> None:
        run = self._home.database.run
        if command.by_itself:
            noted = run(renew, [caller.session], caller.now)
        else:
            noted = run(touch, caller.id, caller.session, caller.now)
        noted.addErrback(lambda failure: failure.trap(Refusal))


def begin(coroutine: Coroutine[Deferred[Any], Any, T]) -> T | Deferred[T]:
    """Run `coroutine` until it waits; return its result if it never does, as hardly any does here.

    Measured over sockets: a Deferred for each makes a `ping` take 38 µs instead of 29.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    return Deferred.fromCoroutine(_go_on(coroutine, awaited))


def _go_on(
    coroutine: Coroutine[Deferred[Any], Any, T], awaited: Deferred[Any]
) -> Generator[Deferred[Any], Any, T]:
    """Run the rest of `coroutine`, which waits for `awaited`."""
    try:
        while True:
            try:
                value = yield awaited
            except Exception as error:
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(value)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        coroutine.close()  # Nobody can end the wait, if both are thrown away.


def _reply(command: Command, result: object) -> Reply:
    """Make a reply of what the command's handler returned, or without one its rule: of None
    `Success!`, of a mapping the members of the reply."""
    if result is None:
        return success()
    if isinstance(result, Mapping) and "status" not in result:
        result = Reply({"status": 0, **result})
    if not isinstance(result, Reply):
        raise TypeError(f"{command.name} made {type(result).__name__} of a request, and no reply")
    if result.body.get("status") not in (0, 1) or "event" in result.body:
        raise ValueError(f"{command.name} made a reply that clients take for something else")
    return result


def _end_span(reply: Reply, span: tracing.ISpan) -> Reply:
    if code := reply.body.get("code"):
        span.note(code=str(code))
        if code in FAULTS:
            span.failed(str(code))
    span.end()
    return reply


def _end_in_vain(failure: Failure, span: tracing.ISpan) -> Failure:
    span.failed("gone" if failure.check(CancelledError) else "internal-error")
    span.end()
    return failure


class CostLimits:
    """Counts what each user or address has asked for lately, over all connections, and finds the
    turn of the next request.

    :param commands: what a user may ask for, and an address that is not trusted.
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

    def charge(self, token: str | None, host: str, costs: Costs) -> tuple[Hashable | None, float]:
        """Take what is known beforehand of the cost of a request with `token` from `host`; returns
        who pays, None for nobody, and the seconds until it may be begun."""
        payer: Hashable | None = self._users.get(token) if token else None
        if payer is None:
            if not host or host in self._trusted:
                return None, 0.0
            payer = counted_as(host)
        return payer, self._take(payer, costs)

    def _take(self, payer: Hashable, costs: Costs) -> float:
        wait = self._commands.take(payer, 1.0 if callable(costs.commands) else costs.commands)
        if costs.deliveries and not callable(costs.deliveries):
            wait = max(wait, self._deliveries.take(payer, costs.deliveries))
        return wait

    def give_back(self, payer: Hashable, costs: Costs) -> None:
        """Undo a charge: nobody waits for the request any more."""
        self._commands.give_back(payer, 1.0 if callable(costs.commands) else costs.commands)
        if not callable(costs.deliveries):
            self._deliveries.give_back(payer, costs.deliveries)

    def trusts(self, host: str) -> bool:
        """Whether `host` is in one of the networks that are trusted."""
        return host in self._trusted

    def carried_out(self, token: str, user: int, costs: Costs, result: object) -> None:
        """Take the rest of what a request of `user` costs, which was carried out."""
        if token not in self._users:
            self._take(user, costs)
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

        Work that has begun goes on to its end though nobody waits for it any more, and has its turn
        as long: else a peer that hangs up would pay nothing.
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
        """Return a Deferred that fires when so many seconds are over."""
        return deferLater(self._clock, seconds, lambda: None)
