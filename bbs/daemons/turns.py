"""How much a server does before it looks at its timers and sockets again.

Twisted's reactor asks epoll for all events that there are, and deals with them in one turn. Where
thousands of connections end at once, nobody else is served meanwhile: 6,000 of the telnet gateway's
took 720 ms in one turn. So a turn takes a few events at most; those that are left are the first of
the next. epoll itself sees to that: it "will round robin through the set of ready file descriptors"
(epoll_wait(2)), so nobody is passed over, and what is ready stays so until it is dealt with.

What a single event or timer does is bounded where it is done.
"""

from __future__ import annotations

import select
from typing import Any

MOST_EVENTS = 32
"""Events in a turn: the dearest, the end of a visit to the gateway by who is logged in, takes about
1 ms on a busy machine. With fewer the turns themselves would be felt."""


def bound_turns(reactor: Any) -> None:
    """Have `reactor` deal with MOST_EVENTS events in a turn at the most, if it goes by epoll, as it
    does on Linux. Any other stays as it is."""
    epoll = getattr(select, "epoll", None)
    # Twisted has no word for this, so the object that it asks is replaced (`EPollReactor.doPoll`).
    poller = getattr(reactor, "_poller", None)
    if epoll is not None and isinstance(poller, epoll):
        reactor._poller = _Poller(poller)


class _Poller:
    """An epoll object that gives few events at a time."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        # Looked up once: each is called for every connection.
        self._poll = poller.poll
        self.register, self.unregister = poller.register, poller.unregister
        self.modify = poller.modify

    def poll(self, timeout: float, most: int) -> Any:
        return self._poll(timeout, min(most, MOST_EVENTS))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)
