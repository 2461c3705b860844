"""Limits that have no key, taken out of a server of the harness's own.

`without/sitecustomize.py`, which Python finds by the path that these servers are started with,
calls `apply` before anything of the server runs, in its app servers too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

VARIABLE = "ATTACKS_WITHOUT"
"""The environment variable that names them, separated by commas."""

NO_LIMIT = 10**9


def apply() -> None:
    """Take out what the environment names."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        {**PATCHES, **HASTENED}[name]()


def _descriptors() -> None:
    """A server does not know how many descriptors it may have open."""
    from bbs.limits import connections

    admission: Any = connections.Admission
    begin = admission.__init__

    def unaware(
        self: Any, most: int, trusted: Any, descriptors: int | None = None, *more: Any, **named: Any
    ) -> None:
        begin(self, most, trusted, None, *more, **named)

    admission.__init__ = unaware


def _turns() -> None:
    """Passwords are hashed in the order in which they come, however many are an address's."""
    from bbs.limits import fair_queue

    names: Any = fair_queue
    names.MOST_OF_AN_ADDRESS = NO_LIMIT
    names.networks = lambda host: ("", "", "")
    begin = fair_queue.FairQueue.__init__

    def unfair(
        self: Any, at_once: int, per_address: int, trusted: Any, clock: Any, *more: Any
    ) -> None:
        begin(self, at_once, NO_LIMIT, trusted, clock, NO_LIMIT)

    queue: Any = fair_queue.FairQueue
    queue.__init__ = unfair


def _networks() -> None:
    """Addresses take turns, whatever networks they are in, and nobody is known."""
    from bbs.core.addresses import counted_as
    from bbs.limits import fair_queue

    names: Any = fair_queue
    names.networks = lambda host: ("", "", counted_as(host))
    names.LATELY = 0.0
    _known()


def _known() -> None:
    """Nobody is known, neither by their network nor by their device."""
    from bbs.rules import accounts

    known: Any = accounts
    known.Credentials.know = lambda self, network, now: False
    known.DeviceTokens.verify = lambda self, connection, found, now: False


def _guess_delay() -> None:
    """Guesses at the gateways' secret are compared as fast as they come."""
    from bbs.limits import rate_limits

    names: Any = rate_limits
    names.GUESS_DELAY = 0.0


def _page_turns() -> None:
    """The page begins the next request of a connection as soon as the one before is answered."""
    from twisted.web.http import HTTPChannel

    from bbs.web import http_limits

    channel: Any = http_limits.BoundedChannel
    channel.requestDone = HTTPChannel.requestDone
    channel.rawDataReceived = HTTPChannel.rawDataReceived
    channel.resumeProducing = HTTPChannel.resumeProducing


def _page_kept() -> None:
    """The page makes each answer anew."""
    from bbs.web import poller

    answers: Any = poller.TTLCache

    async def make_anew(self: Any, key: object, make: Callable[[], Any]) -> Any:
        return await make()

    answers.get = make_anew


def _page_connections() -> None:
    """The page takes any number of connections."""
    from bbs.web import http_limits, page

    pages: Any = page
    sites: Any = http_limits
    pages.CONNECTIONS_PER_ADDRESS = sites.CONNECTIONS_PER_ADDRESS = NO_LIMIT
    sites.MAX_CONNECTIONS = NO_LIMIT


def _page_forms() -> None:
    """The page parses a form before it asks a resource, and what fails in a turn ends the turn."""
    from twisted.web.http import HTTPChannel

    from bbs.web import http_limits

    request: Any = http_limits.BoundedRequest
    channel: Any = http_limits.BoundedChannel
    site: Any = http_limits.BoundedSite
    request.requestReceived = http_limits.Request.requestReceived
    channel.dataReceived = HTTPChannel.dataReceived
    channel._fail_alone = lambda self, call, *arguments: call(self, *arguments)

    def begin_some(self: Any) -> None:
        for _ in range(min(len(self._queue), http_limits.BEGUN_AT_ONCE)):
            self._queue.popleft().begin_next()
        self._is_scheduled = False
        self._schedule()

    site._begin_some = begin_some


