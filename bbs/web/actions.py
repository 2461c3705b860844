"""Actions of operators on the page: log in and out, launch, drain and replace servers, see people,
and suspend, log out or delete them.

Each action is recorded, by the transaction that does it and in the log: who, when, from where. A
request from another site is refused three times over: the browser sends the cookie with this site's
own requests alone (SameSite), `Origin` must be this site's, and no other site's form can set the
header `X-BBS`.

Operators see names, numbers and times of people, and never a text that somebody wrote
(`bbs.rules.user_admin`). Names stand in the body or the query, as they may have anything in them,
and passwords in the body alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bbs import __version__
from bbs.core import audit
from bbs.core.errors import Refusal, TooManyAttempts, Unavailable, WrongCredentials
from bbs.core.values import Policy
from bbs.limits.fair_queue import FairQueue
from bbs.limits.password_hashing import Hasher
from bbs.rules import accounts, fleet_admin, user_admin
from bbs.rules.fleet_admin import By, FleetFull, NoSuchServer
from bbs.rules.user_admin import ActionResult, NoSuchPerson, NotSuspended, Person
from bbs.storage.database import Database
from bbs.web.auth import LONE_OPERATOR, Operators, OperatorSessions
from bbs.web.poller import TTLCache
from bbs.web.resources import (
    NONE,
    Asked,
    ChangeResource,
    HttpAnswer,
    Responder,
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


class ActionRejected(Exception):
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
        except ActionRejected as error:
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
            raise ActionRejected(403, "Refused: this is not the page's own request")
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
        raise ActionRejected(400, "A name and a password are needed")
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
            raise ActionRejected(409, "Nobody may act here: web.password_file is not set")
        if b"?" in request.uri:
            raise ActionRejected(400, "A password belongs in the body: addresses are written down")
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
            raise ActionRejected(
                409, f"fleet.provider is none: run twistd {self.service}-app yourself"
            )
        try:
            server = await self.database.run(
                fleet_admin.launch, by, self.policy.capacity, self.policy.maximum
            )
        except FleetFull as error:
            reason = f"fleet.maximum: {self.policy.maximum} app servers run already"
            raise ActionRejected(409, reason) from error
        self.tell_done(by, fleet_admin.LAUNCH, server)
        return done(f"Server {server} is being started")

    async def drain(self, server: str, by: By) -> HttpAnswer:
        """Move everybody off a server, which then ends."""
        try:
            if not _IS_ID.fullmatch(server):
                raise NoSuchServer()  # The beginning of an id is for people who type.
            await self.database.run(fleet_admin.drain, by, server)
        except NoSuchServer as error:
            raise ActionRejected(404, "There is no such server any more") from error
        self.tell_done(by, fleet_admin.DRAIN, server)
        return done(f"Server {server} is being drained")

    async def replace(self, request: Any, by: By) -> HttpAnswer:
        """Have others launched for the app servers of other versions than this page's."""
        most = _most(fields_of(request).get("most"))
        maximum = self.policy.maximum
        asked = await self.database.run(fleet_admin.replace, by, maximum, __version__, most)
        said = "Nothing is to be replaced"
        if asked.servers:
            count = fleet_admin.count_text(len(asked.servers))
            self.tell_done(by, fleet_admin.REPLACE, count)
            said = f"To be replaced, one after the other: {count}"
        return done(". ".join([said, *fleet_admin.replacement_notes(asked, maximum)]))

    async def keep(self, by: By) -> HttpAnswer:
        """Let those stay that are to be replaced and do not drain yet."""
        kept = await self.database.run(fleet_admin.cancel, by)
        if not kept:
            return done("Nothing is to be replaced any more")
        count = fleet_admin.count_text(len(kept))
        self.tell_done(by, fleet_admin.CANCEL_REPLACE, count)
        return done(f"Not to be replaced any more: {count}")

    async def actions(self, by: By) -> HttpAnswer:
        """The record of what was done, newest first."""
        deeds = await self.database.run(fleet_admin.actions, ACTIONS_LISTED)
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
        audit.record(action, "done", address=by.address, name=target, by=by.operator)
        self.on_change()

    def by_operator(self, act: Act) -> Responder:
        """`act`, for operators who are logged in."""

        async def ask(request: Any) -> HttpAnswer:
            # The page reads by itself: only what is done keeps a session alive.
            acts = request.method == b"POST"
            operator = self.sessions.operator(session_of(request), acts)
            if operator is None:
                raise ActionRejected(401, "Log in as an operator first")
            return await act(By(operator, _address(request), self.wall()))

        return ask


