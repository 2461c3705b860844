"""EC2's API with Deferreds: methods under EC2's own names.

A call is one exchange over HTTP at a time, on the reactor (`api`). What botocore's standard retry
mode (`botocore.retries.standard`) would decide is decided here, by the table of
`bbs.scaling.ec2.errors`:

- What may have been done or not is tried again, up to `TRIES` times, after a moment that doubles
  and has jitter, with the same parameters and so the same ClientToken. A quota keeps an API that is
  down from being asked three times as often.
- Each action has a gate (`gates`), which lets calls through as fast as EC2 takes them, and which
  throttling closes for this action alone.
- A try that is not answered in `DEADLINE` is given up, and its connection closed.

The EC2 API itself: one call, asked once.

What a call needs is found in a thread that belongs to this: botocore's description of the API, when
the first call comes, and the credentials. Signing, asking and reading happen on the reactor.

The credentials that calls are signed with, from botocore's chain: the environment, files, an
instance's profile by IMDSv2, and what else there is.

Finding and renewing them blocks, and so happens in a thread: once, again before they expire, and
again when EC2 has refused them.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from xml.etree.ElementTree import Element  # nosec B405 # expat reads it, in `answers`.

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from bbs.config import EC2
from bbs.core import tracing
from bbs.core.batching import SingleFlight
from bbs.core.clock import IReactor
from bbs.core.threads import IWorkers, Workers
from bbs.scaling.ec2.errors import LATER, EC2Error, Verdict, judge, no_answer, unready
from bbs.scaling.ec2.response_parser import MalformedResponse, error_in
from bbs.scaling.ec2.throttle import PACES, Throttle, ThrottleRate
from bbs.scaling.ec2.transport import named

EARLY = 15 * 60
"""Seconds before they expire from which on new ones are fetched, beside the calls that go on with
the old ones: what botocore does."""

LATE = 60
"""Seconds before they expire from which on calls wait for new ones."""

_KEYS = "keys"

_log = Logger()


class Credentials:
    """What calls are signed with now.

    :param find: asks botocore's chain for its credentials. It blocks, and raises what botocore
        does.
    """

    def __init__(self, workers: IWorkers, find: Callable[[], Any]) -> None:
        self._workers = workers
        self._find = find
        self._shared = SingleFlight()
        self._source: Any = None
        self._keys: Any = None

    async def current(self) -> Any:
        """The keys: `access_key`, `secret_key` and `token`."""
        if self._keys is None or self._expires(LATE):
            await self._shared.join(_KEYS, self._fetch)
        elif self._expires(EARLY) and not self._shared.runs(_KEYS):
            self._shared.join(_KEYS, self._fetch).addErrback(_log_later)
        return self._keys

    async def anew(self, refused: Any) -> Any:
        """The keys, after EC2 has refused `refused`; the same, if the chain has no others."""
        if self._keys == refused:
            self._source = None
            await self._shared.join(_KEYS, self._fetch)
        return await self.current()

    def _expires(self, within: float) -> bool:
        """Only those that expire know when."""
        needed = getattr(self._source, "refresh_needed", None)
        return needed is not None and bool(needed(within))

    async def _fetch(self) -> None:
        try:
            self._source, self._keys = await self._workers.run(_frozen, self._source, self._find)
        except Exception:
            if self._source is None or self._expires(LATE):
                # The next call asks the whole chain.
                self._source = self._keys = None
            raise


def _frozen(source: Any, find: Callable[[], Any]) -> tuple[Any, Any]:
    source = source or find()
    return source, source.get_frozen_credentials()


def _log_later(failure: Failure) -> None:
    failure.trap(Exception)
    if not failure.check(CancelledError):
        kind = failure.value.__class__.__name__
        _log.warn("credentials were not renewed yet: {kind}", kind=kind)


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
        reactor: IReactor,
        config: EC2,
        workers: IWorkers | None = None,
        wall: Callable[[], float] = time.time,
        find: Callable[[], Any] | None = None,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._workers: Any = workers or Workers(reactor, "ec2", 1)
        self._wall = wall
        self._shared = SingleFlight()
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
        except MalformedResponse as problem:
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
    from bbs.scaling.ec2.service_model import describe
    from bbs.scaling.ec2.transport import Transport

    description = describe(config, tuple(PACES))
    # Lists make much garbage. Looking for it among what stays stops the whole process, several
    # times in a list of 1,000 instances. Once: what is frozen and becomes garbage is never freed.
    if not gc.get_freeze_count():
        gc.freeze()
    return description, Transport


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


DEADLINE = 8.0
"""Seconds until a try is given up. A launch takes EC2 one to four."""

TRIES = 3
FIRST_PAUSE = 0.05
QUOTA, QUOTA_OF_A_RETRY = 500, 14
"""As in botocore's standard mode."""


def client_for(reactor: IReactor, config: EC2) -> EC2Client:
    """A client of the API in the region, or at the endpoint, of `config`."""
    return EC2Client(reactor, Api(reactor, config))


