"""Traces through real processes, to a collector that the test is."""

from __future__ import annotations

import signal
from collections.abc import Collection

from tests.core.tracing.spans import Collector, Recorded, as_text, below, holes
from tests.integration.service import START_TIMEOUT, Process, Service, eventually, run
from tests.integration.shared import SharedCase
from tests.integration.test_ec2_service import CloudServiceCase

CONTAINERS = ("ask login", "login", "wait")
"""Spans that are open because others are, and would hide any hole."""

HOLE = 0.25
"""The part of a trace of which nothing need be known: a busy machine may do other things between
two spans, of which each is the longer for it. A step of which nothing is told takes more."""

BRIEF = 0.5
"""Seconds of which nothing need be known in any case."""

LOGIN = b"register ann ann\nlogin ann ann\nexit\n"


class TracingCase(CloudServiceCase):
    """Services that tell a collector."""

    timeout = 300

    def collector(self, mood: str = "well") -> Collector:
        """One that listens until the test is over."""
        collector = Collector(mood)
        collector.start()
        self.addCleanup(lambda: run(collector.stop()))
        return collector

    def client(self, service: Service, collector: Collector, script: bytes) -> Process:
        """`bbs client`, which tells the collector too."""
        return service.bbs(
            *("client", "127.0.0.1", str(service.port)),
            environ={"BBS_TRACING_ENDPOINT": collector.endpoint},
            stdin=script,
        )

    async def said(self, service: Service, collector: Collector, script: bytes) -> None:
        """Have a client say `script`, and end."""
        client = self.client(service, collector, script)
        await client.ended(90)
        self.assertEqual((client.exit_code, client.errors), (0, ""))

    async def trace(
        self, collector: Collector, root: str, stations: Collection[tuple[str, str]]
    ) -> list[Recorded]:
        """The trace whose root is called so, once it has been at all the stations."""

        def whole() -> list[Recorded] | None:
            found = [each for each in collector.named(root) if not each.parent]
            trace = collector.trace_of(found[-1]) if found else []
            been = {(each.service, each.name) for each in trace}
            return trace if been >= {*stations} else None

        try:
            found: list[Recorded] = await eventually(whole, f"the trace of {root}", START_TIMEOUT)
        except AssertionError:
            print(as_text(collector.spans))
            raise
        return found

    def check_tree(self, trace: list[Recorded]) -> Recorded:
        """It is one tree, and all that it needs is there; returns its root."""
        ids = {each.id for each in trace}
        (root,) = (each for each in trace if each.parent not in ids)
        self.assertEqual(root.parent, "", as_text(trace))
        return root

    def check_holes(self, trace: list[Recorded]) -> None:
        """There is no time in it of which is not known what it was for."""
        root = self.check_tree(trace)
        parts = [each for each in below(root, trace) if each.name not in CONTAINERS]
        longest = max(end - begin for begin, end in holes(root, parts))
        self.assertLessEqual(longest, max(BRIEF, HOLE * root.seconds), as_text(trace))


