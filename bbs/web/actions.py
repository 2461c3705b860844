"""What operators do by the page: log in and out, start a server, drain one, have old ones replaced.

Each action is recorded, by the transaction that does it and in the log: who, when, from where.
What another site's page asks is refused three times over: the browser sends the cookie with this
site's own requests alone (SameSite), `Origin` must be this site's, and no other site's form can set
the header `X-BBS`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from twisted.logger import Logger

from bbs import __version__
from bbs.errors import TooManyAttempts, Unavailable, WrongCredentials
from bbs.rules import operators, replacing
from bbs.rules.operators import By, FleetFull, NoSuchServer
from bbs.security import tell
from bbs.storage.database import Database
from bbs.values import Policy
from bbs.web.auth import LONE_OPERATOR, Operators, OperatorSessions
from bbs.web.resources import (
    NONE,
    HttpAnswer,
    Responder,
    Told,
    as_json,
    as_text,
    cookie_name,
    session_of,
)

ACTIONS_LISTED = 200
"""The latest actions that `/actions` shows."""

Act = Callable[[By], Coroutine[Any, Any, HttpAnswer]]
"""Does what an operator asks for."""

_IS_ID = re.compile("[0-9a-f]{32}")

_log = Logger()


class NotDone(Exception):
    """A request is not carried out: the status by RFC 9110, and why in words."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def done(message: str, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    """It was carried out."""
    return as_json({"status": 0, "message": message}, 200, headers)


def refused(code: int, reason: str, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    """It was not."""
    return as_json({"status": 1, "message": reason}, code, headers)


def answered(ask: Responder) -> Responder:
    """`ask`, whose refusals are answers."""

    async def answer(request: Any) -> HttpAnswer:
        try:
            return await ask(request)
        except NotDone as error:
            return refused(error.code, str(error))
        except WrongCredentials:
            return refused(401, "No such operator or password error")
        except TooManyAttempts as error:
            return refused(429, error.message, {"Retry-After": str(error.args[0])})
        except Unavailable as error:
            return refused(503, error.message, {"Retry-After": "5"})

    return answer


def from_page(ask: Responder) -> Responder:
    """`ask`, for requests that the page itself makes."""

    async def check(request: Any) -> HttpAnswer:
        origin, host = request.getHeader(b"Origin"), request.getHeader(b"Host")
        foreign = origin is not None and origin.partition(b"://")[2] != host
        if foreign or request.getHeader(b"X-BBS") is None:
            raise NotDone(403, "Refused: this is not the page's own request")
        return await ask(request)

    return answered(check)


def fields_of(request: Any) -> Mapping[str, object]:
    """What is in a request's body, a form or JSON, by name."""
    if (request.getHeader(b"Content-Type") or b"").startswith(b"application/json"):
        try:
            given = json.loads(request.content.read())
        except (ValueError, RecursionError):  # No JSON, or brackets within brackets and so on.
            given = None
        return given if isinstance(given, dict) else {}
    return {
        name.decode("utf-8", "replace"): values[0].decode("utf-8", "replace")
        for name, values in request.args.items()
    }


