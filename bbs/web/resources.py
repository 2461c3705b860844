"""Resources of the operators' page, and the answers that they share.

Nothing here blocks: whatever takes time is asked of somebody else, and answered when it is there.

`IndexPage` is the page's one file of markup, with what only the server knows. A script fills the
page in a moment later. Without the script there are the service's name and version, what the
service counts, what the page will say when the broker is away, whether anybody may log in (also
while so many watch that nobody more may), and the fleet in sentences.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import Element, Tag, XMLString, flattenString, renderer

from bbs import __version__
from bbs.core.values import Counter, Policy, State
from bbs.rules.page_history import broker_away, short
from bbs.web.auth import OperatorSessions
from bbs.web.metrics import Metrics
from bbs.web.poller import Poller, TTLCache
from bbs.web.snapshot import PageView, ServiceInfo, alarms, free_places, people, snapshot
from bbs.web.stream import Streams


class IndexPage(Element):
    """The page as it is at first."""

    def __init__(self, markup: XMLString, standing: ServiceInfo, view: PageView) -> None:
        Element.__init__(self, markup)
        self._standing = standing
        self._view = view

    @renderer
    def page(self, request: object, tag: Tag) -> Tag:
        """The whole of it."""
        standing = self._standing
        return tag.fillSlots(
            service=standing.service,
            counters=" ".join(each.name for each in standing.counters),
            broker_away=broker_away(standing.counters, ", seconds later than usual"),
            where=f"Version {__version__}, login server {short(standing.login_server)}",
            fleet=in_sentences(self._view, standing.policy),
        )

    @renderer
    def login(self, request: object, tag: Tag) -> Tag:
        """The button, shown where somebody may log in."""
        return tag if self._standing.may_act else tag(hidden="hidden")

    @renderer
    def counted(self, request: object, tag: Tag) -> Tag | str:
        """A cell of the table's column of what each server counts, if the service counts
        anything."""
        counters = self._standing.counters
        return tag.fillSlots(counted=column(counters)) if counters else ""


async def rendered(markup: XMLString, standing: ServiceInfo, view: PageView) -> bytes:
    """The page as a browser gets it."""
    return b"<!doctype html>\n" + await flattenString(None, IndexPage(markup, standing, view))


def column(counters: Sequence[Counter]) -> str:
    """What is above the rates of each server."""
    if len(counters) != 1:
        return "Counted/s"
    return f"{counters[0].name.replace('_', ' ').capitalize()}/s"


def in_sentences(view: PageView, policy: Policy) -> str:
    """The fleet, for those who have no script."""
    at = datetime.fromtimestamp(view.seen_at, UTC)
    silence = view.measured.keeper_silence
    cries = [
        f"ALARM: {alarm.text}. " for alarm in alarms(view.scene.overview, policy, silence, False)
    ]
    states = [server.state for server in view.scene.overview.servers]
    servers = ", ".join(f"{states.count(each)} {each}" for each in State if each in states)
    away = "" if view.scene.database else " The database is away: nobody can log in."
    return (
        f"{''.join(cries)}At {at:%Y-%m-%d %H:%M:%S} UTC: "
        f"servers: {servers or 'none'}; people online: {people(view)}; "
        f"free places: {free_places(view)}; people waiting: {view.scene.overview.waiting}.{away}"
    )


TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The kinds of files that the page is made of."""

NONE: Mapping[str, str] = MappingProxyType({})

KEPT_UNLESS_CHANGED: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-cache"})
"""Of the page's own files, which a browser keeps, and asks each time whether it still may."""

TOO_MANY = "Too many people watch: log in as an operator, or wait until somebody leaves."

_log = Logger()


@dataclass(frozen=True)
class HttpAnswer:
    """A short answer: its status by RFC 9110, and what goes with it."""

    code: int
    body: bytes
    _: KW_ONLY
    type: str
    headers: Mapping[str, str] = field(default_factory=dict)


Responder = Callable[[Any], Coroutine[Any, Any, HttpAnswer]]
"""Answers a request."""


