"""What an instance's metadata are asked, and what is made of each answer."""

import os
from typing import Any
from unittest import mock

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.ec2 import metadata
from bbs.scaling.ec2.metadata import Metadata, MetadataUnavailable
from tests.scaling.metadata_tools import MetadataReactor, answer


class MetadataTestCase(SynchronousTestCase):
    """An instance."""

    def setUp(self) -> None:
        self.reactor = MetadataReactor()
        self.service = self.reactor.service
        self.metadata = Metadata(self.reactor)

    def told(self, coroutine: Any) -> Any:
        return self.successResultOf(answer(self.reactor, coroutine))

    def trouble(self, coroutine: Any) -> str:
        """The line that it fails with, free of anything that the service said."""
        failure = self.failureResultOf(answer(self.reactor, coroutine), MetadataUnavailable)
        line = str(failure.value)
        self.assertEqual(line.splitlines(), [line])
        self.assertNotIn("secret", line)
        self.assertNotIn("token-of-the-tests", failure.getTraceback())
        return line


class Asking(MetadataTestCase):
    """One question."""

    def test_what_is_there(self) -> None:
        self.service.paths["ami-id"] = b"ami-1\n"
        self.assertEqual(self.told(self.metadata.get("ami-id")), "ami-1")
        self.assertEqual(
            self.service.asked, ["PUT /latest/api/token", "GET /latest/meta-data/ami-id"]
        )

    def test_what_is_not(self) -> None:
        self.assertIsNone(self.told(self.metadata.get("spot/instance-action")))

    def test_where(self) -> None:
        """At the address of the link, whose connections are given up soon, and never a proxy."""
        proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        with mock.patch.dict(os.environ, proxy):
            self.told(self.metadata.get("x"))
        wanted = ("169.254.169.254", 80, metadata.CONNECT_TIMEOUT)
        self.assertEqual(set(self.reactor.connections), {wanted})

    def test_one_token_for_many(self) -> None:
        for _ in range(3):
            self.told(self.metadata.get("x"))
        self.assertEqual(self.service.tokens, 1)

    def test_a_token_is_refreshed(self) -> None:
        """Long before it ends."""
        self.told(self.metadata.get("x"))
        self.reactor.advance(metadata.TOKEN_USED + 1)
        self.told(self.metadata.get("x"))
        self.assertEqual(self.service.tokens, 2)

    def test_a_token_that_ends_before_its_time(self) -> None:
        self.service.lifetime = 10.0
        self.told(self.metadata.get("x"))
        self.reactor.advance(11)
        self.assertIsNone(self.told(self.metadata.get("x")))

    def test_tokens_that_are_never_taken(self) -> None:
        self.service.lifetime = -1.0
        self.assertEqual(self.trouble(self.metadata.get("x")), "the metadata service answered 401")

    def test_switched_off(self) -> None:
        """An instance whose metadata are off answers everything by 403."""
        self.service.broken = 403
        self.assertEqual(
            self.trouble(self.metadata.get("x")), "the metadata service gave no token: 403"
        )

    def test_out_of_order(self) -> None:
        self.told(self.metadata.get("x"))
        for status in (302, 429, 500, 503):
            self.service.broken = status
            self.assertEqual(
                self.trouble(self.metadata.get("x")), f"the metadata service answered {status}"
            )

    def test_no_answer(self) -> None:
        self.service.silent = True
        asked = answer(self.reactor, self.metadata.get("x"))
        self.reactor.pass_time(metadata.TIMEOUT - 0.1)
        self.assertNoResult(asked)
        self.reactor.pass_time(0.2)
        self.failureResultOf(asked, MetadataUnavailable)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_service(self) -> None:
        self.reactor.away = True
        asked = answer(self.reactor, self.metadata.get("x"))
        self.reactor.pass_time(metadata.TIMEOUT)
        failure = self.failureResultOf(asked, MetadataUnavailable)
        self.assertIn("the metadata service does not answer: ", str(failure.value))

    def test_cancelled(self) -> None:
        """At once, whatever it waits for, and nothing is left of it."""
        for away, silent in ((True, False), (False, True)):
            self.reactor.away, self.service.silent = away, silent
            asked = answer(self.reactor, self.metadata.get("x"))
            asked.cancel()
            self.failureResultOf(asked)
            self.reactor.settle()
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_too_long(self) -> None:
        self.service.paths["x"] = b"x" * metadata.LONGEST
        self.assertEqual(len(self.told(self.metadata.get("x"))), metadata.LONGEST)
        self.service.paths["x"] += b"x"
        self.trouble(self.metadata.get("x"))

    def test_nothing_is_logged(self) -> None:
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.service.paths["x"] = b"secret"
        self.told(self.metadata.get("x"))
        self.service.broken = 500
        self.trouble(self.metadata.get("x"))
        self.assertEqual(events, [])