class EC2Client(Service):
    """Calls of the EC2 API; they fail with `EC2Error`, and can be cancelled.

    A call that is cancelled may have been carried out. Nothing is asked before `startService` or
    after `stopService`.

    :param api: an `IApi`, and a service, which this starts and stops.
    :param jitter: gives numbers from 0 to 1.
    :param paces: how fast each action may be asked.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        api: Any,
        jitter: Callable[[], float] = random.random,
        paces: Mapping[str, ThrottleRate] = PACES,
    ) -> None:
        self._reactor = reactor
        self._api = api
        self._jitter = jitter
        self._gates = {action: Throttle(reactor, action, paces[action], jitter) for action in paces}
        self._calls: set[Deferred[Answer]] = set()
        self._quota = QUOTA

    # EC2's names

    def describe_images(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeImages."""
        return self._call("DescribeImages", parameters)

    def describe_instances(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeInstances, one page of it."""
        return self._call("DescribeInstances", parameters)

    def describe_launch_template_versions(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeLaunchTemplateVersions."""
        return self._call("DescribeLaunchTemplateVersions", parameters)

    def start_instances(self, **parameters: Any) -> Deferred[Answer]:
        """StartInstances."""
        return self._call("StartInstances", parameters)

    def stop_instances(self, **parameters: Any) -> Deferred[Answer]:
        """StopInstances."""
        return self._call("StopInstances", parameters)

    def run_instances(self, **parameters: Any) -> Deferred[Answer]:
        """RunInstances. With a ClientToken, or else a lost answer launches twice."""
        return self._call("RunInstances", parameters)

    def terminate_instances(self, **parameters: Any) -> Deferred[Answer]:
        """TerminateInstances."""
        return self._call("TerminateInstances", parameters)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        self._api.startService()

    def stopService(self) -> Deferred[None]:
        """Give up all calls, and close their connections."""
        Service.stopService(self)
        for call in list(self._calls):
            call.cancel()
        stopped: Deferred[None] = self._api.stopService()
        return stopped

    # A call

    def _call(self, action: str, parameters: Mapping[str, Any]) -> Deferred[Answer]:
        call = Deferred.fromCoroutine(self._answer(action, parameters))
        self._calls.add(call)

        def ended(result: Any) -> Any:
            self._calls.discard(call)
            return result

        return call.addBoth(ended)

    async def _answer(self, action: str, parameters: Mapping[str, Any]) -> Answer:
        with tracing.span(f"ec2 {action}"):
            return await self._answered(action, parameters)

    async def _answered(self, action: str, parameters: Mapping[str, Any]) -> Answer:
        """Try until there is an answer, an error that stays one, or no patience left."""
        gate = self._gates[action]
        ends: float | None = None
        tries, doubtful = 0, False
        while True:
            try:
                self._check_running(action)
                await gate.enter(ends)
                ends = ends or self._reactor.seconds() + gate.pace.patience
                answer = await self._try(action, parameters, ends)
            except EC2Error as error:
                error.doubtful = doubtful = doubtful or error.doubtful
                if error.verdict not in LATER:
                    gate.answered()
                tries += error.verdict is Verdict.AGAIN
                pause = self._pause(gate, error, tries)
                if pause is None or ends is None or self._reactor.seconds() + pause >= ends:
                    raise
                _log.debug("{action} failed: {error}", action=action, error=str(error))
                await deferLater(self._reactor, pause)
            else:
                gate.answered()
                self._quota = min(QUOTA, self._quota + (QUOTA_OF_A_RETRY if tries else 1))
                return answer

    def _check_running(self, action: str) -> None:
        if not self.running:
            raise EC2Error(Verdict.UNASKED, "Stopped", f"{action}: the EC2 client does not run")

    async def _try(self, action: str, parameters: Mapping[str, Any], ends: float) -> Answer:
        self._check_running(action)
        allowed = self._allowed(action, ends)
        try:
            await self._api.ready(action).addTimeout(allowed, self._reactor)
        except TimeoutError:
            text = f"{action}: there are no credentials yet after {allowed:.0f} s"
            raise EC2Error(Verdict.UNASKED, "NotReady", text) from None
        allowed = self._allowed(action, ends)
        try:
            answer: Answer = await self._api.ask(action, parameters).addTimeout(
                allowed, self._reactor
            )
        except TimeoutError:
            raise no_answer(action, f"nothing in {allowed:.0f} s") from None
        return answer

    def _allowed(self, action: str, ends: float) -> float:
        """Seconds that a try may take from now on."""
        left = ends - self._reactor.seconds()
        if left <= 0:
            # It waited at the gate until nobody waited for it any more.
            raise EC2Error(Verdict.UNASKED, "TooLate", f"{action}: its turn came too late")
        return float(min(DEADLINE, left))

    def _pause(self, gate: Throttle, error: EC2Error, tries: int) -> float | None:
        """Seconds until the next try; None for no more."""
        if error.verdict is Verdict.THROTTLED:
            gate.throttled()
            return 0.0
        retry = error.verdict is Verdict.AGAIN and tries < TRIES
        if not retry or self._quota < QUOTA_OF_A_RETRY:
            return None
        self._quota -= QUOTA_OF_A_RETRY
        return self._jitter() * FIRST_PAUSE * 2.0 ** (tries - 1)
