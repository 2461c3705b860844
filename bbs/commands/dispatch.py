"""From a line to a reply: the checks that every request goes through, in their order.

`docs/protocol.md`, section 3: command known, token live, number of arguments, served here, the
command's own rules. Everything from the token on happens in one transaction, one hop to a thread
of the database. Nothing here knows a command by name.

Requests also have a cost: `cost_limits` says who pays, and when.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.commands.accounts import locate
from bbs.commands.context import Ask, AskLoginServer, Moved, ServerContext, failure, success
from bbs.commands.cost_limits import ELSEWHERE, Deposit, Payer, UserPayer
from bbs.commands.declared import Answered
from bbs.core import audit, tracing
from bbs.core.errors import DiskFull, Refusal, Unavailable
from bbs.core.values import MAX_REPLY, Trouble
from bbs.protocols.commands import Command, Request, Role, WrongUsage
from bbs.protocols.line import IConnection, IRequestHandler, Reply
from bbs.protocols.line.interfaces import encode
from bbs.rules import accounts, placement
from bbs.rules.auth import (
    ONE_COMMAND,
    Asked,
    Caller,
    Costs,
    asked_by,
    costs_of,
    does_store_text,
    identify,
    identify_each,
    touch,
)
from bbs.rules.pagination import PRICED_BYTES, price_of
from bbs.rules.presence import renew
from bbs.storage.database import attempt_each, marked_as
from bbs.storage.transactions import name_of_rule

T = TypeVar("T")

Received = Request | Refusal
"""A request, or the refusal of a malformed one, which costs as much."""

Answer = Reply | Deferred[Reply]

FAULTS = ("internal-error", "unavailable")  # codes of replies where the service is at fault

_TOKEN = re.compile(f"[0-9a-f]{{{2 * accounts.TOKEN_BYTES}}}")


class ReplyUnusable(TypeError, ValueError):
    """A command returned something that cannot be a reply; a line for the author of the service.
    (These were one or the other of its bases, which tests of services may await.)"""


class _Outcome(NamedTuple):
    """The outcome of a command's transaction; `result` is the rule's, if it was `served`. A command
    without a handler has its `reply` then, so that one that cannot be sent undoes all."""

    caller: Caller
    served: bool
    result: object = None
    reply: Reply | None = None


def costs_of_command(command: Command) -> Costs:
    """The costs of `command`: those of its rule, or without one those of its handler.

    :raises ValueError: the price of a handler is a function. Its user is charged before it begins.
    """
    costs = costs_of(command.rule or command.handler)
    if command.rule is None and not costs.known:
        raise ValueError(f"the handler of {command.name} needs a price that is a number")
    return costs


@implementer(IRequestHandler)
class Dispatcher:
    """Answers the requests of a server's connections."""

    def __init__(self, home: ServerContext) -> None:
        self._home = home
        self._guards = {command.name: _guard(command, home) for command in home.table}
        self._costs = {command.name: costs_of_command(command) for command in home.table}
        self._seconds, self._slow = home.timing.seconds, home.database.slow
        self._reply = _reply if home.answered is None else partial(_noted, home.answered)
        self._patient = {
            command.name
            for command in home.table
            if getattr(command.handler, "__module__", "").startswith("bbs.commands.")
        }
        """Commands of the framework itself, which may wait on purpose: for a place, or a turn."""

    # IRequestHandler

    def handle(self, line: str, connection: IConnection) -> Answer:
        try:
            request = self._home.table.parse(line)
        except Refusal as error:
            return self.refuse(error, connection)
        costs = self._costs[request.command.name]
        if costs.by_text:
            costs = costs.with_text(request.arguments)
        if tracing.recording or self._home.timing.requests is not None:
            return self._measure(request, costs, connection)
        return self._charge(request, request.token, costs, connection)

    def _measure(self, request: Request, costs: Costs, connection: IConnection) -> Deferred[Reply]:
        """Answer a request, time it, and make it part of a trace: of the peer's, if it named one,
        else of a new one."""
        name, timing = request.command.name, self._home.timing
        began = timing.seconds()
        charge: Callable[..., Any] = self._charge
        span = None
        if name != "traceparent":  # That is about the next request.
            span = tracing.begin(name, self._home.traces.take(connection), root=True)

        def measured(reply: Reply) -> Reply:
            if timing.requests is not None:
                with tracing.within(span):
                    timing.requests(name, timing.seconds() - began)
            return reply

        answer: Deferred[Reply]
        with tracing.within(span):
            answer = maybeDeferred(charge, request, request.token, costs, connection)
        if span is not None:
            answer.addBoth(_end_span, span)
        return answer.addCallback(measured)

    def refuse(self, error: Refusal, connection: IConnection) -> Answer:
        return self._charge(error, None, ONE_COMMAND, connection)

    def is_whole(self, line: str) -> bool:
        return self._home.table.is_whole(line, _TOKEN.fullmatch)

    def connection_lost(self, connection: IConnection) -> None:
        self._home.watchers.discard(connection)
        self._home.traces.forget(connection)
        if self._home.role is Role.APP:
            self._home.app.listeners.connection_lost(connection)
        else:
            self._home.login.devices.forget(connection)

    def _charge(
        self, request: Received, token: str | None, costs: Costs, connection: IConnection
    ) -> Answer:
        """Charge a request, and carry it out when it is paid for."""
        charges = self._home.charges
        if costs.most_commands and (deposit := charges.deposit(token, costs)):
            return self._carry_out(request, connection, deposit)
        payer, wait = charges.charge(token, connection.peer_host, costs)
        if wait:
            return begin(self._wait(request, connection, costs, payer, wait))
        if costs.known:
            return self._carry_out(request, connection)
        work = partial(self._carry_out, request, connection)
        return charges.in_turn(token if payer is None else payer, work)

    async def _wait(
        self, request: Received, connection: IConnection, costs: Costs, payer: Payer, wait: float
    ) -> Reply:
        """Carry out a request for which `payer` has the tokens in `wait` seconds."""
        charges = self._home.charges
        audit.record("work", "delayed", address=connection.peer_host)
        try:
            with tracing.span("turn"):
                await charges.pause(wait)
        except CancelledError:
            charges.give_back(payer, costs)
            raise
        work = partial(self._carry_out, request, connection)
        answer = work() if costs.known else charges.in_turn(payer, work)
        return await answer if isinstance(answer, Deferred) else answer

    def _carry_out(
        self, request: Received, connection: IConnection, deposit: Deposit | None = None
    ) -> Answer:
        if isinstance(request, Refusal):
            return self._charged(failure(request, connection, self._home.tally), None, connection)
        command, now = request.command, self._home.wall()
        if not command.takes_user:
            return begin(self._for_anybody(request, Ask(self._home, command, connection, now)))
        outcome = self._home.database.run(self._guards[command.name], request, now)
        answer: Deferred[Any] = outcome.addCallbacks(
            self._reply_to,
            self._not_carried_out,
            callbackArgs=(request, connection, deposit),
            errbackArgs=(deposit,),
        )
        return answer.addErrback(self._fail, request, connection)

    async def _for_anybody(self, request: Request, ask: Ask) -> Reply:
        """Carry out a request that takes no token."""
        command = request.command
        try:
            if request.usage_error:
                raise WrongUsage(command.usage)
            if not command.served_by(self._home.role):
                raise AskLoginServer()
            assert command.handler is not None  # The table has a rule or a handler of each.
            began = self._seconds()
            try:
                result = await command.handler(ask, *request.arguments)
            finally:
                took = self._seconds() - began
                if took >= self._slow.after and command.name not in self._patient:
                    self._note_slow(command, took)
            return self._charged(self._reply(command, result), None, ask.connection)
        except Refusal as error:
            return self._refuse(error, request, ask.connection)
        except Exception as error:
            self._count_bug(error)
            raise

    def _not_carried_out(self, error: Failure, deposit: Deposit | None) -> Failure:
        # A peer that is gone gets nothing back: otherwise one that hangs up would not pay.
        if deposit is not None and not error.check(CancelledError):
            self._home.charges.refund(deposit)
        return error

    def _reply_to(
        self,
        outcome: _Outcome,
        request: Request,
        connection: IConnection,
        deposit: Deposit | None = None,
    ) -> Answer:
        caller, command = outcome.caller, request.command
        connection.has_session()
        # For its own commands, an app server gives users who were away a place.
        is_away = caller.away and not outcome.served
        if is_away and self._home.role is command.role is Role.APP:
            if deposit is not None:
                self._home.charges.refund(deposit)
            return begin(self._come_back(caller, request, connection))
        costs = self._costs[command.name] if outcome.served else ONE_COMMAND
        if costs.by_text:
            costs = costs.with_text(request.arguments)
        token, charges = request.token or "", self._home.charges
        payer = self._payer_of(caller)
        paid = charges.carried_out(token, payer, costs, outcome.result, deposit)
        if caller.touch:
            run = self._home.database.run
            if command.by_itself:
                noted = run(renew, [caller.session], caller.now)
            else:
                noted = run(touch, caller.id, caller.session, caller.now)
            noted.addErrback(lambda failure: failure.trap(Refusal))
        if outcome.reply is not None:
            if self._home.answered is not None:
                self._home.answered(command, outcome.reply)
            return self._charged(outcome.reply, token, connection, paid)
        ask = Ask(self._home, command, connection, caller.now, caller)
        return begin(self._for_user(ask, request, outcome, paid))

    def _payer_of(self, caller: Caller) -> UserPayer:
        """Who pays for the caller: with little to spend where the caller has no place."""
        if caller.server and caller.server == self._home.parts.server_id:
            return caller.id
        return ELSEWHERE, caller.id

    async def _for_user(self, ask: Ask, request: Request, outcome: _Outcome, paid: float) -> Reply:
        command = request.command
        if not outcome.served:
            raise await self._redirect(ask)
        arguments = (outcome.result,) if command.rule else request.arguments
        assert command.handler is not None  # A rule's result alone was a reply already.
        began = self._seconds()
        try:
            result = await command.handler(ask, *arguments)
        finally:
            took = self._seconds() - began
            if took >= self._slow.after and command.name not in self._patient:
                self._note_slow(command, took)
        return self._charged(self._reply(command, result), request.token, ask.connection, paid)

    def _charged(
        self, reply: Reply, token: str | None, connection: IConnection, paid: float = 1.0
    ) -> Reply:
        """Return `reply`, and charge its length on the wire beyond the commands that are `paid`."""
        size = len(reply.line)
        if size > PRICED_BYTES:
            self._home.charges.owe(token, connection.peer_host, price_of(size) - paid)
        return reply

    def _note_slow(self, command: Command, seconds: float) -> None:
        self._slow.note("handler", name_of_rule(command.handler), seconds)

    async def _come_back(self, caller: Caller, request: Request, connection: IConnection) -> Reply:
        """Give the caller, who was away, a place, and carry out the request as if they had been
        here. This has transactions of its own, so that others do not pay for it."""
        database, here = self._home.database, self._home.app.server_id
        try:
            seat = await database.run(placement.come_back, caller.id, here)
            if seat is None:
                raise AskLoginServer()
            if seat.server != here:
                raise Moved(seat.address)
            outcome = await database.run(self._guards[request.command.name], request, caller.now)
        except Refusal:
            payer = self._payer_of(caller)
            self._home.charges.carried_out(request.token or "", payer, ONE_COMMAND, None)
            raise
        reply = self._reply_to(outcome, request, connection)
        return await reply if isinstance(reply, Deferred) else reply

    async def _redirect(self, ask: Ask) -> Refusal:
        """Find where to send a user's request that is not served here. A login server finds a place
        for a user without one; an app server refers such users, and the login server's commands, to
        the login server."""
        if self._home.role is Role.LOGIN:
            return Moved((await locate(ask)).address)
        user = ask.user
        if ask.command.role is Role.LOGIN or user.server is None:
            return AskLoginServer()
        seats = await self._home.database.run(placement.whereabouts, [user.id])
        seat = seats.get(user.id)
        return Moved(seat.address) if seat else AskLoginServer()

    def _refuse(self, error: Refusal, request: Request, connection: IConnection) -> Reply:
        if self._home.answered is not None:
            self._home.answered(request.command, error)
        # Clients, older ones too, know that they may try everything else again.
        if isinstance(error, DiskFull) and not self._costs[request.command.name].by_text:
            error = Unavailable()
        reply = failure(error, connection, self._home.tally)
        return self._charged(reply, request.token, connection)

    def _fail(self, error: Failure, request: Request, connection: IConnection) -> Any:
        if isinstance(error.value, Refusal):
            return self._refuse(error.value, request, connection)
        self._count_bug(error.value)
        return error

    def _count_bug(self, error: BaseException | None) -> None:
        """Count an error, which the connection logs; a peer that has gone is not an error."""
        if not isinstance(error, CancelledError):
            self._home.tally.note(Trouble.INTERNAL)


