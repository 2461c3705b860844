"""EC2's API as it was asked before: by boto3, each call on a thread. What `calls` measures beside.

What decided about tries and throttling is left out: no call here needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore

from bbs.config import EC2
from bbs.core.threads import Workers

CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 8.0
THREADS = 4


def boto_client(config: EC2) -> Any:
    """boto3's client. It blocks."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "ec2",
        region_name=config.region,
        endpoint_url=config.endpoint_url,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=THREADS,
            tcp_keepalive=True,
        ),
    )


class ThreadedClient(Service):
    """Calls, each on one of a few threads; one that is given up leaves its thread behind."""

    def __init__(self, reactor: Any, config: EC2) -> None:
        self._config = config
        self._workers = Workers(reactor, "ec2", THREADS)
        self._free = DeferredSemaphore(THREADS)
        self._client: Any = None

    def startService(self) -> None:
        Service.startService(self)
        self._workers.startService()

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        return DeferredList([self._workers.stopService()])

    def call(self, name: str, parameters: Mapping[str, Any]) -> Deferred[Any]:
        """One call, by boto3's name for it."""
        return Deferred.fromCoroutine(self._call(name, parameters))

    async def _call(self, name: str, parameters: Mapping[str, Any]) -> Any:
        await self._free.acquire()
        answer: Deferred[Any] = Deferred()

        def arrived(result: Any) -> None:
            self._free.release()
            answer.callback(result)

        self._workers.run(self._perform, name, parameters).addBoth(arrived)
        return await answer

    def _perform(self, name: str, parameters: Mapping[str, Any]) -> Any:
        if self._client is None:
            self._client = boto_client(self._config)
        return getattr(self._client, name)(**parameters)
