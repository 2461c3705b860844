"""The operators' page when many ask, or one asks without end."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock

from bbs.limits.connections import GRACE, OVERSHOOT, Admission, Networks
from bbs.rules.overview import overview
from bbs.web.http_limits import (
    BEGUN_A_SECOND,
    BEGUN_AT_ONCE,
    CONNECTIONS_PER_ADDRESS,
    MAX_CONNECTIONS,
    MAX_OPERATORS,
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

    def test_nothing_is_read_for_each_request_with_a_body(self) -> None:
        """Else a request of 100 bytes has 64 KiB read behind it, and the next as much again."""
        browser = self.browser()
        form = HEALTH.replace(b"GET", b"POST").replace(
            b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"
        )
        browser.channel.dataReceived(form * (2 * READ_AHEAD // len(form)))
        for count in range(1, 4):
            self.assertEqual(answers(browser), count)
            self.assertEqual(browser.transport.producerState, "paused")
            self.turn()

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

    def test_an_error_in_one_turn_ends_one_connection(self) -> None:
        failing, other = self.browser(), self.browser()
        for browser in (failing, other):
            browser.channel.dataReceived(HEALTH * 3)

        def fail() -> None:
            raise ZeroDivisionError

        self.patch(failing.transport, "resumeProducing", fail)
        for _ in range(3):
            self.turn()
        self.assertEqual(answers(other), 3)
        self.assertTrue(failing.transport.disconnecting or failing.transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        late = self.browser()
        late.channel.dataReceived(HEALTH * 2)
        self.turn()
        self.assertEqual(answers(late), 2)

    def test_a_malformed_form_behind_a_request(self) -> None:
        browser = self.browser()
        post = b"POST /login HTTP/1.1\r\nHost: bbs.example\r\nX-BBS: 1\r\n"
        post += b"Content-Type: a\x0cb\r\nContent-Length: 3\r\n\r\na=b"
        browser.channel.dataReceived(HEALTH + post + HEALTH)
        for _ in range(2):
            self.turn()
        found = browser.transport.value().split(b"HTTP/1.1 ")[1:]
        self.assertEqual([each[:3] for each in found], [b"200", b"400", b"200"])
        self.assertIn(b"Malformed header: Content-Type", found[1])

    def test_those_that_come_without_end_are_begun_at_a_pace(self) -> None:
        browsers = [self.browser() for _ in range(BEGUN_AT_ONCE)]
        for browser in browsers:
            browser.channel.dataReceived(HEALTH * 200)
        for _ in range(200):
            self.turn()
        first = sum(map(answers, browsers))
        self.assertLess(first, BEGUN_A_SECOND.count + 3 * BEGUN_AT_ONCE)
        for _ in range(100):
            self.reactor.advance(0.01)
        more = sum(map(answers, browsers)) - first
        self.assertLess(abs(more - BEGUN_A_SECOND.count), 3 * BEGUN_AT_ONCE)

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
        entries = [others.enter("198.51.100.1") for _ in range(90)]
        self.assertIsNone(others.enter("198.51.100.1"))  # The rest is for known addresses.
        self.assertEqual(self.browser("203.0.113.1").get("/state").code, 503)
        self.assertEqual(self.browser("203.0.113.1").get("/health").code, 200)
        for entry in entries:
            assert entry is not None
            entry.leave()
        self.assertEqual(self.browser("203.0.113.1").get("/state").code, 200)

    def test_who_probes_is_not_kept_out_by_those_who_are_silent(self) -> None:
        self.crowd()
        silent = [self.browser("203.0.113.1") for _ in range(MAX_PROBES)]
        self.assertEqual(answers(silent[0]), 0)
        self.assertEqual(self.browser("203.0.113.1").get("/health").code, 200)
        turned_away = silent[0].heard()
        self.assertEqual((turned_away.code, turned_away.body), (503, "Too many connections\n"))
        self.assertTrue(silent[0].transport.disconnecting)
        self.assertFalse(silent[1].transport.disconnecting)

    def test_who_probes_gives_way_to_no_silent_ones_of_another_network(self) -> None:
        self.crowd()
        self.crowd("198.51.100.1")
        slow = self.browser("198.51.100.1")
        slow.channel.dataReceived(HEALTH[:20])
        for _ in range(3 * MAX_PROBES):
            self.browser("203.0.113.1")
        slow.channel.dataReceived(HEALTH[20:])
        self.assertEqual(slow.heard().body, "ok\n")

    def test_an_operator_comes_in_all_the_same(self) -> None:
        operator = self.browser("203.0.113.1")
        operator.log_in()
        operator.close()
        self.crowd()
        for _ in range(2 * MAX_PROBES):
            self.browser("203.0.113.1")
        operator.connect()
        for _ in range(3):
            self.assertEqual(operator.get("/state").json["operator"], "liz")
        self.assertFalse(operator.transport.disconnecting)
        for _ in range(2 * MAX_PROBES):
            self.browser("203.0.113.1")
        self.assertEqual(operator.get("/state").json["operator"], "liz")
        operator.turn()
        self.clock.advance(PROBE_TIMEOUT + 1)
        self.assertFalse(operator.transport.disconnecting)

    def test_a_known_browser_comes_in_to_log_in(self) -> None:
        operator = self.browser("203.0.113.1")
        operator.log_in()
        operator.close()
        operator.cookie = ""
        self.crowd()
        operator.connect()
        self.assertEqual(operator.log_in().code, 200)
        operator.close()
        operator.cookie = ""
        operator.device = operator.device[:-1] + "g"
        operator.connect()
        self.assertEqual(operator.log_in().code, 503)

    def test_so_many_operators_come_in_and_no_more(self) -> None:
        operator = self.operator()
        self.crowd()
        codes = []
        for _ in range(MAX_OPERATORS + 2):
            another = self.browser("203.0.113.1")
            another.cookie = operator.cookie
            codes.append(another.get("/state").code)
        self.assertEqual(codes, [200] * MAX_OPERATORS + [503] * 2)

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

    def fill(self, *hosts: str) -> list[Browser]:
        """All connections, as many from each of `hosts`, each of which has asked once."""
        browsers = []
        for number in range(MAX_CONNECTIONS):
            browsers.append(self.browser(hosts[number % len(hosts)]))
            browsers[-1].get("/health")
            browsers[-1].turn()
            self.clock.advance(0.01)
        return browsers

    def test_the_longest_idle_of_the_greediest_network_gives_way(self) -> None:
        self.assertEqual(MAX_CONNECTIONS, 300)
        few, first, *others = self.fill("198.51.100.1", "203.0.113.1", "203.0.113.2")
        first.get("/health")
        self.assertEqual(self.browser("192.0.2.1").get("/state").code, 200)
        ended = [each for each in (few, first, *others) if each.transport.disconnecting]
        self.assertEqual(ended, [others[0]])
        self.assertEqual(ended[0].transport.value(), b"")

    def test_a_wide_network_counts_before_a_narrow_one(self) -> None:
        many = self.fill("198.51.100.1", "203.0.1.1", "203.0.2.1", "203.0.3.1")
        for _ in range(50):
            self.browser("192.0.2.1").get("/health")
        ended = [number % 4 for number, each in enumerate(many) if each.transport.disconnecting]
        self.assertEqual((len(ended), ended.count(0)), (50, 0))

    def test_an_operator_gives_way_to_nobody(self) -> None:
        operator = self.operator()
        operator.get("/state")
        operator.turn()
        self.fill("192.0.2.1")
        for _ in range(10):
            self.browser("198.51.100.1").get("/health")
        self.assertFalse(operator.transport.disconnecting)

    def test_who_is_being_answered_gives_way_to_nobody(self) -> None:
        operator = self.operator()
        operator.close()
        browsers = [self.browser() for _ in range(MAX_CONNECTIONS)]
        self.stop_page()
        self.clock.advance(10)
        self.database.hold()
        for browser in browsers:
            browser.send("GET", "/state")
        self.assertEqual(self.browser("198.51.100.1").get("/page.css").code, 503)
        self.assertEqual(self.browser("198.51.100.1").get("/ready").code, 200)
        operator.connect()
        self.assertEqual(operator.get("/page.css").code, 200)
        self.database.go_on()
        self.assertEqual({browser.heard().code for browser in browsers}, {200})

    def test_who_takes_no_answer_gives_way(self) -> None:
        browsers = self.fill("203.0.113.1")
        for browser in browsers:
            browser.channel.pauseProducing()
            browser.channel.dataReceived(HEALTH)
        self.assertEqual(self.browser("198.51.100.1").get("/state").code, 200)
        self.assertEqual(sum(each.transport.disconnected for each in browsers), 1)


class Proxied(PageCase):
    """A page behind a proxy, which passes on who its clients are."""

    proxies = (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/48"))

    def setUp(self) -> None:
        self.admission = Admission(1000, Networks(()), seconds=lambda: self.clock.seconds())
        self.door = self.admission.door(CONNECTIONS_PER_ADDRESS)
        super().setUp()

    def address(self, host: str = "192.0.2.1", **headers: str) -> str:
        """The address in the record of what an operator does."""
        browser = self.browser(host)
        browser.cookie = self.cookie
        self.assertEqual(browser.post("/servers/replace/cancel", b"", **headers).code, 200)
        browser.post("/servers", b"", **headers)
        latest: str = browser.get("/actions").json[0]["address"]
        return latest

    def test_the_client_is_the_rightmost_that_is_no_proxy(self) -> None:
        self.cookie = self.operator().cookie
        for headers, address in (
            ({"X_Forwarded_For": "198.51.100.7"}, "198.51.100.7"),
            ({"X_Forwarded_For": "10.0.0.1, 198.51.100.7:50123, 192.0.2.9"}, "198.51.100.7"),
            ({"X_Forwarded_For": "192.0.2.8, 192.0.2.9"}, "192.0.2.8"),
            ({"X_Forwarded_For": "2001:db8::7"}, "2001:db8::7"),
            ({"X_Forwarded_For": "[2001:db8::7]:443, 2001:db8:1::1"}, "2001:db8::7"),
            ({"Forwarded": "for=198.51.100.7;proto=https;by=192.0.2.1"}, "198.51.100.7"),
            ({"Forwarded": 'for=10.0.0.1, For="[2001:DB8::7]:4711"'}, "2001:db8::7"),
            ({"Forwarded": 'for="x, for=198.51.100.7, for=192.0.2.9'}, "198.51.100.7"),
            ({"Forwarded": "for=198.51.100.7", "X_Forwarded_For": "198.51.100.7"}, "198.51.100.7"),
            # Who wrote which?
            ({"Forwarded": "for=198.51.100.7", "X_Forwarded_For": "10.0.0.1"}, "192.0.2.1"),
        ):
            self.assertEqual(self.address(**headers), address, headers)
            self.clock.advance(20)

    def test_what_is_malformed_counts_as_the_proxys(self) -> None:
        self.cookie = self.operator().cookie
        for name, values in (
            ("X_Forwarded_For", ("", "x", "198.51.100.7,", "256.1.1.1", "1.2.3.4 5.6.7.8")),
            ("Forwarded", ("for=unknown", "for=_hidden", "by=1.2.3.4", "for=1.2.3.4;for=5.6.7.8")),
            ("Forwarded", ('for="1.2.3.4', "for=1.2.3.4;", "1.2.3.4", "\udcff")),
        ):
            for value in values:
                headers = {name: value, "X_Forwarded_For": value or "x"}
                self.assertEqual(self.address(**headers), "192.0.2.1", headers)
                self.clock.advance(20)

    def test_nobody_else_is_believed(self) -> None:
        self.cookie = self.operator().cookie
        address = self.address("203.0.113.1", Forwarded="for=198.51.100.7")
        self.assertEqual(address, "203.0.113.1")

    def test_wrong_passwords_count_for_the_client(self) -> None:
        guessing, operator = self.browser("192.0.2.1"), self.browser("192.0.2.1")
        body = b"name=liz&password=wrong"
        codes = [guessing.post("/login", body, Forwarded="for=203.0.113.9").code for _ in range(4)]
        self.assertEqual(codes, [401, 401, 401, 429])
        right = operator.post("/login", b"name=liz&password=secret", Forwarded="for=203.0.113.8")
        self.assertEqual(right.code, 200)

    def test_requests_count_and_not_connections(self) -> None:
        mine = {"Forwarded": "for=203.0.113.9"}
        streams = [self.browser("192.0.2.1") for _ in range(CONNECTIONS_PER_ADDRESS)]
        idle = [self.browser("192.0.2.1") for _ in range(2 * CONNECTIONS_PER_ADDRESS)]
        self.assertEqual({each.get("/state", **mine).code for each in idle}, {200})
        for stream in streams:
            stream.send("GET", "/stream", b"", **mine)
        another = self.browser("192.0.2.1")
        self.assertEqual(another.get("/state", **mine).code, 503)
        self.assertEqual(another.get("/health", **mine).code, 200)
        self.assertEqual(another.get("/state", Forwarded="for=203.0.113.8").code, 200)
        streams[0].close()
        self.assertEqual(another.get("/state", **mine).code, 200)

    def test_requests_of_clients_who_are_not_named_count_together(self) -> None:
        unnamed = {"Forwarded": "for=x", "X_Forwarded_For": "203.0.113.9"}
        for _ in range(CONNECTIONS_PER_ADDRESS):
            self.browser("192.0.2.1").send("GET", "/stream", b"", **unnamed)
        another = self.browser("192.0.2.1")
        self.assertEqual(another.get("/state", **unnamed).code, 503)
        self.assertEqual(another.get("/state", Forwarded="for=203.0.113.8").code, 200)

    def test_a_request_ends_no_connection(self) -> None:
        """It opens none, however full the process is."""
        silent = [self.admission.door(1000).enter("198.51.100.1") for _ in range(899)]
        ended: list[object] = []
        for entry in silent:
            assert entry is not None
            entry.watch(partial(ended.append, entry))
        self.clock.advance(60)
        browser = self.browser("192.0.2.1")
        for number in range(100):
            self.assertEqual(browser.get("/state", Forwarded=f"for=203.0.{number}.1").code, 200)
        self.assertEqual(ended, [])

    def test_by_a_unix_socket(self) -> None:
        browser = Browser(self.page, "", at=UNIXAddress("/run/bbs"))
        browser.log_in()
        browser.post("/servers", Forwarded="for=198.51.100.7")
        self.assertEqual(browser.get("/actions").json[0]["address"], "198.51.100.7")


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
