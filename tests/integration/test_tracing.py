"""Traces through real processes, to a collector that the test is."""

from __future__ import annotations

from typing import Any

from tests.integration.service import Service, ServiceCase, connect, eventually, run
from tests.trace_tools import Collector, Recorded, as_text, below, holes


class TracingCase(ServiceCase):
    """Services that tell a collector."""

    def collector(self, mood: str = "well") -> Collector:
        """One that listens until the test is over."""
        collector = Collector(mood)
        collector.start()
        self.addCleanup(lambda: run(collector.stop()))
        return collector


class OneTrace(TracingCase):
    """What somebody waits for is one trace, from the client to the app server."""

    async def test_login(self) -> None:
        """A login that waits for a launch."""
        collector = self.collector()
        service = self.service(
            tracing={"endpoint": collector.endpoint},
            fleet={"minimum": 0, "spare": 0},
        )
        await service.up()
        client = service.bbs(
            "client",
            "127.0.0.1",
            str(service.port),
            environ={"BBS_TRACING_ENDPOINT": collector.endpoint},
            stdin=b"register ann ann\nlogin ann ann\npost ann hello\nexit\n",
        )
        await client.ended(60)
        self.assertEqual((client.exit_code, client.errors), (0, ""))
        root: Any = await eventually(lambda: collector.named("ask login"), "the client's span")
        await eventually(lambda: collector.named("start"), "the app server's span")
        await eventually(lambda: collector.named("wait"), "the wait's span")
        trace = collector.trace_of(root[0])
        print(as_text(trace))
        print(as_text(collector.trace_of(collector.named("ask post")[0])))
        print(
            holes(
                root[0],
                [
                    each
                    for each in below(root[0], trace)
                    if each.name != "login" and each.name != "wait"
                ],
            )
        )