def credentials(request: Any) -> tuple[str, str]:
    """The name and the password in a request's body."""
    fields = fields_of(request)
    name, password = fields.get("name") or LONE_OPERATOR, fields.get("password")
    if not is_text(name) or not is_text(password) or not password:
        raise NotDone(400, "A name and a password are needed")
    return str(name), str(password)


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Carries out what operators of `service` ask for.

    :param operators: checks passwords; None where no password file is set, and nobody may act.
    :param policy: how many servers there may be (0: none can be started), and their places.
    :param on_change: called when the fleet's keeper has something new to find in the database.
    :param wall: stamps the record of what was done.
    """

    service: str
    operators: Operators | None
    sessions: OperatorSessions
    database: Database
    policy: Policy
    on_change: Callable[[], None]
    wall: Callable[[], float]

    async def log_in(self, request: Any) -> HttpAnswer:
        """Begin a session."""
        if self.operators is None:
            raise NotDone(409, "Nobody may act here: web.password_file is not set")
        if b"?" in request.uri:
            raise NotDone(400, "A password belongs in the body: addresses are written down")
        name, password = credentials(request)
        address = _address(request)
        try:
            await self.operators.check(name, password, address)
        except WrongCredentials:
            # Without the name: people type their password there, too.
            _log.warn("a wrong password of an operator's from {address}", address=address)
            raise
        token = self.sessions.begin(name)
        _log.info("operator {operator} at {address} logs in", operator=name, address=address)
        return done("Welcome!", {"Set-Cookie": _cookie(token, request)})

    async def log_out(self, request: Any) -> HttpAnswer:
        """End the session, if there is one."""
        self.sessions.end(session_of(request))
        return done("Bye!", {"Set-Cookie": _cookie("; Max-Age=0", request)})

    async def launch(self, by: By) -> HttpAnswer:
        """Start one more app server."""
        if not self.policy.maximum:
            raise NotDone(409, f"fleet.provider is none: run twistd {self.service}-app yourself")
        try:
            server = await self.database.run(
                operators.launch, by, self.policy.capacity, self.policy.maximum
            )
        except FleetFull as error:
            reason = f"fleet.maximum: {self.policy.maximum} app servers run already"
            raise NotDone(409, reason) from error
        self.tell_done(by, operators.LAUNCH, server)
        return done(f"Server {server} is being started")

    async def drain(self, server: str, by: By) -> HttpAnswer:
        """Move everybody off a server, which then ends."""
        try:
            if not _IS_ID.fullmatch(server):
                raise NoSuchServer()  # The beginning of an id is for people who type.
            await self.database.run(operators.drain, by, server)
        except NoSuchServer as error:
            raise NotDone(404, "There is no such server any more") from error
        self.tell_done(by, operators.DRAIN, server)
        return done(f"Server {server} is being drained")

    async def replace(self, request: Any, by: By) -> HttpAnswer:
        """Have others launched for the app servers of other versions than this page's."""
        most = _most(fields_of(request).get("most"))
        maximum = self.policy.maximum
        asked = await self.database.run(operators.replace, by, maximum, __version__, most)
        said = "Nothing is to be replaced"
        if asked.servers:
            count = replacing.in_number(len(asked.servers))
            self.tell_done(by, operators.REPLACE, count)
            said = f"To be replaced, one after the other: {count}"
        return done(". ".join([said, *replacing.notes(asked, maximum)]))

    async def keep(self, by: By) -> HttpAnswer:
        """Let those stay that are to be replaced and do not drain yet."""
        kept = await self.database.run(operators.cancel, by)
        if not kept:
            return done("Nothing is to be replaced any more")
        count = replacing.in_number(len(kept))
        self.tell_done(by, operators.CANCEL_REPLACE, count)
        return done(f"Not to be replaced any more: {count}")

    async def actions(self, by: By) -> HttpAnswer:
        """The record of what was done, newest first."""
        deeds = await self.database.run(operators.actions, ACTIONS_LISTED)
        return as_json([asdict(deed) for deed in deeds])

    def tell_done(self, by: By, action: str, target: str) -> None:
        """Something has been done, to a server or to somebody."""
        _log.info(
            # As it would be typed: a name of before may have anything in it.
            "operator {operator} at {address}: {action} {target!r}",
            operator=by.operator,
            address=by.address,
            action=action,
            target=target,
        )
        tell(action, "done", address=by.address, name=target, by=by.operator)
        self.on_change()

    def by_operator(self, act: Act) -> Responder:
        """`act`, for operators who are logged in."""

        async def ask(request: Any) -> HttpAnswer:
            # The page reads by itself: only what is done keeps a session alive.
            acts = request.method == b"POST"
            operator = self.sessions.operator(session_of(request), acts)
            if operator is None:
                raise NotDone(401, "Log in as an operator first")
            return await act(By(operator, _address(request), self.wall()))

        return ask


class Servers(Told):
    """`POST /servers`, and what is below it."""

    isLeaf = True

    def __init__(self, controls: Controls) -> None:
        async def ask(request: Any) -> HttpAnswer:
            match request.postpath:
                case []:
                    return await controls.by_operator(controls.launch)(request)
                case [b"replace"]:
                    replace = partial(controls.replace, request)
                    return await controls.by_operator(replace)(request)
                case [b"replace", b"cancel"]:
                    return await controls.by_operator(controls.keep)(request)
                case [server, b"drain"]:
                    drain = partial(controls.drain, server.decode("ascii", "replace"))
                    return await controls.by_operator(drain)(request)
            return as_text("Not found", 404)

        Told.__init__(self, from_page(ask))


def is_text(value: object) -> bool:
    """Whether it can be written as UTF-8: JSON can have halves of characters in it."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _most(value: object) -> int | None:
    """How many are meant at the most, None for all."""
    if value is None or value == "":
        return None
    try:
        return replacing.count_of(str(value))
    except ValueError as error:
        raise NotDone(400, f"most: {error}") from error


def _address(request: Any) -> str:
    return str(getattr(request.getClientAddress(), "host", "") or "")[:64]


def _cookie(value: str, request: Any) -> str:
    """The browser keeps it until it ends; how long the session lives is this server's to say."""
    secure = "; Secure" if request.isSecure() else ""
    return f"{cookie_name(request)}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"
