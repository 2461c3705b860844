"""Turns of addresses: who waits, for whom, and who does not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import Unavailable, WrongCredentials
from bbs.limits.connections import Networks
from bbs.limits.fair_queue import (
    LATELY,
    MOST_OF_AN_ADDRESS,
    MOST_WAITING,
    REFUSAL_DELAY,
    FairQueue,
)

MINE = "192.0.2.1"
HONEST = "203.0.113.7"


def attackers(number: int) -> list[str]:
    """So many addresses."""
    return [f"198.51.{each // 250}.{each % 250 + 1}" for each in range(number)]


def wide(number: int) -> list[str]:
    """So many addresses, each in a /16 of its own."""
    return [f"10.{each}.0.1" for each in range(number)]


class QueueCase(SynchronousTestCase):
    """Jobs that end when the test has them end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.make(at_once=4)

    def make(
        self,
        at_once: int,
        per_address: int = 200,
        trusted: Sequence[str] = (),
        most: int = MOST_WAITING,
    ) -> None:
        """A queue of its own."""
        networks = Networks([ip_network(each) for each in trusted])
        chance = random.Random(1)
        self.queue = FairQueue(at_once, per_address, networks, self.clock, most, chance)
        self.under_way: list[tuple[str, Deferred[str]]] = []
        self.begun: list[str] = []

    def ask(self, host: str, known: bool = False) -> Deferred[str]:
        """A job for `host`."""

        async def job() -> str:
            end: Deferred[str] = Deferred()
            self.begun.append(host)
            self.under_way.append((host, end))
            return await end

        return self.queue.run(host, job, known)

    def refused(self, *asked: Deferred[str]) -> None:
        """These are refused, a moment later."""
        self.clock.advance(REFUSAL_DELAY)
        for each in asked:
            self.failureResultOf(each, Unavailable)

    def end(self, number: int = 0) -> str:
        """One that is under way ends; whose it is."""
        host, end = self.under_way.pop(number)
        end.callback("done")
        return host

    def end_all(self) -> None:
        """All end, one after the other."""
        while self.under_way:
            self.end()


