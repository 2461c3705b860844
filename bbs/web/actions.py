"""Actions of operators on the page: log in and out, launch, drain and replace servers, see people,
and suspend, log out or delete them.

Each action is recorded, by its transaction and in the log: who, when, from where. A request from
another site fails for three reasons: the browser sends the cookie only with requests of this site
(SameSite), `Origin` must be this site, and the forms of another site cannot set the header `X-BBS`.

Operators see names, numbers and times of people, and never a text that somebody wrote
(`bbs.rules.user_admin`). Names are in the body or the query, as they may have anything in them.
Passwords are in the body alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from email import message_from_bytes
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import parse_qs

from bbs.core import audit
from bbs.core.errors import Refusal, TooManyAttempts, Unavailable, WrongCredentials
from bbs.protocols.connection_state import host_of
from bbs.rules import accounts, fleet_admin, user_admin
from bbs.rules.fleet_admin import By, FleetFull, NoSuchServer, OperatorAction, run_by_hand
from bbs.rules.user_admin import ActionResult, NoSuchPerson, NotSuspended, Person
from bbs.web.auth import (
    DEVICE_LIFE,
    LONE_OPERATOR,
    OperatorDevices,
    Operators,
    OperatorSessions,
)
from bbs.web.context import PageContext
from bbs.web.poller import TTLCache
from bbs.web.resources import (
    NONE,
    ChangeResource,
    HttpAnswer,
    ReadResource,
    Responder,
    as_json,
    as_text,
    cookie_name,
    device_cookie_name,
    device_of,
    session_of,
)

MOST_ACTIONS = 200  # the latest, that `/actions` shows
MOST_PEOPLE = 50  # in one part of what a search finds

Act = Callable[[By], Coroutine[Any, Any, HttpAnswer]]
"""An action of an operator."""

_ID = re.compile("[0-9a-f]{32}")

_MEDIA_TYPE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;.*)?"
)

_log = Logger()


class ActionRejected(Exception):
    """A request is not carried out; `code` is the status by RFC 9110."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def success(message: str, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    return as_json({"status": 0, "message": message}, 200, headers)


def failure(code: int, reason: str, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    return as_json({"status": 1, "message": reason}, code, headers)


def answer_errors(respond: Responder) -> Responder:
    """Decorate `respond` to answer with the errors that it raises."""

    async def answer(request: Any) -> HttpAnswer | None:
        try:
            return await respond(request)
        except ActionRejected as error:
            return failure(error.code, str(error))
        except WrongCredentials:
            return failure(401, "No such operator or password error")
        except TooManyAttempts as error:
            return failure(429, error.message, {"Retry-After": str(error.args[0])})
        except Unavailable as error:
            return failure(503, error.message, {"Retry-After": "5"})

    return answer


def require_page(respond: Responder) -> Responder:
    """Decorate `respond` to refuse requests that the page itself does not make."""

    async def check(request: Any) -> HttpAnswer | None:
        origin, host = request.getHeader(b"Origin"), request.getHeader(b"Host")
        is_foreign = origin is not None and origin.partition(b"://")[2] != host
        if is_foreign or request.getHeader(b"X-BBS") is None:
            raise ActionRejected(403, "Refused: this is not the page's own request (header X-BBS)")
        return await respond(request)

    return answer_errors(check)


def fields_of(request: Any) -> Mapping[str, object]:
    """The fields of a request's body, a form or JSON, by name. A form's are in addition to those of
    the query."""
    given = request.getHeader(b"Content-Type") or b"text/plain"
    matched, body = _MEDIA_TYPE.fullmatch(given), request.content.read()
    if matched is None:
        raise ActionRejected(400, "Malformed header: Content-Type")
    form = {name: values[0] for name, values in request.args.items()}
    match matched[1].lower():
        case b"application/json":
            return _members(body)
        case b"application/x-www-form-urlencoded":
            form |= {name: values[0] for name, values in parse_qs(body, 1).items()}
        case b"multipart/form-data":
            form |= _parts(given, body)
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in form.items()
    }


def _members(body: bytes) -> Mapping[str, object]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):  # Malformed, or nested too deep.
        given = None
    return given if isinstance(given, dict) else {}


