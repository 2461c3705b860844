"""Sends what happens as it happens, as server-sent events (WHATWG HTML, 9.2).

A reader that does not read costs its transport's buffer and nothing else. While the buffer is full
nothing more is written. When it is empty, the reader gets what it missed, if it missed anything. A
reader whose buffer stays full is cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from bbs.web.auth import OperatorSessions
from bbs.web.context import ServiceInfo
from bbs.web.history import IWatchers, PageEvent
from bbs.web.poller import Poller
from bbs.web.snapshot import PageView, essence, snapshot

MOST_STREAMS = 100
RESERVED = 20  # the last of them are for operators who have logged in
STATE_INTERVAL = 5.0  # seconds: a state goes out at least this often, as a sign of life
PATIENCE = 30.0  # seconds for which a reader may leave its buffer full
RETRY = 2000  # milliseconds after which a browser connects again

_log = Logger()


def event(kind: str, data: object, number: int | None = None) -> bytes:
    """An event on the wire. A reader that comes back sends the last `number` it had."""
    id = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{id}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


@implementer(IWatchers)
class Streams:
    """Everybody who watches. A `Poller` tells it what happens, and has what somebody missed."""

    poller: Poller

    def __init__(
        self, info: ServiceInfo, sessions: OperatorSessions, reactor: IReactorTime
    ) -> None:
        self._info = info
        self._sessions = sessions
        self._reactor = reactor
        self._viewers: set[_Viewer] = set()
        self._essence: object = None
        self._history: bytes | None = None  # The last hour as an event, for all who come.
        self._sent_at = float("-inf")

    def is_full(self, token: str) -> bool:
        """Whether all streams are taken for the session `token` ("" for a stranger)."""
        reserved = RESERVED if self._sessions.operator(token) is None else 0
        return len(self._viewers) >= MOST_STREAMS - reserved

    def open(self, request: Any, token: str, after: int) -> None:
        """Send `request` what happens from now on, and the news with ids above `after`."""
        news = self.poller.page_history.news
        if after > max(news[-1].id if news else 0, self.poller.view().at * 1000):
            after = 0  # From an earlier process, whose clock has been set back since.
        viewer = _Viewer(self, request, token, after)
        self._viewers.add(viewer)
        request.notifyFinish().addBoth(lambda _: self._viewers.discard(viewer))
        request.registerProducer(viewer, True)
        viewer.write(f"retry: {RETRY}\n\n".encode())
        self.catch_up(viewer)

    def catch_up(self, viewer: _Viewer) -> None:
        page_history = self.poller.page_history
        if self._history is None:
            self._history = event("history", page_history.last_hour.as_json())
        state = self._state(self.poller.view(), viewer.token)
        # In one piece: it may be longer than the buffer, and after a part was dropped all of it
        # would be sent again.
        viewer.write(self._history + viewer.unsent(page_history.news) + state)

    def close(self) -> None:
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
        return event("state", snapshot(view, self._info, self._sessions.operator(token)))

    def _cut_off(self) -> None:
        for viewer in [*self._viewers]:
            if viewer.silent_for(self._reactor.seconds()) > PATIENCE:
                _log.info("a reader of the page's events does not read")
                viewer.abort()


@implementer(IPushProducer)
class _Viewer:
    """One stream. `token` is that of the session that opened it, "" for none."""

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
        """Send `data`. If the buffer is full, everything missed comes later."""
        if self._full_since is None:
            self._request.write(data)
        else:
            self._missed = True

    def unsent(self, news: Iterable[PageEvent]) -> bytes:
        """The events of `news` that are to be sent now."""
        new = [one for one in news if one.id > self._last]
        if self._full_since is None:
            # Rows of other servers may follow, with ids below those of events that are not stored.
            self._last = max((self._last, *(one.id for one in new if one.stored)))
        return b"".join(event("news", one.as_json(), one.id if one.stored else None) for one in new)

    def silent_for(self, now: float) -> float:
        """Seconds since the buffer became full; 0 if it is not."""
        return 0.0 if self._full_since is None else now - self._full_since

    def end(self) -> None:
        self._request.unregisterProducer()
        self._request.channel.persistent = False
        self._request.finish()

    def abort(self) -> None:
        self._request.channel.forceAbortClient()
