"""Who may connect."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from weakref import ref

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.core.addresses import counted_as, networks
from bbs.limits.connections import GRACE, Admission, Entry, IPausablePort, Networks

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
