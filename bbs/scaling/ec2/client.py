"""EC2's API with Deferreds: methods under EC2's own names, over boto3.

Each call runs on a thread of a pool that belongs to the client: describing has one, changing
another, so that no amount of the first delays the second. A thread does one HTTP exchange and
neither waits nor sleeps between tries: botocore is told to try once, and what its standard retry
mode would decide (`botocore.retries.standard`) is decided here, on the reactor, by the table of
`bbs.scaling.ec2.errors`:

- What may have been done or not is tried again, up to `TRIES` times, after a moment that doubles
  and has jitter, with the same parameters and so the same ClientToken. A quota keeps an API that is
  down from being asked three times as often.
- Throttling closes the gate: no call of any kind begins until it opens again, a time that doubles
  as long as the API throttles.
- A try that is not answered in `DEADLINE` is given up. Its thread is busy until the socket times
  out, shortly before or after; until then the pool is one thread smaller, and never grows.

boto3 is imported by the first call, in its thread (half a second, 35 MiB): a process that never
asks never pays.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import (
    Deferred,
    DeferredList,
    DeferredSemaphore,
    TimeoutError,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs import __version__
from bbs.config import EC2
from bbs.scaling.ec2.errors import EC2Error, Verdict, judge
from bbs.workers import Workers

CONNECT_TIMEOUT = 3.0
"""Seconds until a connection stands; enough for one lost packet."""

READ_TIMEOUT = 8.0
"""Seconds for which the API may be silent. A launch takes it one to four."""

DEADLINE = 12.0
"""Seconds until a try is given up whatever its thread does."""

DESCRIBING_PATIENCE, CHANGING_PATIENCE = 10.0, 15.0
"""Seconds that a whole call may take, with its tries and the time between them."""

DESCRIBING_THREADS, CHANGING_THREADS = 2, 4

TRIES = 3
FIRST_PAUSE = 0.05
FIRST_CLOSURE, LONGEST_CLOSURE = 1.0, 20.0
QUOTA, QUOTA_OF_A_RETRY = 500, 14
"""As in botocore's standard mode."""

STOPPING = 2.0
"""Seconds for which stopping waits for calls that are under way."""

Answer = Mapping[str, Any]

_log = Logger()


def boto_client(config: EC2) -> Any:
    """A client of boto3's for the region and endpoint of `config`, with credentials by botocore's
    own chain. It blocks."""
    import boto3
    from botocore.config import Config

    client = boto3.session.Session().client(
        "ec2",
        region_name=config.region,
        endpoint_url=config.endpoint_url or None,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=DESCRIBING_THREADS + CHANGING_THREADS,
            tcp_keepalive=True,
            user_agent_extra=f"bbs/{__version__}",
        ),
    )
    # EC2's description is a hundred thousand objects that stay. Looking for garbage among them
    # stops the whole process for a tenth of a second, several times in a list of 1,000 instances.
    # Once: what is frozen and becomes garbage is never freed.
    if not gc.get_freeze_count():
        gc.freeze()
    return client


class _Pool:
    """Threads, and how many of them are free: work that is handed over begins at once."""

    def __init__(self, workers: Any, size: int, patience: float) -> None:
        self.workers = workers
        self.free = DeferredSemaphore(size)
        self.patience = patience