class Turns(QueueCase):
    def test_so_many_at_once(self) -> None:
        asked = [self.ask(host) for host in attackers(10)]
        self.assertEqual(self.begun, attackers(4))
        self.end(2)
        self.assertEqual(self.successResultOf(asked[2]), "done")
        self.assertEqual(self.begun, attackers(5))
        self.end_all()
        for each in (*asked[:2], *asked[3:]):
            self.assertEqual(self.successResultOf(each), "done")

    def test_four_at_a_time_for_an_address(self) -> None:
        self.make(at_once=16)
        for _ in range(10):
            self.ask(MINE)
        self.assertEqual(self.begun, [MINE] * 4)
        self.ask(HONEST)
        self.assertEqual(self.begun[4:], [HONEST])
        for _ in range(6):
            self.end()
            self.assertEqual(len([host for host, _ in self.under_way if host == MINE]), 4)

    def test_who_asks_for_much_waits_behind_their_own(self) -> None:
        """Fifty addresses that have all they may have waiting: an honest one waits for one job of
        each at the most, and for those that were under way."""
        flood = [self.ask(host) for _ in range(40) for host in attackers(50)]
        honest = self.ask(HONEST)
        ended = []
        while not honest.called:
            ended.append(self.end())
        self.assertEqual(ended.pop(), HONEST)
        self.assertLessEqual(max(map(ended[4:].count, ended)), 1)
        self.assertLessEqual(len(ended), 4 + 50)
        self.assertGreater(sum(not each.called for each in flood), 1900)

    def test_turns_go_round(self) -> None:
        self.make(at_once=1)
        for host in ("a", "b"):
            for _ in range(3):
                self.ask(host)
        self.ask("c")
        self.end_all()
        self.assertEqual("".join(self.begun), "abcabab")

    def test_networks_take_turns_not_addresses(self) -> None:
        """However many addresses there are in a network, it has one turn of many."""
        for network in ("2001:db8:1:{:x}::1", "2001:db8:1:{:x}00::1", "203.7.{}.1", "203.7.0.{}"):
            self.make(at_once=1)
            for host in wide(5):
                self.ask(host)
            self.end_all()  # They had turns lately, as the flood has.
            flood = [network.format(number) for number in range(200)]
            for host in flood:
                self.ask(host)
            for host in wide(5):
                self.ask(host)
            self.begun.clear()
            for _ in range(13):
                self.end()
            self.assertEqual(sum(host in flood for host in self.begun), 8)
            self.assertEqual(sum(host in wide(5) for host in self.begun), 5)

    def test_turns_within_a_network_go_round_too(self) -> None:
        self.make(at_once=1)
        hosts = ["203.7.1.1", "203.7.1.2", "203.7.2.1"]
        for host in hosts * 4:
            self.ask(host)
        self.begun.clear()
        for _ in range(8):
            self.end()
        self.assertEqual([self.begun.count(host) for host in hosts], [2, 2, 4])

    def test_who_had_no_turn_lately_comes_first(self) -> None:
        """Of 200 networks that ask without end, a newcomer waits for none."""
        self.make(at_once=1)
        for _ in range(2):
            for host in wide(200):
                self.ask(host)
        for _ in range(300):
            self.end()
        for is_first in (True, False):
            self.ask(HONEST)
            self.end()
            self.assertEqual(self.begun[-1] == HONEST, is_first)

    def test_who_waited_long_is_new_again(self) -> None:
        self.make(at_once=1)
        for host in (HONEST, MINE):
            self.ask(host)
            self.end()
            self.clock.advance(LATELY / 2)
        for host in ("", MINE, HONEST):
            self.ask(host)
        self.end_all()
        self.assertEqual(self.begun, [HONEST, MINE, "", HONEST, MINE])

    def test_any_number_of_newcomers_starve_nobody(self) -> None:
        self.make(at_once=1)
        self.ask(HONEST)
        self.ask(HONEST)
        for host in wide(20):
            self.ask(host)
        for _ in range(5):
            self.end()
        self.assertEqual(self.begun.count(HONEST), 2)

    def test_every_other_turn_is_of_the_known(self) -> None:
        self.make(at_once=1)
        for host in wide(10):
            self.ask(host)
        for number in range(10):
            self.ask(f"203.0.113.{number}", known=True)
        for _ in range(8):
            self.end()
        known = [host.startswith("203.0.113.") for host in self.begun]
        self.assertEqual(known, [False, *[True, False] * 4])

    def test_an_address_has_four_at_a_time_in_both_lanes(self) -> None:
        self.make(at_once=16)
        for _ in range(4):
            self.ask(MINE)
            self.ask(MINE, known=True)
        self.assertEqual(len(self.begun), MOST_OF_AN_ADDRESS)
        self.end_all()
        self.assertEqual(len(self.begun), 8)

    def test_an_address_of_ipv6_is_its_network(self) -> None:
        self.make(at_once=16)
        for number in range(1, 10):
            self.ask(f"2001:db8::{number}")
        self.assertEqual(len(self.begun), MOST_OF_AN_ADDRESS)
        self.ask("2001:db8:0:1::1")
        self.assertEqual(len(self.begun), MOST_OF_AN_ADDRESS + 1)

    def test_one_that_fails_gives_its_turn_on(self) -> None:
        self.make(at_once=1)
        failing, other = self.ask(MINE), self.ask(HONEST)
        self.under_way.pop()[1].errback(WrongCredentials())
        self.failureResultOf(failing, WrongCredentials)
        self.end()
        self.successResultOf(other)

    def test_what_ends_at_once(self) -> None:
        """Thousands of these neither fill the stack nor have the reactor wait for all of them."""
        self.make(at_once=1)
        self.ask(MINE)
        refused = []

        async def refuse() -> None:
            raise WrongCredentials()

        for host in attackers(20):
            for _ in range(100):
                refused.append(self.queue.run(host, refuse))
        self.end()
        done = sum(each.called for each in refused)
        self.assertLess(done, 100)
        for _ in range(100):
            self.clock.advance(0)
        for each in refused:
            self.failureResultOf(each, WrongCredentials)


