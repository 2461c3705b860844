"""The resources of the operators' page, and the answers that they share.

Nothing here blocks: a request that takes time is answered later.

`IndexPage` is the page's one file of markup, with what only the server knows. A script fills the
page in a moment later. Without the script the page has the service's name and version, how it does
in one sentence, what it counts, whether anybody may log in (also while so many watch that nobody
more may), and the fleet in sentences.
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

from bbs.core.values import Counter
from bbs.rules.page_history import short
from bbs.web.auth import OperatorSessions
from bbs.web.context import PageContext, ServiceInfo
from bbs.web.metrics import Metrics
from bbs.web.poller import Poller, TTLCache
from bbs.web.snapshot import (
    PageView,
    Problem,
    alarms_of,
    free_places,
    people,
    snapshot,
    states,
    summary,
    warnings,
)
from bbs.web.stream import Streams


class IndexPage(Element):
    """The page as the server sends it."""

    def __init__(self, markup: XMLString, info: ServiceInfo, view: PageView) -> None:
        Element.__init__(self, markup)
        self._info = info
        self._view = view

    @renderer
    def page(self, request: object, tag: Tag) -> Tag:
        info, view = self._info, self._view
        present = problems(view, info)
        found = summary(view, info.policy, present)
        return tag.fillSlots(
            service=info.service,
            counters=" ".join(each.name for each in info.counters),
            where=f"Version {info.version}, login server {short(info.login_server)}",
            level=found.level.value,
            summary=found.text,
            fleet=in_sentences(view, present),
        )

    @renderer
    def login(self, request: object, tag: Tag) -> Tag:
        """Hide the button to log in where nobody may."""
        return tag if self._info.may_act else tag(hidden="hidden")

    @renderer
    def lists(self, request: object, tag: Tag) -> Tag | str:
        """A part for the service's own lists; left out if it has none."""
        return tag if self._info.lists else ""

    @renderer
    def counted(self, request: object, tag: Tag) -> Tag | str:
        """A cell of the column of counters; left out if the service counts nothing."""
        counters = self._info.counters
        return tag.fillSlots(counted=column(counters)) if counters else ""


async def rendered(markup: XMLString, info: ServiceInfo, view: PageView) -> bytes:
    return b"<!doctype html>\n" + await flattenString(None, IndexPage(markup, info, view))


def column(counters: Sequence[Counter]) -> str:
    if len(counters) != 1:
        return "Counted/s"
    return f"{counters[0].name.replace('_', ' ').capitalize()}/s"


def problems(view: PageView, info: ServiceInfo) -> Sequence[Problem]:
    """What is wrong, as everybody may read it."""
    return [*alarms_of(view, info.policy, False), *warnings(view, info, False)]


def in_sentences(view: PageView, present: Sequence[Problem]) -> str:
    """The fleet and its `present` problems in sentences, for browsers without scripts."""
    at = datetime.fromtimestamp(view.seen_at, UTC)
    cries = [f"{'ALARM: ' if each.urgent else ''}{each.text}. {each.todo} " for each in present]
    counted = states(view.overview.servers)
    servers = ", ".join(f"{count} {state}" for state, count in counted.items())
    return (
        f"{''.join(cries)}At {at:%Y-%m-%d %H:%M:%S} UTC: "
        f"servers: {servers or 'none'}; people online: {people(view)}; "
        f"free places: {free_places(view)}; people waiting: {view.overview.waiting}."
    )


TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The media types of the page's files."""

NONE: Mapping[str, str] = MappingProxyType({})

KEPT_UNLESS_CHANGED: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-cache"})
"""The headers of the page's own files: a browser keeps them, and asks each time if it still may."""

TOO_MANY = "Too many people watch: log in as an operator, or wait until somebody leaves."

_log = Logger()


@dataclass(frozen=True)
class HttpAnswer:
    """A short answer; `code` is the status by RFC 9110."""

    code: int
    body: bytes
    _: KW_ONLY
    type: str
    headers: Mapping[str, str] = field(default_factory=dict)


Responder = Callable[[Any], Coroutine[Any, Any, HttpAnswer | None]]
"""Answers a request; the result is None if the answer has been sent or begun."""


