"""Calls the EC2 API on the reactor: methods under EC2's own names, which return Deferreds.

A call of an `EC2Client` is a few tries of one request (`Api`). The client decides what botocore's
standard retry mode (`botocore.retries.standard`) would, by the table of `bbs.scaling.ec2.errors`:

- A call that may have been done or not is tried again under the same ClientToken: up to `TRIES`
  times, after a pause that doubles and has jitter. A quota keeps an API that is down from being
  asked three times as often.
- Each action has a `Throttle`, which lets calls through as fast as EC2 takes them, and closes for
  this action alone when EC2 throttles it.
- A refusal that may pass, as IAM's changes spread slowly, is asked again for `SPREADING`.
- A try without an answer is given up after `DEADLINE`, and its connection closed.

botocore describes the API and finds credentials in a thread that belongs to the `Api`. Requests are
signed and sent, and answers read, on the reactor.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partialmethod
from typing import Any, TypeVar
from xml.etree.ElementTree import Element  # nosec B405 # expat reads it, in `transport`.

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
from bbs.scaling.ec2.errors import (
    LATER,
    TOLERANCE,
    EC2Error,
    Remedy,
    Verdict,
    clock_error,
    judge,
    no_answer,
    unready,
)
from bbs.scaling.ec2.throttle import RATES, Throttle, ThrottleRate, instances_in
from bbs.scaling.ec2.transport import MalformedResponse, Transport, error_in, network_errors

T = TypeVar("T")
Answer = Mapping[str, Any]

DEADLINE = 8.0  # seconds until a try is given up; a launch takes EC2 one to four

# As in botocore's standard mode; the pause is in seconds.
TRIES, FIRST_PAUSE = 3, 0.05
QUOTA, QUOTA_OF_A_RETRY = 500, 14

SPREADING, SPREADING_PAUSE = 30.0, 3.0
"""Seconds for which EC2 may not know yet what IAM knows, from the first refusal for it, and between
two tries then. Ten are mostly enough; Terraform waits for two minutes at the most."""

ITEMS_PER_TURN = 10  # items of a list read in one turn of the reactor; an instance takes 0.15 ms
STOPPING = 2.0  # seconds for which stopping waits for a thread that asks for credentials

METADATA = {"metadata_service_timeout": 2, "metadata_service_num_attempts": 3}
"""How long, in seconds, and how often an instance's metadata are asked at the least."""

EARLY = 15 * 60
"""Seconds before keys expire from which new ones are fetched meanwhile, as in botocore."""

LATE = 60  # seconds before keys expire from which calls wait for new ones
_KEYS = "keys"

_log = Logger()


def client_for(reactor: IReactor, config: EC2) -> EC2Client:
    return EC2Client(reactor, Api(reactor, config))