def _guard(command: Command, home: ServerContext) -> Callable[[Request, float], _Outcome]:
    return marked_as(command.rule, _Guard(command, home))


class _Guard:
    """The transaction of a command that takes a token, for one request or for several."""

    __name__ = "guard"  # In traces.

    def __init__(self, command: Command, home: ServerContext) -> None:
        self.stands_for = command.rule or command.handler
        self._usage, self._command = command.usage, command
        self._sessions = home.sessions
        self._served = command.served_by(home.role)
        self._rule = command.rule if self._served else None
        self._stores_text = does_store_text(self._rule)
        self._database = home.database
        self._first = asked_by(self._rule)
        self._asked = self._first.length if self._first else 0
        app = home.app if home.role is Role.APP else None
        self._place = app if self._served and command.role is Role.APP else None
        self._hearers = app.listeners if app else None
        self._note: Callable[[int], object] = lambda user: None
        if app is not None:
            self._note = app.presence.note_by_itself if command.by_itself else app.presence.note
        if self._rule is None or hasattr(self._rule, "each"):
            self.each = self._each

    def __call__(self, request: Request, now: float) -> _Outcome:
        first = None if request.usage_error else self._first
        arguments = request.arguments[: self._asked] if first else ()
        caller = identify(request.token, self._sessions, now, first, arguments, self._hearers)
        self._note(caller.id)
        if request.usage_error:
            raise WrongUsage(self._usage)
        if not self._is_here(caller):
            return _Outcome(caller, False)
        if self._stores_text and self._database.disk_is_low:
            raise DiskFull()
        return self._outcome(caller, self._rule and self._rule(caller, *request.arguments))

    def _outcome(self, caller: Caller, result: object) -> _Outcome:
        command = self._command
        reply = _reply(command, result) if command.handler is None else None
        return _Outcome(caller, True, result, reply)

    def _each(self, calls: Sequence[tuple[Request, float]]) -> list[_Outcome | Refusal]:
        """Find all users by one query, and carry out their requests by one call of the rule."""
        outcomes: list[Any] = [None] * len(calls)
        whole = []
        for index, (request, _) in enumerate(calls):
            if request.usage_error:
                [outcomes[index]] = attempt_each(self, [calls[index]])
            else:
                whole.append(index)
        several = [calls[index] for index in whole]
        length, hearers = self._asked, self._hearers
        asked = [Asked(each.token, now, each.arguments[:length], hearers) for each, now in several]
        here: list[tuple[int, Caller]] = []
        found = identify_each(asked, self._sessions, self._first)
        for index, caller in zip(whole, found, strict=True):
            outcomes[index] = caller
            if isinstance(caller, Caller):
                self._note(caller.id)
                outcomes[index] = _Outcome(caller, self._is_here(caller))
                if outcomes[index].served:
                    here.append((index, caller))
        if self._rule is None or not here:
            return outcomes
        if self._stores_text and self._database.disk_is_low:
            for index, _ in here:
                outcomes[index] = DiskFull()
            return outcomes
        rows = [(caller, *calls[index][0].arguments) for index, caller in here]
        rule: Any = self._rule
        results = rule.each(rows)
        for (index, caller), result in zip(here, results, strict=True):
            refused = isinstance(result, Refusal)
            outcomes[index] = result if refused else self._outcome(caller, result)
        return outcomes

    def _is_here(self, caller: Caller) -> bool:
        """Whether this server carries the command out for the caller."""
        place = self._place
        is_placed = place is None or (caller.server and caller.server == place.server_id)
        return self._served and bool(is_placed)