def _parts(media_type: bytes, body: bytes) -> Mapping[bytes, bytes]:
    """The fields of a form in parts (RFC 7578)."""
    found: dict[bytes, bytes] = {}
    try:
        message: Any = message_from_bytes(b"Content-Type: " + media_type + b"\r\n\r\n" + body)
        for part in message.get_payload() if message.is_multipart() else ():
            name = part.get_param("name", header="Content-Disposition")
            if isinstance(name, str):
                value = part.get_payload(decode=True) or b""
                found.setdefault(name.encode("utf-8", "replace"), value)
    except Exception as error:  # The package does not say which it raises.
        raise ActionRejected(400, "Malformed form") from error
    return found


def fields_only_in_body(request: Any) -> None:
    if b"?" in request.uri:
        raise ActionRejected(400, "Send the fields in the body, not in the address")


def credentials(request: Any) -> tuple[str, str]:
    """The name and the password in a request's body."""
    fields = fields_of(request)
    name, password = fields.get("name") or LONE_OPERATOR, fields.get("password")
    if not is_text(name) or not is_text(password) or not password:
        raise ActionRejected(400, "A name and a password are needed")
    return str(name), str(password)


@dataclass(frozen=True)
class Controls:
    """Carries out what operators ask for.

    :param operators: checks passwords; None where no password file is set, and nobody may act.
    """

    context: PageContext
    operators: Operators | None
    sessions: OperatorSessions
    devices: OperatorDevices

    async def log_in(self, request: Any) -> HttpAnswer:
        if self.operators is None:
            raise ActionRejected(409, "Nobody may act here: web.password_file is not set")
        if b"?" in request.uri:
            raise ActionRejected(400, "Send the password in the body: addresses are logged")
        name, password = credentials(request)
        address = _address(request)
        try:
            known = self.devices.operator(device_of(request)) == name
            await self.operators.check(name, password, address, known)
        except WrongCredentials:
            # Without the name: people type their password there, too.
            _log.warn("wrong operator password from {address}", address=address)
            raise
        token = self.sessions.begin(name)
        _log.info("operator {operator} at {address} logs in", operator=name, address=address)
        device = f"{self.devices.cookie(name)}; Max-Age={DEVICE_LIFE:.0f}"
        # The session's last, for programs that keep one cookie only.
        for cookie, value in ((device_cookie_name, device), (cookie_name, token)):
            request.cookies.append(_cookie(cookie(request), value, request).encode())
        return success("Welcome!")

    async def log_out(self, request: Any) -> HttpAnswer:
        self.sessions.end(session_of(request))
        cookie = _cookie(cookie_name(request), "; Max-Age=0", request)
        return success("Bye!", {"Set-Cookie": cookie})

    async def launch(self, by: By) -> HttpAnswer:
        policy, service = self.context.policy, self.context.service
        if not policy.maximum:
            raise ActionRejected(409, run_by_hand(service))
        try:
            server = await self.context.database.run(
                fleet_admin.launch, by, policy.capacity, policy.maximum
            )
        except FleetFull as error:
            raise ActionRejected(409, str(error)) from error
        self.report(by, fleet_admin.LAUNCH, server)
        return success(f"Server {server} is being started")

    async def drain(self, server: str, by: By) -> HttpAnswer:
        """Move everybody off a server, and end it."""
        try:
            if not _ID.fullmatch(server):
                raise NoSuchServer()  # Only at a shell is the beginning of an id enough.
            await self.context.database.run(fleet_admin.drain, by, server)
        except NoSuchServer as error:
            raise ActionRejected(404, "Unknown server, or it is gone") from error
        self.report(by, fleet_admin.DRAIN, server)
        return success(f"Server {server} is being drained")

    async def replace(self, request: Any, by: By) -> HttpAnswer:
        """Replace the app servers of other versions than this page's."""
        most = _replacement_limit(fields_of(request).get("most"))
        maximum = self.context.policy.maximum
        asked = await self.context.database.run(
            fleet_admin.replace, by, maximum, self.context.version, most
        )
        said = "Nothing is to be replaced"
        if asked.servers:
            count = fleet_admin.count_text(len(asked.servers))
            self.report(by, fleet_admin.REPLACE, count)
            said = f"To be replaced, one after the other: {count}"
        return success(". ".join([said, *fleet_admin.replacement_notes(asked, maximum)]))

    async def cancel_replacement(self, by: By) -> HttpAnswer:
        """Let the servers stay that are to be replaced and do not drain yet."""
        kept = await self.context.database.run(fleet_admin.cancel, by)
        if not kept:
            return success("Nothing is to be replaced any more")
        count = fleet_admin.count_text(len(kept))
        self.report(by, fleet_admin.CANCEL_REPLACE, count)
        return success(f"Not to be replaced any more: {count}")

    async def actions(self, by: By) -> HttpAnswer:
        recorded = await self.context.database.run(fleet_admin.actions, MOST_ACTIONS)
        return as_json([{**asdict(each), **self._words(each)} for each in recorded])

    def _words(self, action: OperatorAction) -> Mapping[str, str]:
        """What the service says that happened, of an act of its own."""
        own = self.context.acts.get(action.action)
        return {} if own is None else {"words": own.words(action.detail or "")}

    def report(self, by: By, action: str, target: str) -> None:
        """Log an action, and have the fleet controller look for it."""
        _log.info(
            # Quoted: an old name may have anything in it.
            "operator {operator} at {address}: {action} {target!r}",
            operator=by.operator,
            address=by.address,
            action=action,
            target=target,
        )
        audit.record(action, "done", address=by.address, name=target, by=by.operator)
        self.context.on_change()

    def by_operator(self, act: Act) -> Responder:
        """The responder that carries out `act` for operators who are logged in."""

        async def respond(request: Any) -> HttpAnswer | None:
            # The page reads by itself: only a change keeps a session alive.
            is_change = request.method == b"POST"
            operator = self.sessions.operator(session_of(request), is_change)
            if operator is None:
                raise ActionRejected(401, "Log in as an operator first")
            return await act(By(operator, _address(request), self.context.wall()))

        return respond


