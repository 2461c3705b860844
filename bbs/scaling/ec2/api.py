"""The EC2 API itself: one call, asked once.

What a call needs is found in a thread that belongs to this: botocore's description of the API, when
the first call comes, and the credentials. Signing, asking and reading happen on the reactor.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from xml.etree.ElementTree import Element  # nosec B405 # expat reads it, in `answers`.

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from zope.interface import Interface, implementer

from bbs.config import EC2
from bbs.gathering import Shared
from bbs.scaling.ec2.answers import NotAnAnswer, error_in
from bbs.scaling.ec2.credentials import Credentials
from bbs.scaling.ec2.errors import EC2Error, judge, no_answer, unready
from bbs.scaling.ec2.gates import PACES
from bbs.scaling.ec2.network import named
from bbs.workers import IWorkers, Workers

T = TypeVar("T")

TOGETHER = 10
"""Items of a list that are read in one turn of the reactor: an instance takes about 0.15 ms."""

STOPPING = 2.0
"""Seconds for which stopping waits for a thread that asks for credentials."""

METADATA = {"metadata_service_timeout": 2, "metadata_service_num_attempts": 3}
"""How long, in seconds, and how often an instance's metadata are asked at the least."""

Answer = Mapping[str, Any]


class IApi(Interface):
    """What asks the EC2 API, and makes no decision of its own. Every error is an `EC2Error`, and
    what is waited for can be cancelled."""

    def ready(action: str) -> Deferred[None]:
        """Fires when what a call needs is there. Nothing was asked if that fails."""

    def ask(action: str, parameters: Mapping[str, Any]) -> Deferred[Answer]:
        """Ask once; fires with the answer as boto3 has it, without its ResponseMetadata."""


@implementer(IApi)
class Api(Service):
    """The API at the endpoint of a configuration.

    :param wall: seconds since the epoch, as this machine has them.
    :param find: asks botocore's chain for credentials, and blocks; or else a session of its own.
    """

    def __init__(
        self,
        reactor: Any,
        config: EC2,
        workers: IWorkers | None = None,
        wall: Callable[[], float] = time.time,
        find: Callable[[], Any] | None = None,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._workers: Any = workers or Workers(reactor, "ec2", 1)
        self._wall = wall
        self._shared = Shared()
        self._credentials = Credentials(self._workers, find or _find)
        self._description: Any = None
        self._exchange: Any = None

    def startService(self) -> None:
        Service.startService(self)
        self._workers.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        ends = [self._workers.stopService()]
        if self._exchange is not None:
            ends.append(self._exchange.close())
        stopped = DeferredList(ends, consumeErrors=True)
        return stopped.addTimeout(STOPPING, self._reactor).addBoth(lambda _: None)

    # IApi

    def ready(self, action: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._ready(action))

    def ask(self, action: str, parameters: Mapping[str, Any]) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self._ask(action, parameters))

    # A call

    async def _ready(self, action: str) -> None:
        if self._description is None:
            await _found(action, self._shared.join("description", self._describe))
        await _found(action, self._credentials.current())

    async def _describe(self) -> None:
        self._description, exchange = await self._workers.run(_load, self._config)
        self._exchange = exchange(self._reactor, self._description.route)

    async def _ask(self, action: str, parameters: Mapping[str, Any]) -> Answer:
        keys = await _found(action, self._credentials.current())
        try:
            return await self._send(action, parameters, keys)
        except EC2Error as error:
            if not error.credentials:
                raise
            others = await _found(action, self._credentials.anew(keys))
            if others == keys:
                raise
        return await self._send(action, parameters, others)

    async def _send(self, action: str, parameters: Mapping[str, Any], keys: Any) -> Answer:
        request = self._description.request(action, parameters, keys)
        with named(action):
            heard = await self._exchange.post(request)
        if 200 <= heard.status < 300:
            if heard.root is None:
                raise no_answer(action, heard.problem)
            return await self._read(action, heard.root)
        said = error_in(heard.root) if heard.root is not None else None
        if said is None and 300 <= heard.status < 500 and heard.status != 429:
            # A proxy's, or a server's that is not EC2.
            raise no_answer(action, f"HTTP {heard.status}")
        code, message = said or ("", "")
        raise judge(action, code, message, heard.status, self._behind(heard.date))

    async def _read(self, action: str, root: Element) -> Answer:
        answer: dict[str, Any] = {}
        try:
            for number, _ in enumerate(self._description.reader(action).steps(root, answer), 1):
                if number % TOGETHER == 0:
                    await deferLater(self._reactor, 0)
        except NotAnAnswer as problem:
            raise no_answer(action, str(problem)) from None
        return answer

    def _behind(self, date: str) -> float | None:
        """Seconds by which this machine's clock is behind that of an answer."""
        try:
            return parsedate_to_datetime(date).timestamp() - self._wall()
        except (ValueError, OverflowError):
            return None


async def _found(action: str, finding: Awaitable[T]) -> T:
    try:
        return await finding
    except CancelledError:
        raise
    except Exception as error:
        # Not chained: what botocore raises can hold a secret.
        raise unready(action, error) from None


# In a thread


def _load(config: EC2) -> tuple[Any, Any]:
    """The description, and the class that sends: both import much that nobody else needs."""
    from bbs.scaling.ec2.described import describe
    from bbs.scaling.ec2.exchange import Exchange

    description = describe(config, tuple(PACES))
    # Lists make much garbage. Looking for it among what stays stops the whole process, several
    # times in a list of 1,000 instances. Once: what is frozen and becomes garbage is never freed.
    if not gc.get_freeze_count():
        gc.freeze()
    return description, Exchange


def _find() -> Any:
    from botocore.exceptions import NoCredentialsError
    from botocore.session import Session

    session = Session()
    # botocore asks an instance's metadata once, for a second, which a busy machine may not have.
    for name, least in METADATA.items():
        session.set_config_variable(name, max(session.get_config_variable(name), least))
    found = session.get_credentials()
    if found is None:
        raise NoCredentialsError
    return found