def _log_repeats() -> None:
    """Each traceback is written."""
    from bbs.daemons import logs

    observers: Any = logs.RepeatedFailures
    observers.__call__ = lambda self, event: self._observer(event)


def _page_plots() -> None:
    """The page keeps an answer for each server that anybody asks for, and any number of answers."""
    from bbs.web import history, poller

    hours: Any = history.LastHour
    hours.has = lambda self, server: True
    answers: Any = poller
    answers.MOST_ANSWERS = NO_LIMIT


def _page_way() -> None:
    """No connection to the page gives way to another, and none is kept for operators."""
    from bbs.web import http_limits

    sites: Any = http_limits
    sites.BoundedSite.make_way = lambda self: False
    sites.MAX_OPERATORS = 0


def _page_devices() -> None:
    """The page knows no browser."""
    from bbs.web import auth

    devices: Any = auth.OperatorDevices
    devices.operator = lambda self, cookie: None


def _replies() -> None:
    """A reply is as long as what there is."""
    from bbs.rules import pagination

    names: Any = pagination
    names.MOST_BYTES = names.MOST_ENTRIES = NO_LIMIT
    _prices()


def _prices() -> None:
    """Whatever is returned costs one command."""
    from bbs.rules import pagination

    names: Any = pagination
    names.PRICED_BYTES = names.PRICED_ROWS = NO_LIMIT


def _counts() -> None:
    """All that is new is counted."""
    from bbs.board.posts import user_stats

    names: Any = user_stats
    names.MOST_COUNTED = names.MOST_IN_GROUPS = NO_LIMIT


def _fetches() -> None:
    """A fetch of events for listeners is as long as they are."""
    from bbs.board.messages import messages

    names: Any = messages
    names.FETCHED_BYTES = names.LOOKED_AT = NO_LIMIT


def _unread() -> None:
    """Requests are begun however much waits to be written."""
    from bbs.protocols.connection_state import ConnectionState

    life: Any = ConnectionState
    life.block = lambda self: False


def _listeners() -> None:
    """A user listens on any number of connections."""
    from bbs.delivery import listeners

    names: Any = listeners
    names.LISTENING_CONNECTIONS = NO_LIMIT


def _late_lines() -> None:
    """A line may take any time to come to its end, and is renewed by each byte."""
    from bbs.daemons import composition

    names: Any = composition
    names.LineLimits = partial(composition.LineLimits, line_timeout=NO_LIMIT)


def _sealed_hints() -> None:
    """Every hint counts as sealed by a server of the service, however often it comes."""
    from bbs.delivery.bus import Bus

    bus: Any = Bus
    bus._is_proved = bus._is_new = lambda self, *hint: True


def _copies() -> None:
    """Restore takes every copy whose pages are in order and whose version is one."""
    from bbs.storage import sqlite_backup

    names: Any = sqlite_backup
    names.check_objects = names.compare = names.check_rows = lambda *all, **named: None
    names.read_checksum = lambda path: None


def _giving_way() -> None:
    """Nobody who has asked something gives way, and nothing is kept for known addresses."""
    from bbs.limits import connections

    names: Any = connections
    names.KEPT = NO_LIMIT
    names.IdleConnections.give_way = lambda self, address: False


def _giving_way_of_places() -> None:
    """Nobody gives up a place that is not used."""
    from bbs.rules import presence

    crowd: Any = presence.Crowd
    crowd.give_way = lambda self, origin: None


def _soon_silent() -> None:
    """Somebody is silent after a second, not after two minutes."""
    from bbs.rules import presence

    names: Any = presence
    names.SILENT = 1.0


def _long_texts() -> None:
    """A text costs as much as a short one."""
    from bbs.rules import auth

    names: Any = auth
    names.TEXT_UNIT = NO_LIMIT


def _told_once() -> None:
    """People are told of each invitation."""
    from bbs.board.people import heard

    names: Any = heard
    names.QUIET = 0.0


def _former_blocks() -> None:
    """A block ends with the account of the blocked."""
    from bbs.board.people import former

    names: Any = former
    names.keep_all = lambda user: 0