class ServersResource(ChangeResource):
    """`POST /servers`, and what is below it."""

    isLeaf = True

    def __init__(self, controls: Controls) -> None:
        async def respond(request: Any) -> HttpAnswer | None:
            act: Act
            match request.postpath:
                case []:
                    act = controls.launch
                case [b"replace"]:
                    act = partial(controls.replace, request)
                case [b"replace", b"cancel"]:
                    act = controls.cancel_replacement
                case [server, b"drain"]:
                    act = partial(controls.drain, server.decode("ascii", "replace"))
                case _:
                    return as_text("Not found", 404)
            return await controls.by_operator(act)(request)

        ChangeResource.__init__(self, require_page(respond))


def is_text(value: object) -> bool:
    """Whether `value` is a text that UTF-8 can write: JSON may have half of a surrogate pair."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _replacement_limit(value: object) -> int | None:
    """The most servers to replace, None for all."""
    if value is None or value == "":
        return None
    try:
        return fleet_admin.parse_count(str(value))
    except ValueError as error:
        raise ActionRejected(400, f"most: {error}") from error


def _address(request: Any) -> str:
    return host_of(request.getClientAddress())[:64]


def _cookie(name: str, value: str, request: Any) -> str:
    """A cookie that the browser keeps until it ends, unless `value` says for how long; this server
    decides how long a session lives."""
    secure = "; Secure" if request.isSecure() else ""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"


@dataclass(frozen=True)
class PeopleControls:
    """Carries out what operators ask for of people; `cache` has what searches found."""

    controls: Controls
    cache: TTLCache[HttpAnswer]

    # Queries

    async def search(self, request: Any, by: By) -> HttpAnswer:
        text, behind, online = (
            query_value(request, name) for name in ("search", "behind", "online")
        )

        async def make() -> HttpAnswer:
            found = await self.controls.context.database.run(
                user_admin.search,
                by.now,
                text,
                online=bool(online),
                behind=behind,
                limit=MOST_PEOPLE,
            )
            return as_json({"people": [_person(each) for each in found.people], "more": found.more})

        return await self.cache.get(("people", text, behind, online), make)

    async def show(self, request: Any, by: By) -> HttpAnswer:
        name, context = query_value(request, "name"), self.controls.context
        return as_json(_person(await self._run(user_admin.show, by.now, name, context.person)))

    # Changes

    async def suspend(self, fields: Mapping[str, object], by: By) -> str:
        """End all sessions, and let nobody log in by the name for a time, or until `resume`."""
        seconds, reason = fields.get("for"), fields.get("reason") or ""
        if seconds is not None and not _is_duration(seconds):
            raise ActionRejected(400, f"for must be seconds, {user_admin.LONGEST:.0f} at the most")
        if not is_text(reason):
            raise ActionRejected(400, "reason must be a text")
        until = None if seconds is None else by.now + float(str(seconds))
        done = await self._run(user_admin.suspend, by, _name(fields), until, str(reason).strip())
        return f"{done.name} is suspended; {_sessions(done)}"

    async def resume(self, fields: Mapping[str, object], by: By) -> str:
        return f"{(await self._run(user_admin.resume, by, _name(fields))).name} may log in again"

    async def kick(self, fields: Mapping[str, object], by: By) -> str:
        done = await self._run(user_admin.kick, by, _name(fields))
        return f"{done.name}: {_sessions(done)}"

    async def set_password(self, fields: Mapping[str, object], by: By) -> str:
        """Give somebody another password, and end their sessions."""
        name, password, operators = _name(fields), fields.get("password"), self.controls.operators
        if operators is None or not is_text(password):
            raise ActionRejected(400, "A password is needed")
        if str(password).split() != [password]:
            raise ActionRejected(400, "A password is one word, without spaces")
        try:
            accounts.check_password(str(password), self.controls.context.password_minimum)
        except Refusal as error:
            raise ActionRejected(400, error.message) from error
        # First, as hashing is expensive.
        await self._run(user_admin.show, by.now, name)
        hashed = await operators.hash(str(password), by.address)
        done = await self._run(user_admin.set_password, by, name, hashed)
        return f"{done.name} has the new password; {_sessions(done)}"

    async def delete(self, fields: Mapping[str, object], by: By) -> str:
        name = _name(fields)
        if fields.get("again") != name:
            raise ActionRejected(400, "Type the name once more: the two differ")
        context = self.controls.context
        done, left = await self._run(user_admin.delete, by, name, context.on_delete)
        while left is not None:
            gone = await context.database.run(user_admin.go_on_deleting, left, context.on_delete)
            left = None if gone else left
        return f"{done.name} is deleted; {_sessions(done)}"

    def _run(self, rule: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        def reject(failure: Any) -> None:
            if failure.check(NoSuchPerson):
                raise ActionRejected(404, "Nobody has this name")
            if failure.check(NotSuspended):
                raise ActionRejected(409, "Nobody with this name is suspended")
            failure.raiseException()

        return self.controls.context.database.run(rule, *arguments).addErrback(reject)

    def resource(self) -> ReadResource:
        def reader(read: Callable[[Any, By], Any]) -> ReadResource:
            async def answer(request: Any) -> HttpAnswer | None:
                return await self.controls.by_operator(partial(read, request))(request)

            return ReadResource(answer_errors(answer))

        root = reader(self.search)
        root.putChild(b"show", reader(self.show))
        for name, change in (
            (user_admin.SUSPEND, self.suspend),
            (user_admin.RESUME, self.resume),
            (user_admin.KICK, self.kick),
            (user_admin.PASSWORD, self.set_password),
            (user_admin.DELETE, self.delete),
        ):
            child = ChangeResource(require_page(self._change_responder(name, change)))
            root.putChild(name.encode(), child)
        return root

    def _change_responder(
        self, action: str, change: Callable[[Mapping[str, object], By], Any]
    ) -> Responder:
        async def answer(request: Any) -> HttpAnswer | None:
            async def act(by: By) -> HttpAnswer:
                fields_only_in_body(request)
                fields = fields_of(request)
                message: str = await change(fields, by)
                self.controls.report(by, action, _name(fields))
                return success(message)

            return await self.controls.by_operator(act)(request)

        return answer


def _person(person: Person) -> dict[str, object]:
    shown = asdict(person) | {"state": person.state}
    del shown["id"]
    return shown


def _name(fields: Mapping[str, object]) -> str:
    name = fields.get("name")
    if not is_text(name) or not name:
        raise ActionRejected(400, "Missing or malformed field: name")
    return str(name)


def _sessions(done: ActionResult) -> str:
    if not done.sessions:
        return "nobody was logged in"
    return f"{done.sessions} {'session' if done.sessions == 1 else 'sessions'} ended"


def query_value(request: Any, name: str) -> str:
    value: bytes = request.args.get(name.encode(), [b""])[0]
    return value.decode("utf-8", "replace")


def _is_duration(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < float(str(value)) <= user_admin.LONGEST
