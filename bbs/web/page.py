"""Composes the operators' page, which a login server starts when `[web] listen` is set."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource
from twisted.web.template import XMLString

from bbs.core.values import IDoor, Rate
from bbs.limits.connections import Admission, Network
from bbs.limits.fair_queue import FairQueue
from bbs.limits.password_hashing import Hasher
from bbs.rules import fleets
from bbs.storage.engines import file_of
from bbs.web import auth
from bbs.web.actions import Controls, PeopleControls, ServersResource, answer_errors, require_page
from bbs.web.auth import OperatorDevices, Operators, OperatorSessions
from bbs.web.context import PageContext
from bbs.web.http_limits import CONNECTIONS_PER_ADDRESS, BoundedSite
from bbs.web.lists import ListControls
from bbs.web.metrics import Metrics
from bbs.web.poller import Poller, TTLCache
from bbs.web.resources import (
    Branch,
    ChangeResource,
    Queries,
    ReadResource,
    StreamResource,
    device_of,
    read_static,
    session_of,
    static,
)
from bbs.web.stream import Streams

PAGE = "page.html"  # the markup of `/`


async def make(
    context: PageContext,
    *,
    password_file: str,
    failed_logins: Rate,
    hasher: Hasher,
    queue: FairQueue,
    in_thread: Callable[..., Deferred[Any]],
    admission: Admission | None = None,
    proxies: Sequence[Network] = (),
) -> OperatorsPage:
    """Read the page's files, and make the page.

    :param password_file: has the operators' passwords; "" for no operators.
    :param queue: where attempts to log in wait to be hashed.
    :param in_thread: reads files.
    :param admission: counts the connections of the process, and then the page's too.
    :param proxies: networks of proxies that are believed about clients.
    :raises PasswordFileUnusable: nobody could log in with the file.
    """
    operators = None
    keys: Mapping[str, bytes] = {}
    if password_file:
        passwords = await in_thread(auth.read_passwords, password_file)
        secret = await context.database.run_at_start(fleets.hint_key)
        keys = auth.device_keys(passwords, secret)
        hashes = await auth.hashed(passwords, hasher)
        operators = Operators(hashes, hasher, failed_logins, context.reactor, queue)
    door = admission.door(CONNECTIONS_PER_ADDRESS) if admission else None
    devices = OperatorDevices(keys, context.wall)
    files = await in_thread(read_static)
    trusted = admission.trusted if admission else ()
    return OperatorsPage(context, files, operators, door, devices, proxies, trusted)


class OperatorsPage(Service):
    """Looks at the service, and serves what it sees. The caller listens with `site`.

    :param files: the page's files, by name.
    :param operators: the people who may act; None for nobody.
    :param door: lets connections in; None: all, up to the page's own limit.
    :param devices: the browsers from which operators have logged in; None: knows none.
    :param proxies: as of `make`.
    :param trusted: clients of proxies that may have any number of requests under way.
    """

    def __init__(
        self,
        context: PageContext,
        files: Mapping[str, bytes],
        operators: Operators | None,
        door: IDoor | None = None,
        devices: OperatorDevices | None = None,
        proxies: Sequence[Network] = (),
        trusted: Container[str] = (),
    ) -> None:
        has_file = file_of(context.database.url) is not None
        context = replace(context, may_act=operators is not None, has_file=has_file)
        reactor, sessions = context.reactor, OperatorSessions(context.reactor)
        self._timing = context.timing
        self._streams = Streams(context, sessions, reactor)
        self._metrics = metrics = Metrics(context)
        self._poller = metrics.poller = Poller(context, self._streams, metrics)
        self._streams.poller = self._poller
        devices = devices or OperatorDevices({}, context.wall)
        controls = Controls(context, operators, sessions, devices)
        people = PeopleControls(controls, TTLCache(reactor))
        lists = ListControls(controls, TTLCache(reactor))
        markup = XMLString(files[PAGE])
        queries = Queries(
            context, self._poller, self._streams, sessions, metrics, markup, TTLCache(reactor)
        )
        children: dict[str, IResource] = {
            "": ReadResource(queries.index),
            "state": ReadResource(queries.state),
            "stream": StreamResource(queries.stream),
            "metrics": ReadResource(queries.metrics_text),
            "health": ReadResource(queries.health),
            "ready": ReadResource(queries.readiness),
            "login": ChangeResource(require_page(controls.log_in)),
            "logout": ChangeResource(require_page(controls.log_out)),
            "actions": ReadResource(answer_errors(controls.by_operator(controls.actions))),
            "servers": ServersResource(controls),
            "people": people.resource(),
            "history": ReadResource(queries.history),
        }
        if context.lists:
            children |= {"lists": lists.resource()}
        own = {name: ReadResource(static(name, files[name])) for name in files if name != PAGE}
        root = Branch()
        for name, child in {**own, **children}.items():
            root.putChild(name.encode(), child)

        def shows_operator(request: Any) -> bool:
            session = sessions.operator(session_of(request))
            return (session or devices.operator(device_of(request))) is not None

        self.site = BoundedSite(root, reactor, door, shows_operator, proxies, trusted)

    def startService(self) -> None:
        Service.startService(self)
        self._timing.requests = self._metrics.requested
        self._timing.places = self._metrics.placed
        self._poller.startService()

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._timing.requests = self._timing.places = None
        self._streams.close()
        return self._poller.stopService()