def _unseen_replies() -> None:
    """Whoever follows a thread is told of each reply."""
    from bbs.board.people import blocks

    names: Any = blocks
    names.has_not_blocked = lambda user, writer: writer == writer


def _elsewhere() -> None:
    """A user has the whole rate at each app server."""
    from bbs.commands import cost_limits

    names: Any = cost_limits
    names.ELSEWHERE = 1


def _ended_groups() -> None:
    """A group stays after its last member has left."""
    from bbs.board.groups import groups

    names: Any = groups
    names.has_posts = lambda group: True


def _shared_invitations() -> None:
    """One person may have invited another to any number of groups, and again however often they
    were declined."""
    from bbs.board.people import friendships

    names: Any = friendships
    names.MOST_DECLINED = names.SHARE_OF_INVITATIONS = NO_LIMIT


def _shared_posts() -> None:
    """Beyond its quota, the oldest posts of a group go, whoever wrote them."""
    from bbs.board.posts import post_shares
    from bbs.board.posts.tables import Contribution
    from bbs.storage.database import rows

    def oldest(group: int, found: object, over: int) -> list[int]:
        own = Contribution.select(Contribution.post).where(Contribution.group == group)
        return [post for (post,) in rows(own.order_by(Contribution.number).limit(over))]

    names: Any = post_shares
    names._oldest_of_most = oldest


def _shared_inboxes() -> None:
    """One sender may have all of an inbox."""
    from bbs.board import inbox_shares

    names: Any = inbox_shares
    names.share_of = names.free_of = lambda quota: quota


def _client_bounds() -> None:
    """A client decodes whatever a server sends, and joins all of it."""
    from bbs.client import client, connection, replies

    lines: Any = connection.ServerConnection
    lines.max_reply = NO_LIMIT
    names: Any = replies
    names.DEEPEST = names.MOST_VALUES = NO_LIMIT
    parts: Any = client
    parts.MOST_VALUES = NO_LIMIT


def _visit_turns() -> None:
    """A gateway makes a session for each connection at once, and does all work when it comes."""
    from bbs.daemons import telnet
    from bbs.ui.gateway import connection, session

    queue: Any = session.RunQueue
    queue.add = lambda self, host, work: self._clock.callLater(0, work)
    gateway: Any = telnet
    gateway.bound_accepts = lambda port: None
    visits: Any = connection.GatewayConnection
    begin = visits.connectionMade

    def early(self: Any) -> None:
        begin(self)
        self._terminal = self._factory.terminals.make(self)
        self._begin_session()
        self._session._converse()

    visits.connectionMade = early


PATCHES: Mapping[str, Callable[[], None]] = {
    "descriptors": _descriptors,
    "turns": _turns,
    "networks": _networks,
    "known": _known,
    "guess-delay": _guess_delay,
    "page-turns": _page_turns,
    "page-kept": _page_kept,
    "page-connections": _page_connections,
    "page-forms": _page_forms,
    "page-plots": _page_plots,
    "page-way": _page_way,
    "page-devices": _page_devices,
    "log-repeats": _log_repeats,
    "replies": _replies,
    "prices": _prices,
    "counts": _counts,
    "fetches": _fetches,
    "unread": _unread,
    "listeners": _listeners,
    "late-lines": _late_lines,
    "sealed-hints": _sealed_hints,
    "copies": _copies,
    "giving-way": _giving_way,
    "giving-way-of-places": _giving_way_of_places,
    "long-texts": _long_texts,
    "told-once": _told_once,
    "former-blocks": _former_blocks,
    "unseen-replies": _unseen_replies,
    "elsewhere": _elsewhere,
    "ended-groups": _ended_groups,
    "shared-invitations": _shared_invitations,
    "shared-posts": _shared_posts,
    "shared-inboxes": _shared_inboxes,
    "visit-turns": _visit_turns,
    "client-bounds": _client_bounds,
}
"""By the names of limits (`limits.LIMITS`)."""

HASTENED: Mapping[str, Callable[[], None]] = {"soon-silent": _soon_silent}
"""What makes a server wait less than it does elsewhere, by names of their own."""
