"""The operators' page when many ask, or one asks without end."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock

from bbs.limits.connections import GRACE, OVERSHOOT, Admission, Networks
from bbs.rules.overview import overview
from bbs.web.http_limits import (
    BEGUN_AT_ONCE,
    CONNECTIONS_PER_ADDRESS,
    MAX_CONNECTIONS,
    MAX_PROBES,
    PROBE_TIMEOUT,
    READ_AHEAD,
    REQUEST_TIMEOUT,
)
from bbs.web.page import OperatorsPage
from tests.web.case import Browser, PageCase

HEALTH = b"GET /health HTTP/1.1\r\nHost: bbs.example\r\n\r\n"

OPEN_METRICS = "application/openmetrics-text; version={}"


def answers(browser: Browser) -> int:
    """How many answers have come."""
    return int(browser.transport.value().count(b"HTTP/1.1 "))


class TurningClock(Clock):
    """A clock that has turns, as a reactor: what is asked for while others are called is done when
    it comes round again."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in [call for call in self.calls if call.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Pipelining(PageCase):
    def make_page(self, reactor: Clock | None = None) -> OperatorsPage:
        self.reactor = TurningClock()
        return super().make_page(self.reactor)

    def turn(self) -> None:
        """Let the reactor come round once."""
        self.reactor.advance(0)

    def test_one_request_in_a_turn(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(HEALTH * 4)
        seen = [answers(browser)]
        for _ in range(4):
            self.turn()
            seen.append(answers(browser))
        self.assertEqual(seen, [1, 2, 3, 4, 4])

    def test_the_answers_are_in_order(self) -> None:
        browser = self.browser()
        paths = ["/health", "/nothing", "/ready"]
        browser.channel.dataReceived(
            b"".join(HEALTH.replace(b"/health", path.encode()) for path in paths)
        )
        self.turn()
        self.turn()
        found = browser.transport.value().split(b"HTTP/1.1 ")[1:]
        self.assertEqual([each[:3] for each in found], [b"200", b"404", b"200"])
        self.assertTrue(found[-1].endswith(b"ready\n"))

    def test_none_while_the_peer_takes_nothing(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(HEALTH * 3)
        browser.channel.pauseProducing()
        for _ in range(3):
            self.turn()
        self.assertEqual(answers(browser), 1)
        browser.channel.resumeProducing()
        self.turn()
        self.assertEqual(answers(browser), 2)

    def test_what_is_read_ahead_has_an_end(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(HEALTH)
        browser.channel.pauseProducing()
        browser.channel.dataReceived(b"G" * READ_AHEAD)
        self.assertEqual(browser.transport.producerState, "producing")
        browser.channel.dataReceived(b"G")
        self.assertEqual(browser.transport.producerState, "paused")
        browser.channel.resumeProducing()
        self.turn()
        self.assertEqual(browser.transport.producerState, "producing")

    def test_who_takes_nothing_is_cut_off(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(HEALTH * 2)
        browser.channel.pauseProducing()
        self.reactor.advance(REQUEST_TIMEOUT)
        self.assertTrue(browser.transport.disconnecting)
        browser.channel.resumeProducing()
        self.turn()
        self.assertEqual(answers(browser), 1)

    def test_who_does_not_take_the_last_answer_is_cut_off(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(HEALTH.replace(b"1.1", b"1.0"))
        self.assertTrue(browser.transport.disconnecting)
        self.assertFalse(browser.transport.disconnected)
        self.reactor.advance(REQUEST_TIMEOUT)
        self.assertTrue(browser.transport.disconnected)

    def test_connections_take_turns(self) -> None:
        browsers = [self.browser() for _ in range(BEGUN_AT_ONCE + 2)]
        for browser in browsers:
            browser.channel.dataReceived(HEALTH * 3)
        seen = []
        for _ in range(4):
            self.turn()
            seen.append(sum(map(answers, browsers)) - len(browsers))
        self.assertEqual(seen, [10, 20, 24, 24])

    def test_who_goes_between_two_requests(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(HEALTH * 3)
        browser.close()
        self.turn()
        self.assertEqual(answers(browser), 1)


class MadeOnce(PageCase):
    def look_no_more(self) -> None:
        """Nothing looks but for those who ask; what was seen is old, and to look takes a while."""
        self.stop_page()
        self.clock.advance(10)
        self.database.asked.clear()
        self.database.hold(overview)

    @property
    def looks(self) -> list[bool]:
        """For each look that was begun, whether it is for people's names too."""
        return [names for _, names, *_ in self.database.calls(overview)]

    def test_metrics(self) -> None:
        self.service.people("ann")
        self.pass_time(11)
        first = self.browser().get("/metrics")
        self.service.broker.away()
        again = [self.browser().get("/metrics") for _ in range(3)]
        self.assertEqual([each.body for each in again], [first.body] * 3)
        self.clock.advance(1)
        self.assertNotEqual(self.browser().get("/metrics").body, first.body)

    def test_metrics_in_each_form(self) -> None:
        plain = self.browser().get("/metrics")
        open = self.browser().get("/metrics", Accept=OPEN_METRICS.format("1.0.0"))
        self.assertTrue(open.headers["content-type"].startswith("application/openmetrics-text"))
        self.assertTrue(open.body.endswith("# EOF\n"))
        self.assertFalse(plain.body.endswith("# EOF\n"))

    def test_a_version_that_nobody_has_is_no_form_of_its_own(self) -> None:
        plain = self.browser().get("/metrics").body
        self.service.broker.away()
        for number in range(5):
            answer = self.browser().get("/metrics", Accept=OPEN_METRICS.format(f"1.{number}.7"))
            self.assertTrue(answer.headers["content-type"].startswith("text/plain"))
            self.assertEqual(answer.body, plain)

    def test_the_present_for_many_at_once(self) -> None:
        self.look_no_more()
        browsers = [self.browser() for _ in range(5)]
        for browser in browsers:
            browser.send("GET", "/state")
        self.assertEqual(self.looks, [False])
        self.database.go_on()
        bodies = {browser.heard().body for browser in browsers}
        self.assertEqual((len(bodies), self.looks), (1, [False]))

    def test_one_look_is_under_way(self) -> None:
        """Also when some ask for names and some do not."""
        self.service.people("ann")
        operator = self.operator()
        self.look_no_more()
        stranger, another = self.browser(), self.browser()
        stranger.send("GET", "/state")
        operator.send("GET", "/state")
        self.assertEqual(self.looks, [False])
        self.database.go_on()
        self.assertNotIn("who", stranger.heard().body)
        self.assertEqual(self.looks, [False, True])
        self.clock.advance(2)
        another.send("GET", "/state")
        self.assertEqual(self.looks, [False, True])
        self.database.go_on()
        self.assertNotIn("who", another.heard().body)
        self.assertIn("ann", operator.heard().body)

    def test_nobody_is_shown_what_is_for_others(self) -> None:
        self.service.people("ann")
        self.pass_time(1)
        operator, stranger = self.operator(), self.browser()
        for _ in range(2):
            self.assertEqual(operator.get("/state").json["operator"], "liz")
            seen = stranger.get("/state")
            self.assertIsNone(seen.json["operator"])
            self.assertNotIn("ann", seen.body)
        operator.post("/logout")
        self.assertIsNone(operator.get("/state").json["operator"])


class Crowded(PageCase):
    def setUp(self) -> None:
        self.admission = Admission(
            100, Networks([ip_network("192.0.2.0/24")]), seconds=lambda: self.clock.seconds()
        )
        self.door = self.admission.door(CONNECTIONS_PER_ADDRESS)
        super().setUp()

    def crowd(self, host: str = "203.0.113.1") -> list[Browser]:
        """As many as may come from an address."""
        return [self.browser(host) for _ in range(CONNECTIONS_PER_ADDRESS)]

    def test_one_more_from_an_address(self) -> None:
        crowd = self.crowd()
        one_more = self.browser("203.0.113.1")
        answer = one_more.get("/state")
        self.assertEqual((answer.code, answer.body), (503, "Too many connections\n"))
        self.assertEqual(answer.headers["retry-after"], "5")
        self.assertEqual(answer.headers["connection"], "close")
        self.assertTrue(one_more.transport.disconnecting)
        self.assertEqual(self.browser("203.0.113.2").get("/state").code, 200)
        self.assertEqual(crowd[0].get("/state").code, 200)
        crowd[0].close()
        self.assertEqual(self.browser("203.0.113.1").get("/state").code, 200)

    def test_health_is_answered_to_one_more(self) -> None:
        self.crowd()
        for path, body in (("/health", "ok\n"), ("/ready", "ready\n")):
            one_more = self.browser("203.0.113.1")
            answer = one_more.get(path)
            self.assertEqual((answer.code, answer.body), (200, body))
            self.assertEqual(answer.headers["connection"], "close")
            self.assertTrue(one_more.transport.disconnecting)

    def test_networks_that_are_trusted(self) -> None:
        self.crowd("192.0.2.1")
        self.assertEqual(self.browser("192.0.2.1").get("/state").code, 200)

    def test_a_network_of_ipv6_is_one_address(self) -> None:
        def connect(host: str) -> Any:
            return self.page.site.buildProtocol(IPv6Address("TCP", host, 50000))

        for number in range(CONNECTIONS_PER_ADDRESS):
            self.assertFalse(connect(f"2001:db8::{number:x}").is_beyond)
        self.assertTrue(connect("2001:db8::ffff").is_beyond)
        self.assertFalse(connect("2001:db8:0:1::").is_beyond)

    def test_more_than_the_process_has(self) -> None:
        others = self.admission.door(100)
        entries = [others.enter("198.51.100.1") for _ in range(100)]
        self.assertEqual(self.browser().get("/state").code, 503)
        self.assertEqual(self.browser().get("/health").code, 200)
        for entry in entries:
            assert entry is not None
            entry.leave()
        self.assertEqual(self.browser().get("/state").code, 200)

    def test_who_probes_is_not_kept_out_by_those_who_are_silent(self) -> None:
        self.crowd()
        silent = [self.browser("203.0.113.1") for _ in range(MAX_PROBES)]
        self.assertEqual(answers(silent[0]), 0)
        self.assertEqual(self.browser("203.0.113.1").get("/health").code, 200)
        turned_away = silent[0].heard()
        self.assertEqual((turned_away.code, turned_away.body), (503, "Too many connections\n"))
        self.assertTrue(silent[0].transport.disconnecting)
        self.assertFalse(silent[1].transport.disconnecting)

    def test_a_probe_does_not_wait_long_for_its_request(self) -> None:
        self.crowd()
        silent = self.browser("203.0.113.1")
        self.clock.advance(PROBE_TIMEOUT)
        self.assertTrue(silent.transport.disconnecting)

    def test_a_post_to_one_more(self) -> None:
        self.crowd()
        self.assertEqual(self.browser("203.0.113.1").log_in().code, 503)

    def test_who_has_asked_nothing_makes_room(self) -> None:
        others = self.admission.door(100)
        asking, silent = self.browser(), self.browser()
        asking.get("/health")
        while self.admission.count < 100:
            entry = others.enter("192.0.2.9")
            assert entry is not None
            entry.has_asked()
        self.assertEqual(self.browser().get("/state").code, 503)
        self.clock.advance(GRACE)
        self.browser()
        self.assertEqual(silent.heard().code, 503)
        self.assertTrue(silent.transport.disconnecting)
        self.assertFalse(asking.transport.disconnecting)

    def test_everybody_is_counted_out_again(self) -> None:
        before = self.admission.count
        for browser in (*self.crowd(), self.browser("203.0.113.1")):
            browser.close()
        self.assertEqual(self.admission.count, before)

    def test_streams_go_on(self) -> None:
        watcher = self.watcher(self.browser("203.0.113.1"))
        self.crowd()
        watcher.events()
        self.pass_time(12)
        self.assertTrue(watcher.events("state"))


class Full(PageCase):
    """A page whose process would take more than it takes itself."""

    def test_more_than_the_page_has(self) -> None:
        self.assertEqual(MAX_CONNECTIONS, 300)
        for _ in range(MAX_CONNECTIONS):
            self.browser()
        self.assertEqual(self.browser().get("/state").code, 503)
        self.assertEqual(self.browser().get("/ready").code, 200)


class OutOfDescriptors(PageCase):
    """A process that may hardly open any file."""

    def setUp(self) -> None:
        admission = Admission(1000, Networks([]), descriptors=2 * OVERSHOOT)
        self.door = admission.door(CONNECTIONS_PER_ADDRESS)
        while not admission.is_jammed:
            entry = admission.door(1000).enter("")
            assert entry is not None
            entry.has_asked()
        super().setUp()

    def test_nobody_can_even_be_told(self) -> None:
        peer = IPv4Address("TCP", "192.0.2.9", 50000)
        self.assertIsNone(self.page.site.buildProtocol(peer))