class Servers(ChangeResource):
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

        ChangeResource.__init__(self, from_page(ask))


def is_text(value: object) -> bool:
    """Whether it can be written as UTF-8: JSON can have halves of characters in it."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _most(value: object) -> int | None:
    """How many are meant at the most, None for all."""
    if value is None or value == "":
        return None
    try:
        return fleet_admin.parse_count(str(value))
    except ValueError as error:
        raise ActionRejected(400, f"most: {error}") from error


def _address(request: Any) -> str:
    return str(getattr(request.getClientAddress(), "host", "") or "")[:64]


def _cookie(value: str, request: Any) -> str:
    """The browser keeps it until it ends; how long the session lives is this server's to say."""
    secure = "; Secure" if request.isSecure() else ""
    return f"{cookie_name(request)}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"


PEOPLE_SHOWN = 50
"""People in one part of what is found."""


@dataclass(frozen=True, kw_only=True)
class Passwords:
    """How somebody's new password is hashed: in the turns of `queue`; `minimum` is in
    characters."""

    hasher: Hasher
    queue: FairQueue
    minimum: int


@dataclass(frozen=True, kw_only=True)
class PeopleControls:
    """Carries out what operators ask for of people.

    :param passwords: None where nobody may act.
    :param count: the service's numbers of one person, if it has any (`Service.person`).
    :param on_delete: what the service removes of an account, in parts (`Service.on_delete`).
    :param kept: what was found, for a moment.
    """

    controls: Controls
    passwords: Passwords | None
    count: Callable[[int], Mapping[str, int]] | None
    on_delete: Callable[[int], int] | None
    kept: TTLCache[HttpAnswer]

    @property
    def _database(self) -> Database:
        return self.controls.database

    # What operators see

    async def search(self, request: Any, by: By) -> HttpAnswer:
        """People by a part of their names."""
        text, behind, online = (_of_query(request, name) for name in ("search", "behind", "online"))

        async def make() -> HttpAnswer:
            found = await self._database.run(
                user_admin.search,
                by.now,
                text,
                online=bool(online),
                behind=behind,
                limit=PEOPLE_SHOWN,
            )
            return as_json({"people": [_person(each) for each in found.people], "more": found.more})

        return await self.kept.get(("people", text, behind, online), make)

    async def show(self, request: Any, by: By) -> HttpAnswer:
        """One person, with what the service counts of them."""
        name = _of_query(request, "name")
        try:
            found = await self._database.run(user_admin.show, by.now, name, self.count)
        except NoSuchPerson as error:
            raise _nobody() from error
        return as_json(_person(found))

    # What they do

    async def suspend(self, fields: Mapping[str, object], by: By) -> str:
        """Nobody logs in by that name for so long, or until it is resumed."""
        seconds, reason = fields.get("for"), fields.get("reason") or ""
        if seconds is not None and not _is_duration(seconds):
            raise ActionRejected(400, "How long is said in seconds, or left out")
        if not is_text(reason):
            raise ActionRejected(400, "The reason is a text")
        until = None if seconds is None else by.now + float(str(seconds))
        done = await self._run(user_admin.suspend, by, _name(fields), until, str(reason).strip())
        return f"{done.name} is suspended; {_sessions(done)}"

    async def resume(self, fields: Mapping[str, object], by: By) -> str:
        """They may log in again."""
        return f"{(await self._run(user_admin.resume, by, _name(fields))).name} may log in again"

    async def kick(self, fields: Mapping[str, object], by: By) -> str:
        """All their sessions end."""
        done = await self._run(user_admin.kick, by, _name(fields))
        return f"{done.name}: {_sessions(done)}"

    async def set_password(self, fields: Mapping[str, object], by: By) -> str:
        """They have another password."""
        name, password, passwords = _name(fields), fields.get("password"), self.passwords
        if passwords is None or not is_text(password):
            raise ActionRejected(400, "A password is needed")
        if str(password).split() != [password]:
            raise ActionRejected(400, "A password is one word: commands could not say it")
        try:
            accounts.check_password(str(password), passwords.minimum)
        except Refusal as error:
            raise ActionRejected(400, error.message) from error
        # Before anybody troubles to hash it.
        await self._run(user_admin.show, by.now, name)
        hashed = await passwords.queue.run(
            by.address, partial(passwords.hasher.hash, str(password))
        )
        done = await self._run(user_admin.set_password, by, name, hashed)
        return f"{done.name} has the new password; {_sessions(done)}"

    async def delete(self, fields: Mapping[str, object], by: By) -> str:
        """The account is gone."""
        name = _name(fields)
        if fields.get("again") != name:
            raise ActionRejected(400, "Type the name once more: the two differ")
        done, left = await self._run(user_admin.delete, by, name, self.on_delete)
        while left is not None:
            gone = await self._database.run(user_admin.go_on_deleting, left, self.on_delete)
            left = None if gone else left
        return f"{done.name} is deleted; {_sessions(done)}"

    def _run(self, rule: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        def refused(failure: Any) -> None:
            if failure.check(NoSuchPerson):
                raise _nobody()
            if failure.check(NotSuspended):
                raise ActionRejected(409, "There is no suspension to end")
            failure.raiseException()

        return self._database.run(rule, *arguments).addErrback(refused)

    # What it is asked for by

    def resource(self) -> Asked:
        """`/people`, and what is below it."""
        controls = self.controls

        def asked(ask: Callable[[Any, By], Any]) -> Asked:
            async def answer(request: Any) -> HttpAnswer:
                found: HttpAnswer = await controls.by_operator(partial(ask, request))(request)
                return found

            return Asked(answered(answer))

        root = asked(self.search)
        root.putChild(b"show", asked(self.show))
        for name, do in (
            (user_admin.SUSPEND, self.suspend),
            (user_admin.RESUME, self.resume),
            (user_admin.KICK, self.kick),
            (user_admin.PASSWORD, self.set_password),
            (user_admin.DELETE, self.delete),
        ):
            root.putChild(name.encode(), ChangeResource(from_page(self._deed(name, do))))
        return root

    def _deed(self, action: str, do: Callable[[Mapping[str, object], By], Any]) -> Responder:
        controls = self.controls

        async def answer(request: Any) -> HttpAnswer:
            async def act(by: By) -> HttpAnswer:
                if b"?" in request.uri:
                    raise ActionRejected(400, "What is to be done belongs in the body")
                fields = fields_of(request)
                message: str = await do(fields, by)
                controls.tell_done(by, action, _name(fields))
                return done(message)

            return await controls.by_operator(act)(request)

        return answer


def _person(person: Person) -> dict[str, object]:
    """As the page gets it."""
    shown = asdict(person) | {"state": person.state}
    del shown["id"]
    return shown


def _name(fields: Mapping[str, object]) -> str:
    name = fields.get("name")
    if not is_text(name) or not name:
        raise ActionRejected(400, "Whose account it is about is said by name")
    return str(name)


def _nobody() -> ActionRejected:
    return ActionRejected(404, "Nobody has this name")


def _sessions(done: ActionResult) -> str:
    if not done.sessions:
        return "nobody was logged in"
    return f"{done.sessions} {'session' if done.sessions == 1 else 'sessions'} ended"


def _of_query(request: Any, name: str) -> str:
    value: bytes = request.args.get(name.encode(), [b""])[0]
    return value.decode("utf-8", "replace")


def _is_duration(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < float(str(value)) <= user_admin.LONGEST