class EC2Client(Service):
    """Calls the EC2 API. A call fails with `EC2Error`, and can be cancelled, but may have been
    carried out all the same. Nothing is asked before `startService` or after `stopService`. `api`:
    an `IApi`, and a service of this one. `jitter` gives numbers from 0 to 1."""

    def __init__(
        self,
        reactor: IReactorTime,
        api: Any,
        jitter: Callable[[], float] = random.random,
        rates: Mapping[str, ThrottleRate] = RATES,
    ) -> None:
        self._reactor = reactor
        self._api = api
        self._jitter = jitter
        self._throttles = {
            action: Throttle(reactor, action, rate, jitter) for action, rate in rates.items()
        }
        self._calls: set[Deferred[Answer]] = set()
        self._quota = QUOTA
        self._spreading_since = float("-inf")

    def startService(self) -> None:
        Service.startService(self)
        self._api.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        for call in list(self._calls):
            call.cancel()
        stopped: Deferred[None] = self._api.stopService()
        return stopped

    def _call(self, action: str, **parameters: Any) -> Deferred[Answer]:
        call = Deferred.fromCoroutine(self._answer(action, parameters))
        self._calls.add(call)

        def ended(result: Any) -> Any:
            self._calls.discard(call)
            return result

        return call.addBoth(ended)

    describe_images = partialmethod(_call, "DescribeImages")
    describe_instances = partialmethod(_call, "DescribeInstances")  # one page
    describe_launch_template_versions = partialmethod(_call, "DescribeLaunchTemplateVersions")
    describe_launch_templates = partialmethod(_call, "DescribeLaunchTemplates")  # one page
    start_instances = partialmethod(_call, "StartInstances")
    stop_instances = partialmethod(_call, "StopInstances")
    terminate_instances = partialmethod(_call, "TerminateInstances")
    create_launch_template = partialmethod(_call, "CreateLaunchTemplate")
    create_tags = partialmethod(_call, "CreateTags")
    delete_launch_template = partialmethod(_call, "DeleteLaunchTemplate")
    # These need a ClientToken: without, a lost answer launches twice.
    create_fleet = partialmethod(_call, "CreateFleet")
    run_instances = partialmethod(_call, "RunInstances")

    async def _answer(self, action: str, parameters: Mapping[str, Any]) -> Answer:
        """Try until there is an answer, a final error, or no patience left."""
        throttle = self._throttles[action]
        ends: float | None = None
        tries, doubtful = 0, False
        instances, counted = instances_in(parameters), 0
        with tracing.span(f"ec2 {action}"):
            while True:
                try:
                    self._check_running(action)
                    await throttle.enter(ends, instances - counted)
                    counted = instances  # Later tries are about the same ones.
                    ends = ends or self._reactor.seconds() + throttle.rate.patience
                    answer = await self._try(action, parameters, ends)
                except EC2Error as error:
                    error.doubtful = doubtful = doubtful or error.doubtful
                    if error.verdict not in LATER:
                        throttle.answered()
                    tries += error.verdict is Verdict.AGAIN
                    pause = self._pause(throttle, error, tries)
                    if pause is None or ends is None or self._reactor.seconds() + pause >= ends:
                        throttle.give_back(counted)
                        raise
                    if error.remedy is Remedy.PATIENCE:
                        ends = None  # Nothing was done: the call begins anew.
                    _log.debug("{action} failed: {error}", action=action, error=str(error))
                    await deferLater(self._reactor, pause)
                else:
                    throttle.answered()
                    self._quota = min(QUOTA, self._quota + (QUOTA_OF_A_RETRY if tries else 1))
                    return answer

    def _check_running(self, action: str) -> None:
        if not self.running:
            raise EC2Error(Verdict.UNASKED, "Stopped", f"{action}: the EC2 client does not run")

    async def _try(self, action: str, parameters: Mapping[str, Any], ends: float) -> Answer:
        self._check_running(action)
        allowed = self._time_allowed(action, ends)
        try:
            await self._api.ready(action).addTimeout(allowed, self._reactor)
        except TimeoutError:
            text = f"{action}: there are no credentials yet after {allowed:.0f} s"
            raise EC2Error(Verdict.UNASKED, "NotReady", text) from None
        allowed = self._time_allowed(action, ends)
        asked: Deferred[Answer] = self._api.ask(action, parameters)
        try:
            return await asked.addTimeout(allowed, self._reactor)
        except TimeoutError:
            raise no_answer(action, f"nothing in {allowed:.0f} s") from None

    def _time_allowed(self, action: str, ends: float) -> float:
        left = ends - self._reactor.seconds()
        if left <= 0:
            # The call has waited at the throttle for longer than anybody waits for it.
            raise EC2Error(Verdict.UNASKED, "TooLate", f"{action}: its turn came too late")
        return float(min(DEADLINE, left))

    def _pause(self, throttle: Throttle, error: EC2Error, tries: int) -> float | None:
        if error.verdict is Verdict.THROTTLED:
            throttle.throttled()
            return 0.0
        if error.remedy is Remedy.PATIENCE:
            return self._spreading_pause(error)
        retry = error.verdict is Verdict.AGAIN and tries < TRIES
        if not retry or self._quota < QUOTA_OF_A_RETRY:
            return None
        self._quota -= QUOTA_OF_A_RETRY
        return self._jitter() * FIRST_PAUSE * 2.0 ** (tries - 1)

    def _spreading_pause(self, error: EC2Error) -> float | None:
        """The pause after a refusal that may be lifted in a moment; None once it has lasted. All
        calls share that moment, and as much time passes before the next."""
        now = self._reactor.seconds()
        if now - self._spreading_since >= 2 * SPREADING:
            self._spreading_since = now
            _log.warn("{error}; asked again, in case it is new", error=str(error))
        if now - self._spreading_since >= SPREADING:
            return None
        return SPREADING_PAUSE * (1 + self._jitter()) / 2


class IApi(Interface):
    """Asks the EC2 API, and makes no decision of its own. Every error is an `EC2Error`, and every
    call can be cancelled."""

    def ready(action: str) -> Deferred[None]:
        """Fires once a call can be made. On failure nothing was asked."""

    def ask(action: str, parameters: Mapping[str, Any]) -> Deferred[Answer]:
        """Ask once; fires with the answer as boto3 has it, without its ResponseMetadata."""


