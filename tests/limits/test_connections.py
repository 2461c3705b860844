"""Who may connect."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from typing import Any
from weakref import ref

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.core.addresses import counted_as, networks, outweighs
from bbs.limits.connections import (
    GRACE,
    IMMUNE,
    KNOWN_FOR,
    RANKED_EVERY,
    Admission,
    Entry,
    IPausablePort,
    Networks,
)

TRUSTED = Networks([ip_network("127.0.0.0/8"), ip_network("::1")])


HERE = "127.0.0.1"


@implementer(IPausablePort)
class Port:
    paused = False

    def stopReading(self) -> None:
        self.paused = True

    def startReading(self) -> None:
        self.paused = False


class AddressTests(SynchronousTestCase):
    def test_what_an_address_counts_as(self) -> None:
        self.assertEqual(counted_as("192.0.2.7"), "192.0.2.7")
        self.assertEqual(counted_as("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64")
        self.assertEqual(counted_as("2001:db8:1:2::1"), "2001:db8:1:2::/64")
        self.assertNotEqual(counted_as("2001:db8:1:3::1"), counted_as("2001:db8:1:2::1"))

    def test_the_networks_of_an_address(self) -> None:
        self.assertEqual(networks("192.0.2.7"), ("192.0.0.0/16", "192.0.2.0/24", "192.0.2.7"))
        wide, middle, narrow = "2001:db8:1::/48", "2001:db8:1:200::/56", "2001:db8:1:234::/64"
        self.assertEqual(networks("2001:db8:1:234::5"), (wide, middle, narrow))
        self.assertEqual(networks(narrow), (wide, middle, narrow))
        self.assertEqual(networks(""), ("", "", ""))

    def test_which_network_gives_to_another(self) -> None:
        counts: Counter[str] = Counter()
        for host, number in (("192.0.2.1", 5), ("192.0.2.2", 3), ("192.0.3.1", 6), ("10.0.0.1", 9)):
            counts.update(dict.fromkeys(networks(host), number))
            counts[networks(host)[0]] = 14 if host.startswith("192") else number
        counts["192.0.2.0/24"] = 8
        self.assertTrue(outweighs(counts, "192.0.2.1", "198.51.100.1"))
        # The widest that they do not share decides: /16, /24, and the address.
        self.assertTrue(outweighs(counts, "192.0.3.1", "10.0.0.1"))
        self.assertFalse(outweighs(counts, "10.0.0.1", "192.0.2.2"))
        self.assertTrue(outweighs(counts, "192.0.2.2", "192.0.3.1"))
        self.assertTrue(outweighs(counts, "192.0.2.1", "192.0.2.2"))
        self.assertFalse(outweighs(counts, "192.0.2.2", "192.0.2.1"))
        self.assertFalse(outweighs(counts, "192.0.2.1", "192.0.2.1"))
        # Nobody who would then have as many.
        counts["192.0.2.2"] = 4
        self.assertFalse(outweighs(counts, "192.0.2.1", "192.0.2.2"))

    def test_who_is_trusted(self) -> None:
        for host in ("127.0.0.1", "127.200.3.4", "::1"):
            self.assertIn(host, TRUSTED)
        for host in ("128.0.0.1", "::2", "", "192.0.2.1"):
            self.assertNotIn(host, TRUSTED)
        self.assertNotIn("127.0.0.1", Networks(()))


class Host(str):
    """An address of which is seen whether anybody keeps it."""


class AdmissionTests(SynchronousTestCase):
    def enter(self, door: object, host: str = "192.0.2.1", descriptors: int = 1) -> Entry:
        entry: Entry | None = door.enter(host, descriptors)  # type: ignore[attr-defined]
        assert entry is not None
        return entry

    def test_each_kind_of_port_counts_for_itself(self) -> None:
        admission = Admission(100, TRUSTED)
        one, other = admission.door(1), admission.door(1)
        self.enter(one)
        self.assertIsNone(one.enter("192.0.2.1"))
        self.enter(other)
        self.assertEqual(admission.count, 2)

    def test_the_process_counts_all(self) -> None:
        admission = Admission(2, TRUSTED)
        one, other = admission.door(100), admission.door(100)
        first = self.enter(one, "127.0.0.1")
        self.enter(other)
        self.assertIsNone(other.enter("192.0.2.2"))
        first.leave()
        self.enter(other, "192.0.2.2")

    def test_addresses_of_one_network_are_one(self) -> None:
        door = Admission(100, TRUSTED).door(1)
        self.enter(door, "2001:db8::1")
        self.assertIsNone(door.enter("2001:db8::2"))
        self.enter(door, "2001:db8:0:1::1")

    def test_nothing_is_kept_of_those_that_left(self) -> None:
        door = Admission(100, TRUSTED).door(1)
        host = Host("192.0.2.1")
        kept = ref(host)
        entry = self.enter(door, host)
        del host
        self.assertIsNotNone(kept())
        entry.vouch()
        entry.leave()
        del entry
        networks.cache_clear()  # It has a bound.
        self.assertIsNone(kept())

    def test_accepting_stops_before_descriptors_run_out(self) -> None:
        said: Any = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        admission = Admission(1000, TRUSTED, descriptors=20)
        port, door = Port(), admission.door(1000)
        remove = admission.add_port(port)
        entries = [self.enter(door, HERE) for _ in range(9)]
        self.assertFalse(port.paused)
        entries.append(self.enter(door, HERE))
        self.assertTrue(port.paused)
        for _ in range(3):
            entries.pop().leave()
            self.assertFalse(port.paused)
            entries.append(self.enter(door, HERE))
            self.assertTrue(port.paused)
        self.assertEqual(len(said), 1)
        remove()
        entries.pop().leave()
        self.assertTrue(port.paused)

    def test_an_address_has_its_share_of_few_descriptors(self) -> None:
        admission = Admission(1000, TRUSTED, descriptors=80)
        lines, visits = admission.door(200), admission.door(200)
        for _ in range(6):
            self.enter(lines)
        visit = self.enter(visits, descriptors=4)
        self.assertIsNone(lines.enter("192.0.2.1"))
        self.enter(lines, "192.0.2.2")
        self.enter(lines, "127.0.0.1")
        visit.leave()
        for _ in range(4):
            self.enter(lines)
        self.assertIsNone(lines.enter("192.0.2.1"))

    def test_what_takes_several_descriptors(self) -> None:
        admission = Admission(1000, TRUSTED, descriptors=20)
        port, door = Port(), admission.door(1000)
        admission.add_port(port)
        for _ in range(4):
            entry = self.enter(door, HERE, 3)
        self.assertTrue(port.paused)
        entry.leave()
        self.assertFalse(port.paused)

    def test_nobody_keeps_others_out_by_saying_nothing(self) -> None:
        clock = Clock()
        admission = Admission(3, TRUSTED, seconds=clock.seconds)
        door = admission.door(1000)
        ended: list[Entry] = []

        def come() -> Entry:
            entry = self.enter(door)
            entry.watch(lambda: ended.append(entry))
            return entry

        asks, first, second = come(), come(), come()
        asks.has_asked()
        clock.advance(GRACE / 2)
        self.assertIsNone(door.enter("192.0.2.1"))
        clock.advance(GRACE / 2)
        come()
        come()
        self.assertEqual(ended, [first, second])
        first.leave()
        second.leave()
        self.assertIsNone(door.enter("192.0.2.1"))

    def test_newcomers_make_room_in_the_order_in_which_they_came(self) -> None:
        admission = Admission(1000, TRUSTED, descriptors=20)
        port, door = Port(), admission.door(1000)
        admission.add_port(port)
        ended: list[int] = []
        entries = []
        for number in range(14):
            entry = self.enter(door, HERE)
            entry.watch(lambda number=number: ended.append(number))  # type: ignore[misc]
            entries.append(entry)
            if number == 1:
                entry.has_asked()
        self.assertEqual(ended, [0, 2, 3, 4, 5])
        self.assertFalse(port.paused)


class GivingWayTests(SynchronousTestCase):
    """All places are taken, by peers that have asked something."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ended: list[Entry] = []
        self.admit(10)

    def admit(self, most: int, descriptors: int | None = None) -> None:
        self.admission = Admission(most, TRUSTED, descriptors, self.clock.seconds)
        self.door = self.admission.door(1000)

    def come(self, host: str, asks: bool = True) -> Entry | None:
        """Connect, and ask something."""
        self.clock.advance(RANKED_EVERY)
        entry = self.door.enter(host)
        if entry is None:
            return None

        def end() -> None:
            self.ended.append(entry)
            entry.leave()

        entry.watch(end)
        if asks:
            self.ask(entry)
        return entry

    def ask(self, entry: Entry) -> None:
        entry.has_asked()
        entry.may_give_way()

    def some(self, *hosts: str) -> list[Entry]:
        entries = [self.come(host) for host in hosts]
        found = [entry for entry in entries if entry is not None]
        self.assertEqual(len(found), len(hosts))
        return found

    def crowd(self, most: int = 9) -> list[Entry]:
        """All that strangers may have: an address has most of it."""
        return self.some(*["192.0.2.1"] * (most - 2), "198.51.100.1", "203.0.113.1")

    def test_the_longest_idle_of_the_greediest_network_gives_way(self) -> None:
        first, second, *_ = self.crowd()
        self.ask(first)
        self.assertIsNotNone(self.come("10.0.0.1"))
        self.assertEqual(self.ended, [second])
        self.assertEqual(self.admission.count, 9)

    def test_few_of_an_address_with_a_session_stay(self) -> None:
        self.admit(100)
        for entry in self.some(*["192.0.2.1"] * 90):
            entry.has_session()
        for number in range(60):
            self.assertIsNotNone(self.come(f"10.{number}.0.1"))
        self.assertEqual(len(self.ended), 60)
        while self.come("10.99.0.1"):
            pass
        self.assertEqual(self.admission.immune, {"192.0.2.1": IMMUNE})
        for entry in [each for each in self.ended if each.is_immune]:
            self.fail(f"{entry} was immune")

    def test_an_address_that_proved_nothing_is_not_known(self) -> None:
        entry = self.door.enter("192.0.2.1")
        assert entry is not None
        entry.leave()
        self.assertFalse(self.admission.knows("192.0.2.1"))

    def test_it_does_not_give_way_to_its_own_network(self) -> None:
        self.crowd()
        self.assertIsNone(self.come("192.0.2.1"))
        self.assertEqual(self.ended, [])
        # Another address of it may have as many as the greedy one.
        while self.come("192.0.2.2"):
            pass
        self.assertEqual(len(self.ended), 3)

    def test_nor_to_one_that_would_then_have_as_many(self) -> None:
        self.some(*["192.0.2.1", "198.51.100.1", "203.0.113.1"] * 3)
        self.some("10.0.0.1", "10.0.0.1")
        self.assertIsNone(self.come("10.0.0.1"))
        self.assertEqual(len(self.ended), 2)

    def test_the_widest_network_counts_first(self) -> None:
        """Whoever has many addresses is no better off."""
        many = self.some(*(f"192.0.{number}.{number}" for number in range(6)))
        self.some("198.51.100.1", "198.51.100.1", "198.51.100.1")
        self.assertIsNotNone(self.come("10.0.0.1"))
        self.assertIn(self.ended[0], many)

    def test_a_session_never_gives_way(self) -> None:
        entries = self.crowd()
        for entry in entries[:7]:
            entry.has_session()
            entry.may_give_way()
        self.assertIsNone(self.come("10.0.0.1"))
        self.assertEqual(self.ended, [])

    def test_nor_does_what_never_said_so(self) -> None:
        """Visits of the gateway, who may be logged in."""
        for _ in range(9):
            entry = self.come("192.0.2.1", asks=False)
            assert entry is not None
            entry.has_asked()
        self.assertIsNone(self.come("10.0.0.1"))

    def test_those_that_await_an_answer_are_the_last(self) -> None:
        first, *others = self.crowd()[:7]
        for entry in (first, *others[1:]):
            entry.is_busy = True
        self.some("10.0.0.1", "10.0.0.2")
        self.assertEqual(self.ended, [others[0], first])

    def test_one_that_is_trusted_neither_gives_way_nor_has_to_wait(self) -> None:
        self.some(*[HERE] * 5)
        first, *_ = self.some(*["192.0.2.1"] * 4)
        self.some(HERE, HERE)
        self.assertEqual(self.ended, [first])

    def test_a_share_is_for_known_addresses(self) -> None:
        known = self.come("10.0.0.1")
        assert known is not None
        known.has_session()
        known.leave()
        for number in range(9):
            self.assertIsNotNone(self.come(f"192.0.2.{number}"))
        self.assertIsNone(self.come("192.0.2.99"))
        self.assertIsNotNone(self.come("10.0.0.1"))
        self.assertEqual(self.ended, [])

    def test_an_address_is_known_for_an_hour_after_its_last_session(self) -> None:
        entry = self.come("10.0.0.1")
        assert entry is not None
        entry.has_session()
        self.clock.advance(KNOWN_FOR)
        entry.leave()
        self.clock.advance(KNOWN_FOR - 1.0)
        self.assertTrue(self.admission.knows("10.0.0.1"))
        self.clock.advance(1.0)
        self.assertFalse(self.admission.knows("10.0.0.1"))

    def test_when_descriptors_run_out(self) -> None:
        self.admit(1000, descriptors=40)  # 20 for connections, 18 of them for strangers
        hosts = ["192.0.2.1"] * 5
        hosts += [f"{net}.0.2.1" for net in (11, 12, 13, 14) for _ in range(3)]
        first, *_ = self.some(*hosts, "198.51.100.1")
        self.assertIsNotNone(self.come("10.0.0.1"))
        self.assertEqual(self.ended, [first])
        self.some(HERE, HERE, HERE)
        self.assertEqual(len(self.ended), 3)

    def test_nothing_is_kept_of_those_that_left(self) -> None:
        for entry in self.some("192.0.2.1", "2001:db8::1", "192.0.2.2"):
            entry.leave()
        self.assertFalse(self.admission.idle.counts)
        self.assertIsNotNone(self.come("192.0.2.1"))
