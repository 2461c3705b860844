"""How many handshakes of TLS begin in a second: `docs/operating.md`, `limits.handshakes`."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import Rate
from bbs.limits.connections import Networks
from bbs.limits.handshakes import PATIENCE, SHARE, Handshakes

RATE = Rate(100, 1.0)


class Turns(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.known: set[str | None] = {None}
        trusted = Networks([ip_network("127.0.0.0/8")])
        self.handshakes = Handshakes(RATE, trusted, self.known.__contains__, self.clock)

    def begun(self, hosts: list[str], seconds: float, every: float = 0.01) -> dict[str, int]:
        """How many of each host's begin within this time, who all come back at once."""
        begun = dict.fromkeys(hosts, 0)
        due: list[tuple[float, str]] = []
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            for host in hosts:
                wait = self.handshakes.turn(host)
                if wait is not None:
                    due.append((self.clock.seconds() + wait, host))
            self.clock.advance(every)
        for at, host in due:
            begun[host] += at <= until
        return begun

    def test_one_at_a_time_waits_for_nobody(self) -> None:
        for _ in range(100):
            self.assertEqual(self.handshakes.turn("192.0.2.1"), 0.0)
            self.clock.advance(1.0 / (RATE.count / SHARE))

    def test_one_address_has_a_share(self) -> None:
        begun = self.begun(["192.0.2.1"], 10.0)["192.0.2.1"]
        self.assertLessEqual(begun, 10.0 * RATE.count / SHARE + 26)
        self.assertGreater(begun, 10.0 * RATE.count / SHARE - 5)
        # Another finds nobody in the way.
        self.assertEqual(self.handshakes.turn("192.0.2.2"), 0.0)

    def test_a_site_of_ipv6_is_one_address(self) -> None:
        while self.handshakes.turn("2001:db8::1") is not None:
            pass
        self.assertIsNone(self.handshakes.turn("2001:db8::2"))
        self.assertIsNotNone(self.handshakes.turn("2001:db8:0:1::1"))

    def test_all_together(self) -> None:
        hosts = [f"192.0.2.{number}" for number in range(100)]
        begun = sum(self.begun(hosts, 10.0).values())
        self.assertLessEqual(begun, 10.0 * RATE.count + 26)
        self.assertGreater(begun, 10.0 * RATE.count - 5)

    def test_who_is_known_waits_for_no_stranger(self) -> None:
        hosts = [f"192.0.2.{number}" for number in range(100)]
        self.begun(hosts, 3.0)
        self.assertGreater(self.handshakes.turn("198.51.100.1") or PATIENCE, PATIENCE - 0.1)
        self.known.add("198.51.100.1")
        self.assertEqual(self.handshakes.turn("198.51.100.1"), 0.0)

    def test_a_trusted_network_has_no_share_but_the_whole(self) -> None:
        begun = self.begun(["127.0.0.1"], 10.0)["127.0.0.1"]
        self.assertGreater(begun, 10.0 * RATE.count - 5)
        self.assertLessEqual(begun, 10.0 * RATE.count + 26)

    def test_who_waits_waits_no_longer_than_clients_do(self) -> None:
        waits = [self.handshakes.turn(f"192.0.2.{number}") for number in range(250)]
        known = [each for each in waits if each is not None]
        self.assertEqual(known, sorted(known))
        self.assertAlmostEqual(known[-1], PATIENCE, delta=0.02)
        self.assertIn(None, waits)
