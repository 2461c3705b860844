"""What happens, as it happens: server-sent events (WHATWG HTML, 9.2).

A reader that does not read costs its transport's buffer and nothing else: while that is full
nothing more is written, then comes what was missed, if anything was, and whoever stays behind is
cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from bbs.web.auth import OperatorSessions
from bbs.web.history import IWatchers, PageEvent
from bbs.web.poller import Poller
from bbs.web.snapshot import PageView, ServiceInfo, essence, snapshot

MOST = 100
"""Streams at once."""

KEPT = 20
"""The last of those, which are for operators who have logged in."""

STATE_INTERVAL = 5.0
"""Seconds between states at the most, also when nothing has changed: a sign of life."""

PATIENCE = 30.0
"""Seconds for which a reader may leave its buffer full."""

RETRY = 2000
"""Milliseconds after which a browser connects again."""

_log = Logger()


def event(kind: str, data: object, number: int | None = None) -> bytes:
    """One event on the wire; a reader that comes back says the last `number` it had."""
    id = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{id}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


@implementer(IWatchers)
class Streams:
    """Everybody who watches. It is told what happens by a `Poller`, and asks it for what somebody
    has missed."""

    lookout: Poller

    def __init__(
        self, standing: ServiceInfo, sessions: OperatorSessions, reactor: IReactorTime
    ) -> None:
        self._standing = standing
        self._sessions = sessions
        self._reactor = reactor
        self._viewers: set[_Viewer] = set()
        self._essence: object = None
        self._history: bytes | None = None
        """The last hour as an event: for those who come again and again."""
        self._sent_at = float("-inf")

    def full(self, token: str) -> bool:
        """Whether nobody more may watch of those whose session is `token`, "" for none."""
        kept = KEPT if self._sessions.operator(token) is None else 0
        return len(self._viewers) >= MOST - kept

    def open(self, request: Any, token: str, after: int) -> None:
        """Send events to `request` from now on, and the news with ids above `after`."""
        kept = self.lookout.memory.kept
        if after > max(kept[-1].id if kept else 0, self.lookout.view().at * 1000):
            after = 0  # Of a process that was before this one, and by a clock since set back.
        viewer = _Viewer(self, request, token, after)
        self._viewers.add(viewer)
        request.notifyFinish().addBoth(lambda _: self._viewers.discard(viewer))
        request.registerProducer(viewer, True)
        viewer.write(f"retry: {RETRY}\n\n".encode())
        self.catch_up(viewer)

    def catch_up(self, viewer: _Viewer) -> None:
        """Send everything that `viewer` may lack."""
        # As one: it may be longer than a buffer is, and what is dropped of it would come anew.
        if self._history is None:
            self._history = event("history", self.lookout.memory.history.as_json())
        state = self._state(self.lookout.view(), viewer.token)
        viewer.write(self._history + viewer.unsent(self.lookout.memory.kept) + state)

    def close(self) -> None:
        """Tell everybody that this server stops, and end the streams."""
        for viewer in [*self._viewers]:
            viewer.write(event("bye", {}))
            viewer.end()

    # IWatchers

    def watched(self) -> tuple[bool, bool]:
        return bool(self._viewers), any(
            self._sessions.operator(viewer.token) for viewer in self._viewers
        )

    def state(self, view: PageView) -> None:
        self._cut_off()
        now, core = self._reactor.seconds(), essence(view)
        if core == self._essence and now - self._sent_at < STATE_INTERVAL:
            return
        self._essence, self._sent_at = core, now
        written: dict[str | None, bytes] = {}
        for viewer in [*self._viewers]:
            operator = self._sessions.operator(viewer.token)
            if operator not in written:
                written[operator] = self._state(view, viewer.token)
            viewer.write(written[operator])

    def point(self, point: dict[str, object]) -> None:
        self._history = None
        for viewer in [*self._viewers]:
            viewer.write(event("point", point))

    def news(self, news: Sequence[PageEvent]) -> None:
        for viewer in [*self._viewers]:
            viewer.write(viewer.unsent(news))

    def _state(self, view: PageView, token: str) -> bytes:
        return event("state", snapshot(view, self._standing, self._sessions.operator(token)))

    def _cut_off(self) -> None:
        for viewer in [*self._viewers]:
            if viewer.silent_for(self._reactor.seconds()) > PATIENCE:
                _log.info("a reader of the page's events does not read")
                viewer.abort()


@implementer(IPushProducer)
class _Viewer:
    """One stream. `token` is the session's that it was opened with, "" for none."""

    def __init__(self, streams: Streams, request: Any, token: str, last: int) -> None:
        self.token = token
        self._streams = streams
        self._request = request
        self._last = last
        self._full_since: float | None = None
        self._missed = False

    # IPushProducer

    def pauseProducing(self) -> None:
        if self._full_since is None:
            self._full_since = self._streams._reactor.seconds()

    def resumeProducing(self) -> None:
        self._full_since = None
        if self._missed:
            self._missed = False
            self._streams.catch_up(self)

    def stopProducing(self) -> None:
        self._full_since = None

    def write(self, data: bytes) -> None:
        """Send `data`, unless the buffer is full: then all of it comes later."""
        if self._full_since is None:
            self._request.write(data)
        else:
            self._missed = True

    def unsent(self, news: Iterable[PageEvent]) -> bytes:
        """Those of `news` that have not been sent, to be written now."""
        new = [one for one in news if one.id > self._last]
        if self._full_since is None:
            # Other servers' rows may follow with ids below those of what was told here alone.
            self._last = max((self._last, *(one.id for one in new if one.stored)))
        return b"".join(event("news", one.as_json(), one.id if one.stored else None) for one in new)

    def silent_for(self, now: float) -> float:
        """Seconds for which the buffer has been full."""
        return 0.0 if self._full_since is None else now - self._full_since

    def end(self) -> None:
        """Close the stream when everything has been sent."""
        self._request.unregisterProducer()
        self._request.channel.persistent = False
        self._request.finish()

    def abort(self) -> None:
        """Close the connection at once."""
        self._request.channel.forceAbortClient()