@implementer(IApi)
class Api(Service):
    """Asks the API at the endpoint of a configuration. `wall`: seconds since the epoch, by this
    machine's clock; if EC2 refuses calls for it, they are signed by EC2's clock. `find` asks
    botocore's chain for credentials, and blocks."""

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
        self._behind = 0.0  # Seconds by which this machine's clock is taken to be behind EC2's.
        self._shared = SingleFlight()
        self._credentials = Credentials(self._workers, find or _find_credentials)
        self._description: Any = None
        self._transport: Transport

    def startService(self) -> None:
        Service.startService(self)
        self._workers.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        ends = [self._workers.stopService()]
        if self._description is not None:
            ends.append(self._transport.close())
        stopped = DeferredList(ends, consumeErrors=True)
        return stopped.addTimeout(STOPPING, self._reactor).addBoth(lambda _: None)

    def ready(self, action: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._ready(action))

    def ask(self, action: str, parameters: Mapping[str, Any]) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self._ask(action, parameters))

    async def _ready(self, action: str) -> None:
        if self._description is None:
            await _or_unready(action, self._shared.join("description", self._describe))
        await _or_unready(action, self._credentials.current())

    async def _describe(self) -> None:
        self._description = await self._workers.run(_load_description, self._config)
        self._transport = Transport(self._reactor, self._description.route)

    async def _ask(self, action: str, parameters: Mapping[str, Any]) -> Answer:
        keys = await _or_unready(action, self._credentials.current())
        was_set = was_renewed = False
        while True:
            try:
                return await self._send(action, parameters, keys)
            except EC2Error as error:
                if error.remedy is Remedy.CLOCK and not was_set:
                    was_set = True  # The next one is signed by EC2's clock.
                elif error.remedy is Remedy.CREDENTIALS and not was_renewed:
                    was_renewed = True
                    refused = keys
                    keys = await _or_unready(action, self._credentials.renew(refused))
                    if keys == refused:
                        raise
                else:
                    raise

    async def _send(self, action: str, parameters: Mapping[str, Any], keys: Any) -> Answer:
        behind = self._behind
        request = self._description.request(action, parameters, keys, self._wall() + behind)
        with network_errors(action):
            response = await self._transport.post(request)
        if 200 <= response.status < 300:
            if response.root is None:
                raise no_answer(action, response.problem)
            return await self._read(action, response.root)
        found = error_in(response.root) if response.root is not None else None
        if found is None and 300 <= response.status < 500 and response.status != 429:
            # A proxy's answer, or that of another server than EC2.
            raise no_answer(action, f"HTTP {response.status}")
        code, message = found or ("", "")
        lag = self._lag(response.date)
        error = judge(action, code, message, response.status, None if lag is None else lag - behind)
        if error.remedy is Remedy.CLOCK and lag is not None:
            self._correct(lag)
        raise error

    async def _read(self, action: str, root: Element) -> Answer:
        answer: dict[str, Any] = {}
        try:
            for number, _ in enumerate(self._description.reader(action).steps(root, answer), 1):
                if number % ITEMS_PER_TURN == 0:
                    await deferLater(self._reactor, 0)
        except MalformedResponse as problem:
            raise no_answer(action, str(problem)) from None
        return answer

    def _correct(self, lag: float) -> None:
        """Sign by EC2's clock from now on. Say so once, as calls are refused together."""
        if abs(lag - self._behind) > TOLERANCE:
            if abs(lag) > TOLERANCE:
                what = f"{clock_error(lag)}: calls are signed by EC2's; set this machine's clock"
            else:
                what = "this machine's clock agrees with EC2's again"
            _log.warn("{what}", what=what)
        self._behind = lag

    def _lag(self, date: str) -> float | None:
        """Seconds by which this machine's clock is behind that of an answer."""
        try:
            return parsedate_to_datetime(date).timestamp() - self._wall()
        except (ValueError, OverflowError):
            return None


async def _or_unready(action: str, finding: Awaitable[T]) -> T:
    try:
        return await finding
    except CancelledError:
        raise
    except Exception as error:
        # Not chained: an error of botocore can hold a secret.
        raise unready(action, error) from None


def _load_description(config: EC2) -> Any:
    """The description of the API, in a thread: importing botocore takes long."""
    from bbs.scaling.ec2.service_model import describe

    description = describe(config, tuple(RATES))
    # Lists make much garbage. Looking for it among what stays stops the whole process, several
    # times in a list of 1,000 instances. Once: what is frozen and becomes garbage is never freed.
    if not gc.get_freeze_count():
        gc.freeze()
    return description


def _find_credentials() -> Any:
    """The credentials of botocore's chain (environment, files, an instance's profile, …), in a
    thread."""
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


class Credentials:
    """The keys that sign calls, from botocore's chain; renewed in a thread before they expire, and
    after EC2 has refused them. `find` asks the chain, blocks, and raises botocore's errors."""

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
            self._shared.join(_KEYS, self._fetch).addErrback(_log_unrenewed)
        return self._keys

    async def renew(self, refused: Any) -> Any:
        """The keys after EC2 has refused `refused`: the same if the chain has no others."""
        if self._keys == refused:
            self._source = None
            await self._shared.join(_KEYS, self._fetch)
        return await self.current()

    def _expires(self, within: float) -> bool:
        """Whether the keys expire within so many seconds; some never do."""
        needed = getattr(self._source, "refresh_needed", None)
        return needed is not None and bool(needed(within))

    async def _fetch(self) -> None:
        def freeze(source: Any) -> tuple[Any, Any]:
            source = source or self._find()
            return source, source.get_frozen_credentials()

        try:
            self._source, self._keys = await self._workers.run(freeze, self._source)
        except Exception:
            if self._source is None or self._expires(LATE):
                # The next call asks the whole chain.
                self._source = self._keys = None
            raise


def _log_unrenewed(failure: Failure) -> None:
    failure.trap(Exception)
    if not failure.check(CancelledError):
        kind = failure.value.__class__.__name__
        _log.warn("credentials were not renewed yet: {kind}", kind=kind)