class OneTrace(TracingCase):
    """What somebody waits for is one trace, whichever processes did it."""

    async def test_a_login_that_waits_for_a_process(self) -> None:
        collector = self.collector()
        service = self.service(
            tracing={"endpoint": collector.endpoint}, fleet={"minimum": 0, "spare": 0}
        )
        await service.up()
        await self.said(service, collector, LOGIN)
        stations = {
            ("bbs-client", "ask login"),
            *(("bbs-login", name) for name in ("login", "turn", "password", "place", "wait")),
            *(("bbs-login", name) for name in ("launch", "boot", "database")),
            *(("bbs-app", name) for name in ("load", "start", "broker", "report", "database")),
        }
        self.check_holes(await self.trace(collector, "ask login", stations))

    async def test_a_login_that_waits_for_an_instance(self) -> None:
        """Its user data says of what it is part."""
        collector = self.collector()
        service = await self.on_cloud(
            boot_seconds=1.0,
            tracing={"endpoint": collector.endpoint},
            fleet={"minimum": 0, "spare": 0},
        )
        await service.login_server()
        await self.said(service, collector, LOGIN)
        stations = {
            ("bbs-login", "launch"),
            ("bbs-login", "ec2 RunInstances"),
            ("bbs-login", "boot"),
            ("bbs-app", "load"),
            ("bbs-app", "start"),
        }
        trace = await self.trace(collector, "ask login", stations)
        self.check_holes(trace)
        by_name = {each.name: each for each in trace}
        calls = below(by_name["launch"], trace)
        self.assertIn("ec2 RunInstances", [each.name for each in calls])

    async def test_a_message_to_somebody_elsewhere(self) -> None:
        """From one app server to the other, by the broker."""
        collector = self.collector()
        service = self.service(
            tracing={"endpoint": collector.endpoint},
            app={"capacity": 1},
            fleet={"minimum": 2, "maximum": 2, "spare": 0},
        )
        await service.up()
        await service.register("ann", "bob")
        ann, bob = await service.person("ann"), await service.person("bob")
        self.assertNotEqual(ann.port, bob.port)
        await service.befriend(ann, bob)
        await bob.asks("listen")
        # What arrives while a listener still catches up is read with the rest, by no hint.
        await ann.asks("send", "bob", "first")
        await eventually(lambda: bob.wire.events, "the first message")
        await ann.asks("send", "bob", "hello")
        stations = {("bbs-app", name) for name in ("send", "publish", "hint", "deliver")}
        trace = await self.trace(collector, "send", stations)
        self.check_tree(trace)
        by_id = {each.id: each for each in trace}
        (way,) = (each for each in trace if each.name == "deliver")
        names = []
        while way := by_id.get(way.parent):  # type: ignore[assignment]
            names.append(way.name)
        self.assertEqual(names, ["hint", "publish", "send"])


class BadDays(TracingCase):
    """A collector that is no help."""

    async def test_nobody_waits_for_it(self) -> None:
        """People are served whatever it does, the log has it in a line, and the service ends."""
        collector = self.collector("garbage")
        service = self.service(
            tracing={"endpoint": collector.endpoint},
            fleet={"minimum": 1, "maximum": 1, "spare": 0},
        )
        up = await service.up(environ={"OTEL_EXPORTER_OTLP_HEADERS": "authorization=s3cret"})
        await service.register("ann")
        ann = await service.person("ann")
        for mood in ("garbage", "500", "hang"):
            collector.mood, collector.batches = mood, 0
            for _ in range(20):
                self.assertEqual((await ann.asks("list-friend"))["status"], 0)
            await eventually(lambda: collector.batches, "the collector is told")
        self.assertEqual(collector.headers[0].get("Authorization"), "s3cret")
        await run(collector.stop())
        self.assertEqual((await ann.asks("list-friend"))["status"], 0)
        await up.end(signal.SIGTERM)
        self.assertEqual(up.exit_code, 0)
        logs = (service.data / "logs").glob("*.log")
        log = service.log() + "".join(path.read_text() for path in logs)
        for word in ("s3cret", "Traceback", "urllib3", "requests"):
            self.assertNotIn(word, log)
        told = [line for line in log.splitlines() if "spans were not exported" in line]
        # A line when the first are lost, and one at the end, of each of two servers.
        self.assertIn(len(told), range(1, 5), told)


class Clients(SharedCase):
    """`bbs client` with a collector that is none."""

    async def test_it_does_what_it_is_asked(self) -> None:
        service = await self.shared()
        client = service.bbs(
            *("client", "127.0.0.1", str(service.port)),
            environ={"BBS_TRACING_ENDPOINT": "http://127.0.0.1:9"},
            stdin=b"register ann ann\nexit\n",
        )
        await client.ended(60)
        self.assertEqual((client.exit_code, client.output, client.errors), (0, "Success!\n", ""))

    async def test_a_slip_is_told(self) -> None:
        service = self.service()
        client = service.bbs(
            "client", "127.0.0.1", "1", environ={"BBS_TRACING_ENDPOINT": "127.0.0.1:4318"}
        )
        await client.ended(60)
        self.assertEqual(client.exit_code, 1)
        self.assertIn("BBS_TRACING_ENDPOINT: tracing.endpoint must be a URL", client.errors)