class Environment(SynchronousTestCase):
    """Whether, and where, the environment has it asked."""

    def asked(self, **environ: str) -> list[str] | None:
        """Where it is asked."""
        reactor = MetadataReactor()
        made = Metadata.from_environ(reactor, environ)
        if made is None:
            return None
        answer(reactor, made.get("x"))
        return sorted({f"{host} {port}" for host, port, _ in reactor.connections})

    def test_as_it_is(self) -> None:
        self.assertEqual(self.asked(), ["169.254.169.254 80"])
        self.assertEqual(self.asked(AWS_EC2_METADATA_DISABLED="false"), ["169.254.169.254 80"])

    def test_elsewhere(self) -> None:
        for url in ("http://127.0.0.1:4711", "http://127.0.0.1:4711/"):
            self.assertEqual(self.asked(AWS_EC2_METADATA_SERVICE_ENDPOINT=url), ["127.0.0.1 4711"])

    def test_by_ipv6(self) -> None:
        self.assertEqual(
            self.asked(AWS_EC2_METADATA_SERVICE_ENDPOINT="http://[fd00:ec2::254]"),
            ["fd00:ec2::254 80"],
        )

    def test_not_at_all(self) -> None:
        for value in ("true", "True"):
            self.assertIsNone(self.asked(AWS_EC2_METADATA_DISABLED=value))


class Addresses(MetadataTestCase):
    """Where people reach the instance."""

    def test_each_kind(self) -> None:
        self.service.paths |= {
            "public-ipv4": b"198.51.100.7",
            "local-ipv4": b"10.50.1.7",
            "public-hostname": b"ec2-198-51-100-7.compute-1.amazonaws.com",
        }
        for which, right in (
            ("public", "198.51.100.7"),
            ("private", "10.50.1.7"),
            ("dns", "ec2-198-51-100-7.compute-1.amazonaws.com"),
            ("ip-{ip}.example.org", "ip-10-50-1-7.example.org"),
        ):
            self.assertEqual(self.told(self.metadata.address(which)), right)

    def test_none(self) -> None:
        """There is none; or, of a name that the network gives to nobody, an empty one."""
        self.assertIsNone(self.told(self.metadata.address("public")))
        self.assertIsNone(self.told(self.metadata.address("{ip}.example.org")))
        self.service.paths["public-hostname"] = b""
        self.assertIsNone(self.told(self.metadata.address("dns")))

    def test_nonsense(self) -> None:
        for text in (b"<html>", b"a b", b"\xff", b"x" * 300, b"secret{}"):
            self.service.paths["public-ipv4"] = text
            self.trouble(self.metadata.address("public"))


class Notices(MetadataTestCase):
    """Whether EC2 takes the instance away."""

    def test_none(self) -> None:
        self.assertEqual(self.told(self.metadata.notice(True)), "")

    def test_interrupted(self) -> None:
        for text, right in (
            (
                b'{"action": "terminate", "time": "2026-09-18T12:34:56Z"}',
                "spot: interrupted at 12:34 UTC",
            ),
            (b'{"action": "stop"}', "spot: interrupted"),
            (b"[]", "spot: interrupted"),
            (b"nonsense", "spot: interrupted"),
            (b'{"time": 1}', "spot: interrupted"),
        ):
            self.service.paths["spot/instance-action"] = text
            self.assertEqual(self.told(self.metadata.notice(True)), right)

    def test_recommended(self) -> None:
        """An interruption counts for more."""
        self.service.paths["events/recommendations/rebalance"] = b'{"noticeTime": "x"}'
        self.assertEqual(self.told(self.metadata.notice(True)), "spot: rebalance recommended")
        self.service.paths["spot/instance-action"] = b"{}"
        self.assertEqual(self.told(self.metadata.notice(True)), "spot: interrupted")

    def test_scheduled(self) -> None:
        """Of an instance on demand too. It counts for more than a recommendation."""
        event = b'{"Code": "instance-retirement", "State": "%s", "NotBefore": "%s"}'
        soon = b"21 Jan 2019 09:00:43 GMT"
        self.service.paths["events/recommendations/rebalance"] = b"{}"
        for text, right in (
            (b"[" + event % (b"active", soon) + b"]", f"instance-retirement, {soon.decode()}"),
            (b"[" + event % (b"completed", soon) + b"]", ""),
            (b"[" + event % (b"active", b"\\u001b[2J") + b"]", ""),
            (b"[]", ""),
            (b"nonsense", ""),
            (b'[{"State": "active"}]', ""),
        ):
            self.service.paths["events/maintenance/scheduled"] = text
            told = self.told(self.metadata.notice(False))
            self.assertEqual(told, right and f"scheduled: {right}")
            told = self.told(self.metadata.notice(True))
            self.assertEqual(
                told, f"scheduled: {right}" if right else "spot: rebalance recommended"
            )

    def test_spot(self) -> None:
        """Where nothing says what an instance is, it may be of Spot capacity."""
        for text, right in ((b"spot", True), (b"on-demand", False), (b"scheduled", False)):
            self.service.paths["instance-life-cycle"] = text
            self.assertEqual(self.told(self.metadata.is_spot()), right)
        del self.service.paths["instance-life-cycle"]
        self.assertTrue(self.told(self.metadata.is_spot()))