class EC2Client(Service):
    """Calls of the EC2 API; they fail with `EC2Error`, and can be cancelled.

    A call that is cancelled may have been carried out. Nothing is asked before `startService` or
    after `stopService`.

    :param make_client: makes boto3's client, in a thread: `boto_client` of a configuration.
    :param make_workers: makes a pool of threads from its name and size.
    :param jitter: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        reactor: Any,
        make_client: Callable[[], Any],
        make_workers: Callable[[str, int], Any] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        make = make_workers or (lambda name, size: Workers(reactor, name, size))
        self._reactor = reactor
        self._make_client = make_client
        self._jitter = jitter
        self._describing = _Pool(
            make("ec2-describing", DESCRIBING_THREADS), DESCRIBING_THREADS, DESCRIBING_PATIENCE
        )
        self._changing = _Pool(
            make("ec2-changing", CHANGING_THREADS), CHANGING_THREADS, CHANGING_PATIENCE
        )
        self._client: Any = None
        self._making = Lock()
        self._calls: set[Deferred[Answer]] = set()
        self._opens = 0.0
        self._closures = 0
        self._quota = QUOTA

    # EC2's names

    def describe_images(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeImages."""
        return self._call(self._describing, "describe_images", parameters)

    def describe_instances(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeInstances, one page of it."""
        return self._call(self._describing, "describe_instances", parameters)

    def describe_launch_template_versions(self, **parameters: Any) -> Deferred[Answer]:
        """DescribeLaunchTemplateVersions."""
        return self._call(self._describing, "describe_launch_template_versions", parameters)

    def create_fleet(self, **parameters: Any) -> Deferred[Answer]:
        """CreateFleet. With a ClientToken, or else a lost answer launches twice."""
        return self._call(self._changing, "create_fleet", parameters)

    def start_instances(self, **parameters: Any) -> Deferred[Answer]:
        """StartInstances."""
        return self._call(self._changing, "start_instances", parameters)

    def stop_instances(self, **parameters: Any) -> Deferred[Answer]:
        """StopInstances."""
        return self._call(self._changing, "stop_instances", parameters)

    def run_instances(self, **parameters: Any) -> Deferred[Answer]:
        """RunInstances. With a ClientToken, or else a lost answer launches twice."""
        return self._call(self._changing, "run_instances", parameters)

    def terminate_instances(self, **parameters: Any) -> Deferred[Answer]:
        """TerminateInstances."""
        return self._call(self._changing, "terminate_instances", parameters)

    # Service

    def startService(self) -> None:
        Service.startService(self)
        for pool in (self._describing, self._changing):
            pool.workers.startService()

    def stopService(self) -> Deferred[None]:
        """Give up all calls. A thread that hangs ends with its socket's time-out."""
        Service.stopService(self)
        for call in list(self._calls):
            call.cancel()
        stops = [pool.workers.stopService() for pool in (self._describing, self._changing)]
        stopped = DeferredList(stops, consumeErrors=True)
        return stopped.addTimeout(STOPPING, self._reactor).addBoth(lambda _: None)

    # A call

    def _call(self, pool: _Pool, name: str, parameters: Mapping[str, Any]) -> Deferred[Answer]:
        call = Deferred.fromCoroutine(self._answer(pool, name, parameters))
        self._calls.add(call)

        def ended(result: Any) -> Any:
            self._calls.discard(call)
            return result

        return call.addBoth(ended)

    async def _answer(self, pool: _Pool, name: str, parameters: Mapping[str, Any]) -> Answer:
        """Try until there is an answer, an error that stays one, or no patience left."""
        action = "".join(word.capitalize() for word in name.split("_"))
        ends = self._reactor.seconds() + pool.patience
        tries, doubtful = 0, False
        while True:
            try:
                await self._pass_gate(action, ends)
                answer = await self._try(pool, name, action, parameters, ends)
            except EC2Error as error:
                error.doubtful = doubtful = doubtful or error.doubtful
                tries += error.verdict is Verdict.AGAIN
                pause = self._pause(error, tries)
                if pause is None or self._reactor.seconds() + pause >= ends:
                    raise
                _log.debug("{action} failed: {error}", action=action, error=str(error))
                await deferLater(self._reactor, pause)
            else:
                self._closures = 0
                self._quota = min(QUOTA, self._quota + (QUOTA_OF_A_RETRY if tries else 1))
                return answer

    async def _pass_gate(self, action: str, ends: float) -> None:
        """Wait while the API throttles, unless that is longer than the call may take."""
        while (closed := self._opens - self._reactor.seconds()) > 0:
            if self._opens >= ends:
                text = f"EC2 throttles: nothing is asked for {closed:.0f} s"
                raise EC2Error(Verdict.UNASKED, "Throttled", text)
            await deferLater(self._reactor, closed)

    async def _try(
        self, pool: _Pool, name: str, action: str, parameters: Mapping[str, Any], ends: float
    ) -> Answer:
        if not self.running:
            raise EC2Error(Verdict.UNASKED, "Stopped", f"{action}: the EC2 client does not run")
        now = self._reactor.seconds()
        try:
            await pool.free.acquire().addTimeout(ends - now, self._reactor)
        except TimeoutError:
            text = f"{action}: every thread waits for EC2"
            raise EC2Error(Verdict.UNASKED, "Busy", text) from None
        answer: Deferred[Answer] = Deferred()

        def arrived(result: Any) -> None:
            pool.free.release()
            # Nobody minds if the answer was given up.
            answer.callback(result)

        pool.workers.run(self._perform, name, action, dict(parameters)).addBoth(arrived)
        allowed = min(DEADLINE, ends - self._reactor.seconds())
        try:
            return await answer.addTimeout(allowed, self._reactor)
        except TimeoutError:
            text = f"EC2 does not answer {action} in {allowed:.0f} s"
            raise EC2Error(Verdict.AGAIN, "NoAnswer", text) from None

    def _pause(self, error: EC2Error, tries: int) -> float | None:
        """Seconds until the next try; None for no more."""
        if error.verdict is Verdict.THROTTLED:
            self._close_gate()
            return 0.0
        retry = error.verdict is Verdict.AGAIN and tries < TRIES
        if not retry or self._quota < QUOTA_OF_A_RETRY:
            return None
        self._quota -= QUOTA_OF_A_RETRY
        return self._jitter() * FIRST_PAUSE * 2.0 ** (tries - 1)

    def _close_gate(self) -> None:
        """The API throttles; of calls that were under way together the first counts for all."""
        now = self._reactor.seconds()
        if now < self._opens:
            return
        closed = min(FIRST_CLOSURE * 2.0**self._closures, LONGEST_CLOSURE)
        self._closures += 1
        self._opens = now + closed * (1 + self._jitter()) / 2
        _log.warn("EC2 throttles: nothing is asked for {seconds:.1f} s", seconds=self._opens - now)

    # In a thread

    def _perform(self, name: str, action: str, parameters: dict[str, Any]) -> Answer:
        try:
            with self._making:
                client = self._client = self._client or self._make_client()
            return cast("Answer", getattr(client, name)(**parameters))
        except Exception as error:
            judged = judge(action, error)
            if judged.credentials:
                # A client keeps those that it was made with.
                self._client = None
            # Not chained: what botocore raises can hold the parameters, and so the user data.
            raise judged from None