def as_json(data: object, code: int = 200, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    """`data` as an answer."""
    body = json.dumps(data, ensure_ascii=False).encode()
    return HttpAnswer(code, body, type="application/json", headers=headers)


def as_text(text: str, code: int = 200, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    """A line of text as an answer."""
    body = f"{text}\n".encode()
    return HttpAnswer(code, body, type="text/plain; charset=utf-8", headers=headers)


def cookie_name(request: Any) -> str:
    """The cookie with an operator's session. Browsers keep cookies by host, whatever the port, and
    another page on the same machine has sessions of its own."""
    return f"bbs_operator_{getattr(request.getHost(), 'port', 0)}"


def session_of(request: Any) -> str:
    """The token of the session that the request belongs to, "" for none."""
    return (request.getCookie(cookie_name(request).encode()) or b"").decode("ascii", "replace")


def send(request: Any, answer: HttpAnswer) -> None:
    """Answer `request`, if its peer is still there."""
    if request.channel is None:
        return
    request.setResponseCode(answer.code)
    request.setHeader(b"Content-Type", answer.type.encode())
    for name, value in answer.headers.items():
        request.setHeader(name.encode(), value.encode())
    request.setHeader(b"Content-Length", str(len(answer.body)).encode())
    request.write(answer.body)  # Which Twisted leaves out of what HEAD gets.
    request.finish()


class Branch(Resource):
    """What others are below, and nothing else."""

    def __init__(self) -> None:
        Resource.__init__(self)

    # Twisted's own for what is not there answers HEAD with a body, and logs that each time.

    def getChild(self, path: bytes, request: Any) -> Resource:
        return NotThere()


class Leaf(Branch):
    """What is asked for by `methods` alone; `begin` sees to it that the request is answered."""

    methods: tuple[bytes, ...] = (b"GET",)

    def begin(self, request: Any) -> None:
        """Answer, now or later."""
        raise LookupError("a leaf says how it answers")

    # IResource

    def render(self, request: Any) -> int:
        if request.method in self.methods:
            self.begin(request)
        else:
            allow = b", ".join(self.methods).decode()
            send(request, as_text("Method not allowed", 405, {"Allow": allow}))
        return NOT_DONE_YET


class Asked(Leaf):
    """What `ask(request)` comes to, for those who read."""

    methods: tuple[bytes, ...] = (b"GET", b"HEAD")

    def __init__(self, ask: Responder) -> None:
        Leaf.__init__(self)
        self._ask = ask

    def begin(self, request: Any) -> None:
        answered = Deferred.fromCoroutine(self._ask(request))
        request.notifyFinish().addErrback(lambda _: self.given_up(answered))
        answered.addCallback(lambda answer: send(request, answer))
        answered.addErrback(self._failed, request)

    def given_up(self, answered: Deferred[Any]) -> None:
        """Nobody waits for the answer any more."""
        answered.cancel()

    def _failed(self, failure: Failure, request: Any) -> None:
        if not failure.check(CancelledError):
            path = request.path.decode("ascii", "backslashreplace")
            _log.failure("{path} could not be answered", failure=failure, path=path)
            send(request, as_text("Internal error", 500))


class ChangeResource(Asked):
    """The same for those who change something: what has begun is done, whoever waits for it."""

    methods = (b"POST",)

    def given_up(self, answered: Deferred[Any]) -> None:
        """The answer will be for nobody."""


class NotThere(Asked):
    """What is not there, nor anything below it."""

    isLeaf = True

    def __init__(self) -> None:
        async def ask(request: Any) -> HttpAnswer:
            return as_text("Not found", 404)

        Asked.__init__(self, ask)


def static(name: str, content: bytes) -> Responder:
    """A file of the page's, which a browser asks for again and mostly has already."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'.encode()
    found = HttpAnswer(200, content, type=TYPES[Path(name).suffix], headers=KEPT_UNLESS_CHANGED)

    async def answer(request: Any) -> HttpAnswer:
        return replace(found, code=304, body=b"") if request.setETag(tag) else found

    return answer


def read_static() -> Mapping[str, bytes]:
    """The page's files by name. It reads them: for a thread."""
    folder = Path(__file__).with_name("static")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in TYPES}


class Stream(Leaf):
    """Events as they happen."""

    def __init__(self, streams: Streams) -> None:
        Leaf.__init__(self)
        self._streams = streams

    def begin(self, request: Any) -> None:
        token = session_of(request)
        if self._streams.full(token):
            send(request, as_text(TOO_MANY, 503, {"Retry-After": "30"}))
            return
        request.setHeader(b"Content-Type", b"text/event-stream")
        # Proxies that gather what they pass on would hold events back.
        request.setHeader(b"X-Accel-Buffering", b"no")
        last = request.getHeader(b"Last-Event-ID") or request.args.get(b"after", [b""])[0]
        after = int(last) if re.fullmatch(b"[0-9]{1,16}", last) else 0
        self._streams.open(request, token, after)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Answers to those who only read. What costs something to make is `kept` for a moment."""

    lookout: Poller
    standing: ServiceInfo
    sessions: OperatorSessions
    metrics: Metrics
    trouble: Callable[[], str]
    """Why nobody can log in, "" if they can."""
    markup: XMLString
    """The page's own."""
    kept: TTLCache[HttpAnswer]

    # Each is a `Responder`.

    async def state(self, request: Any) -> HttpAnswer:
        """The present."""
        operator = self.sessions.operator(session_of(request))
        # To look through thousands of servers costs something: for operators alone.
        text = request.args.get(b"search", [b""])[0] if operator is not None else b""
        search = text.decode("utf-8", "replace").strip()[:64]

        async def make() -> HttpAnswer:
            view = await self.lookout.look(names=operator is not None)
            return as_json(snapshot(view, self.standing, operator, search))

        # An operator's name is in it, and with it everybody's.
        return await self.kept.get(("state", operator, search), make)

    async def history(self, request: Any) -> HttpAnswer:
        """The last hour, of the fleet or of one server."""
        server = request.args.get(b"server", [b""])[0].decode("ascii", "replace")

        async def make() -> HttpAnswer:
            history = self.lookout.memory.history
            found = history.of_server(server) if server else history.as_json()
            return as_text("No such server", 404) if found is None else as_json(found)

        return await self.kept.get(("history", server), make)

    async def front(self, request: Any) -> HttpAnswer:
        """The page itself, with what is known without asking."""

        async def make() -> HttpAnswer:
            body = await rendered(self.markup, self.standing, self.lookout.view())
            return HttpAnswer(200, body, type=TYPES[".html"], headers=KEPT_UNLESS_CHANGED)

        return await self.kept.get(("front",), make)

    async def health(self, request: Any) -> HttpAnswer:
        """This process answers."""
        return as_text("ok")

    async def readiness(self, request: Any) -> HttpAnswer:
        """Whether people can log in."""
        trouble = self.trouble()
        if trouble:
            return as_text(trouble, 503, {"Retry-After": "5"})
        return as_text("ready")

    async def measurements(self, request: Any) -> HttpAnswer:
        """For Prometheus and what speaks its language."""
        accept = (request.getHeader(b"Accept") or b"").decode("ascii", "replace")
        encode, media_type = self.metrics.encoder(accept)

        async def make() -> HttpAnswer:
            return HttpAnswer(200, encode(), type=media_type)

        return await self.kept.get(("metrics", media_type), make)