def as_json(data: object, code: int = 200, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    body = json.dumps(data, ensure_ascii=False).encode()
    return HttpAnswer(code, body, type="application/json", headers=headers)


def as_text(text: str, code: int = 200, headers: Mapping[str, str] = NONE) -> HttpAnswer:
    body = f"{text}\n".encode()
    return HttpAnswer(code, body, type="text/plain; charset=utf-8", headers=headers)


def cookie_name(request: Any) -> str:
    """The name of the cookie with an operator's session. Browsers keep cookies by host and not by
    port, and another page on the same machine has sessions of its own."""
    return f"bbs_operator_{getattr(request.getHost(), 'port', 0)}"


def session_of(request: Any) -> str:
    """The token of the session that the request belongs to, "" for none."""
    return _cookie_of(request, cookie_name(request))


def device_cookie_name(request: Any) -> str:
    """The name of the cookie by which a browser is known (`OperatorDevices`)."""
    return f"bbs_device_{getattr(request.getHost(), 'port', 0)}"


def device_of(request: Any) -> str:
    """The cookie of the browser that sends the request, "" for none."""
    return _cookie_of(request, device_cookie_name(request))


def _cookie_of(request: Any, name: str) -> str:
    return (request.getCookie(name.encode()) or b"").decode("ascii", "replace")


def send(request: Any, answer: HttpAnswer | None) -> None:
    """Send an answer, if there is one and the peer is still there."""
    if answer is None or request.channel is None:
        return
    request.setResponseCode(answer.code)
    request.setHeader(b"Content-Type", answer.type.encode())
    for name, value in answer.headers.items():
        request.setHeader(name.encode(), value.encode())
    request.setHeader(b"Content-Length", str(len(answer.body)).encode())
    request.write(answer.body)  # Twisted leaves it out of the answer to HEAD.
    request.finish()


async def _not_found(request: Any) -> HttpAnswer:
    return as_text("Not found", 404)


class Branch(Resource):
    """A resource that only has others below it."""

    def __init__(self) -> None:
        Resource.__init__(self)

    # Twisted's own answer to HEAD has a body here, and Twisted logs that each time.
    def getChild(self, path: bytes, request: Any) -> Resource:
        found = ReadResource(_not_found)
        found.isLeaf = True  # Else a path of 16,000 parts would make as many resources.
        return found


class ReadResource(Branch):
    """A resource to read. `respond` returns None if it answers the request itself."""

    methods: tuple[bytes, ...] = (b"GET", b"HEAD")

    def __init__(self, respond: Responder) -> None:
        Branch.__init__(self)
        self._respond = respond

    def render(self, request: Any) -> int:
        if request.method not in self.methods:
            allow = b", ".join(self.methods).decode()
            send(request, as_text("Method not allowed", 405, {"Allow": allow}))
            return NOT_DONE_YET
        answered = Deferred.fromCoroutine(self._respond(request))
        request.notifyFinish().addErrback(lambda _: self.give_up(answered))
        answered.addCallback(lambda answer: send(request, answer))
        answered.addErrback(self._fail, request)
        return NOT_DONE_YET

    def give_up(self, answered: Deferred[Any]) -> None:
        """Stop, as nobody waits for the answer any more."""
        answered.cancel()

    def _fail(self, failure: Failure, request: Any) -> None:
        if not failure.check(CancelledError):
            path = request.path.decode("ascii", "backslashreplace")
            _log.failure("{path} could not be answered", failure=failure, path=path)
            send(request, as_text("Internal error", 500))


class ChangeResource(ReadResource):
    """A resource that changes something: it is carried out even if the peer goes away."""

    methods = (b"POST",)

    def give_up(self, answered: Deferred[Any]) -> None:
        """Go on without a reader."""


def static(name: str, content: bytes) -> Responder:
    """The responder for a file of the page. A browser that has it gets 304."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'.encode()
    found = HttpAnswer(200, content, type=TYPES[Path(name).suffix], headers=KEPT_UNLESS_CHANGED)

    async def answer(request: Any) -> HttpAnswer:
        return replace(found, code=304, body=b"") if request.setETag(tag) else found

    return answer


def read_static() -> Mapping[str, bytes]:
    """Read the page's files, by name. This blocks."""
    folder = Path(__file__).with_name("static")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in TYPES}


class StreamResource(ReadResource):
    """A resource whose answer does not end."""

    methods = (b"GET",)


@dataclass(frozen=True)
class Queries:
    """The responders to requests that only read. `markup` is that of the page. `cache` has answers
    that cost something."""

    context: PageContext
    poller: Poller
    streams: Streams
    sessions: OperatorSessions
    metrics: Metrics
    markup: XMLString
    cache: TTLCache[HttpAnswer]

    async def state(self, request: Any) -> HttpAnswer:
        operator = self.sessions.operator(session_of(request))
        # A search through thousands of servers costs something: only operators may.
        text = request.args.get(b"search", [b""])[0] if operator is not None else b""
        search = text.decode("utf-8", "replace").strip()[:64]

        async def make() -> HttpAnswer:
            view = await self.poller.look(names=operator is not None)
            return as_json(snapshot(view, self.context, operator, search))

        # The answer has the operator's name in it, and everybody's.
        return await self.cache.get(("state", operator, search), make)

    async def history(self, request: Any) -> HttpAnswer:
        server = request.args.get(b"server", [b""])[0].decode("ascii", "replace")

        hour = self.poller.page_history.last_hour
        if server and not hour.has(server):
            # Not kept: there are as many of these as strangers think of.
            return as_text("No such server", 404)

        async def make() -> HttpAnswer:
            return as_json(hour.of_server(server) if server else hour.as_json())

        return await self.cache.get(("history", server), make)

    async def index(self, request: Any) -> HttpAnswer:
        """The page itself, with the fleet as last seen."""

        async def make() -> HttpAnswer:
            body = await rendered(self.markup, self.context, self.poller.view())
            return HttpAnswer(200, body, type=TYPES[".html"], headers=KEPT_UNLESS_CHANGED)

        return await self.cache.get(("front",), make)

    async def stream(self, request: Any) -> HttpAnswer | None:
        token = session_of(request)
        if self.streams.is_full(token):
            return as_text(TOO_MANY, 503, {"Retry-After": "30"})
        request.setHeader(b"Content-Type", b"text/event-stream")
        # Else proxies with buffers would hold events back.
        request.setHeader(b"X-Accel-Buffering", b"no")
        last = request.getHeader(b"Last-Event-ID") or request.args.get(b"after", [b""])[0]
        after = int(last) if re.fullmatch(b"[0-9]{1,16}", last) else 0
        self.streams.open(request, token, after)
        return None

    async def health(self, request: Any) -> HttpAnswer:
        return as_text("ok")

    async def readiness(self, request: Any) -> HttpAnswer:
        if trouble := self.context.trouble():
            return as_text(trouble, 503, {"Retry-After": "5"})
        return as_text("ready")

    async def metrics_text(self, request: Any) -> HttpAnswer:
        accept = (request.getHeader(b"Accept") or b"").decode("ascii", "replace")
        encode, media_type = self.metrics.encoder(accept)

        async def make() -> HttpAnswer:
            return HttpAnswer(200, encode(), type=media_type)

        return await self.cache.get(("metrics", media_type), make)