def begin(coroutine: Coroutine[Deferred[Any], Any, T]) -> T | Deferred[T]:
    """Run `coroutine` until it waits; return its result if it never does, as is usual here.

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
        coroutine.close()  # Otherwise nothing ends the wait, if both are thrown away.


def _reply(command: Command, result: object) -> Reply:
    """Make a reply from the result of the command's handler or rule: None becomes `Success!`, and a
    mapping becomes the members of the reply.

    :raises ReplyUnusable: it cannot be a reply, or cannot be sent.
    """
    if result is None:
        return success()
    if isinstance(result, Mapping):
        if "status" in result:
            why = "which is the reply's own: leave it out, and refuse by a Refusal"
            raise ReplyUnusable(f"{command.name} returned a mapping with a member status, {why}")
        result = Reply({"status": 0, **result})
    if not isinstance(result, Reply):
        raise ReplyUnusable(f"{command.name} returned {type(result).__name__} and not a reply")
    if result.body.get("status") not in (0, 1) or "event" in result.body:
        raise ReplyUnusable(f"{command.name} returned a reply without a status, or with an event")
    try:
        size = len(result.line)
    except (TypeError, ValueError, RecursionError) as error:
        why = f"JSON cannot express {_culprit(result.body)}: {error}"
        raise ReplyUnusable(f"{command.name} returned what cannot be sent: {why}") from error
    if size > MAX_REPLY:
        why = f"clients take {MAX_REPLY:,}: answer a long list in parts (@paged)"
        raise ReplyUnusable(f"{command.name} returned a reply of {size:,} bytes, and {why}")
    return result


def _culprit(body: Mapping[str, object]) -> str:
    """The member of a reply that JSON cannot express."""
    for name, value in body.items():
        try:
            encode({name: value})
        except (TypeError, ValueError, RecursionError):
            return f"its member {name}"
    return "it"


def _noted(answered: Answered, command: Command, result: object) -> Reply:
    reply = _reply(command, result)
    answered(command, reply)
    return reply


def _end_span(result: Reply | Failure, span: tracing.ISpan) -> Reply | Failure:
    if isinstance(result, Failure):
        span.failed("gone" if result.check(CancelledError) else "internal-error")
    elif code := result.body.get("code"):
        span.note(code=str(code))
        if code in FAULTS:
            span.failed(str(code))
    span.end()
    return result