class Bounds(QueueCase):
    def test_of_one_address(self) -> None:
        self.make(at_once=4, per_address=3)
        asked = [self.ask(MINE) for _ in range(4 + 3)]
        for _ in range(5):
            self.failureResultOf(self.ask(MINE), Unavailable)
        self.ask(HONEST)
        self.end_all()
        for each in asked:
            self.successResultOf(each)

    def test_not_of_one_that_is_trusted(self) -> None:
        self.make(at_once=4, per_address=3, trusted=["192.0.2.0/24"])
        for host in (MINE, ""):  # A socket of this machine's has no address.
            for _ in range(50):
                self.assertNoResult(self.ask(host))

    def test_of_all(self) -> None:
        """The newest goes of the address that has most."""
        self.make(at_once=4, most=10)
        for _ in range(4):
            self.ask("under way")
        few, many = [self.ask("few") for _ in range(3)], [self.ask("many") for _ in range(7)]
        honest = self.ask(HONEST)
        self.refused(many[6])
        newer = self.ask("few")
        self.refused(many[5])
        for each in (honest, newer, *few, *many[:5]):
            self.assertNoResult(each)

    def test_who_has_most_loses_their_own(self) -> None:
        self.make(at_once=4, most=10)
        waiting = [self.ask(MINE) for _ in range(4 + 10)]
        self.refused(self.ask(MINE))
        for each in waiting:
            self.assertNoResult(each)

    def test_one_of_those_who_had_a_turn_where_all_have_equally_many(self) -> None:
        """By chance: one who comes later has as good a chance as the others."""
        self.make(at_once=1, most=20)
        had_turns = wide(20)
        for host in had_turns:
            self.ask(host)
        self.end_all()
        self.ask(HONEST)
        waiting = [self.ask(host) for host in had_turns]
        newcomers = [self.ask(host) for host in wide(30)[20:]]
        self.clock.advance(REFUSAL_DELAY)
        self.assertEqual([each.called for each in newcomers], [False] * 10)
        lost = [host for host, each in zip(had_turns, waiting, strict=True) if each.called]
        self.assertEqual(len(lost), 10)
        self.assertNotEqual(lost, had_turns[10:])
        for each in waiting:
            each.addErrback(lambda failure: failure.trap(Unavailable))

    def test_the_widest_network_loses_though_each_address_has_one(self) -> None:
        for network in ("2001:db8:1:{:x}::1", "2001:db8:1:{:x}00::1", "203.7.{}.1", "203.7.0.{}"):
            self.make(at_once=1, most=50)
            flood = [self.ask(network.format(number)) for number in range(100)]
            others = [self.ask(host) for host in wide(10)]
            self.clock.advance(REFUSAL_DELAY)
            self.assertEqual(sum(each.called for each in flood), 100 + 10 - 50 - 1)
            for each in flood:
                each.addErrback(lambda failure: failure.trap(Unavailable))
            for each in others:
                self.assertNoResult(each)

    def test_who_hangs_up_before_the_refusal(self) -> None:
        self.make(at_once=1, most=1)
        for _ in range(2):
            self.ask(MINE)
        gone = self.ask(MINE)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.clock.advance(REFUSAL_DELAY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_known_are_not_refused_for_strangers(self) -> None:
        self.make(at_once=1, most=10)
        known = [self.ask(HONEST, known=True) for _ in range(1 + 10)]
        strangers = [self.ask(host) for host in wide(30)]
        self.clock.advance(REFUSAL_DELAY)
        for each in known:
            self.assertNoResult(each)
        self.refused(*(each for each in strangers if each.called))
        self.refused(self.ask(HONEST, known=True))

    def test_an_honest_one_gets_in_whatever_waits(self) -> None:
        flood = [self.ask(host) for _ in range(100) for host in attackers(50)]
        self.clock.advance(REFUSAL_DELAY)
        self.assertEqual(sum(each.called for each in flood), 5000 - MOST_WAITING - 4)
        for each in flood:
            each.addErrback(lambda failure: failure.trap(Unavailable))
        self.assertNoResult(self.ask(HONEST))


class Leaving(QueueCase):
    def test_who_hangs_up_waits_no_more(self) -> None:
        self.make(at_once=1, per_address=2)
        self.ask(HONEST)
        first, second = self.ask(MINE), self.ask(MINE)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        third = self.ask(MINE)
        self.failureResultOf(self.ask(MINE), Unavailable)
        self.end_all()
        self.assertEqual(self.begun, [HONEST, MINE, MINE])
        for each in (second, third):
            self.successResultOf(each)

    def test_all_that_waited_for_an_address(self) -> None:
        self.make(at_once=1)
        self.ask(HONEST)
        gone = self.ask(MINE)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.ask("another")
        self.end_all()
        self.assertEqual(self.begun, [HONEST, "another"])

    def test_what_has_begun_keeps_its_turn(self) -> None:
        """Or else who hangs up again and again would have any number under way."""
        self.make(at_once=1)
        gone, waits = self.ask(MINE), self.ask(HONEST)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertEqual(self.begun, [MINE])
        self.end()
        self.assertEqual(self.begun, [MINE, HONEST])
        self.end()
        self.successResultOf(waits)

    def test_a_failure_that_nobody_hears_of(self) -> None:
        for error in (WrongCredentials(), ZeroDivisionError()):
            gone = self.ask(MINE)
            gone.cancel()
            self.failureResultOf(gone, CancelledError)
            self.under_way.pop()[1].errback(error)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.flushLoggedErrors(), [])


class Anything(SynchronousTestCase):
    @given(st.lists(st.tuples(st.sampled_from("aked"), st.integers(0, 5)), max_size=80))
    def test_nobody_is_lost(self, steps: list[tuple[str, int]]) -> None:
        """Whoever asks, hangs up, ends: all are answered, and no more than may be are at once."""
        case = QueueCase()
        case.setUp()
        case.make(at_once=3, per_address=4, most=8)
        asked: list[Deferred[str]] = []
        hosts = [*attackers(2), *wide(2), "2001:db8::1", "2001:db8:0:1::1"]
        for step, number in steps:
            if step in "ak":
                asked.append(case.ask(hosts[number], known=step == "k"))
            elif step == "e" and case.under_way:
                case.end(number % len(case.under_way))
            elif step == "d" and asked:
                asked[number % len(asked)].cancel()
            self.assertLessEqual(len(case.under_way), 3)
        case.end_all()
        case.clock.advance(REFUSAL_DELAY)
        for each in asked:
            each.addErrback(lambda failure: failure.trap(Unavailable, CancelledError))
            self.assertTrue(each.called)
        self.assertNoResult(case.ask(HONEST))
        self.assertEqual(case.begun[-1], HONEST)
